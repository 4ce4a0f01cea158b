//! A login: the way to the provider, and the way back.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::SET_COOKIE;
use serde_json::Map;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::form;
use super::guard::{Decided, Guard, internal, is_navigation, now, redirect, site};
use super::provider::{Code, ExchangeError};
use super::session::{Attempt, Session, back, cookie};
use crate::auth::Decision;
use crate::jwt::{Claims, Distrust, Expectation, Verifier};
use crate::{BoxError, OriginalUri, Problem, Request, Result, cookies};

/// How long a login may take, in seconds.
const LOGIN_TIME: u64 = 600;

/// The most logins under way in one browser. With one more, all of them begin anew.
const MOST_LOGINS: usize = 8;

/// How much of the state is in the name of the cookie, so that a browser can log in in several tabs.
const NAMED: usize = 8;

impl Guard {
    /// Sends a browser to the provider.
    pub(super) async fn begin_login(&self, request: &mut Request) -> Decided {
        if !is_navigation(request) {
            return Err(self.refusal());
        }
        let Some(site) = site(request) else { return Err(self.refusal()) };
        let Some(provider) = self.provider.current().await else { return Err(self.unavailable()) };
        self.decisions.count(Decision::Missing);
        let begun = || {
            let target = OriginalUri::of(request.uri(), request.extensions()).path_and_query();
            let attempt = Attempt {
                state: random()?,
                nonce: random()?,
                verifier: random()?,
                back: back(target.map_or("/", |target| target.as_str())),
                until: now() + LOGIN_TIME,
            };
            let scope = [
                &["openid".to_owned()],
                self.options.scopes.0.iter().filter(|scope| *scope != "openid").cloned().collect::<Vec<_>>().as_slice(),
            ]
            .concat()
            .join(" ");
            let to = form::with(
                &provider.authorization,
                &[
                    ("response_type", "code"),
                    ("client_id", &self.registration.client_id),
                    ("redirect_uri", &format!("{site}{}", self.options.callback)),
                    ("scope", &scope),
                    ("state", &attempt.state),
                    ("nonce", &attempt.nonce),
                    ("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&attempt.verifier))),
                    ("code_challenge_method", "S256"),
                ],
            );
            let begun = cookie(&self.login_name(&attempt.state), &self.logins.seal(&attempt)?, LOGIN_TIME)?;
            redirect(StatusCode::FOUND, &to, self.stale_logins(request).into_iter().chain([begun]))
        };
        begun().map_err(internal)
    }

    /// Takes a browser back that the provider has sent.
    pub(super) async fn end_login(&self, request: &mut Request) -> Decided {
        let query = request.uri().query();
        let state = form::read(query, "state").unwrap_or_default();
        let name = self.login_name(&state);
        let sent = cookies::named(request.headers(), &name).find_map(|value| self.logins.open::<Attempt>(std::str::from_utf8(value).ok()?));
        let attempt = sent.filter(|attempt| attempt.state.as_bytes().ct_eq(state.as_bytes()).into() && attempt.until > now());
        let Some(attempt) = attempt else {
            return Err(begin_again("no such login has begun in this browser, or it is over: the cookie is missing or does not fit"));
        };
        if !self.spent.spend(&attempt.state, attempt.until, now()) {
            return Err(begin_again("the login was used before"));
        }
        let cleared = cookie(&name, "", 0).map_err(internal)?;
        self.logged_in(request, &attempt, cleared.clone())
            .await
            .map_err(|(decision, problem)| (decision, problem.header(SET_COOKIE, cleared)))
    }

    async fn logged_in(&self, request: &mut Request, attempt: &Attempt, cleared: http::HeaderValue) -> Decided {
        let query = request.uri().query();
        let Some(provider) = self.provider.current().await else { return Err(self.unavailable()) };
        let issuer = form::read(query, "iss");
        if issuer.as_deref().is_some_and(|issuer| issuer != provider.issuer) || (provider.names_itself && issuer.is_none()) {
            return Err(begin_again("the browser was sent back by another provider (RFC 9207)"));
        }
        if let Some(error) = form::read(query, "error") {
            let problem = Problem::new(StatusCode::FORBIDDEN).detail("the login has failed");
            return Err((Decision::Forbidden, problem.because(format!("the provider refuses the login: {}", shortened(&error)))));
        }
        let (Some(code), Some(site)) = (form::read(query, "code"), site(request)) else {
            return Err(begin_again("the browser was sent back without a code"));
        };
        let redirect_uri = format!("{site}{}", self.options.callback);
        let code = Code { code: &code, redirect_uri: &redirect_uri, verifier: &attempt.verifier };
        let tokens = provider.exchange(&self.client, &self.registration, code).await.map_err(|error| match error {
            ExchangeError::Refused(error) => begin_again(format!("the provider does not take the code: {}", shortened(&error))),
            ExchangeError::Failed(error) => failed(error),
        })?;
        let verifier = Verifier {
            algorithms: self.options.algorithms.0.clone(),
            expected: Expectation {
                issuer: provider.issuer.clone(),
                audience: vec![self.registration.client_id.clone()],
                leeway: self.options.leeway.0,
            },
        };
        let time = Duration::from_secs(now());
        let verified = match verifier.verify(&provider.keys, tokens.id.as_bytes(), time) {
            Err(Distrust::UnknownKey) => match self.provider.renewed(&provider).await {
                Some(renewed) => verifier.verify(&renewed.keys, tokens.id.as_bytes(), time),
                None => Err(Distrust::UnknownKey),
            },
            verified => verified,
        };
        let distrusted = |reason: &str| failed(format!("the ID token is not valid: {reason}").into());
        let claims = verified.map_err(|distrust| distrusted(distrust.reason()))?;
        if !claims.text("nonce").is_some_and(|nonce| nonce.as_bytes().ct_eq(attempt.nonce.as_bytes()).into()) {
            return Err(distrusted("it is for another login"));
        }
        if claims.get("azp").is_some_and(|party| party.as_str() != Some(&self.registration.client_id)) {
            return Err(distrusted("it is for another client"));
        }
        let is_complete = self.options.used_claims().all(|name| claims.get(name).is_some_and(|value| !value.is_null()));
        let more = match self.options.userinfo && !is_complete {
            true => provider.userinfo(&self.client, tokens.access.as_deref(), claims.text("sub")).await.map_err(failed)?,
            false => Claims::default(),
        };
        let hint = self.options.id_token_hint.then_some(tokens.id);
        let session = self.begin_session(&claims, &more, hint).map_err(internal)?;
        self.user(&session)?;
        let cookie = self.cookie_of(&session, now()).map_err(internal)?;
        redirect(StatusCode::SEE_OTHER, &attempt.back, [cleared, cookie].into_iter()).map_err(internal)
    }

    /// A session with the claims of the ID token, and with those that only the userinfo endpoint has told.
    fn begin_session(&self, claims: &Claims, more: &Claims, hint: Option<String>) -> Result<Session, BoxError> {
        let (now, rest) = (now(), self.options.session.0.as_secs());
        let value = |name| claims.get(name).filter(|value| !value.is_null()).or_else(|| more.get(name));
        let used: Map<_, _> = self.options.used_claims().filter_map(|name| Some((name.to_owned(), value(name)?.clone()))).collect();
        Ok(Session { id: random()?, began: now, sealed: now, until: now + rest, claims: used, hint })
    }

    fn login_name(&self, state: &str) -> String {
        let named: String = state.chars().take(NAMED).filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
        format!("{}{named}", self.options.login_cookie())
    }

    /// Cookies that end the logins of a browser that has too many.
    fn stale_logins(&self, request: &Request) -> Vec<http::HeaderValue> {
        let prefix = self.options.login_cookie();
        let names = cookies::all(request.headers()).filter_map(|(name, _)| std::str::from_utf8(name).ok());
        let begun: Vec<&str> = names.filter(|name| name.starts_with(&prefix)).collect();
        if begun.len() < MOST_LOGINS {
            return Vec::new();
        }
        begun.iter().filter_map(|name| cookie(name, "", 0).ok()).collect()
    }
}

/// 43 characters that nobody can guess.
fn random() -> Result<String, BoxError> {
    let mut bits = [0; 32];
    rand::fill(&mut bits)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bits))
}

/// Text of others, for the log.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect::<String>().escape_debug().to_string()
}

fn begin_again(reason: impl Into<BoxError>) -> (Decision, Problem) {
    (Decision::Invalid, Problem::new(StatusCode::BAD_REQUEST).detail("this login is over: open the page again").because(reason))
}

fn failed(error: BoxError) -> (Decision, Problem) {
    (Decision::Unavailable, Problem::new(StatusCode::BAD_GATEWAY).detail("the login has failed").because(error))
}
