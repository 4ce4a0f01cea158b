//! `jwt` in a stack: tokens of a provider in the test.

use std::sync::Mutex;
use std::time::{Duration as Time, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm as Signature, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tower::service_fn;

use super::*;
use crate::{Body, BoxError, Client, TestStack};

/// Signs tokens.
struct Signer {
    id: &'static str,
    algorithm: Signature,
    key: EncodingKey,
}

impl Signer {
    fn es256(id: &'static str) -> Self {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self { id, algorithm: Signature::ES256, key: EncodingKey::from_ec_der(key.as_ref()) }
    }

    fn eddsa(id: &'static str) -> Self {
        // The first version of PKCS #8: the encoder knows its length.
        let key = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        Self { id, algorithm: Signature::EdDSA, key: EncodingKey::from_ed_der(key.as_ref()) }
    }

    fn rs256(id: &'static str) -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let key: Pkcs8V1Der<'_> = key.as_der().unwrap();
        // Behind the header of PKCS #8 stands PKCS #1, which the encoder takes.
        Self { id, algorithm: Signature::RS256, key: EncodingKey::from_rsa_der(&key.as_ref()[26..]) }
    }

    fn hs256(id: &'static str, secret: &[u8]) -> Self {
        Self { id, algorithm: Signature::HS256, key: EncodingKey::from_secret(secret).unwrap() }
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }

    fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = self.id.into();
        jwk
    }
}

fn set(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Sound claims, with changes.
fn claims(change: Value) -> Value {
    let mut claims = json!({ "iss": "https://id.test", "aud": "shop", "sub": "ann", "exp": now() + 600 });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    claims
}

/// Over an app that says what it was told.
fn stack(keys: &str, algorithms: &str, more: &str, client: Option<Client>) -> TestStack {
    let options = format!(r#"{{ "keys": "{keys}", "algorithms": {algorithms}, "issuer": "https://id.test", "audience": "shop"{more} }}"#);
    let stage = TestStack::of::<Jwt>(&options);
    let stage = match client {
        Some(client) => stage.host(client),
        None => stage,
    };
    stage.over(async |request: Request| {
        let user = request.extensions().get::<RemoteUser>().map(|user| format!("{} by {}", user.user, user.auth_type));
        let told =
            ["x-email", "x-roles", "authorization"].map(|name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned()));
        Response::new(Body::from(format!("{} {:?} {:?} {}", user.unwrap_or_default(), told[0], told[1], told[2].is_some())))
    })
}

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

async fn ask(stack: &TestStack, token: &str) -> (u16, String, String) {
    let response = stack.get("/").header("authorization", &format!("Bearer {token}")).header("x-email", "root@id.test").await;
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), response.text(), challenge.unwrap_or_default())
}

#[tokio::test]
async fn a_token_of_each_kind_of_key_lets_its_user_in_and_tells_the_app() {
    let secret = [7; 32];
    let signers = [Signer::es256("e"), Signer::eddsa("d"), Signer::rs256("r"), Signer::hs256("h", &secret)];
    let file = file(&set(&signers.iter().collect::<Vec<_>>()));
    let more = r#", "headers": { "x-email": "email", "X-Roles": "/access/roles" }, "remove": true"#;
    let stack = stack(&file.path().display().to_string(), r#"["ES256", "EdDSA", "RS256", "HS256"]"#, more, None);
    for signer in &signers {
        let token = signer.token(&claims(json!({ "email": "ann@id.test", "access": { "roles": ["a", "b"] } })));
        assert_eq!(ask(&stack, &token).await.1, r#"ann by Bearer Some("ann@id.test") Some("a,b") false"#, "{}", signer.id);
        let response = stack.get("/").header("authorization", &format!("bearer {token}")).await;
        assert_eq!(&*response.head().extensions().get::<RemoteUser>().unwrap().user, "ann");
        assert_eq!(ask(&stack, &signer.token(&claims(json!({})))).await.1, "ann by Bearer None None false", "the client's header is gone");
    }
    assert!(stack.metrics().contains("decision=\"allowed\"} 12\n"), "{}", stack.metrics());
}

/// A token with this header, signed by nobody.
fn unsigned(header: &Value, signature: &str) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(&claims(json!({}))))
}

