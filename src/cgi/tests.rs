//! A request survives the conversion to variables and back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use proptest::prelude::*;
use ziggurat_middleware::{Authenticated, ClientCertificate, ConnectionInfo, Mount, RemoteUser, RequestId, Scheme, TlsInfo};

use super::{Invalid, Variable, VariableSink, VariableSource, content_length, from_request, push_header_variable, to_request};

/// Variables by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Variables(BTreeMap<Vec<u8>, Vec<u8>>);

impl Variables {
    fn of(parts: &Parts) -> Self {
        let mut variables = Self::default();
        from_request(parts, content_length(&parts.headers), &mut variables);
        variables
    }

    fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }
}

impl VariableSink for Variables {
    fn set(&mut self, variable: Variable, value: &[u8]) {
        assert!(self.0.insert(variable.name().into(), value.into()).is_none(), "{variable:?} is set twice");
    }

    fn set_header(&mut self, name: &HeaderName, value: &[u8]) {
        let mut variable = Vec::new();
        push_header_variable(name, &mut variable);
        assert!(self.0.insert(variable, value.into()).is_none(), "{name} is set twice");
    }
}

impl VariableSource for Variables {
    type Error = Invalid;

    fn get(&self, variable: Variable) -> Result<Option<Cow<'_, [u8]>>, Invalid> {
        Ok(self.0.get(variable.name().as_bytes()).map(Cow::from))
    }

    fn header_count(&self) -> usize {
        self.0.len()
    }

    fn headers(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Invalid>) -> Result<(), Invalid> {
        self.0.iter().try_for_each(|(name, value)| name.strip_prefix(b"HTTP_").map_or(Ok(()), |name| each(name, value)))
    }
}

/// Everything that [`to_request`] reads, in a comparable form.
fn seen(parts: &Parts) -> impl PartialEq + std::fmt::Debug + use<> {
    let (user, id) = (parts.extensions.get::<RemoteUser>().cloned(), parts.extensions.get::<RequestId>().cloned());
    let (mount, connection) = (parts.extensions.get::<Mount>().cloned(), parts.extensions.get::<ConnectionInfo>().cloned());
    let tls = parts.extensions.get::<TlsInfo>().cloned();
    (parts.method.clone(), parts.uri.to_string(), parts.version, parts.headers.clone(), (user, id, mount, connection, tls))
}

prop_compose! {
    fn path()(segments in prop::collection::vec("[a-zA-Z0-9._~!$&'()*+,;=:@-]{1,6}|%[0-7][0-9A-F]|%[89A-F][0-9a-f]|%zz|%", 0..5), slash in any::<bool>()) -> String {
        segments.iter().map(|segment| format!("/{segment}")).collect::<String>() + if slash || segments.is_empty() { "/" } else { "" }
    }
}

prop_compose! {
    fn headers()(
        named in prop::collection::btree_map("x(-[a-z0-9]{1,6}){1,2}|accept|cookie|user-agent", prop::collection::vec(0x21_u8..=0xff, 0..20), 0..6),
        host in prop::option::of("[a-z]{1,8}(:[1-9][0-9]{0,3})?"),
        content_type in prop::option::of("[a-z]{1,5}/[a-z]{1,5}"),
        length in prop::option::of(any::<u64>()),
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in named {
            let value: Vec<u8> = value.into_iter().filter(|octet| *octet != 0x7f).collect();
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(&value).unwrap());
        }
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        headers
    }
}

prop_compose! {
    fn facts()(
        client in prop::option::of(prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(|octets| IpAddr::from(octets).to_canonical())]),
        client_port in prop::option::of(any::<u16>()),
        is_secure in any::<bool>(),
        server_port in any::<u16>(),
        is_vetted in any::<bool>(),
        user in prop::option::of(("\\PC{1,10}", "[A-Za-z]{0,6}")),
        id in prop::option::of("[!-~]{1,20}"),
    ) -> (ConnectionInfo, Option<RemoteUser>, Option<RequestId>) {
        let scheme = if is_secure { Scheme::Https } else { Scheme::Http };
        let connection = ConnectionInfo { client, client_port, scheme, server_port: Some(server_port), local: None, is_vetted };
        let user = user.map(|(user, auth_type)| RemoteUser { user: user.into(), auth_type: auth_type.into() });
        (connection, user, id.and_then(|id| RequestId::new(id.parse().unwrap())))
    }
}

