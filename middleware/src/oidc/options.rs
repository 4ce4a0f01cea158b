//! The options of `oidc`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::seal::{SHORTEST, Secret};
use crate::auth::{Challenge, HttpUrl, check_headers, is_scope};
use crate::jwt::Algorithm;
use crate::options::OneOrMany;
use crate::store::OnStoreFailure;
use crate::units::{Duration, HeaderKey, HeaderText};
use crate::{Finding, Findings, Request, Result, cookies};

/// Lets people log in at an OpenID Connect provider (Keycloak, Authentik, Entra ID, Google, ...), and keeps them logged in by a cookie.
///
/// It speaks the authorization code flow with PKCE, `state` and `nonce`. Addresses and keys of the provider are discovered.
///
/// | request | response |
/// | --- | --- |
/// | with a valid session | passes. The app finds the user in `REMOTE_USER`, `OpenID` in `AUTH_TYPE`, and claims in `headers` |
/// | of a page, without a session | 302 to the provider, and back to the page after the login |
/// | of a script, a form, or anything else that is no page | 401: it could not follow a login |
/// | of an account that lacks a `claims` or is not among the `emails` | 403 |
/// | to `callback` | ends the login. A login that has not begun in this browser, that is over or that was used before is answered 400 |
/// | to `logout` | ends the session, here and at the provider, if that can be told. It has to be a link or a form of the site itself |
/// | while the provider has told nothing yet | 503 with `Retry-After`. Who is logged in notices nothing |
///
/// A request of a page is a GET with `Sec-Fetch-Mode: navigate`, or from a client without that header, one that accepts `text/html`.
///
/// The session is in a cookie, sealed by AES-256-GCM with a key that is derived from the first of the `secrets`. Sessions that an older secret has sealed are valid while that is
/// in the list. The cookie has the claims that the options name, and no token but with `id_token_hint`. It is named `__Host-session`, with `Secure`, `HttpOnly` and `SameSite=Lax`: browsers send it by
/// https only. The app does not see it.
///
/// A session that was ended by `logout` is not taken again, even if its cookie was copied. This process remembers at most 16,384 ended sessions and used logins, over a reload, too. With
/// [`server.store`](../scale.md), all processes of all machines ask the store whether a session was ended, once for each request, and wait for it for `server.store.timeout` at most, 30 ms by default.
///
/// | without an answer of the store, with `on_store_failure` | |
/// | --- | --- |
/// | `local`, `allow` | this process decides by what it remembers: a session that was ended on another machine is taken until the store answers. A logout ends the session here, and the log says that the others do not know |
/// | `refuse` | `503 Service Unavailable` with `Retry-After: 1`, for a logout, too |
///
/// Register `https://YOUR-SITE/oidc/callback` at the provider, and `https://YOUR-SITE/` for the time after the logout. `ziggurat_auth_decisions_total` counts the requests by what was
/// decided, `ziggurat_auth_fetches_total` the questions to the provider.
///
/// Place it below `forwarded`, which knows the scheme, and `access_log`, and above everything that only known users may reach. Requests that change something need a guard
/// against pages of other sites besides.
///
/// ```json
/// {
///   "layers": [
///     { "forwarded": "127.0.0.1" },
///     {
///       "oidc": {
///         "issuer": "https://id.example.com/realms/staff",
///         "client_id": "wiki",
///         "client_secret": "${OIDC_CLIENT_SECRET:-development-only}",
///         "secrets": "${OIDC_COOKIE_SECRET:-a-long-random-text-for-development}",
///         "user": "email",
///         "emails": ["@example.com"],
///         "claims": { "groups": ["wiki", "admins"] },
///         "headers": { "x-groups": "groups" }
///       }
///     }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The URL of the provider. `/.well-known/openid-configuration` below it tells the rest.
    pub(super) issuer: HttpUrl,
    /// A PEM file with the certificates of the authorities to trust, if the server has an `https` URL. By default the authorities of the system are trusted.
    #[serde(default)]
    pub(super) ca: Option<PathBuf>,
    /// The name of this site at the provider.
    pub(super) client_id: String,
    /// The secret of this site at the provider. A public client has none.
    #[serde(default)]
    pub(super) client_secret: Option<Secret>,
    /// The secrets that cookies are sealed with, of at least 32 random characters (`openssl rand -hex 32`), the same on all machines. The first one seals, all of them open: to change it, put the new one in front, and remove the old one when its sessions are over.
    pub(super) secrets: OneOrMany<Secret>,
    /// What is asked of the provider. `openid` is always added.
    #[serde(default = "scopes")]
    pub(super) scopes: OneOrMany<String>,
    /// The algorithms that the provider may sign with. `HS256`, `HS384` and `HS512` are refused: they need a secret, and the keys of a provider are public.
    #[serde(default = "algorithms")]
    pub(super) algorithms: OneOrMany<Algorithm>,
    /// The claim that is the user. `sub` never changes and names nobody else; `email` reads better.
    #[serde(default = "sub")]
    pub(super) user: String,
    /// Headers in which the app gets claims. Lists are joined with commas. What the client sends in them is removed. A name that begins with a slash is a path: `/realm_access/roles`.
    #[serde(default)]
    pub(super) headers: BTreeMap<HeaderKey, String>,
    /// Claims that an account must have, each with the values of which it must have one.
    #[serde(default)]
    pub(super) claims: BTreeMap<String, OneOrMany<String>>,
    /// Who may come in: addresses such as `ann@example.com`, and all of a domain: `@example.com`. The provider must have verified the address (`email_verified`). By default, every account of the provider may.
    #[serde(default)]
    pub(super) emails: OneOrMany<String>,
    /// How long a session rests until it ends. Each use begins the time anew.
    #[serde(default = "session")]
    pub(super) session: Duration,
    /// The longest session, however much it is used.
    #[serde(default = "longest")]
    pub(super) longest: Duration,
    /// The name of the cookie behind `__Host-`. Two layers on one host need two.
    #[serde(default = "cookie")]
    pub(super) cookie: String,
    /// The path that the provider sends browsers back to.
    #[serde(default = "callback")]
    pub(super) callback: String,
    /// The path that ends a session.
    #[serde(default = "logout")]
    pub(super) logout: String,
    /// Whether the claims that the ID token lacks are asked for at the provider's userinfo endpoint (OpenID Connect Core 1.0 section 5.3). Some providers tell groups and addresses only there.
    #[serde(default)]
    pub(super) userinfo: bool,
    /// Whether the session holds the ID token, to show it to the provider at the logout (`id_token_hint`). Without it, some providers ask the user whether to log out. One that does not fit into the cookie is left out.
    #[serde(default)]
    pub(super) id_token_hint: bool,
    /// Whether ended sessions are kept in `server.store`, if there is one, together with those of other processes.
    #[serde(default = "yes")]
    pub(super) shared: bool,
    /// What happens to requests with a session while `server.store` does not answer: `local`, `allow` or `refuse`.
    #[serde(default)]
    pub(super) on_store_failure: OnStoreFailure,
    /// How far the clock of the provider may be off. At most 5 minutes.
    #[serde(default = "leeway")]
    pub(super) leeway: Duration,
    /// The name of the protected area (RFC 9110 section 11.5).
    #[serde(default = "realm")]
    pub(super) realm: HeaderText,
}

