//! Layers that decide who may come in.

use std::convert::Infallible;
use std::future::ready;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use divan::Bencher;
use http::header::{AUTHORIZATION, HeaderValue};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use tower::service_fn;
use ziggurat_middleware::access::Access;
use ziggurat_middleware::api_key::ApiKey;
use ziggurat_middleware::basic_auth::BasicAuth;
use ziggurat_middleware::csrf::Csrf;
use ziggurat_middleware::forward_auth::ForwardAuth;
use ziggurat_middleware::jwt::Jwt;
use ziggurat_middleware::{Body, Client, Lifecycle, Request, Response};

use crate::measure::{measure_layer, measure_layer_in, measure_with, stack_in};

/// Of a safe method.
#[divan::bench]
fn csrf(bencher: Bencher) {
    measure_layer::<Csrf>(bencher, "{}");
}

/// Which lets the client in by its last rule, and which refuses it.
#[divan::bench(args = [r#"{"rules": [{"deny": "10.0.0.7"}, {"allow": ["10.0.0.0/8", "192.0.2.0/24"]}]}"#, r#"{"rules": [{"deny": "192.0.2.0/24"}, {"allow": "all"}]}"#])]
fn access(bencher: Bencher, options: &str) {
    measure_layer::<Access>(bencher, options);
}

/// Whose key is known: its SHA-256 and a look-up. It has the value of the cookie.
#[divan::bench]
fn api_key(bencher: Bencher) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "bench:3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9").expect("a key");
    measure_layer::<ApiKey>(bencher, &format!(r#"{{"keys": "{}", "from": "cookie:sessionid"}}"#, file.path().display()));
}

/// Of a server that answers at once, and by a cached decision.
#[divan::bench(args = ["0s", "1h"])]
fn forward_auth(bencher: Bencher, cache: &str) {
    let yes = Client::new(service_fn(|_: Request| ready(Ok::<_, Infallible>(Response::new(Body::empty())))));
    let mut host = http::Extensions::new();
    host.insert(yes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let lifecycle = Lifecycle::hosted(host);
    measure_layer_in::<ForwardAuth>(
        bencher,
        &format!(r#"{{"to": "http://auth.test/", "request_headers": "cookie", "cache": "{cache}"}}"#),
        &lifecycle,
    );
}

/// A token that an elliptic curve has signed.
#[divan::bench]
fn jwt(bencher: Bencher) {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    let key = EncodingKey::from_ec_der(key.as_ref());
    let set = serde_json::json!({ "keys": [Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a public key")] });
    let claims = serde_json::json!({ "iss": "bench", "aud": "bench", "sub": "ann", "exp": 4_102_444_800_u64 });
    let token = encode(&Header::new(Algorithm::ES256), &claims, &key).expect("a token");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), set.to_string()).expect("keys");
    let options = serde_json::json!({ "keys": file.path(), "algorithms": "ES256", "issuer": "bench", "audience": "bench" }).to_string();
    let (lifecycle, token) = (Lifecycle::default(), HeaderValue::try_from(format!("Bearer {token}")).expect("a header"));
    let stack = stack_in::<Jwt>(&options, &lifecycle);
    measure_with(bencher, stack, &[(AUTHORIZATION, token)]);
    lifecycle.shutdown();
}

/// Whose password has been checked before.
#[divan::bench]
fn basic_auth(bencher: Bencher) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "ann:$apr1$bench123$Wl.7WOudXkJHX3S..GsyK0").expect("a user");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let stack = stack_in::<BasicAuth>(&format!(r#"{{"users": "{}"}}"#, file.path().display()), &Lifecycle::default());
    let password = HeaderValue::from_static("Basic YW5uOnNlY3JldA==");
    let mut request = http::Request::new(Body::empty());
    request.headers_mut().insert(AUTHORIZATION, password.clone());
    assert_eq!(runtime.block_on(stack.clone().run(request)).status(), 200);
    measure_with(bencher, stack, &[(AUTHORIZATION, password)]);
}
