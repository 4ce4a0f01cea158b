//! `api_key`: lets in whoever sends a known key.

mod keys;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use self::keys::Keys;
pub use self::keys::NewKey;
use crate::auth::{Challenge, CredentialFile, Decision, Decisions, Sent, TokenSource, is_scope};
use crate::options::OneOrMany;
use crate::units::HeaderText;
use crate::{
    Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Next, Problem, RemoteUser, Request, Response,
    Result, from_fn,
};

/// Lets in whoever sends a known API key, and tells the app whose it is.
///
/// `ziggurat key NAME` makes a key and the line that lets it in. The file has the hashes of keys only, so whoever reads it cannot use it:
///
/// ```text
/// deploy:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea:read write
/// backup:252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111
/// ```
///
/// A hash is a single SHA-256. Passwords need a slow hash, because people choose few of them and machines guess them. A key has 256 random bits, which nobody
/// guesses, however fast the hash is. So use keys that were made at random, never words.
///
/// | request | response |
/// | --- | --- |
/// | has no key | 401 with a challenge (RFC 6750) |
/// | has an unknown key | 401, `error="invalid_token"` |
/// | has a key that lacks one of the `scopes` | 403, `error="insufficient_scope"` |
/// | has two keys, even if they are the same | 400 |
///
/// The app finds the name in `REMOTE_USER`, and `Bearer` or `ApiKey` in `AUTH_TYPE`. `ziggurat_auth_decisions_total` counts the requests by what was decided. Refusals of unknown keys are logged without the key.
///
/// Every request carries the key in clear text, so use the layer only behind TLS.
///
/// Place it below `access_log`, which then logs the name, and above everything that only known clients may reach. A `rate_limit` by `user` below it counts by the name.
///
/// ```json
/// {
///   "app": {
///     "routes": [
///       { "match": { "path": "/api/*" }, "layers": [{ "api_key": "keys" }], "app": { "wsgi": "hello:app" } },
///       { "match": { "path": "/admin/*" }, "layers": [{ "api_key": { "keys": "keys", "scopes": "admin" } }], "app": { "wsgi": "hello:app" } }
///     ]
///   }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The file of keys, with a line `name:sha256` or `name:sha256:scopes` for each. Scopes are separated by spaces. The file is read again within a second after a change. A key that is no longer
    /// in it is refused. If a line has become invalid, the error log says so, and no new key is let in. While the file cannot be read, no key is: the answer is 503.
    keys: PathBuf,
    /// Where a key is: `bearer` (`Authorization: Bearer KEY`), `header:NAME`, `cookie:NAME` or `query:NAME`. Keys in queries end up in logs, histories and `Referer` headers.
    #[serde(default = "from")]
    from: OneOrMany<TokenSource>,
    /// The scopes that a key must have, all of them.
    #[serde(default)]
    scopes: OneOrMany<String>,
    /// Whether the key is removed from the request, so that the app does not see it.
    #[serde(default)]
    remove: bool,
    /// The name of the protected area (RFC 9110 section 11.5).
    #[serde(default = "realm")]
    realm: HeaderText,
}

fn from() -> OneOrMany<TokenSource> {
    OneOrMany(vec![TokenSource::Bearer, TokenSource::Header(http::HeaderName::from_static("x-api-key"))])
}

fn realm() -> HeaderText {
    HeaderText(HeaderValue::from_static("restricted"))
}

/// The scheme of keys that are not in `Authorization`.
const SCHEME: &str = "ApiKey";

impl Middleware for ApiKey {
    const NAME: &'static str = "api_key";
    const SHORTHAND: Option<&'static str> = Some("keys");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::Authenticates, Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        if self.from.0.is_empty() {
            findings
                .push(Finding::new("no request can have a key").at("from").hint("name a place: `\"bearer\"` or `\"header:x-api-key\"`"));
        }
        for (at, scope) in self.scopes.0.iter().enumerate().filter(|(_, scope)| !is_scope(scope)) {
            let finding = Finding::new(format!("`{}` is not a scope", scope.escape_debug())).at("scopes").at(at);
            findings.push(finding.hint("a scope has no spaces, quotation marks or backslashes; write several as a list"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let keys = CredentialFile::<Keys>::open(explain.resolve(&self.keys)).map_err(|finding| finding.at("keys"))?.last();
        match Gate::new(self)?.judge(keys.as_deref(), explain.request_mut()) {
            Ok(user) => {
                explain.note(format!("the key is that of `{}`", user.user));
                explain.may_answer(StatusCode::SERVICE_UNAVAILABLE, "if the keys cannot be read");
            }
            Err((_, problem)) => explain.refuse(problem),
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE]);
        effects.add(Effect::TakesTokens);
        effects.add(Effect::UsesPrivateFile(self.keys.clone()));
        for source in &self.from.0 {
            source.effects("from", self.remove, effects);
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let file = CredentialFile::<Keys>::open(context.resolve(&self.keys)).map_err(|finding| finding.at("keys"))?;
        let file = Arc::new(file);
        file.show(context);
        let state = (file, Arc::new(Gate::new(self)?), Decisions::keep(context));
        Ok(from_fn(
            state,
            async |(file, gate, decisions): (Arc<CredentialFile<Keys>>, Arc<Gate>, Arc<Decisions>), mut request: Request, next: Next| {
                let keys = file.current().await;
                let user = gate.judge(keys.as_deref(), &mut request).map_err(|(decision, problem)| {
                    decisions.count(decision);
                    problem
                })?;
                decisions.count(Decision::Allowed);
                let mut response: Response = next.run(request).await;
                response.extensions_mut().insert(user);
                Ok::<_, Problem>(response)
            },
        ))
    }
}

/// Lets known keys through.
struct Gate {
    options: ApiKey,
    challenge: Challenge,
}

impl Gate {
    fn new(options: ApiKey) -> Result<Self> {
        let scheme = options.from.0.first().map_or(SCHEME, |source| source.scheme(SCHEME));
        Ok(Self { challenge: Challenge::new(scheme, &options.realm)?, options })
    }

    /// Whose key a request has. It is set in the request, too.
    fn judge(&self, keys: Option<&Keys>, request: &mut Request) -> Result<RemoteUser, (Decision, Problem)> {
        let Some(keys) = keys else {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("the keys cannot be read");
            return Err((Decision::Unavailable, problem.header(http::header::RETRY_AFTER, HeaderValue::from_static("10"))));
        };
        let (source, key) = match TokenSource::sent(&self.options.from.0, request) {
            Sent::None => return Err((Decision::Missing, self.challenge.missing("an API key is needed"))),
            Sent::Several => return Err((Decision::Invalid, self.challenge.several("there is more than one API key"))),
            Sent::One(source, key) => (source, key),
        };
        let Some(key) = keys.get(&key) else {
            return Err((Decision::Invalid, self.challenge.invalid("the API key is not known").because("the API key is not known")));
        };
        if !key.has(&self.options.scopes.0) {
            let cause = format!("the API key of `{}` lacks a scope of `{}`", key.name, self.options.scopes.0.join(" "));
            let problem = self.challenge.forbidden(&self.options.scopes.0).detail("the API key is not meant for this");
            return Err((Decision::Forbidden, problem.because(cause)));
        }
        let user = RemoteUser { user: Arc::clone(&key.name), auth_type: source.scheme(SCHEME).into() };
        if self.options.remove {
            self.options.from.0.iter().for_each(|source| source.remove(request));
        }
        request.extensions_mut().insert(user.clone());
        Ok(user)
    }
}
