//! `oidc`: lets people log in at an OpenID Connect provider.

mod ended;
mod form;
mod guard;
mod login;
mod options;
mod provider;
mod seal;
mod session;
mod spent;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::StatusCode;
use http::header::COOKIE;

use self::guard::{Guard, is_navigation};
pub use self::options::Oidc;
use crate::store::Shared;
use crate::{
    Authenticated, Behavior, Context, Effect, Effects, Explain, Findings, IntoStage, Middleware, Next, OriginalUri, Request, Response,
    Result, cookies, from_fn,
};

impl Middleware for Oidc {
    const NAME: &'static str = "oidc";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::NeedsConnectionInfo, Behavior::Authenticates, Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let request = explain.request();
        let path = OriginalUri::of(request.uri(), request.extensions()).path();
        let has_session = cookies::first(request.headers(), &self.session_cookie()).is_some();
        if path == self.callback || path == self.logout {
            explain.note(if path == self.callback { "ends a login here" } else { "ends a session here" });
            explain.answer(Response::default());
            explain.leave_open();
        } else if has_session {
            explain.note("the request has a session, which is not checked here");
            if self.shared {
                Shared::explain(explain, self.on_store_failure);
            }
            explain.may_answer(StatusCode::FOUND, "if the session is not valid: to log in, or 401 for a request of a script");
            explain.may_answer(StatusCode::FORBIDDEN, "if the account may not come in");
            self.strip(explain.request_mut());
            // Who it is only the session says.
            explain.request_mut().extensions_mut().insert(Authenticated { auth_type: "OpenID".into() });
        } else if is_navigation(request) {
            explain.note(format!("the request has no session: sends the browser to `{}` to log in", self.issuer));
            let mut response = Response::default();
            *response.status_mut() = StatusCode::FOUND;
            explain.answer(response);
        } else {
            explain.refuse(self.challenge()?.missing(guard::MISSING));
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
        ]);
        effects.add(Effect::TakesTokens);
        for name in self.headers.keys() {
            effects.by("headers", Effect::SetsRequestHeader(name.0.clone()));
        }
        effects.add(Effect::ReadsRequestHeader(COOKIE));
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let guard = Arc::new(Guard::new(self, context)?);
        Ok(from_fn(guard, async |guard: Arc<Guard>, request: Request, next: Next| guard.serve(request, next).await))
    }
}
