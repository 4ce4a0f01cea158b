//! `basic_auth`: asks for a user name and password.

mod apr1;
mod credentials;
mod hash;
mod turns;
mod users;
mod verifier;

use std::path::PathBuf;
use std::sync::Arc;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::credentials::Credentials;
use self::users::UserFile;
use self::verifier::Verifier;
use crate::auth::{Decision, Decisions, quoted};
use crate::units::HeaderText;
use crate::{
    Behavior, ConnectionInfo, Context, Effect, Effects, Explain, Finding, IntoStage, Middleware, Next, Problem, RemoteUser, Request,
    Response, from_fn,
};

/// Asks for a user name and password (HTTP Basic, RFC 7617) and checks them against an htpasswd file.
///
/// The app finds the name in `REMOTE_USER`, and `Basic` in `AUTH_TYPE`. The `Authorization` header is passed on, as in nginx; remove it with the `headers`
/// layer if the app must not see the password.
///
/// Every request carries the password in clear text, so use the layer only behind TLS.
///
/// | | |
/// | --- | --- |
/// | threads that check passwords | half as many as there are cores; checking is slow on purpose |
/// | a correct password | is not checked again for one minute |
/// | requests that wait for a check | at most 64 of one client for each thread, and 1024 of all; further ones are answered 503. Clients that wait have their turns in rotation, so that one that guesses does not keep the others out |
/// | an unknown name | takes as long as a wrong password |
///
/// `ziggurat_auth_decisions_total` counts the requests by what was decided.
///
/// Place it below `access_log`, which then logs the user, and above everything that only known users may reach.
///
/// ```json
/// { "layers": ["access_log", { "basic_auth": { "users": ".htpasswd", "realm": "staging" } }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// The htpasswd file, with a line `name:hash` for each user. A hash is bcrypt (`htpasswd -B`), argon2 (PHC string), SHA-crypt (`openssl passwd -6`, `$5$`
    /// and `$6$`) or `$apr1$` (`htpasswd` without options). The file is read again within a second after a change. Who is no longer in it is out. If a line has become invalid, the error
    /// log says so, and nobody new is let in. While the file cannot be read, nobody is let in: the answer is 503.
    users: PathBuf,
    /// The name of the protected area (RFC 9110 section 11.5). Browsers may show it, and send one password to all pages of the same realm.
    realm: HeaderText,
}

impl Default for BasicAuth {
    fn default() -> Self {
        Self { users: PathBuf::from(".htpasswd"), realm: HeaderText(HeaderValue::from_static("restricted")) }
    }
}

impl Middleware for BasicAuth {
    const NAME: &'static str = "basic_auth";
    const SHORTHAND: Option<&'static str> = Some("users");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::Authenticates, Behavior::AnswersEarly];

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let Some(credentials) = Credentials::of(explain.request().headers()) else {
            explain.note("asks for a user name and a password: the request has none");
            explain.answer(unauthorized(&challenge(&self.realm)?));
            return Ok(());
        };
        explain.note(format!("the request has a password of `{}`, which is not checked here", credentials.user));
        explain.may_answer(StatusCode::UNAUTHORIZED, "if the name or the password is wrong");
        explain.may_answer(StatusCode::SERVICE_UNAVAILABLE, "if too many passwords wait to be checked, or the users cannot be read");
        explain.request_mut().extensions_mut().insert(remote_user(&credentials));
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE]);
        effects.add(Effect::TakesPasswords);
        effects.add(Effect::UsesPrivateFile(self.users.clone()));
        effects.add(Effect::ReadsRequestHeader(AUTHORIZATION));
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage, Finding> {
        let users = UserFile::open(context.resolve(&self.users)).map_err(|finding| finding.at("users"))?;
        let authenticator = Arc::new(Authenticator {
            verifier: Verifier::new(users),
            challenge: challenge(&self.realm)?,
            decisions: Decisions::keep(context),
        });
        Ok(from_fn(authenticator, async |authenticator: Arc<Authenticator>, request: Request, next: Next| {
            authenticator.authenticate(request, next).await
        }))
    }
}

/// Lets known users through.
struct Authenticator {
    verifier: Verifier,
    challenge: HeaderValue,
    decisions: Arc<Decisions>,
}

impl Authenticator {
    async fn authenticate(&self, mut request: Request, next: Next) -> Response {
        let Some(credentials) = Credentials::of(request.headers()) else {
            self.decisions.count(Decision::Missing);
            return unauthorized(&self.challenge);
        };
        let user = remote_user(&credentials);
        let client = request.extensions().get::<ConnectionInfo>().and_then(|connection| connection.client);
        let verified = self.verifier.verify(credentials, client.into()).await;
        self.decisions.count(match &verified {
            Ok(true) => Decision::Allowed,
            Ok(false) => Decision::Invalid,
            Err(_) => Decision::Unavailable,
        });
        match verified {
            Ok(true) => {}
            Ok(false) => return unauthorized(&self.challenge),
            Err(problem) => return problem.into_response(),
        }
        request.extensions_mut().insert(user.clone());
        let mut response = next.run(request).await;
        response.extensions_mut().insert(user);
        response
    }
}

fn remote_user(credentials: &Credentials) -> RemoteUser {
    RemoteUser { user: credentials.user.as_str().into(), auth_type: "Basic".into() }
}

fn unauthorized(challenge: &HeaderValue) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED).detail("a user name and a password are needed");
    problem.header(WWW_AUTHENTICATE, challenge.clone()).into_response()
}

fn challenge(realm: &HeaderText) -> Result<HeaderValue, Finding> {
    let realm = quoted(realm.0.as_bytes());
    Ok(HeaderValue::from_bytes(&[b"Basic realm=", realm.as_slice(), b", charset=\"UTF-8\""].concat())?)
}