prop_compose! {
    /// The TLS of a connection.
    fn tls()(
        protocol in "TLSv1\\.[23]",
        cipher in "[A-Z0-9_-]{0,20}",
        server_name in prop::option::of("[a-z]{1,8}\\.test"),
        is_resumed in any::<bool>(),
        client in prop::option::of((["\\PC{0,20}", "\\PC{0,20}", "[0-9A-F]{2,8}", "\\PC{0,20}", "\\PC{0,20}"], prop::collection::vec("\\PC{1,10}", 0..4), prop::option::of("\\PC{0,8}"))),
    ) -> TlsInfo {
        let client = client.map(|([subject, issuer, serial, not_before, not_after], names, common_name)| {
            Arc::new(ClientCertificate {
                subject, issuer, serial, not_before, not_after,
                pem: common_name.clone().map(|name| format!("{name}\n")),
                issuer_common_name: common_name.clone(), common_name, emails: names.clone(), hosts: names.iter().rev().cloned().collect(), uris: names,
            })
        });
        TlsInfo { protocol: protocol.into(), cipher: cipher.into(), server_name: server_name.map(Into::into), is_resumed, client }
    }
}

prop_compose! {
    /// Requests that CGI can describe completely: no authority in the target, one line per header.
    fn requests()(
        method in "GET|POST|[A-Z!#$%&'*+.^_`|~-]{1,10}",
        version in prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3]),
        mount in prop::option::of("(/[a-z]{1,4}|/a%20b){1,2}"),
        path in path(),
        query in prop::option::of("[a-z0-9%=&/?+]{1,12}"),
        headers in headers(),
        (connection, user, id) in facts(),
        tls in prop::option::of(tls()),
    ) -> Parts {
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::from_bytes(method.as_bytes()).unwrap();
        parts.version = version;
        parts.uri = format!("{path}{query}").parse().unwrap();
        parts.headers = headers;
        if let Some(prefix) = mount {
            parts.extensions.insert(Mount { target: format!("{prefix}{path}{query}").parse().unwrap(), prefix: prefix.into() });
        }
        parts.extensions.insert(connection);
        user.map(|user| parts.extensions.insert(user));
        id.map(|id| parts.extensions.insert(id));
        tls.map(|tls| parts.extensions.insert(tls));
        parts
    }
}

proptest! {
    #[test]
    fn a_request_comes_back_from_its_variables(parts in requests()) {
        let is_vetted = parts.extensions.get::<ConnectionInfo>().unwrap().is_vetted;
        let read = to_request(&Variables::of(&parts), is_vetted).unwrap();
        prop_assert_eq!(seen(&read), seen(&parts));
    }

    #[test]
    fn any_variables_are_a_request_or_are_refused_with_a_reason(
        values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..30)), Variable::ALL.len()),
        headers in prop::collection::vec(("[ -~]{0,10}|CONTENT_LENGTH|TRANSFER_ENCODING|PROXY|\\PC{1,4}", prop::collection::vec(any::<u8>(), 0..30)), 0..6),
    ) {
        let mut variables = Variables::default();
        for (variable, value) in Variable::ALL.into_iter().zip(values) {
            if let Some(value) = value {
                variables = variables.with(variable.name(), &value);
            }
        }
        for (name, value) in headers {
            variables = variables.with(&format!("HTTP_{name}"), &value);
        }
        match to_request(&variables, false) {
            // A request that was read can be written and read again.
            Ok(parts) => {
                prop_assert!(parts.headers.get("proxy").is_none() && parts.headers.get(header::TRANSFER_ENCODING).is_none());
                prop_assert_eq!(parts.headers.get_all(header::CONTENT_LENGTH).iter().count(), usize::from(content_length(&parts.headers).is_some()));
                let again = to_request(&Variables::of(&parts), false).unwrap();
                prop_assert_eq!(again.uri.to_string(), parts.uri.to_string());
            }
            Err(invalid) => prop_assert!(invalid.to_string().contains(" is not ")),
        }
    }

    #[test]
    fn paths_of_any_octets_come_back_where_nobody_says_how_they_were_written(
        script in prop::collection::vec(1..=u8::MAX, 0..10), path in prop::collection::vec(any::<u8>(), 0..10), query in prop::collection::vec(any::<u8>(), 0..10)
    ) {
        let (script, path) = ([&b"/"[..], &script].concat(), [&b"/"[..], &path].concat());
        let variables = Variables::default().with("SCRIPT_NAME", &script).with("PATH_INFO", &path).with("QUERY_STRING", &query);
        let again = Variables::of(&to_request(&variables, false).unwrap());
        prop_assert_eq!((&again.0[&b"SCRIPT_NAME"[..]], &again.0[&b"PATH_INFO"[..]]), (&script, &path));
    }
}

