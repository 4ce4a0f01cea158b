//~ `Page` cannot stand at the bottom of a stack
//~ an app is a tower `Service<Request>`
use ziggurat_middleware::IntoApp;

struct Page;

pub fn app() -> impl IntoApp {
    Page
}
