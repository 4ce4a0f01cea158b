//! Whether what is said of conditions holds for requests.

use http::{HeaderValue, Method};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use ziggurat_middleware::{Body, ClientCertificate, ConnectionInfo, Request, Scheme, TlsInfo, request};

use super::*;

fn condition(json: &Value) -> Match {
    serde_json::from_value(json.clone()).unwrap()
}

/// One key with its value.
fn key() -> impl Strategy<Value = (&'static str, Value)> {
    let path = prop_oneof![
        "(/[ab]|/\\{x\\}){1,2}(/\\*|/)?".prop_filter_map("a name is unique", |text| text.parse::<Path>().is_ok().then(|| json!(text))),
        Just(json!("/*")),
        Just(json!("/a/{rest*}")),
        prop_oneof![Just("/a/?.*"), Just("/[ab]"), Just(".*"), Just("/a")].prop_map(|regex| json!({ "regex": regex })),
    ];
    let one_or_two =
        |values: BoxedStrategy<Value>| prop_oneof![values.clone(), proptest::collection::vec(values, 1..3).prop_map(Value::from)].boxed();
    let of = |list: &'static [&'static str]| proptest::sample::select(list).prop_map(Value::from).boxed();
    let values = || prop_oneof![Just(json!(true)), Just(json!(false)), Just(json!("1")), Just(json!(["1", "2"]))];
    let named =
        |names: &'static [&'static str]| (proptest::sample::select(names), values()).prop_map(|(name, values)| json!({ name: values }));
    prop_oneof![
        one_or_two(path.boxed()).prop_map(|value| ("path", value)),
        one_or_two(of(&["a.example", "*.a.example", "*.example", "::1"])).prop_map(|value| ("host", value)),
        one_or_two(of(&["GET", "HEAD", "POST"])).prop_map(|value| ("method", value)),
        of(&["http", "https"]).prop_map(|value| ("scheme", value)),
        one_or_two(of(&["10.0.0.0/8", "10.1.0.0/16", "::ffff:10.1.0.1", "fd00::/8", "::/0", "0.0.0.0/0"]))
            .prop_map(|value| ("client", value)),
        named(&["x-a", "X-A", "x-b"]).prop_map(|value| ("header", value)),
        named(&["c", "d"]).prop_map(|value| ("cookie", value)),
        named(&["q", "r"]).prop_map(|value| ("query", value)),
    ]
}

