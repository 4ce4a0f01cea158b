//! `oidc` in a stack, at a provider in the test that is as strict as a real one.

mod issuer;
mod shared;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use self::issuer::{Browser, Issuer};
use super::guard::now;
use super::seal::{Sealer, Secret};
use super::session::Session;
use super::*;
use crate::{Body, RemoteUser, TestResponse, TestStack};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Over an app that says what it was told.
fn stack(issuer: &Issuer, change: Value) -> TestStack {
    let mut options = json!({
        "issuer": "https://id.test", "client_id": "wiki", "client_secret": "s&cret", "secrets": SECRET, "algorithms": "ES256",
        "user": "email", "headers": { "x-groups": "groups" },
    });
    options.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    TestStack::of::<Oidc>(&options.to_string()).host(issuer.client()).over(async |request: Request| {
        let user = request.extensions().get::<RemoteUser>().map(|user| format!("{} by {}", user.user, user.auth_type));
        let cookie = request.headers().get("cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
        Response::new(Body::from(format!(
            "{} {:?} {cookie:?} {}",
            user.unwrap_or_default(),
            request.headers().get("x-groups"),
            request.uri()
        )))
    })
}

/// A whole login, and the response to the way back.
async fn log_in(browser: &mut Browser, stack: &TestStack, issuer: &Issuer, target: &str) -> TestResponse {
    let sent = browser.get(stack, target).await;
    assert_eq!((sent.status(), sent.header("cache-control")), (StatusCode::FOUND, "no-store"));
    let back = issuer.log_in(sent.header("location"));
    browser.get(stack, &back).await
}

#[tokio::test]
async fn a_login_leads_back_to_the_page_and_the_app_knows_the_user() {
    let (issuer, mut browser) = (Issuer::new(), Browser::default());
    let stack = stack(&issuer, json!({}));
    let back = log_in(&mut browser, &stack, &issuer, "/page?a=1").await;
    assert_eq!((back.status().as_u16(), back.header("location")), (303, "/page?a=1"));
    assert_eq!(browser.0.len(), 1, "the cookie of the login is gone: {:?}", browser.0);
    browser.0.push(("theme".into(), "dark".into()));
    let page = browser.send(&stack, Method::POST, "/page?a=1", &[("x-groups", "root")]).await;
    assert_eq!(page.text(), r#"ann@Example.com by OpenID Some("wiki,b") Some("theme=dark") /page?a=1"#);
    assert_eq!(&*page.head().extensions().get::<RemoteUser>().unwrap().user, "ann@Example.com");
    let session = browser.session().unwrap();
    assert!(session.len() < 600 && !String::from_utf8_lossy(&BASE64_URL_SAFE_NO_PAD.decode(session).unwrap()).contains("ann@"));
    for (decision, count) in [("allowed", 1), ("missing", 1), ("invalid", 0)] {
        assert!(stack.metrics().contains(&format!("decision=\"{decision}\"}} {count}\n")), "{}", stack.metrics());
    }
}

#[tokio::test]
async fn what_is_no_page_gets_401_and_no_redirect() {
    let (issuer, mut browser) = (Issuer::new(), Browser::default());
    let stack = stack(&issuer, json!({}));
    for (method, headers) in [
        (Method::POST, &[("accept", "text/html")][..]),
        (Method::GET, &[("accept", "application/json")]),
        (Method::GET, &[("sec-fetch-mode", "cors")]),
        (Method::GET, &[("sec-fetch-mode", "websocket")]),
    ] {
        let refused = browser.send(&stack, method, "/api", headers).await;
        assert_eq!((refused.status().as_u16(), refused.header("www-authenticate")), (401, r#"Cookie realm="restricted""#));
        assert!(!refused.headers().contains_key("location") && browser.0.is_empty());
    }
    assert_eq!(browser.send(&stack, Method::GET, "/", &[("accept", "*/*"), ("sec-fetch-mode", "navigate")]).await.status(), 302);
}

#[tokio::test]
async fn a_login_ends_once_and_in_the_browser_where_it_began() {
    let issuer = Issuer::new();
    let stack = stack(&issuer, json!({}));
    let mut browser = Browser::default();
    let sent = browser.get(&stack, "/").await;
    let back = issuer.log_in(sent.header("location"));
    let (mut thief, copy) = (Browser::default(), Browser(browser.0.clone()));
    assert_eq!(thief.get(&stack, &back).await.status(), 400, "another browser");
    let other = browser.get(&stack, "/").await;
    let swapped = back.replace(
        &form::read(Some(sent.header("location")), "state").unwrap(),
        &form::read(Some(other.header("location")), "state").unwrap(),
    );
    assert_eq!(issuer.0.lock().unwrap().exchanges, 0);
    assert_eq!(browser.get(&stack, &swapped).await.status(), 400, "the code of one login with the state of another one");
    assert!(browser.session().is_none());

    let mut browser = copy;
    let copied = Browser(browser.0.clone());
    let back = issuer.log_in(sent.header("location"));
    assert_eq!(browser.get(&stack, &back).await.status(), 303);
    let mut replayed = copied;
    assert_eq!(replayed.get(&stack, &back).await.status(), 400, "with a copy of the cookie");
    assert!(replayed.session().is_none());
    for wrong in ["/oidc/callback", "/oidc/callback?state=", "/oidc/callback?code=x&state=x", "/oidc/callback?state=a&state=b&code=c"] {
        assert_eq!(browser.get(&stack, wrong).await.status(), 400, "{wrong}");
    }
    assert!(stack.log().iter().any(|line| line.contains("no such login has begun in this browser")), "{:?}", stack.log());
}

#[tokio::test]
async fn what_the_provider_refuses_or_sends_wrong_is_no_login() {
    let change = |claims: Value, document: Value| {
        let issuer = Issuer::new();
        (issuer.0.lock().unwrap().claims, issuer.0.lock().unwrap().document) = (claims, document);
        issuer
    };
    for (claims, status) in [
        (json!({ "nonce": "other" }), 502),
        (json!({ "nonce": null }), 502),
        (json!({ "aud": "bank" }), 502),
        (json!({ "aud": ["wiki", "bank"], "azp": "bank" }), 502),
        (json!({ "iss": "https://evil.test" }), 502),
        (json!({ "exp": now() - 100 }), 502),
        (json!({ "email": null }), 403),
        (json!({ "email": "x".repeat(5000) }), 500),
        (json!({ "aud": ["wiki", "bank"], "azp": "wiki" }), 303),
    ] {
        let (issuer, mut browser) = (change(claims.clone(), json!({})), Browser::default());
        let stack = stack(&issuer, json!({}));
        assert_eq!(log_in(&mut browser, &stack, &issuer, "/").await.status(), status, "{claims}");
        assert_eq!(browser.session().is_some(), status == 303, "{claims}");
    }
    for document in
        [json!({ "issuer": "https://evil.test" }), json!({ "token_endpoint": "http://id.test/token" }), json!({ "jwks_uri": 7 })]
    {
        let (issuer, mut browser) = (change(json!({}), document.clone()), Browser::default());
        let stack = stack(&issuer, json!({}));
        let refused = browser.get(&stack, "/").await;
        assert_eq!((refused.status().as_u16(), refused.header("retry-after")), (503, "10"), "{document}");
    }
    let (issuer, mut browser) = (change(json!({}), json!({ "authorization_response_iss_parameter_supported": true })), Browser::default());
    let stack = stack(&issuer, json!({}));
    assert_eq!(log_in(&mut browser, &stack, &issuer, "/").await.status(), 400, "RFC 9207");
    for more in ["&iss=https%3A%2F%2Fevil.test", "&iss=https%3A%2F%2Fid.test&error=access_denied"] {
        let sent = browser.get(&stack, "/").await;
        let back = issuer.log_in(sent.header("location")) + more;
        assert_eq!(browser.get(&stack, &back).await.status(), if more.contains("denied") { 403 } else { 400 });
    }
}

#[tokio::test]
async fn only_accounts_that_are_named_come_in() {
    let account = async |options: Value, claims: Value| {
        let (issuer, mut browser) = (Issuer::new(), Browser::default());
        issuer.0.lock().unwrap().claims = claims;
        let stack = stack(&issuer, options);
        log_in(&mut browser, &stack, &issuer, "/").await.status().as_u16()
    };
    assert_eq!(account(json!({ "emails": ["@example.COM"] }), json!({})).await, 303);
    assert_eq!(account(json!({ "emails": ["ben@example.com", "ann@example.com"] }), json!({})).await, 303);
    assert_eq!(account(json!({ "emails": ["@example.com"] }), json!({ "email_verified": false })).await, 403);
    for email in ["ann@example.com.evil.test", "ann@evil.test", "example.com", "Ann@other.test"] {
        assert_eq!(account(json!({ "emails": ["@example.com"] }), json!({ "email": email })).await, 403, "{email}");
    }
    assert_eq!(account(json!({ "claims": { "groups": ["wiki"] } }), json!({})).await, 303);
    assert_eq!(account(json!({ "claims": { "groups": ["admins"] } }), json!({})).await, 403);
    assert_eq!(account(json!({ "claims": { "/realm/roles": "staff" } }), json!({ "realm": { "roles": ["staff"] } })).await, 303);
}

/// A session as the layer seals it, with changes.
fn session(change: impl Fn(&mut Session)) -> String {
    let secrets = [Secret(SECRET.into())];
    let sealer = Sealer::new(&secrets, &["session", "https://id.test/", "wiki", "session"]).unwrap();
    let claims = json!({ "email": "ann@example.com", "email_verified": true });
    let mut session = Session {
        id: "one".into(),
        began: now(),
        sealed: now(),
        until: now() + 100,
        claims: claims.as_object().unwrap().clone(),
        hint: None,
    };
    change(&mut session);
    sealer.seal(&session).unwrap()
}

#[tokio::test]
async fn a_session_that_is_over_or_was_changed_is_none_and_one_in_use_is_renewed() {
    let issuer = Issuer::new();
    let stack = stack(&issuer, json!({}));
    let ask = async |value: &str| {
        let mut browser = Browser(vec![("__Host-session".into(), value.into())]);
        let status = browser.get(&stack, "/").await.status().as_u16();
        (status, browser.session().is_some_and(|session| session != value))
    };
    let sound = session(|_| {});
    assert_eq!(ask(&sound).await, (200, false));
    assert_eq!(ask(&session(|session| session.sealed -= 3 * 3600)).await, (200, true));
    assert_eq!(ask(&session(|session| session.until = now())).await.0, 302);
    let mut changed = sound.clone().into_bytes();
    changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
    for wrong in [String::from_utf8(changed).unwrap(), String::new(), sound[1..].to_owned(), format!("{sound}x"), "{}".to_owned()] {
        assert_eq!(ask(&wrong).await.0, 302, "{wrong}");
    }
    let other =
        Sealer::new(&[Secret("another-secret-another-secret-123".into())], &["session", "https://id.test/", "wiki", "session"]).unwrap();
    assert_eq!(ask(&other.seal(&json!({})).unwrap()).await.0, 302);
}

#[tokio::test]
async fn secrets_can_be_changed_without_ending_sessions() {
    let issuer = Issuer::new();
    let stack = stack(&issuer, json!({ "secrets": ["another-secret-another-secret-123", SECRET] }));
    let mut browser = Browser(vec![("__Host-session".into(), session(|session| session.sealed -= 3 * 3600))]);
    assert_eq!(browser.get(&stack, "/").await.status(), 200);
    let only_new = self::stack(&issuer, json!({ "secrets": "another-secret-another-secret-123" }));
    assert_eq!(browser.get(&only_new, "/").await.status(), 200, "the first secret has sealed the renewed one");
}

#[tokio::test]
async fn a_logout_of_the_site_itself_ends_the_session_for_copies_too() {
    let issuer = Issuer::new();
    let stack = stack(&issuer, json!({}));
    let value = session(|_| {});
    let mut browser = Browser(vec![("__Host-session".into(), value.clone())]);
    for headers in [&[("sec-fetch-site", "cross-site")][..], &[("sec-fetch-site", "same-site")], &[("origin", "https://evil.test")], &[]] {
        for method in [Method::GET, Method::POST] {
            assert_eq!(browser.send(&stack, method, "/oidc/logout", headers).await.status(), 403, "{headers:?}");
        }
    }
    assert_eq!(browser.send(&stack, Method::GET, "/oidc/logout", &[("origin", "https://wiki.test")]).await.status(), 403);
    assert!(browser.session().is_some());
    let out = browser.send(&stack, Method::POST, "/oidc/logout", &[("origin", "https://wiki.test")]).await;
    assert_eq!(out.status(), 303);
    assert_eq!(out.header("location"), "https://id.test/logout?x=1&client_id=wiki&post_logout_redirect_uri=https%3A%2F%2Fwiki.test%2F");
    assert!(browser.session().is_none());
    let mut copy = Browser(vec![("__Host-session".into(), value)]);
    assert_eq!(copy.get(&stack, "/").await.status(), 302, "the session is over, whoever has its cookie");
    assert_eq!(browser.send(&stack, Method::GET, "/oidc/logout", &[("sec-fetch-site", "same-origin")]).await.status(), 303, "once more");
}

#[tokio::test]
async fn many_tabs_do_not_fill_the_browser_with_cookies() {
    let issuer = Issuer::new();
    let stack = stack(&issuer, json!({}));
    let mut browser = Browser::default();
    for _ in 0..30 {
        assert_eq!(browser.get(&stack, "/").await.status(), 302);
        assert!(browser.0.len() <= 8, "{}", browser.0.len());
    }
    assert_eq!(log_in(&mut browser, &stack, &issuer, "//evil.test/x").await.header("location"), "/");
}

#[tokio::test]
async fn claims_that_the_id_token_lacks_are_asked_for_where_the_options_say_so() {
    let login = async |options: Value, claims: Value, userinfo: Value| {
        let (issuer, mut browser) = (Issuer::new(), Browser::default());
        (issuer.0.lock().unwrap().claims, issuer.0.lock().unwrap().userinfo) = (claims, userinfo);
        let stack = stack(&issuer, options);
        let status = log_in(&mut browser, &stack, &issuer, "/").await.status().as_u16();
        let text = browser.get(&stack, "/").await.text().to_owned();
        (status, text, issuer.0.lock().unwrap().userinfos)
    };
    let (lacks, asks) = (json!({ "groups": null }), json!({ "userinfo": true }));
    let told = json!({ "sub": "7", "groups": ["x"], "email": "eve@example.com" });
    let (status, text, asked) = login(asks.clone(), json!({}), told.clone()).await;
    assert_eq!((status, asked), (303, 0), "nothing is missing: {text}");
    let (status, text, asked) =
        login(json!({ "userinfo": true, "headers": { "x-groups": "teams" } }), json!({}), json!({ "sub": "7", "teams": "x" })).await;
    assert_eq!((status, asked), (303, 1));
    assert!(text.starts_with(r#"ann@Example.com by OpenID Some("x")"#), "{text}");
    // What the signed token says is never replaced.
    let (_, text, _) = login(json!({ "userinfo": true, "headers": { "x-groups": "teams" } }), json!({}), told.clone()).await;
    assert!(text.starts_with("ann@Example.com by OpenID None"), "{text}");
    assert_eq!(login(json!({}), lacks.clone(), told.clone()).await.2, 0);
    let (_, text, asked) = login(asks, lacks, told).await;
    assert!(asked == 1 && text.starts_with(r#"ann@Example.com by OpenID Some("x")"#), "{text}");
    let missing = json!({ "userinfo": true, "headers": { "x-groups": "teams" } });
    for wrong in [json!({ "sub": "8", "teams": "x" }), json!({ "teams": "x" }), json!([]), json!(null)] {
        assert_eq!(login(missing.clone(), json!({}), wrong.clone()).await.0, 502, "{wrong}");
    }
}

#[tokio::test]
async fn the_provider_gets_its_token_back_at_the_logout_if_it_fits_into_the_cookie() {
    let hint = async |options: Value, claims: Value| {
        let (issuer, mut browser) = (Issuer::new(), Browser::default());
        issuer.0.lock().unwrap().claims = claims;
        let stack = stack(&issuer, options);
        assert_eq!(log_in(&mut browser, &stack, &issuer, "/").await.status(), 303);
        assert_eq!(browser.get(&stack, "/").await.status(), 200);
        let out = browser.send(&stack, Method::POST, "/oidc/logout", &[("origin", "https://wiki.test")]).await;
        form::read(out.header("location").split_once('?').map(|(_, query)| query), "id_token_hint")
    };
    let token = hint(json!({ "id_token_hint": true }), json!({})).await.unwrap();
    assert_eq!(token.split('.').count(), 3);
    assert_eq!(hint(json!({}), json!({})).await, None);
    assert_eq!(hint(json!({ "id_token_hint": true }), json!({ "picture": "x".repeat(4000) })).await, None);
}

#[test]
fn options_that_cannot_be_meant_are_refused_without_their_secrets() {
    let refusal = |change: Value| {
        let mut options = json!({ "issuer": "https://id.test", "client_id": "wiki", "secrets": SECRET });
        options.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        TestStack::refusal::<Oidc>(&options.to_string()).join("; ")
    };
    for (change, reason) in [
        (json!({ "secrets": "short-s3cr3t" }), "at least 32 characters"),
        (json!({ "secrets": [] }), "at least 32 characters"),
        (json!({ "issuer": "id.test" }), "does not begin with"),
        (json!({ "headers": { "host": "email" } }), "is about the connection or the body"),
        (json!({ "headers": { "x_email": "email" } }), "takes a client's `x-email` for it"),
        (json!({ "client_id": "" }), "the client has no id"),
        (json!({ "algorithms": "HS256" }), "`HS256` needs a secret"),
        (json!({ "algorithms": [] }), "no signature is taken"),
        (json!({ "callback": "oidc" }), "is not a path"),
        (json!({ "callback": "/oidc", "logout": "/oidc" }), "one path"),
        (json!({ "cookie": "a b" }), "not the name of a cookie"),
        (json!({ "session": "2d" }), "no session could last so long"),
        (json!({ "leeway": "1h" }), "5 minutes"),
        (json!({ "scopes": "a b" }), "not a scope"),
        (json!({ "emails": "example.com" }), "is no address"),
        (json!({ "claims": { "groups": [] } }), "no value of `groups`"),
        (json!({}), "no HTTP client"),
    ] {
        let said = refusal(change.clone());
        assert!(said.contains(reason) && !said.contains("s3cr3t"), "{change}: {said}");
    }
}

proptest! {
    #[test]
    fn no_cookie_and_no_query_lets_a_stranger_in(cookie in "[!-:<-~]{0,60}", query in "[a-z=&%0-9]{0,40}", method in "(GET|POST|HEAD)") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let issuer = Issuer::new();
            let stack = stack(&issuer, json!({}));
            for target in [format!("/?{query}"), format!("/oidc/callback?state=x&{query}"), format!("/oidc/logout?{query}")] {
                let mut browser = Browser(vec![("__Host-session".into(), cookie.clone()), ("__Host-session-login-x".into(), cookie.clone())]);
                let status = browser.send(&stack, method.parse().unwrap(), &target, &[]).await.status().as_u16();
                assert!([302, 400, 401, 403].contains(&status), "{target}: {status}");
            }
        });
    }
}
