//~ `Page` cannot stand at the bottom of a stack
//~ a struct of options is no app: return what it configures, for instance `service_fn(...)`
use ziggurat_middleware::schemars::JsonSchema;
use ziggurat_middleware::serde::Deserialize;
use ziggurat_middleware::{App, Context, IntoApp, Result};

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(crate = "ziggurat_middleware::serde")]
#[schemars(crate = "ziggurat_middleware::schemars")]
struct Page {}

impl App for Page {
    const NAME: &'static str = "page";

    fn app(self, _: &Context) -> Result<impl IntoApp> {
        Ok(self)
    }
}
