//! Logins in the running program: `oidc` and `forward_auth`, with a provider that is another program, over real sockets, and in Debian's chromium.

use std::time::Instant;

use crate::browser::{Browser, Page};
use crate::dashboard::page;
use crate::redis_server::Redis;
use crate::support::{PATIENCE, Program};

const SITE: &str = include_str!("pages.py");

fn provider() -> Program {
    let pipeline = r#"{ "listen": "127.0.0.1:0", "app": { "wsgi": { "app": "provider:app", "workers": 0, "threads": 4 } } }"#;
    Program::start(pipeline, &[("provider.py", include_str!("provider.py"))])
}

/// A site behind `oidc`, with more options.
fn site(provider: &Program, more: &str) -> Program {
    site_with(provider, "{}", more)
}

/// One with this `server`.
fn site_with(provider: &Program, server: &str, more: &str) -> Program {
    let pipeline = format!(
        r#"{{
            "listen": "127.0.0.1:0",
            "server": {server},
            "layers": ["access_log", {{ "oidc": {{
                "issuer": "http://{}", "client_id": "wiki", "client_secret": "s3cr3t&", "secrets": "0123456789abcdef0123456789abcdef",
                "user": "email", "emails": "@example.com", "claims": {{ "groups": "staff" }}, "headers": {{ "x-groups": "groups" }}{more}
            }} }}],
            "app": {{ "wsgi": {{ "app": "pages:app", "workers": 0, "threads": 2 }} }}
        }}"#,
        provider.address()
    );
    Program::start(&pipeline, &[("pages.py", SITE)])
}

/// As a browser asks for a page.
const PAGE: &[(&str, &str)] = &[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")];

/// What a `Location` is below this server.
fn target<'p>(page: &'p Page, server: &Program) -> &'p str {
    let location = page.header("location");
    location.strip_prefix(&format!("http://{}", server.address())).unwrap_or(location)
}

/// Follows a login up to the address that the provider sends the browser back to.
fn way_back(site: &mut Browser<'_>, provider: &Program, site_program: &Program, at: &str) -> String {
    let begun = site.request("GET", at, PAGE, b"");
    assert_eq!(begun.status, 302, "{}", begun.text());
    let mut visitor = Browser::new(provider);
    let form = visitor.get(target(&begun, provider));
    assert!(form.status == 200 && form.text().contains("<form"), "{}", form.text());
    let sent = visitor.post(target(&begun, provider), &[("user", "ann")]);
    assert_eq!(sent.status, 302, "{}", sent.text());
    target(&sent, site_program).to_owned()
}

#[test]
fn a_login_is_good_for_one_browser_and_one_time() {
    let provider = provider();
    let program = site(&provider, "");
    let mut ann = Browser::new(&program);
    let back = way_back(&mut ann, &provider, &program, "/page?a=1");
    // Somebody else cannot use it.
    let mut thief = Browser::new(&program);
    assert_eq!(thief.request("GET", &back, PAGE, b"").status, 400);
    let home = ann.request("GET", &back, PAGE, b"");
    assert_eq!((home.status, home.header("location")), (303, "/page?a=1"));
    let page = ann.request("GET", "/page?a=1", PAGE, b"").text();
    for shown in ["ann@example.com by OpenID", "<p id=groups>wiki,staff</p>", "at /page?a=1"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("__Host-"), "the app sees no cookie of the layer: {page}");
    // The same way back again, and with a code of one's own making.
    assert_eq!(ann.request("GET", &back, PAGE, b"").status, 400);
    let mut ben = Browser::new(&program);
    let forged = way_back(&mut ben, &provider, &program, "/").replace("code=", "code=x");
    assert_eq!(ben.request("GET", &forged, PAGE, b"").status, 400);
}

