//! One environ from the outermost Python layer to the app; native layers between change what they mean to change.

use serde_json::{Value, json};

use crate::support::{Answer, EXECUTORS, Executor, Site, folders, get};

fn value(answer: &Answer, key: &str) -> Value {
    answer.json().get(key).cloned().unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environ_is_one_dict_and_keeps_what_its_owners_put_there() {
    for executor in EXECUTORS {
        for between in ["", r#", "headers""#, r#", "compress", "request_id", { "wsgi": "across:Through" }, "security_headers""#] {
            let site = Site::new(&format!(r#"[{{ "wsgi": "across:Keys" }}{between}]"#), "across:app", executor);
            let answer = site.get("/about").await;
            let (thing, list) = (value(&answer, "across.thing"), value(&answer, "across.list"));
            assert_eq!((thing, list, value(&answer, "across.none")), (json!("object"), json!([1, 2]), Value::Null));
            assert_eq!(value(&answer, "REMOTE_USER"), Value::Null);
            let events = site.events().await;
            let said = events.iter().rev().find(|event| event.starts_with("inner=")).unwrap();
            assert_eq!(said, "inner=from the app same=[True] changed=[]", "{between} with {executor:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signed_on_in_python_is_known_below() {
    for executor in EXECUTORS {
        let layers = r#"[{ "wsgi": "across:SignOn" }, { "access_log": { "to": "@FOLDER/access", "format": "%(u)s %(s)s" } }]"#;
        let site = Site::new(layers, "across:app", executor);
        let answer = site.send(get("/about", &[("x-user", "ann")])).await;
        assert_eq!((value(&answer, "REMOTE_USER"), value(&answer, "AUTH_TYPE")), (json!("ann"), json!("Custom")));
        crate::support::wait_until("the line is written", || site.file("access").contains("ann 200"));
        // What no header could say passes as it is.
        assert_eq!(value(&site.get("/about").await, "REMOTE_USER"), json!("zo\u{eb}"));
        let wide = r#"[{ "wsgi": { "middleware": "across:Set", "kwargs": { "REMOTE_USER": "Łukasz" } } }, "headers"]"#;
        assert_eq!(value(&Site::new(wide, "across:app", executor).get("/about").await, "REMOTE_USER"), json!("Łukasz"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_native_layers_change_are_seen_and_stale_ones_are_gone() {
    for executor in EXECUTORS {
        let layers = r#"[
            { "wsgi": { "middleware": "across:Set", "kwargs": { "HTTP_X_PYTHON": "1", "HTTP_X_SET": "old", "across.kept": "x" } } },
            { "headers": { "request": { "remove": ["x-gone", "cookie"], "set": { "x-set": "new" }, "append": { "x-two": "b" } } } },
            { "wsgi": "across:Through" }
        ]"#;
        let site = Site::new(layers, "across:app", executor);
        let answer = site.send(get("/about", &[("x-gone", "1"), ("cookie", "a=1"), ("x-two", "a"), ("x-kept", "k")])).await;
        for (key, expected) in [
            ("HTTP_X_PYTHON", json!("1")),
            ("HTTP_X_SET", json!("new")),
            ("HTTP_X_TWO", json!("a, b")),
            ("HTTP_X_KEPT", json!("k")),
            ("HTTP_X_GONE", Value::Null),
            ("HTTP_COOKIE", Value::Null),
            ("across.kept", json!("x")),
            ("HTTP_HOST", json!("test")),
        ] {
            assert_eq!(value(&answer, key), expected, "{key} with {executor:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_pass_the_border_as_they_were_written() {
    for executor in EXECUTORS {
        let native = Site::new("[]", "across:app", executor);
        let crossed = Site::new(r#"[{ "wsgi": "across:Through" }, "headers", { "wsgi": "across:Through" }]"#, "across:app", executor);
        for target in ["/a%2Fb/c", "/caf%C3%A9?q=%20x&y", "/%ff%00", "/100%", "/a+b", "//x//", "*", "/%zz%4", "/?", "/a?b?c", "/;a=1"] {
            let (before, after) = (native.get(target).await, crossed.get(target).await);
            for key in [
                "PATH_INFO",
                "SCRIPT_NAME",
                "QUERY_STRING",
                "REQUEST_URI",
                "RAW_URI",
                "SERVER_NAME",
                "SERVER_PORT",
                "REMOTE_ADDR",
                "REMOTE_PORT",
                "wsgi.url_scheme",
                "SERVER_PROTOCOL",
            ] {
                assert_eq!(value(&before, key), value(&after, key), "{key} of {target} with {executor:?}");
            }
        }
        let mut latin = get("/latin", &[]);
        latin.headers_mut().insert("x-latin", http::HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let answer = crossed.send(latin).await;
        assert_eq!((answer.headers["x-latin"].as_bytes(), answer.body.as_slice()), (&b"caf\xe9"[..], &b"caf\xe9"[..]));
        assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_below_python_match_what_python_made_of_the_path() {
    for executor in EXECUTORS {
        let (workers, threads) = match executor {
            Executor::Workers(threads) => (1, threads),
            Executor::Pool(threads) => (0, threads),
        };
        let app = json!({ "wsgi": { "app": "across:app", "path": folders() } });
        let routes = json!({ "routes": [
            { "match": { "path": "/moved" }, "app": { "respond": { "body": "found" } } },
            { "mount": "/blog", "layers": [{ "wsgi": "across:Through" }, "headers"], "app": app },
            { "match": { "path": "/x/*" }, "app": app },
            { "app": { "respond": 404 } },
        ] });
        let under = |layer: Value| Site::of(&json!([layer, "headers"]).to_string(), &routes);
        let layer = |middleware: &str, kwargs: Value| json!({ "wsgi": { "middleware": middleware, "kwargs": kwargs, "workers": workers, "threads": threads, "path": folders() } });
        let to = under(layer("across:Move", json!({ "to": "/moved" })));
        assert_eq!(to.get("/anything").await.text(), "found");
        let first = under(layer("across:Move", json!({})));
        let paths = |answer: &Answer| [value(answer, "SCRIPT_NAME"), value(answer, "PATH_INFO"), value(answer, "REQUEST_URI")];
        assert_eq!(paths(&first.get("/site/x/a%20b").await), ["/site", "/x/a b", "/site/x/a%20b"]);
        assert_eq!(paths(&first.get("/site/blog/post?q").await), ["/site/blog", "/post", "/site/blog/post?q"]);
        assert_eq!(paths(&first.get("/site/blog").await), ["/site/blog", "", "/site/blog"]);
        assert_eq!(first.get("/site/none").await.status, 404);
        let prefix = under(layer("across:Set", json!({ "SCRIPT_NAME": "/prefix" })));
        assert_eq!(paths(&prefix.get("/blog/post").await), ["/prefix/blog", "/post", "/blog/post"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_nobody_judged_are_seen_by_nobody() {
    for executor in EXECUTORS {
        let site = Site::new(r#"[{ "wsgi": "across:Through" }, "headers"]"#, "across:app", executor);
        let answer = site.send(get("/about", &[("x-forwarded-for", "203.0.113.7"), ("proxy", "evil"), ("x_under", "evil")])).await;
        for key in ["HTTP_X_FORWARDED_FOR", "HTTP_PROXY", "HTTP_X_UNDER"] {
            assert_eq!(value(&answer, key), Value::Null);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_path_is_the_apps_and_what_the_client_sent_stays() {
    for executor in EXECUTORS {
        for layers in [
            r#"[{ "rewrite": { "from": "/old/*", "to": "/new/*" } }]"#,
            r#"[{ "rewrite": { "from": "/old/*", "to": "/new/*" } }, { "wsgi": "across:Through" }, "headers", { "wsgi": "across:Through" }]"#,
            r#"[{ "wsgi": "across:Through" }, { "rewrite": { "from": "/old/*", "to": "/new/*" } }, { "wsgi": "across:Through" }]"#,
        ] {
            let site = Site::new(layers, "across:app", executor);
            let answer = site.get("/old/a%20b?q").await;
            let seen = ["SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI"].map(|key| value(&answer, key));
            assert_eq!(seen, ["", "/new/a b", "q", "/old/a%20b?q"], "{layers} with {executor:?}");
        }
    }
}
