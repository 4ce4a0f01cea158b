//! `jwt`: lets in whoever sends a token that a known key has signed.

mod algorithm;
mod claims;
mod keys;
mod source;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::algorithm::Algorithm;
pub(crate) use self::claims::{Claims, Expectation, has_text, header_text, user_text};
pub(crate) use self::keys::KeySet;
use self::source::KeySource;
pub(crate) use self::source::fetch_keys;
pub(crate) use self::token::{Distrust, Verifier};
use crate::auth::{Challenge, Decision, Decisions, HttpUrl, Sent, TokenSource, check_headers, client, is_scope};
use crate::options::OneOrMany;
use crate::units::{Duration, HeaderKey, HeaderText};
use crate::{
    Authenticated, Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Next, Problem, RemoteUser,
    Request, Response, Result, from_fn,
};

/// Lets in whoever sends a JSON Web Token (RFC 7519) that a known key has signed, and tells the app what it says.
///
/// | request | response |
/// | --- | --- |
/// | has no token | 401 with a challenge (RFC 6750) |
/// | has a token that is not signed by one of the `keys` with one of the `algorithms`, that has expired or is not valid yet, of another `issuer`, for another `audience`, or longer than 16 KiB | 401, `error="invalid_token"` |
/// | has a token that lacks one of the `claims` or `scopes` | 403, `error="insufficient_scope"` |
/// | has two tokens | 400 |
/// | cannot be judged, because there are no keys yet | 503 with `Retry-After` |
///
/// A token has to expire (`exp`). `nbf` and `iat` must not be in the future.
///
/// Keys of a URL are fetched at the start and again after each `refresh`. A token with an unknown key id has them fetched at once, but not twice in 10 seconds, so a provider can change its keys at any time. If it cannot be
/// reached, the known keys stay. A key is used only with algorithms of its own kind: a public key is never the secret of an HMAC. Secrets (`"kty": "oct"`) have at least 256 bits, and are read
/// from files only.
///
/// The app finds the user in `REMOTE_USER`, `Bearer` in `AUTH_TYPE`, and further claims in `headers`. What the client itself sends in these headers is removed.
///
/// `ziggurat_auth_decisions_total` counts the requests by what was decided, `ziggurat_auth_fetches_total` the fetches of keys. Refusals are logged with their reason and without the token.
///
/// Every request carries the token in clear text, so use the layer only behind TLS.
///
/// Place it below `access_log`, which then logs the user, and above everything that only known users may reach.
///
/// ```json
/// {
///   "layers": [
///     {
///       "jwt": {
///         "keys": "https://id.example.com/.well-known/jwks.json",
///         "algorithms": ["RS256", "ES256"],
///         "issuer": "https://id.example.com/",
///         "audience": "https://api.example.com",
///         "scopes": "read",
///         "headers": { "x-email": "email", "x-roles": "/realm_access/roles" }
///       }
///     }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// The keys, a JSON Web Key Set (RFC 7517): the URL of one, or the path of a file. The file is read again within a second after a change; if it has become invalid, the previous keys stay. While it cannot be read, nobody is let in.
    keys: String,
    /// A PEM file with the certificates of the authorities to trust, if the server has an `https` URL. By default the authorities of the system are trusted.
    #[serde(default)]
    ca: Option<PathBuf>,
    /// The algorithms that tokens may be signed with: `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`, `HS256`, `HS384`, `HS512`. Name those that your provider uses, and no others.
    algorithms: OneOrMany<Algorithm>,
    /// Who has made the token (`iss`), exactly as the token has it.
    issuer: String,
    /// For whom the token is (`aud`): one of these. With `[]`, for anybody: a token that the issuer has made for another service is taken, too.
    audience: OneOrMany<String>,
    /// How far the clock of the issuer may be off. At most 5 minutes.
    #[serde(default = "leeway")]
    leeway: Duration,
    /// Claims that a token must have, each with the values of which it must have one. A name that begins with a slash is a path: `/realm_access/roles`.
    #[serde(default)]
    claims: BTreeMap<String, OneOrMany<String>>,
    /// The scopes that a token must have, all of them (`scope` or `scp`).
    #[serde(default)]
    scopes: OneOrMany<String>,
    /// The claim that is the user.
    #[serde(default = "sub")]
    user: String,
    /// Headers in which the app gets claims. Lists are joined with commas. What the client sends in them is removed.
    #[serde(default)]
    headers: BTreeMap<HeaderKey, String>,
    /// Where a token is: `bearer` (`Authorization: Bearer TOKEN`), `header:NAME`, `cookie:NAME` or `query:NAME`. Tokens in queries end up in logs, histories and `Referer` headers.
    #[serde(default = "from")]
    from: OneOrMany<TokenSource>,
    /// Whether the token is removed from the request, so that the app does not see it.
    #[serde(default)]
    remove: bool,
    /// How often keys are fetched from a URL. At least 10 seconds.
    #[serde(default = "refresh")]
    refresh: Duration,
    /// The name of the protected area (RFC 9110 section 11.5).
    #[serde(default = "realm")]
    realm: HeaderText,
}

