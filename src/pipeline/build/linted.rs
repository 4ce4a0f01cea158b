//! Whether Python callables are checked.

use ziggurat_middleware::Behavior;

use crate::pipeline::model::{Event, Stack};

/// Whether a layer in these stacks has Python callables checked.
pub(in crate::pipeline) fn is_linted<'a>(stacks: impl IntoIterator<Item = &'a Stack>) -> bool {
    let mut is_linted = false;
    for stack in stacks {
        stack.walk(|event, _| is_linted |= matches!(event, Event::Layer(_, layer) if layer.kind.has(Behavior::ChecksPython)));
    }
    is_linted
}
