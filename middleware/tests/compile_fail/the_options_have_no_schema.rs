//~ `Page` cannot be read from a pipeline file
//~ write `#[derive(Deserialize, JsonSchema)]` above `Page`
use ziggurat_middleware::serde::Deserialize;
use ziggurat_middleware::{App, Context, IntoApp, Next, Result};

#[derive(Deserialize)]
#[serde(crate = "ziggurat_middleware::serde")]
struct Page {}

impl App for Page {
    const NAME: &'static str = "page";

    fn app(self, _: &Context) -> Result<impl IntoApp> {
        Ok(next())
    }
}

fn next() -> Next {
    unreachable!()
}
