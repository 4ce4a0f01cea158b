//! Lets through who has logged in.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{ACCEPT, CACHE_CONTROL, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::ended::Ended;
use super::form;
use super::options::Oidc;
use super::provider::{Provider, Registration};
use super::seal::Sealer;
use super::session::{Session, cookie};
use super::spent::Spent;
use crate::auth::{Challenge, Decision, Decisions, Refreshed, client};
use crate::jwt::{has_text, header_text, user_text};
use crate::store::Shared;
use crate::{Body, Client, ConnectionInfo, Context, Next, OriginalUri, Problem, RemoteUser, Request, Response, Result, cookies};

pub(super) const MISSING: &str = "a login is needed";

/// One layer.
pub(super) struct Guard {
    pub(super) options: Oidc,
    pub(super) registration: Registration,
    pub(super) client: Client,
    pub(super) provider: Arc<Refreshed<Provider>>,
    pub(super) logins: Sealer,
    pub(super) sessions: Sealer,
    /// The states of logins that are over.
    pub(super) spent: Arc<Spent>,
    ended: Ended,
    pub(super) decisions: Arc<Decisions>,
    challenge: Challenge,
}

/// What a layer decides without calling what is below.
pub(super) type Decided = Result<Response, (Decision, Problem)>;

impl Guard {
    pub(super) fn new(mut options: Oidc, context: &Context) -> Result<Self> {
        let client = client(context, options.ca.as_ref())?;
        let issuer = options.issuer.to_string();
        let sealer = |purpose| Sealer::new(&options.secrets.0, &[purpose, &issuer, &options.client_id, &options.cookie]);
        let (logins, sessions) = (sealer("login")?, sealer("session")?);
        options.secrets.0.clear();
        let provider = Provider::start(context, client.clone(), &options.issuer)?;
        let spent = context.keep(Spent::default);
        let shared = options.shared.then(|| Shared::of(context, options.on_store_failure)).flatten();
        Ok(Self {
            ended: Ended::new(Arc::clone(&spent), shared, context.place().clone()),
            registration: Registration { client_id: options.client_id.clone(), client_secret: options.client_secret.take() },
            challenge: options.challenge()?,
            decisions: Decisions::keep(context),
            options,
            client,
            provider,
            logins,
            sessions,
            spent,
        })
    }

    pub(super) async fn serve(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        let counted = |(decision, problem): (Decision, Problem)| {
            self.decisions.count(decision);
            problem
        };
        let path = OriginalUri::of(request.uri(), request.extensions()).path();
        if path == self.options.callback {
            return self.end_login(&mut request).await.map_err(counted);
        }
        if path == self.options.logout {
            return self.log_out(&mut request).await.map_err(counted);
        }
        let now = now();
        let session = match self.session(request.headers(), now) {
            Some(session) if !self.ended.has(&session).await.map_err(|problem| counted((Decision::Unavailable, problem)))? => session,
            _ => return self.begin_login(&mut request).await.map_err(counted),
        };
        let user = self.user(&session).map_err(counted)?;
        self.decisions.count(Decision::Allowed);
        self.options.strip(&mut request);
        for (name, claim) in &self.options.headers {
            // A value that no header can have is left out.
            if let Some(value) = session.claims.get(claim).and_then(header_text).and_then(|value| HeaderValue::try_from(value).ok()) {
                request.headers_mut().insert(name.0.clone(), value);
            }
        }
        request.extensions_mut().insert(user.clone());
        let mut response = next.run(request).await;
        let (rest, longest) = (self.options.session.0.as_secs(), self.options.longest.0.as_secs());
        if let Some(renewed) = session.renewed(now, rest, longest) {
            response.headers_mut().append(SET_COOKIE, self.cookie_of(&renewed, now).map_err(Problem::internal)?);
        }
        response.extensions_mut().insert(user);
        Ok(response)
    }

    /// The session of a request, if it has one that is not over. It may have been ended.
    fn session(&self, headers: &HeaderMap, now: u64) -> Option<Session> {
        let name = self.options.session_cookie();
        let session = cookies::named(headers, &name).find_map(|value| self.sessions.open::<Session>(std::str::from_utf8(value).ok()?))?;
        (session.until > now).then_some(session)
    }

