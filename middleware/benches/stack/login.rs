//! `oidc`, of a request with a session. A whole login at a provider makes it.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use divan::Bencher;
use futures_util::FutureExt;
use http::header::{ACCEPT, COOKIE, HOST, HeaderValue, LOCATION, SET_COOKIE};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tower::service_fn;
use ziggurat_middleware::oidc::Oidc;
use ziggurat_middleware::{Body, Client, Lifecycle, Next, Request, Response};

use crate::measure::{measure_with, stack_in};

/// The cookie is opened, and the session is none that was ended.
#[divan::bench]
fn oidc(bencher: Bencher) {
    let nonce = Arc::new(Mutex::new(String::new()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut host = http::Extensions::new();
    host.insert(provider(Arc::clone(&nonce)));
    let lifecycle = Lifecycle::hosted(host);
    let options = json!({
        "issuer": "https://id.test", "client_id": "bench", "secrets": "0123456789abcdef0123456789abcdef", "algorithms": "ES256",
    });
    let stack = stack_in::<Oidc>(&options.to_string(), &lifecycle);
    let sent = ask(&stack, "/", "");
    let to = sent.headers()[LOCATION].to_str().expect("a location").to_owned();
    let field = |name: &str| to.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).expect("a parameter").to_owned();
    *nonce.lock().expect("a nonce") = field("nonce=");
    let back = ask(&stack, &format!("/oidc/callback?code=x&state={}", field("state=")), &cookie(&sent));
    let session = HeaderValue::try_from(cookie(&back)).expect("a cookie");
    measure_with(bencher, stack, &[(COOKIE, session)]);
    lifecycle.shutdown();
}

fn ask(stack: &Next, target: &str, cookie: &str) -> Response {
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = target.parse().expect("a target");
    for (name, value) in [(HOST, "example.com"), (ACCEPT, "text/html"), (COOKIE, cookie)] {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    stack.clone().run(request).now_or_never().expect("nobody waits")
}

/// The last cookie of a response.
fn cookie(response: &Response) -> String {
    let line = response.headers().get_all(SET_COOKIE).iter().next_back().expect("a cookie").to_str().expect("a cookie");
    line.split(';').next().unwrap_or_default().to_owned()
}

/// A provider whose tokens have this nonce.
fn provider(nonce: Arc<Mutex<String>>) -> Client {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    let key = EncodingKey::from_ec_der(key.as_ref());
    Client::new(service_fn(move |request: Request| {
        let answer = match request.uri().path() {
            "/keys" => json!({ "keys": [Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a public key")] }),
            "/token" => {
                let nonce = nonce.lock().expect("a nonce").clone();
                let claims = json!({ "iss": "https://id.test", "aud": "bench", "sub": "ann", "exp": 4_102_444_800_u64, "nonce": nonce });
                json!({ "id_token": encode(&Header::new(Algorithm::ES256), &claims, &key).expect("a token") })
            }
            _ => json!({
                "issuer": "https://id.test", "authorization_endpoint": "https://id.test/authorize",
                "token_endpoint": "https://id.test/token", "jwks_uri": "https://id.test/keys",
            }),
        };
        ready(Ok::<_, Infallible>(Response::new(Body::from(answer.to_string()))))
    }))
}