#[test]
fn a_cookie_that_was_changed_or_belongs_to_another_site_is_no_session() {
    let provider = provider();
    let program = site(&provider, "");
    let mut ann = Browser::new(&program);
    let back = way_back(&mut ann, &provider, &program, "/");
    let set = ann.request("GET", &back, PAGE, b"");
    let cookies = set.all("set-cookie");
    let session = cookies.iter().find_map(|cookie| cookie.strip_prefix("__Host-session=")?.split(';').next()).unwrap();
    let status = |value: &str, program: &Program| {
        let cookie = format!("__Host-session={value}");
        Browser::new(program).request("GET", "/", &[("Accept", "text/html"), ("Cookie", &cookie)], b"").status
    };
    assert_eq!(status(session, &program), 200);
    for at in [0, 10, 20, session.len() / 2, session.len() - 2] {
        let other = if session.as_bytes()[at] == b'A' { 'B' } else { 'A' };
        let changed = format!("{}{other}{}", &session[..at], &session[at + 1..]);
        assert_eq!(status(&changed, &program), 302, "{at}");
    }
    let other = site(&provider, r#", "cookie": "session", "realm": "other""#);
    assert_eq!(status(session, &other), 200, "the same client with the same secret is the same site");
    let stranger = site(&provider, r#", "cookie": "other""#);
    let cookie = format!("__Host-other={session}");
    assert_eq!(Browser::new(&stranger).request("GET", "/", &[("Accept", "text/html"), ("Cookie", &cookie)], b"").status, 302);
    // A script gets no redirect, and a logout of another site is refused.
    assert_eq!(Browser::new(&program).request("GET", "/api", &[("Accept", "*/*"), ("Sec-Fetch-Mode", "cors")], b"").status, 401);
    assert_eq!(ann.request("GET", "/oidc/logout", &[("Sec-Fetch-Site", "cross-site")], b"").status, 403);
    assert_eq!(ann.request("POST", "/oidc/logout", &[("Sec-Fetch-Site", "same-origin")], b"").status, 303);
    assert_eq!(status(session, &program), 302, "a copy of the cookie is over, too");
}

#[test]
fn a_logout_ends_a_session_on_all_machines_that_share_a_redis() {
    let Some(mut redis) = Redis::start() else { return eprintln!("redis-server is not installed") };
    let provider = provider();
    let server = |timeout: &str| format!(r#"{{ "store": {{ "url": "{}", "timeout": "{timeout}" }} }}"#, redis.url());
    let mut one = site_with(&provider, &server("1s"), "");
    let other = site_with(&provider, &server("1s"), "");
    let strict = site_with(&provider, &server("1s"), r#", "on_store_failure": "refuse""#);
    let mut ann = Browser::new(&one);
    let back = way_back(&mut ann, &provider, &one, "/");
    let set = ann.request("GET", &back, PAGE, b"");
    let session =
        set.all("set-cookie").iter().find_map(|cookie| Some(cookie.strip_prefix("__Host-session=")?.split(';').next()?.to_owned()));
    let cookie = format!("__Host-session={}", session.unwrap());
    let ask = |program: &Program| Browser::new(program).request("GET", "/", &[("Accept", "text/html"), ("Cookie", &cookie)], b"").status;
    let until = |program: &Program, status: u16| {
        let since = Instant::now();
        while ask(program) != status {
            assert!(since.elapsed() < PATIENCE, "{}", program.log());
        }
    };
    until(&strict, 200);
    assert_eq!((ask(&one), ask(&other)), (200, 200));
    // Without an answer, each process knows its own logouts.
    redis.signal("STOP");
    until(&strict, 503);
    assert_eq!((ask(&one), ask(&other)), (200, 200));
    redis.signal("CONT");
    until(&strict, 200);
    let log_out = [("Sec-Fetch-Site", "same-origin"), ("Cookie", &*cookie)];
    // One that has not heard of the store yet would end the session here alone.
    let ended = || redis.ask(&["KEYS", "ziggurat:value:oidc:ended:*"]);
    let since = Instant::now();
    while ended().is_empty() {
        assert_eq!(Browser::new(&one).request("POST", "/oidc/logout", &log_out, b"").status, 303);
        assert!(since.elapsed() < PATIENCE, "{}", one.log());
    }
    until(&other, 302);
    assert_eq!((ask(&one), ask(&strict)), (302, 302));
    let left: u64 = redis.ask(&["PTTL", &ended()]).parse().unwrap();
    assert!((23 * 3_600_000..=24 * 3_600_000).contains(&left), "{left}");
    redis.kill();
    until(&strict, 503);
    assert_eq!(ask(&one), 302, "it was here");
    drop(ann);
    one.wait_for_log("the store does not decide, layers do what `on_store_failure` says");
}

#[test]
fn who_is_logged_in_does_not_notice_that_the_provider_is_gone() {
    let provider = provider();
    let program = site(&provider, "");
    let mut ann = Browser::new(&program);
    let back = way_back(&mut ann, &provider, &program, "/");
    assert_eq!(ann.request("GET", &back, PAGE, b"").status, 303);
    drop(provider);
    assert_eq!(ann.request("GET", "/", PAGE, b"").status, 200);
}

#[test]
fn a_browser_logs_in_and_out_and_scripts_never_see_the_session() {
    let provider = provider();
    let program = site(&provider, "");
    let Some((page, log)) = page(&program, "/logout-page?x=1", &["--dump-dom"]) else { return eprintln!("chromium is not installed") };
    for shown in [
        "ann@example.com by OpenID",
        "at /logout-page?x=1",
        "scripts see \"\"",
        "api 200",
        "logout opaqueredirect",
        "api after the logout 401",
        "done",
    ] {
        assert!(page.contains(shown), "{shown}: {page}\n{log}\n{}", program.log());
    }
}

#[test]
fn a_session_ends_in_a_browser_however_much_it_is_used() {
    let provider = provider();
    let program = site(&provider, r#", "session": "2s", "longest": "3s""#);
    let Some((page, log)) = page(&program, "/expiry-page", &["--dump-dom"]) else { return eprintln!("chromium is not installed") };
    for shown in ["ann@example.com by OpenID", "api 200", "api after the end 401", "done"] {
        assert!(page.contains(shown), "{shown}: {page}\n{log}\n{}", program.log());
    }
}

/// A site behind `forward_auth`, and the server that it asks.
fn guarded() -> (Program, Program) {
    let decider = Program::start(
        r#"{
            "listen": "127.0.0.1:0",
            "layers": [{ "forwarded": "127.0.0.1" }],
            "app": { "wsgi": { "app": "decider:app", "workers": 0, "threads": 2 } }
        }"#,
        &[("decider.py", include_str!("decider.py"))],
    );
    let pipeline = format!(
        r#"{{
            "listen": "127.0.0.1:0",
            "layers": ["access_log"],
            "app": {{ "routes": [
                {{ "match": {{ "path": "/login" }}, "app": {{ "proxy": "http://{0}" }} }},
                {{
                    "layers": [{{ "forward_auth": {{ "to": "http://{0}/check", "user": "remote-user", "response_headers": "x-groups" }} }}],
                    "app": {{ "wsgi": {{ "app": "pages:app", "workers": 0, "threads": 2 }} }}
                }}
            ] }}
        }}"#,
        decider.address()
    );
    (Program::start(&pipeline, &[("pages.py", SITE)]), decider)
}

#[test]
fn a_browser_comes_in_by_the_page_of_the_server_that_is_asked() {
    let (program, _decider) = guarded();
    let Some((page, log)) = page(&program, "/page?x=1", &["--dump-dom"]) else { return eprintln!("chromium is not installed") };
    for shown in ["ann by ForwardAuth", "<p id=\"groups\">wiki</p>", "at /page?x=1", "api 200", "done"] {
        assert!(page.contains(shown), "{shown}: {page}\n{log}\n{}", program.log());
    }
}

#[test]
fn a_client_cannot_say_who_it_is_and_nobody_comes_in_without_a_decision() {
    let (mut program, decider) = guarded();
    let claims = &[("Remote-User", "root"), ("X-Groups", "admins"), ("X-Forwarded-Uri", "/public"), ("Cookie", "known=ann")];
    let page = Browser::new(&program).request("GET", "/page", claims, b"").text();
    assert!(page.contains("ann by ForwardAuth") && page.contains("<p id=groups>wiki</p>"), "{page}");
    let refused = Browser::new(&program).request("GET", "/api", &claims[..3], b"");
    assert_eq!((refused.status, refused.header("www-authenticate"), refused.text().as_str()), (401, "Cookie", "no cookie"));
    let sent = Browser::new(&program).request("POST", "/form", &[("Cookie", "known=ann"), ("Content-Type", "text/plain")], b"a body");
    assert_eq!(sent.status, 200);
    program.wait_for_log("127.0.0.1 - ann [");
    drop(decider);
    let refused = Browser::new(&program).request("GET", "/page", claims, b"");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{}", refused.text());
}
