//~ `Stamp` cannot stand in a stack
//~ a struct of options is no stage: return what it configures, for instance `around(...)`, `from_fn(...)` or a layer of tower
use ziggurat_middleware::schemars::JsonSchema;
use ziggurat_middleware::serde::Deserialize;
use ziggurat_middleware::{Context, IntoStage, Middleware, Result};

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(crate = "ziggurat_middleware::serde")]
#[schemars(crate = "ziggurat_middleware::schemars")]
struct Stamp {}

impl Middleware for Stamp {
    const NAME: &'static str = "stamp";

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        Ok(self)
    }
}