fn keys() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::vec(key(), 1..3).prop_map(|keys| keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Conditions with a `not` in every second of them, and a `not` in that sometimes.
fn conditions() -> impl Strategy<Value = Value> {
    let with_not = |(mut keys, not): (Map<String, Value>, Option<Value>)| {
        not.into_iter().for_each(|not| _ = keys.insert("not".to_owned(), not));
        Value::Object(keys)
    };
    let inner = (keys(), proptest::option::weighted(0.3, keys().prop_map(Value::Object))).prop_map(with_not);
    (prop_oneof![keys(), Just(Map::new())], proptest::option::of(inner)).prop_map(with_not)
}

fn requests() -> impl Strategy<Value = Request> {
    let head = (
        proptest::sample::select(&[Method::GET, Method::HEAD, Method::POST, Method::PUT][..]),
        "(/[ab]|/c|/%61){0,3}/?",
        proptest::sample::select(&["", "?q=1", "?q=2&r=1", "?q=3&q=1", "?r"][..]),
        proptest::sample::select(&["", "a.example", "b.a.example", "c.example", "[::1]"][..]),
    );
    let rest = (
        proptest::option::of(proptest::sample::select(&["10.1.0.1", "::ffff:10.2.0.1", "fd00::1", "11.0.0.1"][..])),
        any::<bool>(),
        proptest::collection::vec((proptest::sample::select(&["x-a", "x-b"][..]), "[123]"), 0..3),
        proptest::sample::select(&["", "c=1", "c=2; d=1", "c=3; c=1", "d="][..]),
    );
    (head, rest).prop_map(|((method, path, query, host), (client, secure, headers, cookie))| {
        let target = if path.is_empty() { "*".to_owned() } else { format!("{path}{query}") };
        let mut request = request(method, &target, Body::empty());
        request.headers_mut().remove("host");
        let named = [("host", host), ("cookie", cookie)].into_iter().filter(|(_, value)| !value.is_empty());
        for (name, value) in named.chain(headers.iter().map(|(name, value)| (*name, value.as_str()))) {
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        request.extensions_mut().insert(ConnectionInfo {
            client: client.map(|client| client.parse().unwrap()),
            client_port: None,
            scheme: if secure { Scheme::Https } else { Scheme::Http },
            server_port: None,
            local: None,
            is_vetted: true,
        });
        request
    })
}

/// Each key by itself, in order, and `not` last.
fn alone(condition: &Value) -> Vec<Value> {
    condition.as_object().unwrap().iter().map(|(key, value)| json!({ key: value })).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// A route is never called unreachable, or impossible, while a request shows the contrary.
    #[test]
    fn what_covers_holds_wherever_the_covered_holds(
        [one, two] in [conditions(), conditions()],
        requests in proptest::collection::vec(requests(), 24),
        mounts in [any::<Option<bool>>(), any::<Option<bool>>()],
    ) {
        let [broad, narrow] = [condition(&one), condition(&two)];
        let mounts = mounts.map(|mount| mount.map(|a| if a { "/a" } else { "/a/b" }.parse::<Prefix>().unwrap()));
        let [a, b] = [Condition::new(Some(&broad), mounts[0].as_ref()), Condition::new(Some(&narrow), mounts[1].as_ref())];
        let (covers, excludes) = (a.covers(&b), a.excludes(&b));
        for request in &requests {
            let view = RequestView::new(request);
            let holds = |keys: &Match, mount: &Option<Prefix>| {
                keys.mismatch(&view).is_none() && mount.as_ref().is_none_or(|mount| mount.holds(view.path().octets()))
            };
            let held = [holds(&broad, &mounts[0]), holds(&narrow, &mounts[1])];
            prop_assert!(!covers || !held[1] || held[0], "{one} covers {two}: {request:?}");
            prop_assert!(!excludes || held != [true, true], "{one} excludes {two}: {request:?}");
            prop_assert!(!held[0] || !a.contradicts_itself() && !a.misses_its_mount(), "{one} is impossible: {request:?}");
        }
    }

    /// A condition holds where each of its keys does, `not` where the inner one does not, and it survives the way to another process.
    #[test]
    fn all_keys_hold_together(json in conditions(), requests in proptest::collection::vec(requests(), 8)) {
        let whole = condition(&json);
        let sent = condition(&serde_json::to_value(&whole).unwrap());
        for request in &requests {
            let view = RequestView::new(request);
            let each = alone(&json).iter().all(|key| match key.get("not") {
                Some(not) => condition(not).mismatch(&view).is_some(),
                None => condition(key).mismatch(&view).is_none(),
            });
            prop_assert_eq!(whole.mismatch(&view).is_none(), each);
            prop_assert_eq!(whole.mismatch(&view).map(|key| key.to_string()), sent.mismatch(&view).map(|key| key.to_string()));
        }
    }
}

#[test]
fn the_subject_of_a_client_certificate_is_matched_and_only_of_one_that_tls_has_verified() {
    let of = |subject: Option<&str>| {
        let mut request = request(http::Method::GET, "/", Body::empty());
        request.headers_mut().insert("ssl-client-s-dn", HeaderValue::from_static("CN=ann"));
        let client = subject.map(|subject| ClientCertificate { subject: subject.to_owned(), ..ClientCertificate::default() }.into());
        request.extensions_mut().insert(TlsInfo {
            protocol: "TLSv1.3".into(),
            cipher: "".into(),
            server_name: None,
            is_resumed: false,
            client,
        });
        request
    };
    for (keys, subject, holds) in [
        (json!({ "client_cert": true }), Some("CN=ann"), true),
        (json!({ "client_cert": true }), None, false),
        (json!({ "client_cert": false }), None, true),
        (json!({ "client_cert": false }), Some("CN=ann"), false),
        (json!({ "client_cert": "CN=ann" }), Some("CN=ann"), true),
        (json!({ "client_cert": ["CN=bob", "CN=ann"] }), Some("CN=ann"), true),
        (json!({ "client_cert": "CN=ann" }), Some("CN=ann,O=Evil"), false),
        (json!({ "client_cert": "CN=ann" }), None, false),
    ] {
        assert_eq!(condition(&keys).mismatch(&RequestView::new(&of(subject))).is_none(), holds, "{keys} {subject:?}");
    }
    let plain = request(http::Method::GET, "/", Body::empty());
    assert!(condition(&json!({ "client_cert": true })).mismatch(&RequestView::new(&plain)).is_some());
}

#[test]
fn what_a_condition_covers_is_found() {
    for (broad, narrow) in [
        (json!({}), json!({ "not": { "path": "/a" } })),
        (json!({ "client_cert": true }), json!({ "client_cert": "CN=ann" })),
        (json!({ "client_cert": ["CN=ann", "CN=bob"] }), json!({ "client_cert": "CN=ann", "method": "GET" })),
        (json!({ "scheme": "http" }), json!({ "scheme": "http", "path": "/a" })),
        (json!({ "client": "10.0.0.0/8" }), json!({ "client": ["10.1.0.0/16", "::ffff:10.2.0.1"] })),
        (json!({ "cookie": { "a": true } }), json!({ "cookie": { "a": ["1", "2"] } })),
        (json!({ "path": "/users/{id}" }), json!({ "path": ["/users/me", "/users/{name}"] })),
        (json!({ "path": { "regex": "/[a-c]" } }), json!({ "path": "/b" })),
        (json!({ "not": { "path": "/api/*" } }), json!({ "path": "/blog/*" })),
        (json!({ "not": { "path": "/api/v1" } }), json!({ "not": { "path": "/api/*" } })),
        (json!({ "not": { "scheme": "https" } }), json!({ "scheme": "http", "host": "a" })),
        (json!({ "not": { "cookie": { "a": "1" } } }), json!({ "cookie": { "a": false } })),
        (json!({ "path": "/a", "not": { "not": { "method": "GET" } } }), json!({ "path": "/a", "method": "HEAD" })),
    ] {
        let [one, two] = [condition(&broad), condition(&narrow)];
        assert!(Condition::new(Some(&one), None).covers(&Condition::new(Some(&two), None)), "{broad} {narrow}");
    }
    let nothing = condition(&json!({ "path": "/a/b", "not": { "path": "/a/*" } }));
    assert!(Condition::new(Some(&nothing), None).contradicts_itself());
}

#[test]
fn reasons_name_the_key() {
    let request = request(Method::GET, "/a?q=1", Body::empty());
    for (json, reason) in [
        (json!({ "scheme": "https" }), "scheme"),
        (json!({ "client": "11.0.0.0/8" }), "client"),
        (json!({ "cookie": { "c": true } }), "cookie `c`"),
        (json!({ "query": { "q": false } }), "query `q`"),
        (json!({ "not": { "path": "/{x}" } }), "not"),
    ] {
        assert_eq!(condition(&json).mismatch(&RequestView::new(&request)).unwrap().to_string(), reason);
    }
}