#[tokio::test]
async fn forged_tokens_are_refused_with_a_challenge_and_a_reason_in_the_log() {
    let (signer, other) = (Signer::es256("e"), Signer::es256("e"));
    let rsa = Signer::rs256("r");
    let file = file(&set(&[&signer, &rsa]));
    let stack = stack(&file.path().display().to_string(), r#"["ES256", "RS256", "HS256"]"#, "", None);
    let right = signer.token(&claims(json!({})));
    assert_eq!(ask(&stack, &right).await.0, 200);
    let (signed, signature) = right.rsplit_once('.').unwrap();
    // The public key as the secret of an HMAC: as text, as JSON, as its octets.
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
    let confused = [modulus.as_slice(), rsa.jwk().to_string().as_bytes(), rsa.jwk()["n"].as_str().unwrap().as_bytes()]
        .map(|secret| Signer::hs256("r", secret).token(&claims(json!({}))));
    let crit = {
        let header = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": "ES256", "kid": "e", "crit": ["exp"] }).to_string());
        format!("{header}.{}", right.split_once('.').unwrap().1)
    };
    let mut wrong = vec![
        String::new(),
        "x".to_owned(),
        "..".to_owned(),
        format!("{signed}."),
        signed.to_owned(),
        format!("{signed}.{}", &signature[1..]),
        format!("{signed}.{signature}="),
        format!("{right}.{signature}"),
        format!("{right} "),
        unsigned(&json!({ "alg": "none" }), ""),
        unsigned(&json!({ "alg": "none", "kid": "e" }), signature),
        unsigned(&json!({ "alg": "ES256", "kid": "e" }), signature),
        unsigned(&json!({ "alg": "ES256", "kid": 7 }), signature),
        unsigned(&json!({ "alg": ["ES256"], "kid": "e" }), signature),
        unsigned(&json!({ "kid": "e" }), signature),
        crit,
        other.token(&claims(json!({}))),
        Signer { id: "unknown", ..Signer::es256("") }.token(&claims(json!({}))),
        Signer::eddsa("e").token(&claims(json!({}))),
        signer.token(&claims(json!({ "pad": "x".repeat(17 << 10) }))),
        signer.token(&claims(json!({ "exp": now() - 60 }))),
        signer.token(&claims(json!({ "nbf": now() + 90 }))),
        signer.token(&claims(json!({ "iss": "https://other.test" }))),
        signer.token(&claims(json!({ "aud": "bank" }))),
        signer.token(&claims(json!({ "sub": null }))),
        signer.token(&claims(json!({ "sub": "ann\nroot" }))),
    ];
    wrong.retain(|token| token.trim() == token);
    wrong.extend(confused);
    for token in &wrong {
        let (status, _, challenge) = ask(&stack, token).await;
        assert_eq!((status, challenge.as_str()), (401, r#"Bearer realm="restricted", error="invalid_token""#), "{token}");
    }
    let missing = stack.get("/").await;
    assert_eq!((missing.status().as_u16(), missing.header("www-authenticate")), (401, r#"Bearer realm="restricted""#));
    let twice = stack.get("/").header("authorization", &format!("Bearer {right}")).header("authorization", &format!("Bearer {right}"));
    assert_eq!(twice.await.status(), 400);
    let log = stack.log().join("\n");
    assert!(log.contains("the token is not valid: ") && !log.contains(signature), "{log}");
    assert!(stack.metrics().contains("decision=\"missing\"} 1\n"), "{}", stack.metrics());
}

#[tokio::test]
async fn a_token_without_the_claims_or_scopes_is_forbidden() {
    let signer = Signer::eddsa("d");
    let file = file(&set(&[&signer]));
    let more = r#", "scopes": ["read", "write"], "claims": { "groups": ["staff", "admins"], "email_verified": "true" }"#;
    let stack = stack(&file.path().display().to_string(), r#""EdDSA""#, more, None);
    let status = async |change: Value| {
        let (status, _, challenge) = ask(&stack, &signer.token(&claims(change))).await;
        assert_eq!(challenge.contains(r#"error="insufficient_scope", scope="read write""#), status == 403, "{challenge}");
        status
    };
    assert_eq!(status(json!({ "scope": "read write", "groups": ["x", "staff"], "email_verified": true })).await, 200);
    assert_eq!(status(json!({ "scp": ["read", "write"], "groups": "admins", "email_verified": true })).await, 200);
    assert_eq!(status(json!({ "scope": "read", "groups": ["staff"], "email_verified": true })).await, 403);
    assert_eq!(status(json!({ "scope": "read write", "groups": ["staff"], "email_verified": false })).await, 403);
    assert_eq!(status(json!({ "scope": "read write", "email_verified": true })).await, 403);
    assert!(stack.log().join("\n").contains("the token lacks the "), "{:?}", stack.log());
}

#[tokio::test]
async fn a_token_may_come_in_a_cookie_and_the_app_does_not_see_it() {
    let signer = Signer::eddsa("d");
    let file = file(&set(&[&signer]));
    let options = json!({ "keys": file.path(), "algorithms": "EdDSA", "issuer": "https://id.test", "audience": [], "from": "cookie:id", "remove": true });
    let stack = TestStack::of::<Jwt>(&options.to_string())
        .over(async |request: Request| Response::new(Body::from(format!("{:?}", request.headers().get("cookie")))));
    let token = signer.token(&claims(json!({ "aud": "anybody" })));
    assert_eq!(stack.get("/").header("cookie", &format!("a=1; id={token}")).await.text(), r#"Some("a=1")"#);
    assert_eq!(stack.get("/").header("authorization", &format!("Bearer {token}")).await.status(), 401);
}

/// A server of keys, and how often it was asked.
fn server(answers: &Arc<Mutex<(u16, String)>>) -> (Client, Arc<Mutex<usize>>) {
    let (asked, answers) = (Arc::new(Mutex::new(0)), Arc::clone(answers));
    let count = Arc::clone(&asked);
    let client = Client::new(service_fn(move |question: Request| {
        assert_eq!(question.uri(), "https://id.test/keys");
        *count.lock().unwrap() += 1;
        let (status, body) = answers.lock().unwrap().clone();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        async move { Ok::<_, BoxError>(response) }
    }));
    (client, asked)
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_server_rotate_and_invented_key_ids_do_not_flood_it() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let answers = Arc::new(Mutex::new((200, set(&[&old]))));
    let (client, asked) = server(&answers);
    let stack = stack("https://id.test/keys", r#""ES256""#, r#", "refresh": "1h""#, Some(client));
    let (old_token, new_token) = (old.token(&claims(json!({}))), new.token(&claims(json!({}))));
    assert_eq!(ask(&stack, &old_token).await.0, 200);
    assert_eq!((ask(&stack, &new_token).await.0, *asked.lock().unwrap()), (401, 1), "not so soon after the first fetch");

    *answers.lock().unwrap() = (200, set(&[&new]));
    tokio::time::advance(Time::from_secs(11)).await;
    assert_eq!((ask(&stack, &new_token).await.0, *asked.lock().unwrap()), (200, 2), "an unknown key has them fetched");
    for _ in 0..50 {
        assert_eq!(ask(&stack, &old_token).await.0, 401);
    }
    assert_eq!(*asked.lock().unwrap(), 2);

    *answers.lock().unwrap() = (500, String::new());
    tokio::time::advance(Time::from_secs(11)).await;
    assert_eq!((ask(&stack, &old_token).await.0, *asked.lock().unwrap()), (401, 3));
    assert_eq!(ask(&stack, &new_token).await.0, 200, "the known keys stay");
    *answers.lock().unwrap() = (200, "<html>".to_owned());
    tokio::time::sleep(Time::from_secs(3600)).await;
    assert_eq!((ask(&stack, &new_token).await.0, *asked.lock().unwrap()), (200, 4), "and they are fetched every hour");
    assert!(stack.log().iter().filter(|line| line.contains("what is known stays")).count() == 2, "{:?}", stack.log());
    assert!(stack.metrics().contains("ziggurat_auth_fetches_total{place=\"jwt\",result=\"failed\"} 2\n"), "{}", stack.metrics());
    assert_eq!(stack.lifecycle().status()[0].1["known"], true);
}

#[tokio::test(start_paused = true)]
async fn while_there_are_no_keys_nobody_is_let_in_and_the_fetch_is_tried_again() {
    let signer = Signer::es256("e");
    let answers = Arc::new(Mutex::new((503, String::new())));
    let (client, _) = server(&answers);
    let stack = stack("https://id.test/keys", r#""ES256""#, "", Some(client));
    let token = signer.token(&claims(json!({})));
    assert_eq!(ask(&stack, &token).await.0, 503);
    *answers.lock().unwrap() = (200, json!({ "keys": [{ "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode([7; 32]) }] }).to_string());
    tokio::time::sleep(Time::from_secs(11)).await;
    assert_eq!(ask(&stack, &token).await.0, 503, "a secret that everybody can fetch is none");
    *answers.lock().unwrap() = (200, set(&[&signer]));
    tokio::time::sleep(Time::from_secs(11)).await;
    assert_eq!(ask(&stack, &token).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_counts_and_a_broken_one_changes_nothing() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let file = file(&set(&[&old]));
    let stack = stack(&file.path().display().to_string(), r#""ES256""#, "", None);
    let statuses = async || {
        tokio::time::advance(Time::from_millis(1_001)).await;
        (ask(&stack, &old.token(&claims(json!({})))).await.0, ask(&stack, &new.token(&claims(json!({})))).await.0)
    };
    assert_eq!(statuses().await, (200, 401));
    std::fs::write(file.path(), r#"{ "keys": ["#).unwrap();
    assert_eq!(statuses().await, (200, 401));
    std::fs::write(file.path(), set(&[&new])).unwrap();
    assert_eq!(statuses().await, (401, 200));
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let refusal = |change: Value| {
        let mut options = json!({ "keys": "https://id.test/keys", "algorithms": "RS256", "issuer": "i", "audience": "a" });
        options.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        TestStack::refusal::<Jwt>(&options.to_string()).join("; ")
    };
    for (change, reason) in [
        (json!({ "algorithms": "none" }), "`none` is no signature"),
        (json!({ "algorithms": "rs256" }), "not an algorithm"),
        (json!({ "algorithms": [] }), "no signature is taken"),
        (json!({ "algorithms": ["RS256", "HS256"] }), "`HS256` needs a secret"),
        (json!({ "keys": "ftp://id.test/keys" }), "does not begin with"),
        (json!({ "keys": "/nowhere/keys.json" }), "cannot read"),
        (json!({ "headers": { "content-length": "sub" } }), "is about the connection or the body"),
        (json!({ "headers": { "x_email": "email" } }), "takes a client's `x-email` for it"),
        (json!({ "keys": "keys.json", "ca": "ca.pem" }), "`ca` has no effect"),
        (json!({ "leeway": "1h" }), "5 minutes"),
        (json!({ "refresh": "1s" }), "10 seconds"),
        (json!({ "from": [] }), "no request can have a token"),
        (json!({ "claims": { "groups": [] } }), "no value of `groups`"),
        (json!({ "scopes": "a b" }), "not a scope"),
    ] {
        assert!(refusal(change.clone()).contains(reason), "{change}: {}", refusal(change.clone()));
    }
    let empty = file(
        r#"{ "keys": [{ "kty": "oct", "k": "c2hvcnQ" }, { "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB" }, { "kty": "XYZ" }, 7] }"#,
    );
    assert!(refusal(json!({ "keys": empty.path() })).contains("no key that verifies signatures"));
}

proptest! {
    #[test]
    fn no_text_is_a_token_but_one_that_was_signed(token in "([A-Za-z0-9_-]{0,30}\\.){0,3}[A-Za-z0-9_=-]{0,30}", header in "\\PC{0,30}") {
        let keys = keys::KeySet::parse(set(&[&Signer::eddsa("d")]).as_bytes(), true).unwrap();
        let expected = Expectation { issuer: String::new(), audience: Vec::new(), leeway: Time::ZERO };
        let verifier = Verifier { algorithms: vec![Algorithm::named("EdDSA").unwrap()], expected };
        prop_assert!(verifier.verify(&keys, token.as_bytes(), Time::ZERO).is_err());
        let token = format!("{}.{}.AAAA", BASE64_URL_SAFE_NO_PAD.encode(header), token);
        prop_assert!(verifier.verify(&keys, token.as_bytes(), Time::ZERO).is_err());
    }

    #[test]
    fn any_key_set_is_read_or_refused(text in "\\PC{0,60}", kty in "(RSA|EC|OKP|oct)", part in "[A-Za-z0-9_=-]{0,50}") {
        let _ = keys::KeySet::parse(text.as_bytes(), true);
        let set = json!({ "keys": [{ "kty": kty, "n": part, "e": part, "x": part, "y": part, "k": part, "crv": "P-256" }] }).to_string();
        let keys = keys::KeySet::parse(set.as_bytes(), true).unwrap();
        let expected = Expectation { issuer: String::new(), audience: Vec::new(), leeway: Time::ZERO };
        let verifier = Verifier { algorithms: ["RS256", "ES256", "EdDSA", "HS256"].map(|name| Algorithm::named(name).unwrap()).to_vec(), expected };
        for algorithm in ["RS256", "ES256", "EdDSA", "HS256"] {
            let token = unsigned(&json!({ "alg": algorithm }), &part);
            prop_assert!(verifier.verify(&keys, token.as_bytes(), Time::ZERO).is_err());
        }
    }
}
