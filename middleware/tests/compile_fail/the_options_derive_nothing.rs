//~ `Stamp` cannot be read from a pipeline file
//~ write `#[derive(Deserialize, JsonSchema)]` above `Stamp`
use ziggurat_middleware::tower::layer::util::Identity;
use ziggurat_middleware::{Context, IntoStage, Middleware, Result};

struct Stamp;

impl Middleware for Stamp {
    const NAME: &'static str = "stamp";

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        Ok(Identity::new())
    }
}