const fn leeway() -> Duration {
    Duration::secs(30)
}

fn sub() -> String {
    "sub".to_owned()
}

fn from() -> OneOrMany<TokenSource> {
    OneOrMany(vec![TokenSource::Bearer])
}

const fn refresh() -> Duration {
    Duration::secs(3600)
}

fn realm() -> HeaderText {
    HeaderText(HeaderValue::from_static("restricted"))
}

impl Middleware for Jwt {
    const NAME: &'static str = "jwt";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::Authenticates, Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        if self.algorithms.0.is_empty() {
            findings.push(
                Finding::new("no signature is taken").at("algorithms").hint("name the algorithms that your provider uses, such as `RS256`"),
            );
        }
        check_headers("headers", self.headers.keys(), findings);
        let url = self.url();
        if let Some(Err(error)) = &url {
            findings.push(Finding::new(error.clone()).at("keys"));
        }
        for (at, algorithm) in self.algorithms.0.iter().enumerate().filter(|(_, algorithm)| algorithm.is_symmetric() && url.is_some()) {
            let finding =
                Finding::new(format!("`{algorithm}` needs a secret, and what everybody can fetch is none")).at("algorithms").at(at);
            findings.push(finding.hint("keep the secret in a file, or use `RS256`, `ES256` or `EdDSA`"));
        }
        if url.is_none() && self.ca.is_some() {
            findings.push(Finding::new("`ca` has no effect: the keys are in a file").at("ca").hint("remove it"));
        }
        if self.from.0.is_empty() {
            findings.push(Finding::new("no request can have a token").at("from").hint("name a place: `\"bearer\"` or `\"cookie:token\"`"));
        }
        if self.leeway > Duration::secs(300) {
            findings.push(
                Finding::new("tokens would be valid for more than 5 minutes after their end")
                    .at("leeway")
                    .hint("keep the clocks right instead"),
            );
        }
        if self.refresh < Duration::secs(10) {
            findings
                .push(Finding::new("keys are not fetched more often than every 10 seconds").at("refresh").hint("write `\"10s\"` or more"));
        }
        for (at, scope) in self.scopes.0.iter().enumerate().filter(|(_, scope)| !is_scope(scope)) {
            let finding = Finding::new(format!("`{}` is not a scope", scope.escape_debug())).at("scopes").at(at);
            findings.push(finding.hint("a scope has no spaces, quotation marks or backslashes; write several as a list"));
        }
        for name in self.claims.iter().filter(|(_, values)| values.0.is_empty()).map(|(name, _)| name) {
            findings.push(Finding::new(format!("no value of `{name}` is enough")).at("claims").at(name.clone()));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let challenge = Challenge::new(self.scheme(), &self.realm)?;
        match TokenSource::sent(&self.from.0, explain.request()) {
            Sent::None => {
                explain.note("asks for a token: the request has none");
                explain.answer(challenge.missing(MISSING).into_response());
                return Ok(());
            }
            Sent::Several => {
                explain.refuse(challenge.several(SEVERAL));
                return Ok(());
            }
            Sent::One(..) => explain.note("the request has a token, which is not checked here"),
        }
        explain.may_answer(StatusCode::UNAUTHORIZED, "if the token is not valid");
        if !self.claims.is_empty() || !self.scopes.0.is_empty() {
            explain.may_answer(StatusCode::FORBIDDEN, "if the token lacks a claim or a scope");
        }
        explain.may_answer(StatusCode::SERVICE_UNAVAILABLE, "if there are no keys");
        self.strip(explain.request_mut());
        // Who it is only the token says.
        explain.request_mut().extensions_mut().insert(Authenticated { auth_type: "Bearer".into() });
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE]);
        effects.add(Effect::TakesTokens);
        for name in self.headers.keys() {
            effects.by("headers", Effect::SetsRequestHeader(name.0.clone()));
        }
        if self.url().is_none() {
            effects.add(Effect::UsesPrivateFile(PathBuf::from(&self.keys)));
        }
        for source in &self.from.0 {
            source.effects("from", self.remove, effects);
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let keys = match self.url() {
            Some(url) => {
                let url = url.map_err(|error| Finding::new(error).at("keys"))?;
                KeySource::server(context, client(context, self.ca.as_ref())?, url.0, self.refresh.0)?
            }
            None => KeySource::file(context, context.resolve(&self.keys)).map_err(|finding| finding.at("keys"))?,
        };
        let guard = Guard {
            keys,
            verifier: Verifier {
                algorithms: self.algorithms.0.clone(),
                expected: Expectation { issuer: self.issuer.clone(), audience: self.audience.0.clone(), leeway: self.leeway.0 },
            },
            challenge: Challenge::new(self.scheme(), &self.realm)?,
            decisions: Decisions::keep(context),
            options: self,
        };
        Ok(from_fn(Arc::new(guard), async |guard: Arc<Guard>, mut request: Request, next: Next| {
            let user = guard.admit(&mut request).await.map_err(|(decision, problem)| {
                guard.decisions.count(decision);
                problem
            })?;
            guard.decisions.count(Decision::Allowed);
            let mut response: Response = next.run(request).await;
            response.extensions_mut().insert(user);
            Ok::<_, Problem>(response)
        }))
    }
}