    /// Who has a session, if the account may come in.
    pub(super) fn user(&self, session: &Session) -> Result<RemoteUser, (Decision, Problem)> {
        let claims = &session.claims;
        let forbidden = |reason: String| {
            let problem = Problem::new(StatusCode::FORBIDDEN).detail("this account may not come in").because(reason);
            (Decision::Forbidden, problem.header(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        };
        let user = claims.get(&self.options.user).and_then(user_text);
        let user = user.ok_or_else(|| forbidden(format!("the account has no `{}`", self.options.user)))?;
        let has_one =
            |name: &str, values: &[String]| claims.get(name).is_some_and(|claim| values.iter().any(|value| has_text(claim, value)));
        if let Some((name, _)) = self.options.claims.iter().find(|(name, values)| !has_one(name, &values.0)) {
            return Err(forbidden(format!("the account lacks the claim `{name}`")));
        }
        let is_verified = claims.get("email_verified").is_some_and(|verified| has_text(verified, "true"));
        let email = claims.get("email").and_then(Value::as_str).filter(|_| is_verified);
        if !self.options.emails.0.is_empty() && !email.is_some_and(|email| self.options.emails.0.iter().any(|rule| names(rule, email))) {
            return Err(forbidden("the address of the account is not among `emails`".to_owned()));
        }
        Ok(RemoteUser { user: user.into(), auth_type: "OpenID".into() })
    }

    pub(super) fn cookie_of(&self, session: &Session, now: u64) -> Result<HeaderValue, crate::BoxError> {
        let sealed = match self.sessions.seal(session) {
            // The provider does without.
            Err(_) if session.hint.is_some() => self.sessions.seal(&Session { hint: None, ..session.clone() }),
            sealed => sealed,
        };
        cookie(&self.options.session_cookie(), &sealed?, session.until.saturating_sub(now))
    }

    /// The refusal of a request that cannot follow a login.
    pub(super) fn refusal(&self) -> (Decision, Problem) {
        (Decision::Missing, self.challenge.missing(MISSING).header(CACHE_CONTROL, HeaderValue::from_static("no-store")))
    }

    pub(super) fn unavailable(&self) -> (Decision, Problem) {
        let problem =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("nobody can log in now").because("the provider has told nothing yet");
        (Decision::Unavailable, problem.header(RETRY_AFTER, HeaderValue::from_static("10")))
    }

    /// Ends the session, and sends the browser to the provider to end the one there (OpenID Connect RP-Initiated Logout 1.0).
    async fn log_out(&self, request: &mut Request) -> Decided {
        if !is_of_the_site(request) {
            let problem = Problem::new(StatusCode::FORBIDDEN).detail("a logout begins on the site itself");
            return Err((Decision::Forbidden, problem.because("the logout was asked for by another site")));
        }
        let session = self.session(request.headers(), now());
        if let Some(session) = &session {
            // A copy may have been renewed meanwhile.
            let until = session.began + self.options.longest.0.as_secs();
            self.ended.end(session, until, now()).await.map_err(|problem| (Decision::Unavailable, problem))?;
        }
        let site = site(request).unwrap_or_default();
        let provider = self.provider.current().await;
        let to = match provider.as_ref().and_then(|provider| provider.end_session.as_ref()) {
            Some(end) if !site.is_empty() => {
                let back = format!("{site}/");
                let mut parameters = vec![("client_id", &*self.registration.client_id), ("post_logout_redirect_uri", &*back)];
                parameters.extend(session.as_ref().and_then(|session| Some(("id_token_hint", session.hint.as_deref()?))));
                form::with(end, &parameters)
            }
            _ => "/".to_owned(),
        };
        let cleared = cookie(&self.options.session_cookie(), "", 0);
        redirect(StatusCode::SEE_OTHER, &to, cleared.into_iter()).map_err(internal)
    }
}

pub(super) fn internal(error: crate::BoxError) -> (Decision, Problem) {
    (Decision::Unavailable, Problem::internal(error))
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether a rule of `emails` means this address. The part before the `@` is compared as it is, the domain without regard to case.
fn names(rule: &str, email: &str) -> bool {
    let (Some((rule_local, rule_domain)), Some((local, domain))) = (rule.rsplit_once('@'), email.rsplit_once('@')) else { return false };
    rule_domain.eq_ignore_ascii_case(domain) && (rule_local.is_empty() || rule_local == local)
}

/// Whether a browser asks for a page, which can follow a login.
pub(super) fn is_navigation(request: &Request) -> bool {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => text(ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Whether a page of this site has sent the request, or the user has typed the address.
fn is_of_the_site(request: &Request) -> bool {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some(from) => matches!(from, "same-origin" | "none"),
        None => *request.method() == Method::POST && text(ORIGIN.as_str()).is_some_and(|origin| site(request).as_deref() == Some(origin)),
    }
}

/// The origin of this site, as the browser has it.
pub(super) fn site(request: &Request) -> Option<String> {
    let scheme = request.extensions().get::<ConnectionInfo>().map_or("http", |connection| connection.scheme.as_str());
    let host = request.headers().get(http::header::HOST)?.to_str().ok().filter(|host| !host.is_empty())?;
    Some(format!("{scheme}://{host}"))
}

/// A redirect that no cache keeps.
pub(super) fn redirect(status: StatusCode, to: &str, cookies: impl Iterator<Item = HeaderValue>) -> Result<Response, crate::BoxError> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::try_from(to)?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    cookies.for_each(|cookie| _ = headers.append(SET_COOKIE, cookie));
    Ok(response)
}
