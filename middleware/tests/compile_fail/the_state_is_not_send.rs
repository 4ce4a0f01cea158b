//~ `Rc<Cell<u64>>`
use std::cell::Cell;
use std::rc::Rc;

use ziggurat_middleware::{IntoStage, from_fn};

pub fn stage() -> impl IntoStage {
    from_fn(Rc::new(Cell::new(0_u64)), async |count, request, next| {
        count.set(count.get() + 1);
        next.run(request).await
    })
}
