//! What layers and apps say of a request, under test.

use super::{TestStack, context, one, read, refused};
use crate::{App, Explain, Explained, Lifecycle, Middleware, Place, Request};

impl TestStack {
    /// What the layer `M` with these options says of a request ([`Middleware::explain`]).
    ///
    /// # Panics
    ///
    /// If the options are refused.
    #[must_use]
    pub fn explain<M: Middleware>(options: &str, request: Request) -> Explained {
        explained(M::NAME, options, request, |explain| read::<M>(options, M::SHORTHAND, M::validate)?.explain(explain).map_err(one))
    }

    /// What the app `A` with these options says of a request ([`App::explain`]).
    ///
    /// # Panics
    ///
    /// If the options are refused.
    #[must_use]
    pub fn explain_app<A: App>(options: &str, request: Request) -> Explained {
        explained(A::NAME, options, request, |explain| read::<A>(options, A::SHORTHAND, A::validate)?.explain(explain).map_err(one))
    }
}

fn explained(name: &str, options: &str, request: Request, explain: impl FnOnce(&mut Explain<'_>) -> Result<(), Vec<String>>) -> Explained {
    let context = context(&Place::new(name), &Lifecycle::default());
    let mut explaining = Explain::new(&context, request);
    if let Err(findings) = explain(&mut explaining) {
        refused(name, options, &findings);
    }
    explaining.finish()
}
