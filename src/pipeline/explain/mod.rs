//! `ziggurat explain`: the way of one request through a pipeline, from the listener to the app and back, without building anything.
//!
//! Each layer says itself what it does with the request ([`Middleware::explain`](ziggurat_middleware::Middleware::explain)), and a table of routes decides as
//! it does while it serves.

mod arrival;
mod explanation;
mod now;
mod question;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use explanation::{Explanation, Hop, Role, TriedRoute};
pub(crate) use question::Question;

use ziggurat_middleware::{Lifecycle, Problem, Request};

use super::Pipeline;
use arrival::Arrival;
use walk::Walk;

impl Pipeline {
    /// The request that a question is about, as it comes to the stack, or how the server refuses it.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::explain`].
    pub(crate) fn arrive(&self, question: &Question) -> Result<Result<Request, Problem>, String> {
        let Arrival { request, refused, .. } = Arrival::new(self, question)?;
        Ok(refused.map_or(Ok(request), Err))
    }

    /// The way of a request through this pipeline.
    ///
    /// # Errors
    ///
    /// What is wrong with the question, in one line.
    pub(crate) fn explain(&self, question: &Question) -> Result<Explanation, String> {
        self.follow(question, None)
    }

    /// As [`Pipeline::explain`], with what the running stack says of the request now.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::explain`].
    pub(crate) fn explain_live(&self, question: &Question, running: &Lifecycle) -> Result<Explanation, String> {
        self.follow(question, Some(running))
    }

    fn follow(&self, question: &Question, running: Option<&Lifecycle>) -> Result<Explanation, String> {
        let Arrival { mut hops, request, shown, from, refused } = Arrival::new(self, question)?;
        if let Some(refusal) = refused {
            return Ok(Explanation::new(shown, from, hops, Some(&refusal.into_response())));
        }
        let response = Walk::new(self, running, &mut hops).pipeline(request);
        Ok(Explanation::new(shown, from, hops, response.as_ref()))
    }
}
