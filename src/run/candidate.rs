//! A generation before it serves: everything that can fail is done here, and undone where it does.

use ziggurat_middleware::{Lifecycle, Next};

use crate::pipeline::{Pipeline, Report};
use crate::server::{Listen, Listener};

/// A stack that is built, and the sockets it wants beyond those that are there already.
pub(super) struct Candidate {
    pub(super) pipeline: Pipeline,
    pub(super) stack: Next,
    pub(super) listeners: Vec<Listener>,
}

/// What the generation before has bound.
#[derive(Default)]
pub(super) struct InUse {
    pub(super) listening: Vec<Listen>,
}

impl Candidate {
    /// Builds and binds; blocking, within a runtime. Where it fails, what was started is shut down again.
    pub(super) fn prepare(pipeline: Pipeline, lifecycle: &Lifecycle, in_use: &InUse) -> Result<Self, Report> {
        let stack = pipeline.build(lifecycle)?;
        // Bound after the build: a port that answers means a stack that serves.
        match bind(&pipeline, in_use) {
            Ok(listeners) => Ok(Self { pipeline, stack, listeners }),
            Err(report) => {
                drop(stack);
                lifecycle.shutdown();
                Err(report)
            }
        }
    }
}

fn bind(pipeline: &Pipeline, in_use: &InUse) -> Result<Vec<Listener>, Report> {
    let mut listeners = Vec::new();
    for (index, listen) in pipeline.listen().iter().enumerate() {
        if !in_use.listening.contains(listen) {
            let bound = Listener::bind(listen, pipeline.base()).map_err(|error| pipeline.report_at_listen(index, &error.to_string()))?;
            listeners.extend(bound);
        }
    }
    Ok(listeners)
}
