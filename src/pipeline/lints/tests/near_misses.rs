//! Files that are nearly wrong, and files that are nearly right: what lints say of them.

use std::path::Path;

use super::check;

/// The lints that find something in a file.
fn found(text: &str) -> Vec<&'static str> {
    let found: Vec<_> = check(text, Path::new("/nowhere")).iter().map(|found| found.id).collect();
    assert!(!found.contains(&"refused"), "{text}");
    found
}

fn layers(layers: &str) -> String {
    format!(r#"{{ "layers": [{layers}], "app": {{ "respond": 204 }} }}"#)
}

fn routes(routes: &str) -> String {
    format!(r#"{{ "listen": "0.0.0.0:8000", "app": {{ "routes": [{routes}] }} }}"#)
}

#[test]
fn rules_that_let_everybody_in_are_no_guard() {
    let metrics = |layers: &str, condition: &str| {
        routes(&format!(
            r#"{{ "match": {{ "path": "/m"{condition} }}, "layers": [{layers}], "app": {{ "metrics": {{}} }} }}, {{ "app": {{ "respond": 204 }} }}"#
        ))
    };
    for (access, is_open) in [
        (r#"[{ "allow": "all" }]"#, true),
        (r#"[{ "allow": "0.0.0.0/0" }]"#, true),
        (r#"[{ "allow": ["0.0.0.0/1", "128.0.0.0/1"] }]"#, true),
        (r#"[{ "deny": "10.0.0.7" }, { "allow": "all" }]"#, true),
        (r#"[{ "allow": "10.0.0.0/8" }]"#, false),
        (r#"[{ "allow": "10.0.0.0/8" }, { "deny": ["0.0.0.0/0", "::/0"] }, { "allow": "unix" }]"#, false),
    ] {
        let file = metrics(&format!(r#"{{ "access": {access} }}"#), "");
        assert_eq!(found(&file).contains(&"figures-for-everyone"), is_open, "{file}");
        let guarded = format!(
            r#"{{ "apps": {{ "site": {{ "respond": 204 }} }}, "app": {{ "routes": [
                {{ "match": {{ "path": "/admin" }}, "layers": [{{ "access": {access} }}], "app": "site" }}, {{ "app": "site" }}
            ] }} }}"#
        );
        assert_eq!(found(&guarded).contains(&"auth-guards-one-path"), !is_open, "{guarded}");
        let challenges = format!(
            r#"{{ "layers": [{{ "access": {access} }}], "app": {{ "routes": [
                {{ "match": {{ "path": "/.well-known/acme-challenge/*" }}, "app": {{ "respond": 204 }} }}, {{ "app": {{ "respond": 404 }} }}
            ] }} }}"#
        );
        assert_eq!(found(&challenges).contains(&"acme-behind-guard"), !is_open, "{challenges}");
    }
    for (condition, is_open) in [
        (r#", "client": "0.0.0.0/0""#, true),
        (r#", "client": ["::/1", "8000::/1"]"#, true),
        (r#", "not": { "client": "10.0.0.7" }"#, true),
        (r#", "client_cert": false"#, true),
        (r#", "client": "10.0.0.0/8""#, false),
        (r#", "client_cert": true"#, false),
        (r#", "header": { "authorization": "Bearer abc" }"#, false),
        (r#", "header": { "authorization": true }"#, true),
    ] {
        assert_eq!(found(&metrics("", condition)).contains(&"figures-for-everyone"), is_open, "{condition}");
    }
    let before = r#"{ "match": { "not": { "client": "10.0.0.0/8" } }, "app": { "respond": 403 } }, { "app": { "metrics": {} } }"#;
    assert!(!found(&routes(before)).contains(&"figures-for-everyone"));
    let other_path = before.replace(r#""not""#, r#""path": "/x", "not""#);
    assert!(found(&routes(&other_path)).contains(&"figures-for-everyone"));
    for (trust, is_everybody) in
        [(r#"["0.0.0.0/1", "128.0.0.0/1"]"#, true), (r#""::/0""#, true), (r#"["10.0.0.0/8", "172.16.0.0/12"]"#, false)]
    {
        let file = format!(
            r#"{{ "listen": "0.0.0.0:8000", "layers": [{{ "forwarded": {{ "trust": {trust} }} }}], "app": {{ "respond": 204 }} }}"#
        );
        assert_eq!(found(&file).contains(&"trusts-everyone"), is_everybody, "{trust}");
    }
}

#[test]
fn layers_that_answer_without_a_refusal_refuse_nothing() {
    const BUFFER: &str = r#"{ "buffer": "1MiB" }"#;
    for layer in [r#"{ "cors": "https://a.example" }"#, r#"{ "slash": "remove" }"#, r#"{ "access": [{ "allow": "all" }] }"#] {
        for file in [layers(&format!(r#"{layer}, "request_id""#)), layers(&format!("{BUFFER}, {layer}"))] {
            assert_eq!(found(&file), [""; 0], "{file}");
        }
    }
    for layer in [r#"{ "csrf": [] }"#, r#"{ "limit": 10 }"#, r#"{ "access": [{ "deny": "10.0.0.7" }, { "allow": "all" }] }"#] {
        assert!(found(&layers(&format!(r#"{layer}, "request_id""#))).contains(&"refusals-without-id"), "{layer}");
        assert!(found(&layers(&format!("{BUFFER}, {layer}"))).contains(&"buffer-above-refusals"), "{layer}");
    }
}

#[test]
fn what_passes_every_request_on_hides_none_from_the_log() {
    let is_found = |layer: &str| found(&layers(&format!(r#"{layer}, "access_log""#))).contains(&"log-misses");
    assert!(is_found(r#"{ "rate_limit": "10/s" }"#) && is_found(r#"{ "slash": "remove" }"#));
    assert!(!is_found(r#"{ "rate_limit": { "allow": "10/s", "dry_run": true } }"#) && !is_found(r#"{ "access": [{ "allow": "all" }] }"#));
}

#[test]
fn a_path_with_or_without_its_slash_is_one_path_in_a_regular_expression_too() {
    let guarded = |path: &str| {
        format!(
            r#"{{ "apps": {{ "site": {{ "respond": 204 }} }}, "app": {{ "routes": [
                {{ "match": {{ "path": {path} }}, "layers": [{{ "access": [{{ "allow": "10.0.0.0/8" }}] }}], "app": "site" }}, {{ "app": "site" }}
            ] }} }}"#
        )
    };
    for (path, is_found) in [
        (r#"{ "regex": "/admin/?" }"#, true),
        (r#"{ "regex": "/admin" }"#, true),
        (r#"{ "regex": "/admin(/.*)?" }"#, false),
        (r#"{ "regex": "/admin/?.*" }"#, false),
        (r#"["/admin", "/admin/{rest*}"]"#, false),
        (r#""/report.pdf""#, false),
    ] {
        assert_eq!(found(&guarded(path)).contains(&"auth-guards-one-path"), is_found, "{path}");
    }
}

#[test]
fn files_at_the_mount_itself_are_found_nowhere() {
    let mounted = |at: &str| {
        format!(
            r#"{{ "app": {{ "routes": [
                {{ "mount": "/static", "layers": [{{ "static": {{ "at": "{at}", "root": "public" }} }}], "app": {{ "respond": 404 }} }},
                {{ "app": {{ "respond": 204 }} }}
            ] }} }}"#
        )
    };
    for (at, is_found) in [("/static", true), ("/static/css", true), ("/", false), ("/staticfiles", false), ("/css", false)] {
        assert_eq!(found(&mounted(at)).contains(&"at-repeats-mount"), is_found, "{at}");
    }
}

#[test]
fn what_routes_before_take_does_not_come_to_a_layer() {
    let site = |first: &str| {
        format!(
            r#"{{ "listen": [":80", {{ "at": ":443", "tls": {{ "cert": "c", "key": "k" }} }}], "app": {{ "routes": [
                {{ "match": {{ "path": "/healthz" }}, "app": {{ "respond": 204 }} }},
                {{ "match": {{ {first} }}, "app": {{ "redirect": "https://{{host}}{{path}}{{query}}" }} }},
                {{ "layers": [{{ "basic_auth": {{ "users": "users" }} }}], "app": {{ "respond": 204 }} }}
            ] }} }}"#
        )
    };
    assert_eq!(found(&site(r#""scheme": "http""#)), [""; 0]);
    assert!(found(&site(r#""scheme": "http", "path": "/a""#)).contains(&"password-in-clear"));
    // The fallback that redirects is for http alone.
    let last = r#"{ "listen": [":80", { "at": ":443", "tls": { "cert": "c", "key": "k" } }], "app": { "routes": [
        { "match": { "scheme": "https" }, "app": { "respond": 204 } }, { "app": { "redirect": "https://{host}{path}{query}" } }
    ] } }"#;
    assert_eq!(found(last), [""; 0]);
}

#[test]
fn preflights_may_have_a_route_of_their_own() {
    let calls = r#"{ "match": { "path": "/api/*", "method": ["GET", "POST"] }, "layers": ["cors"], "app": { "respond": 204 } }"#;
    let preflights = |path: &str, layers: &str| {
        format!(r#"{{ "match": {{ "path": "{path}", "method": "OPTIONS" }}, "layers": [{layers}], "app": {{ "respond": 204 }} }}"#)
    };
    let is_found = |routes: &str| found(&format!(r#"{{ "app": {{ "routes": [{routes}] }} }}"#)).contains(&"preflight-without-route");
    assert!(!is_found(&format!(r#"{}, {calls}"#, preflights("/api/*", r#""cors""#))));
    assert!(is_found(&format!(r#"{}, {calls}"#, preflights("/other/*", r#""cors""#))));
    assert!(is_found(&format!(r#"{}, {calls}"#, preflights("/api/*", ""))));
}

#[test]
fn a_rewrite_that_another_layer_serves_is_in_time() {
    let file = |last: &str| {
        layers(&format!(
            r#"{{ "static": {{ "at": "/static", "root": "a" }} }}, {{ "rewrite": {{ "from": "/old/*", "to": "/static/*" }} }}{last}"#
        ))
    };
    assert!(found(&file("")).contains(&"rewrite-below-files"));
    assert!(!found(&file(r#", { "static": { "at": "/static", "root": "b" } }"#)).contains(&"rewrite-below-files"));
}

#[test]
fn a_claim_that_tells_neither_client_nor_scheme_may_be_removed() {
    let is_found = |name: &str| {
        found(&layers(&format!(
            r#"{{ "headers": {{ "request": {{ "remove": "{name}" }} }} }}, {{ "forwarded": {{ "trust": "10.0.0.0/8" }} }}"#
        )))
        .contains(&"header-removed-above")
    };
    assert!(is_found("x-forwarded-for") && !is_found("x-forwarded-host"));
}

#[test]
fn a_front_server_says_the_scheme() {
    let hsts = r#"{ "security_headers": { "hsts": {} } }"#;
    let file = |listen: &str| format!(r#"{{ "listen": {listen}, "layers": [{hsts}], "app": {{ "respond": 204 }} }}"#);
    for protocol in ["fastcgi", "scgi", "uwsgi"] {
        let gateway = format!(r#"{{ "at": "unix:run/site.sock", "protocol": "{protocol}" }}"#);
        assert!(!found(&file(&gateway)).contains(&"hsts-never-sent"));
        assert!(!found(&file(&format!(r#"["127.0.0.1:8000", {gateway}]"#))).contains(&"hsts-never-sent"));
    }
    assert!(found(&file(r#""unix:run/site.sock""#)).contains(&"hsts-never-sent"));
}

#[test]
fn whoever_may_be_a_front_server_is_believed() {
    let is_found = |listen: &str, layers: &str| {
        found(&format!(r#"{{ "listen": {listen}, "layers": [{layers}], "app": {{ "respond": 204 }} }}"#)).contains(&"trusts-everyone")
    };
    let gateway = |at: &str, trust: &str| format!(r#"{{ "at": "{at}", "protocol": "uwsgi", "trust": {trust} }}"#);
    for (at, trust, is_open) in [
        ("0.0.0.0:3031", r#"["0.0.0.0/0"]"#, true),
        ("0.0.0.0:3031", r#"["unix", "0.0.0.0/1", "128.0.0.0/1"]"#, true),
        ("[::]:3031", r#"["::/0"]"#, true),
        ("127.0.0.1:3031", r#"["0.0.0.0/0"]"#, false),
        ("0.0.0.0:3031", r#"["10.0.0.0/8"]"#, false),
    ] {
        assert_eq!(is_found(&gateway(at, trust), ""), is_open, "{at} {trust}");
    }
    let everybody = r#"{ "forwarded": { "trust": "0.0.0.0/0" } }"#;
    assert!(is_found(&gateway("127.0.0.1:3031", r#"["127.0.0.1"]"#), everybody));
    assert!(!is_found(r#""127.0.0.1:8000""#, everybody));
}

#[test]
fn a_guarded_path_may_end_with_a_slash_and_its_guard_may_stand_in_apps() {
    let guard = r#""layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }]"#;
    let is_found = |path: &str, app: &str, apps: &str| {
        let file = format!(
            r#"{{ "apps": {{ "site": {{ "respond": 204 }}, "other": {{ "respond": 204 }}{apps} }},
                "app": {{ "routes": [{{ "match": {{ "path": {path} }}, {app} }}, {{ "app": "site" }}] }} }}"#
        );
        found(&file).contains(&"auth-guards-one-path")
    };
    let of_route = format!(r#"{guard}, "app": "site""#);
    for (path, is_open) in [
        (r#""/admin""#, true),
        (r#""/admin/""#, true),
        (r#""/v1.2/""#, true),
        (r#"["/admin", "/admin/"]"#, true),
        (r#""/admin/*""#, false),
        (r#""/""#, false),
        (r#""/robots.txt""#, false),
    ] {
        assert_eq!(is_found(path, &of_route, ""), is_open, "{path}");
    }
    let of_entry =
        |app: &str| format!(r#", "admin": {{ {guard}, "app": "{app}" }}, "outer": {{ "layers": ["request_id"], "app": "admin" }}"#);
    assert!(is_found(r#""/admin""#, r#""app": "admin""#, &of_entry("site")));
    assert!(is_found(r#""/admin""#, r#""app": "outer""#, &of_entry("site")));
}

#[test]
fn a_route_that_asks_for_a_cookie_reads_a_header() {
    let is_found = |header: &str, condition: &str| {
        let file = format!(
            r#"{{ "layers": [{{ "headers": {{ "request": {{ "remove": "{header}" }} }} }}],
                "app": {{ "routes": [{{ "match": {condition}, "app": {{ "respond": 204 }} }}, {{ "app": {{ "respond": 404 }} }}] }} }}"#
        );
        found(&file).contains(&"header-removed-above")
    };
    assert!(is_found("cookie", r#"{ "cookie": { "beta": "1" } }"#));
    assert!(is_found("cookie", r#"{ "cookie": { "beta": true } }"#));
    assert!(!is_found("cookie", r#"{ "cookie": { "beta": false } }"#));
    assert!(!is_found("x-a", r#"{ "cookie": { "beta": "1" } }"#));
}

#[test]
fn a_route_that_asks_for_the_scheme_is_decided_before_a_layer_of_a_later_route() {
    let is_found = |listen: &str, condition: &str, outer: &str| {
        let file = format!(
            r#"{{ "listen": {listen}, "layers": [{outer}],
                "apps": {{ "site": {{ "layers": [{{ "forwarded": {{ "trust": "127.0.0.1" }} }}], "app": {{ "respond": 204 }} }} }},
                "app": {{ "routes": [{{ "match": {condition}, "app": {{ "redirect": "https://{{host}}{{path}}" }} }}, {{ "app": "site" }}] }} }}"#
        );
        found(&file).contains(&"match-above-forwarded")
    };
    const PLAIN: &str = r#""127.0.0.1:8000""#;
    assert!(is_found(PLAIN, r#"{ "scheme": "http" }"#, ""));
    assert!(is_found(PLAIN, r#"{ "scheme": "https" }"#, ""));
    assert!(!is_found(PLAIN, r#"{ "path": "/old" }"#, ""));
    // Who is in this network may come past the proxy.
    assert!(!is_found(PLAIN, r#"{ "client": "10.0.0.0/8" }"#, ""));
    assert!(!is_found(PLAIN, r#"{ "scheme": "http" }"#, r#"{ "forwarded": { "trust": "127.0.0.1" } }"#));
    assert!(!is_found(r#"[":80", { "at": ":443", "tls": { "cert": "tls/a.pem", "key": "tls/a.key" } }]"#, r#"{ "scheme": "http" }"#, ""));
    assert!(!is_found(r#"{ "at": "unix:run/a.sock", "protocol": "uwsgi" }"#, r#"{ "scheme": "http" }"#, ""));
}

#[test]
fn files_have_a_header_for_caches_that_a_layer_above_overrules() {
    let headers = r#"{ "headers": { "response": { "set": { "cache-control": "no-store" } } } }"#;
    let files = |options: &str| format!(r#"{{ "static": {{ "at": "/static", "root": "files"{options} }} }}"#);
    let is_found = |upper: &str, lower: &str| found(&layers(&format!("{upper}, {lower}"))).contains(&"outer-header-wins");
    assert!(is_found(headers, &files(r#", "max_age": "1d""#)));
    assert!(is_found(headers, &files(r#", "immutable": true"#)));
    assert!(!is_found(headers, &files("")));
    assert!(!is_found(&files(r#", "max_age": "1d""#), headers));
}

#[test]
fn what_depends_on_scheme_and_host_stands_below_forwarded() {
    let forwarded = r#"{ "forwarded": { "trust": "127.0.0.1" } }"#;
    for layer in [r#""cache""#, r#""csrf""#] {
        assert!(found(&layers(&format!("{layer}, {forwarded}"))).contains(&"client-above-forwarded"), "{layer}");
        assert!(!found(&layers(&format!("{forwarded}, {layer}"))).contains(&"client-above-forwarded"), "{layer}");
    }
}
