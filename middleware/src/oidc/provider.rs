//! The provider: what it tells about itself (OpenID Connect Discovery 1.0), its keys, and the exchange of codes for tokens.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use tokio::time::timeout;

use super::form;
use super::seal::Secret;
use crate::auth::{HttpUrl, Refreshed, get};
use crate::jwt::{Claims, KeySet, fetch_keys};
use crate::{Body, BoxError, Client, Context, Request, Result};

/// How often a provider is asked about itself and its keys.
const EVERY: Duration = Duration::from_secs(3600);

/// The longest time that an exchange takes, and the most octets of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const LARGEST: usize = 64 << 10;

/// What a provider has told.
pub(super) struct Provider {
    /// Its name in tokens.
    pub(super) issuer: String,
    pub(super) authorization: Uri,
    token: Uri,
    userinfo: Option<Uri>,
    pub(super) end_session: Option<Uri>,
    /// Whether its redirects say who it is (RFC 9207).
    pub(super) names_itself: bool,
    /// Whether it takes the client's secret in the form only.
    takes_secret_in_form: bool,
    pub(super) keys: KeySet,
}

/// Its document.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// The program as the provider knows it.
pub(super) struct Registration {
    pub(super) client_id: String,
    pub(super) client_secret: Option<Secret>,
}

/// A code, and what shows that this program has asked for it.
pub(super) struct Code<'a> {
    pub(super) code: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) verifier: &'a str,
}

impl Provider {
    /// Keeps what the provider tells up to date.
    pub(super) fn start(context: &Context, client: Client, issuer: &HttpUrl) -> Result<Arc<Refreshed<Self>>> {
        let issuer = issuer.to_string();
        let url: Uri = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')).parse()?;
        let from = url.clone();
        let fetch = move || {
            let (client, from, issuer) = (client.clone(), from.clone(), issuer.clone());
            async move { Self::fetch(&client, &from, &issuer).await }.boxed()
        };
        Ok(Refreshed::start(context, url, EVERY, Box::new(fetch)))
    }

    async fn fetch(client: &Client, url: &Uri, issuer: &str) -> Result<Self, BoxError> {
        let document: Document = serde_json::from_slice(&get(client, url).await?)?;
        // The issuer of tokens is that of the file: anybody may tell anything about others.
        if document.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
            return Err(format!("the provider calls itself `{}`", document.issuer.escape_debug()).into());
        }
        let endpoint = |text: &str| -> Result<Uri, BoxError> {
            let endpoint = text.parse::<HttpUrl>()?.0;
            let is_weaker = url.scheme_str() == Some("https") && endpoint.scheme_str() != Some("https");
            if is_weaker { Err(format!("`{endpoint}` is not `https`, and the issuer is").into()) } else { Ok(endpoint) }
        };
        let methods = &document.token_endpoint_auth_methods_supported;
        let has = |name: &str| methods.iter().any(|method| method == name);
        Ok(Self {
            authorization: endpoint(&document.authorization_endpoint)?,
            token: endpoint(&document.token_endpoint)?,
            userinfo: document.userinfo_endpoint.as_deref().map(endpoint).transpose()?,
            end_session: document.end_session_endpoint.as_deref().map(endpoint).transpose()?,
            names_itself: document.authorization_response_iss_parameter_supported,
            takes_secret_in_form: has("client_secret_post") && !has("client_secret_basic"),
            keys: fetch_keys(client, &endpoint(&document.jwks_uri)?).await?,
            issuer: document.issuer,
        })
    }

    /// The tokens for a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
    ///
    /// # Errors
    ///
    /// Why there is none. The message holds no secret.
    pub(super) async fn exchange(&self, client: &Client, registration: &Registration, code: Code<'_>) -> Result<Tokens, ExchangeError> {
        let mut parameters = vec![
            ("grant_type", "authorization_code"),
            ("code", code.code),
            ("redirect_uri", code.redirect_uri),
            ("code_verifier", code.verifier),
            ("client_id", &registration.client_id),
        ];
        let mut authorization = None;
        match &registration.client_secret {
            Some(secret) if self.takes_secret_in_form => parameters.push(("client_secret", &secret.0)),
            Some(secret) => {
                // Both are encoded before (RFC 6749 section 2.3.1).
                let pair = format!("{}:{}", form::encoded(&registration.client_id), form::encoded(&secret.0));
                authorization = Some(HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))?);
            }
            None => {}
        }
        let mut request = Request::new(Body::from(form::write(&parameters)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.token.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        let (status, text) = ask(client, request).await?;
        let answer: Answer = serde_json::from_slice(&text).unwrap_or_default();
        match (answer.id_token, answer.error) {
            (Some(id), _) if status.is_success() => Ok(Tokens { id, access: answer.access_token }),
            (_, Some(error)) if status.is_client_error() => Err(ExchangeError::Refused(error.chars().take(100).collect())),
            _ => Err(BoxError::from(format!("the answer with the status {status} has no `id_token`")).into()),
        }
    }

    /// What the provider tells of a user beside the ID token (OpenID Connect Core 1.0 section 5.3).
    ///
    /// # Errors
    ///
    /// Why it tells nothing of this one. The message holds no secret.
    pub(super) async fn userinfo(&self, client: &Client, access: Option<&str>, subject: Option<&str>) -> Result<Claims, BoxError> {
        let (Some(userinfo), Some(access)) = (&self.userinfo, access) else {
            return Err("the provider has no userinfo endpoint, or gives no access token for it".into());
        };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = userinfo.clone();
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {access}"))?);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (status, text) = ask(client, request).await?;
        if !status.is_success() {
            return Err(format!("the userinfo endpoint answers {status}").into());
        }
        let claims = Claims(serde_json::from_slice(&text).map_err(|_| "the userinfo endpoint answers no JSON object")?);
        // Otherwise the token may be one of another user (section 5.3.2).
        if subject.is_none() || claims.text("sub") != subject {
            return Err("the userinfo endpoint answers about another user".into());
        }
        Ok(claims)
    }
}

async fn ask(client: &Client, request: Request) -> Result<(StatusCode, Bytes), BoxError> {
    let asked = async {
        let response = client.send(request).await?;
        let status = response.status();
        Ok((status, Limited::new(response.into_body(), LARGEST).collect().await?.to_bytes()))
    };
    timeout(TIMEOUT, asked).await.map_err(|_| BoxError::from("no answer within 10 s"))?
}

/// What a code is exchanged for.
pub(super) struct Tokens {
    pub(super) id: String,
    pub(super) access: Option<String>,
}

/// The answer to a code.
#[derive(Default, Deserialize)]
struct Answer {
    id_token: Option<String>,
    access_token: Option<String>,
    error: Option<String>,
}

/// Why a code was not exchanged.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The provider does not take it: it was used before, is over, or is not ours.
    Refused(String),
    /// There is no sound answer.
    Failed(BoxError),
}

impl<E: Into<BoxError>> From<E> for ExchangeError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
