//! A provider in the test that is as strict as a real one, and a browser with its cookies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::service_fn;

use crate::oidc::form;
use crate::oidc::guard::now;
use crate::{Body, BoxError, Client, ConnectionInfo, Request, Response, Scheme, TestResponse, TestStack};

/// The other side: it remembers what was asked for with each code, and gives one token for each.
#[derive(Clone)]
pub(super) struct Issuer(pub(super) Arc<Mutex<State>>);

pub(super) struct State {
    key: EncodingKey,
    /// Each code with its nonce, challenge and redirect URI.
    codes: HashMap<String, (String, String, String)>,
    /// Changes of the claims of tokens.
    pub(super) claims: Value,
    /// Changes of the document.
    pub(super) document: Value,
    pub(super) exchanges: usize,
    /// What the userinfo endpoint tells.
    pub(super) userinfo: Value,
    pub(super) userinfos: usize,
}

impl Issuer {
    pub(super) fn new() -> Self {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ec_der(key.as_ref());
        let state =
            State { key, codes: HashMap::new(), claims: json!({}), document: json!({}), exchanges: 0, userinfo: json!({}), userinfos: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn client(&self) -> Client {
        let issuer = self.clone();
        Client::new(service_fn(move |request: Request| {
            let issuer = issuer.clone();
            async move { Ok::<_, BoxError>(issuer.answer(request).await) }
        }))
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let mut state = self.0.lock().unwrap();
        let (status, answer) = match parts.uri.to_string().as_str() {
            "https://id.test/.well-known/openid-configuration" => {
                let mut document = json!({
                    "issuer": "https://id.test", "authorization_endpoint": "https://id.test/authorize", "token_endpoint": "https://id.test/token",
                    "jwks_uri": "https://id.test/keys", "end_session_endpoint": "https://id.test/logout?x=1",
                    "userinfo_endpoint": "https://id.test/userinfo",
                });
                document.as_object_mut().unwrap().extend(state.document.as_object().unwrap().clone());
                (200, document)
            }
            "https://id.test/keys" => {
                let mut key = serde_json::to_value(Jwk::from_encoding_key(&state.key, Algorithm::ES256).unwrap()).unwrap();
                key["kid"] = "k".into();
                (200, json!({ "keys": [key] }))
            }
            "https://id.test/token" => {
                state.exchanges += 1;
                let field = |name: &str| form::read(Some(&body), name).unwrap_or_default();
                let expected = format!("Basic {}", BASE64_STANDARD.encode("wiki:s%26cret"));
                let is_client = parts.headers["authorization"] == expected && field("client_id") == "wiki";
                match state.codes.remove(&field("code")) {
                    Some((nonce, challenge, redirect_uri))
                        if is_client
                            && redirect_uri == field("redirect_uri")
                            && challenge == BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier"))) =>
                    {
                        assert_eq!((parts.method, field("grant_type").as_str()), (Method::POST, "authorization_code"));
                        let mut claims = json!({
                            "iss": "https://id.test", "aud": "wiki", "sub": "7", "exp": now() + 300, "iat": now(), "nonce": nonce,
                            "email": "ann@Example.com", "email_verified": true, "groups": ["wiki", "b"],
                        });
                        claims.as_object_mut().unwrap().extend(state.claims.as_object().unwrap().clone());
                        let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::ES256) };
                        (200, json!({ "id_token": encode(&header, &claims, &state.key).unwrap(), "access_token": "x" }))
                    }
                    _ => (400, json!({ "error": "invalid_grant" })),
                }
            }
            "https://id.test/userinfo" => {
                state.userinfos += 1;
                assert_eq!(parts.headers["authorization"], "Bearer x");
                (200, state.userinfo.clone())
            }
            other => panic!("{other}"),
        };
        let mut response = Response::new(Body::from(answer.to_string()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }

    /// What the provider does with a browser that has come by this redirect: it logs the user in, and sends the browser back to this target.
    pub(super) fn log_in(&self, location: &str) -> String {
        let query = location.strip_prefix("https://id.test/authorize?").unwrap();
        let field = |name: &str| form::read(Some(query), name).unwrap();
        assert_eq!(
            (field("response_type"), field("client_id"), field("code_challenge_method")),
            ("code".into(), "wiki".into(), "S256".into())
        );
        assert_eq!(field("scope"), "openid profile email");
        let mut state = self.0.lock().unwrap();
        let code = format!("code {}", state.codes.len() + state.exchanges);
        state.codes.insert(code.clone(), (field("nonce"), field("code_challenge"), field("redirect_uri")));
        let back = field("redirect_uri").strip_prefix("https://wiki.test").unwrap().to_owned();
        format!("{back}?{}", form::write(&[("code", &code), ("state", &field("state"))]))
    }
}

/// A browser with its cookies.
#[derive(Default)]
pub(super) struct Browser(pub(super) Vec<(String, String)>);

impl Browser {
    pub(super) async fn send(&mut self, stack: &TestStack, method: Method, target: &str, headers: &[(&'static str, &str)]) -> TestResponse {
        let cookies = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let https = ConnectionInfo {
            client: Some([192, 0, 2, 1].into()),
            client_port: None,
            scheme: Scheme::Https,
            server_port: None,
            local: None,
            is_vetted: false,
        };
        let mut request = crate::request(method, target, Body::empty());
        request.extensions_mut().insert(https);
        request.headers_mut().insert("host", HeaderValue::from_static("wiki.test"));
        request.headers_mut().insert("accept", HeaderValue::from_static("text/html"));
        if !cookies.is_empty() {
            request.headers_mut().insert("cookie", cookies.parse().unwrap());
        }
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let response = stack.send(request).await;
        for line in response.headers().get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once(';').unwrap();
            assert!(
                line.starts_with("__Host-")
                    && attributes.ends_with("; Secure; HttpOnly; SameSite=Lax")
                    && attributes.starts_with(" Path=/;"),
                "{line}"
            );
            let (name, value) = pair.split_once('=').unwrap();
            self.0.retain(|(known, _)| known != name);
            if !attributes.contains("Max-Age=0;") {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
        response
    }

    pub(super) async fn get(&mut self, stack: &TestStack, target: &str) -> TestResponse {
        self.send(stack, Method::GET, target, &[]).await
    }

    pub(super) fn session(&self) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == "__Host-session").map(|(_, value)| value.as_str())
    }
}
