//~ `Stamp` cannot stand in a stack
//~ a stage is a tower `Layer<Next>`
use ziggurat_middleware::IntoStage;

struct Stamp;

pub fn stage() -> impl IntoStage {
    Stamp
}