const MISSING: &str = "a token is needed";
const SEVERAL: &str = "there is more than one token";

/// The scheme of tokens that are not in `Authorization`, for their challenge.
const SCHEME: &str = "Bearer";

impl Jwt {
    /// The URL of the keys, if they are not in a file.
    fn url(&self) -> Option<Result<HttpUrl, String>> {
        self.keys.contains("://").then(|| self.keys.parse())
    }

    fn scheme(&self) -> &'static str {
        self.from.0.first().map_or(SCHEME, |source| source.scheme(SCHEME))
    }

    /// Removes the headers that only a token may say, and the token itself.
    fn strip(&self, request: &mut Request) {
        for name in self.headers.keys() {
            request.headers_mut().remove(&name.0);
        }
        if self.remove {
            self.from.0.iter().for_each(|source| source.remove(request));
        }
    }
}

/// Lets valid tokens through.
struct Guard {
    options: Jwt,
    keys: KeySource,
    verifier: Verifier,
    challenge: Challenge,
    decisions: Arc<Decisions>,
}

impl Guard {
    /// Whose token a request has. The user and the claims are set in the request, too.
    async fn admit(&self, request: &mut Request) -> Result<RemoteUser, (Decision, Problem)> {
        let token = match TokenSource::sent(&self.options.from.0, request) {
            Sent::None => return Err((Decision::Missing, self.challenge.missing(MISSING))),
            Sent::Several => return Err((Decision::Invalid, self.challenge.several(SEVERAL))),
            Sent::One(_, token) => token.into_owned(),
        };
        let claims = self.judge(&token).await?;
        let lacks = |reason: String| {
            let problem = self.challenge.forbidden(&self.options.scopes.0).detail("the token is not meant for this").because(reason);
            Err((Decision::Forbidden, problem))
        };
        if let Some(name) = self.options.claims.iter().find(|(name, values)| !values.0.iter().any(|value| claims.has(name, value))) {
            return lacks(format!("the token lacks the claim `{}`", name.0));
        }
        if let Some(scope) = self.options.scopes.0.iter().find(|scope| !claims.has_scope(scope)) {
            return lacks(format!("the token lacks the scope `{scope}`"));
        }
        let Some(user) = claims.get(&self.options.user).and_then(user_text) else {
            return Err(self.distrust(Distrust::Because("it names no user")));
        };
        let user = RemoteUser { user: user.into(), auth_type: "Bearer".into() };
        self.options.strip(request);
        for (name, claim) in &self.options.headers {
            // A value that no header can have is left out.
            if let Some(value) = claims.get(claim).and_then(header_text).and_then(|value| HeaderValue::try_from(value).ok()) {
                request.headers_mut().insert(name.0.clone(), value);
            }
        }
        request.extensions_mut().insert(user.clone());
        Ok(user)
    }

    /// The claims of a token that is valid now.
    async fn judge(&self, token: &[u8]) -> Result<Claims, (Decision, Problem)> {
        let Some(keys) = self.keys.current().await else {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("tokens cannot be checked").because("there are no keys");
            return Err((Decision::Unavailable, problem.header(RETRY_AFTER, HeaderValue::from_static("10"))));
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let judged = match self.verifier.verify(&keys, token, now) {
            Err(Distrust::UnknownKey) => match self.keys.renewed(&keys).await {
                Some(renewed) => self.verifier.verify(&renewed, token, now),
                None => Err(Distrust::UnknownKey),
            },
            judged => judged,
        };
        judged.map_err(|distrust| self.distrust(distrust))
    }

    fn distrust(&self, distrust: Distrust) -> (Decision, Problem) {
        let problem = self.challenge.invalid("the token is not valid").because(format!("the token is not valid: {}", distrust.reason()));
        (Decision::Invalid, problem)
    }
}