fn scopes() -> OneOrMany<String> {
    OneOrMany(["openid", "profile", "email"].map(str::to_owned).to_vec())
}

fn algorithms() -> OneOrMany<Algorithm> {
    OneOrMany(["RS256", "ES256"].into_iter().filter_map(Algorithm::named).collect())
}

fn sub() -> String {
    "sub".to_owned()
}

const fn session() -> Duration {
    Duration::secs(8 * 3600)
}

const fn longest() -> Duration {
    Duration::secs(24 * 3600)
}

fn cookie() -> String {
    "session".to_owned()
}

fn callback() -> String {
    "/oidc/callback".to_owned()
}

fn logout() -> String {
    "/oidc/logout".to_owned()
}

const fn yes() -> bool {
    true
}

const fn leeway() -> Duration {
    Duration::secs(30)
}

fn realm() -> HeaderText {
    HeaderText(HeaderValue::from_static("restricted"))
}

impl Oidc {
    pub(super) fn check(&self, findings: &mut Findings) {
        check_headers("headers", self.headers.keys(), findings);
        let mut add = |finding: Finding, hint: &'static str| findings.push(finding.hint(hint));
        if self.secrets.0.is_empty() || self.secrets.0.iter().any(|secret| secret.0.len() < SHORTEST) {
            let hint = "write `${OIDC_COOKIE_SECRET}` or `${file:secrets/cookies}`, with the output of `openssl rand -hex 32`";
            add(Finding::new(format!("a secret needs at least {SHORTEST} characters")).at("secrets"), hint);
        }
        if self.client_id.is_empty() {
            add(Finding::new("the client has no id").at("client_id"), "it is the name of this site at the provider");
        }
        if self.algorithms.0.is_empty() {
            add(Finding::new("no signature is taken").at("algorithms"), "leave it out for `RS256` and `ES256`");
        }
        for (at, algorithm) in self.algorithms.0.iter().enumerate().filter(|(_, algorithm)| algorithm.is_symmetric()) {
            let finding =
                Finding::new(format!("`{algorithm}` needs a secret, and the keys of a provider are public")).at("algorithms").at(at);
            add(finding, "name the algorithm that the provider signs with, such as `RS256`");
        }
        for (name, path) in [("callback", &self.callback), ("logout", &self.logout)] {
            if !path.starts_with('/') || path.len() < 2 || path.contains(['?', '#', '\\']) {
                add(
                    Finding::new(format!("`{path}` is not a path")).at(name),
                    "write the whole path that the browser sees, as in `\"/oidc/callback\"`",
                );
            }
        }
        if self.callback == self.logout {
            add(Finding::new("the login and the logout have one path").at("logout"), "choose another path");
        }
        if HeaderName::from_bytes(self.cookie.as_bytes()).is_err() {
            add(
                Finding::new(format!("`{}` is not the name of a cookie", self.cookie.escape_debug())).at("cookie"),
                "write letters, digits and `-`",
            );
        }
        if self.session.0.as_secs() == 0 || self.longest < self.session {
            add(Finding::new("no session could last so long").at("session"), "`session` is at least a second, and at most `longest`");
        }
        if self.leeway > Duration::secs(300) {
            add(
                Finding::new("tokens would be valid for more than 5 minutes after their end").at("leeway"),
                "keep the clocks right instead",
            );
        }
        for (at, scope) in self.scopes.0.iter().enumerate().filter(|(_, scope)| !is_scope(scope)) {
            let finding = Finding::new(format!("`{}` is not a scope", scope.escape_debug())).at("scopes").at(at);
            add(finding, "a scope has no spaces, quotation marks or backslashes; write several as a list");
        }
        for (at, email) in self.emails.0.iter().enumerate().filter(|(_, email)| !email.contains('@')) {
            let finding = Finding::new(format!("`{}` is no address", email.escape_debug())).at("emails").at(at);
            add(finding, "write `ann@example.com`, or `@example.com` for all of a domain");
        }
        for name in self.claims.iter().filter(|(_, values)| values.0.is_empty()).map(|(name, _)| name) {
            add(Finding::new(format!("no value of `{name}` is enough")).at("claims").at(name.clone()), "name the values that are");
        }
    }

    pub(super) fn session_cookie(&self) -> String {
        format!("__Host-{}", self.cookie)
    }

    /// The beginning of the names of cookies that hold logins under way.
    pub(super) fn login_cookie(&self) -> String {
        format!("__Host-{}-login-", self.cookie)
    }

    pub(super) fn challenge(&self) -> Result<Challenge> {
        Challenge::new("Cookie", &self.realm)
    }

    /// The claims that are kept in a session.
    pub(super) fn used_claims(&self) -> impl Iterator<Item = &str> {
        let email = if self.emails.0.is_empty() { &[][..] } else { &["email", "email_verified"] };
        let named = [self.user.as_str()].into_iter().chain(self.headers.values().map(String::as_str));
        named.chain(self.claims.keys().map(String::as_str)).chain(email.iter().copied())
    }

    /// Removes what only this layer may say and read.
    pub(super) fn strip(&self, request: &mut Request) {
        for name in self.headers.keys() {
            request.headers_mut().remove(&name.0);
        }
        let (session, login) = (self.session_cookie(), self.login_cookie());
        cookies::remove(request.headers_mut(), |name| name == session || name.starts_with(&login));
    }
}