#[test]
fn numbers_of_variables_are_their_places() {
    for (at, variable) in Variable::ALL.into_iter().enumerate() {
        assert_eq!(variable.index(), at);
    }
}

#[test]
fn values_that_no_request_can_have_are_refused_by_name() {
    for (name, value, reason) in [
        ("REQUEST_METHOD", &b"GE T"[..], "`REQUEST_METHOD` is not a method"),
        ("REQUEST_METHOD", b"", "`REQUEST_METHOD` is not a method"),
        ("CONTENT_LENGTH", b"-1", "`CONTENT_LENGTH` is not a length"),
        ("CONTENT_LENGTH", b"+1", "`CONTENT_LENGTH` is not a length"),
        ("CONTENT_LENGTH", b"99999999999999999999", "`CONTENT_LENGTH` is not a length"),
        ("CONTENT_TYPE", b"a\nb", "`CONTENT_TYPE` is not the value of a header"),
        ("HTTP_", b"a", "`HTTP_` is not the name of a header"),
        ("HTTP_X BAD", b"a", "`HTTP_X BAD` is not the name of a header"),
        ("HTTP_X_LINE", b"a\r\nb: c", "`HTTP_X_LINE` is not the value of a header"),
        ("PATH_INFO", &[b'a'; 70_000], "`PATH_INFO` is not a path, or is too long with the query"),
    ] {
        let refused = to_request(&Variables::default().with(name, value), false).unwrap_err();
        assert_eq!(refused.to_string(), reason);
    }
}

#[test]
fn variables_of_the_connection_and_those_that_contradict_others_are_passed_over() {
    let variables = Variables::default()
        .with("HTTP_CONTENT_LENGTH", b"5")
        .with("HTTP_TRANSFER_ENCODING", b"chunked")
        .with("HTTP_CONNECTION", b"upgrade")
        .with("HTTP_CONTENT_TYPE", b"text/x")
        .with("HTTP_PROXY", b"http://evil.example")
        .with("CONTENT_LENGTH", b"")
        .with("CONTENT_TYPE", b"");
    assert!(to_request(&variables, false).unwrap().headers.is_empty());
}

#[test]
fn a_client_without_the_name_of_its_user_is_authenticated() {
    let mut parts = Request::new(()).into_parts().0;
    parts.extensions.insert(Authenticated { auth_type: "ForwardAuth".into() });
    let variables = Variables::of(&parts);
    assert_eq!((variables.0.get(&b"REMOTE_USER"[..]), &*variables.0[&b"AUTH_TYPE"[..]]), (None, &b"ForwardAuth"[..]));
    let read = to_request(&variables, false).unwrap();
    assert_eq!(read.extensions.get::<Authenticated>(), parts.extensions.get());
    let named = to_request(&variables.with("REMOTE_USER", b"ann"), false).unwrap();
    assert!(named.extensions.get::<Authenticated>().is_none() && named.extensions.get::<RemoteUser>().is_some());
}

#[test]
fn lines_of_a_repeated_header_are_joined() {
    let mut parts = Request::new(()).into_parts().0;
    for (name, value) in [("x-two", "a"), ("x-two", "b"), ("cookie", "a=1"), ("cookie", "b=2")] {
        parts.headers.append(name, value.parse().unwrap());
    }
    let variables = Variables::of(&parts);
    assert_eq!((&*variables.0[&b"HTTP_X_TWO"[..]], &*variables.0[&b"HTTP_COOKIE"[..]]), (&b"a, b"[..], &b"a=1; b=2"[..]));
}

#[test]
fn a_target_that_a_middleware_has_moved_is_written_anew() {
    let moved = Variables::default().with("PATH_INFO", b"/b c").with("REQUEST_URI", b"/a?q");
    let parts = to_request(&moved, false).unwrap();
    assert_eq!((parts.uri.to_string().as_str(), &*Variables::of(&parts).0[&b"REQUEST_URI"[..]]), ("/b%20c", &b"/a?q"[..]));
    let kept = Variables::default().with("SCRIPT_NAME", b"/x").with("PATH_INFO", b"/a b").with("REQUEST_URI", b"/%78/a%20b?q");
    let parts = to_request(&kept, false).unwrap();
    let mount = parts.extensions.get::<Mount>().unwrap();
    assert_eq!((parts.uri.to_string(), &*mount.prefix, mount.target.to_string()), ("/a%20b".to_owned(), "/%78", "/%78/a%20b".to_owned()));
}
