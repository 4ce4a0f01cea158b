//! `server_timing`: tells the client where the time of a response has gone.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::options::OneOrMany;
use crate::timing::{AppPart, RequestClock};
use crate::{
    Behavior, ConnectionInfo, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Peer, RemoteUser, Request,
    RequestSummary, Response, Result, around,
};

/// Tells clients where the time of a response has gone, in the header `Server-Timing` (W3C), which browsers show among the times of a request.
///
/// ```text
/// Server-Timing: total;dur=23.8, queue;dur=0.04, python;dur=21.3, compress;dur=1.2, main;dur=22.1, blog.headers;desc="blog/headers";dur=0.01
/// ```
///
/// The times are milliseconds until the head of the response. `total` is that of the whole request so far, `queue`, `python` and `upstream` are parts of the app's time,
/// and the others are the [self times](../timing.md) of the layers and apps, at most 32. Times of bodies are known too late for a header.
///
/// The times tell much about a site, for instance whether a user name exists. So only the clients of this machine get them by default.
///
/// It needs `"timing": true` in `server`. Place it below `forwarded`, which knows the client, and above everything else: it has the times of the layers below it, and those of the layers above until they
/// passed the request on.
///
/// ```json
/// {
///   "server": { "timing": true },
///   "layers": [{ "server_timing": { "clients": ["loopback", "10.1.0.0/16"] } }, "compress"],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTiming {
    /// The clients that get the header: networks such as `10.0.0.0/8`, addresses, `unix` for clients on a Unix socket, and `loopback` for those of this machine.
    clients: OneOrMany<Client>,
    /// The users that get the header, from any address: those that an authentication layer, above or below, has found.
    users: OneOrMany<String>,
}

impl Default for ServerTiming {
    fn default() -> Self {
        Self { clients: OneOrMany(vec![Client::Loopback]), users: OneOrMany::default() }
    }
}

/// Whom `clients` means.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
enum Client {
    Loopback,
    Peer(Peer),
}

impl TryFrom<String> for Client {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "loopback" { Ok(Self::Loopback) } else { Peer::try_from(text).map(Self::Peer) }
    }
}

impl JsonSchema for Client {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimingClient".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A network such as `10.0.0.0/8`, an address, `unix`, or `loopback`." })
    }
}

impl Client {
    fn is(self, connection: &ConnectionInfo) -> bool {
        match self {
            Self::Loopback => connection.client.is_some_and(|client| client.to_canonical().is_loopback()),
            Self::Peer(peer) => peer.sent(connection),
        }
    }
}

impl Middleware for ServerTiming {
    const NAME: &'static str = "server_timing";
    const SHORTHAND: Option<&'static str> = Some("clients");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::NeedsConnectionInfo, Behavior::SetsResponseHeaders];

    fn validate(&self, findings: &mut Findings) {
        if self.clients.0.is_empty() && self.users.0.is_empty() {
            findings.push(Finding::new("nobody gets the header").at("clients").hint("name `clients` or `users`, or remove the layer"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        match self.is_allowed(explain.request()) {
            true => explain.note("adds `server-timing` to the response"),
            false if self.users.0.is_empty() => explain.note("adds nothing: the client may not see the times"),
            false => explain.note("adds `server-timing` to the response if a layer below finds out that the user may see it"),
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::SetsMoment(SERVER_TIMING));
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        if !context.place().is_timed() {
            return Err(Finding::new("the times are not measured").hint("write `\"timing\": true` in `server`"));
        }
        let allowed = Arc::new(self);
        Ok(around(move |request: &mut Request| {
            let clock = RequestSummary::of(request.extensions()).and_then(RequestSummary::clock).cloned();
            let is_allowed = allowed.is_allowed(request);
            let allowed = Arc::clone(&allowed);
            Ok(move |mut response: Response| {
                let is_allowed = is_allowed || allowed.has_user(response.extensions().get());
                if let Some(value) = clock.filter(|_| is_allowed).and_then(|clock| value(&clock)) {
                    response.headers_mut().append(SERVER_TIMING, value);
                }
                response
            })
        }))
    }
}

impl ServerTiming {
    /// Whether the client, or the user that a layer above has found, may see the times.
    fn is_allowed(&self, request: &Request) -> bool {
        let facts = request.extensions();
        let is_client = facts.get::<ConnectionInfo>().is_some_and(|connection| self.clients.0.iter().any(|client| client.is(connection)));
        is_client || self.has_user(facts.get())
    }

    fn has_user(&self, user: Option<&RemoteUser>) -> bool {
        user.is_some_and(|user| self.users.0.iter().any(|allowed| **allowed == *user.user))
    }
}

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// How many places the header tells.
const PLACES: usize = 32;

/// `total;dur=1.25, compress;dur=0.01`.
fn value(clock: &RequestClock) -> Option<HeaderValue> {
    let mut value = String::with_capacity(128);
    put(&mut value, "total", clock.elapsed());
    for part in AppPart::ALL {
        if let Some(time) = clock.part(part) {
            put(&mut value, part.as_str(), time);
        }
    }
    for time in clock.self_times().into_iter().take(PLACES) {
        put(&mut value, time.place.as_str(), time.request);
    }
    HeaderValue::try_from(value).ok()
}

/// Appends a metric. A name that is no token (RFC 9110 section 5.6.2) is its description.
fn put(value: &mut String, name: &str, time: Duration) {
    if !value.is_empty() {
        value.push_str(", ");
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    value.extend(name.chars().map(|c| if is_token(c) { c } else { '.' }));
    if !name.chars().all(is_token) && name.chars().all(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')) {
        // Writing to a string does not fail.
        let _ = write!(value, ";desc=\"{name}\"");
    }
    let _ = write!(value, ";dur={}", (time.as_secs_f64() * 1e6).round() / 1e3);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use tokio::time::sleep;

    use super::*;
    use crate::{Body, Next, TestStack, from_fn};

    fn stack(options: &str) -> TestStack {
        let slow = from_fn((), |(), request: Request, next: Next| async move {
            sleep(Duration::from_micros(1500)).await;
            next.run(request).await
        });
        let user = around(|_: &mut Request| {
            Ok(|mut response: Response| {
                response.extensions_mut().insert(RemoteUser { user: "ann".into(), auth_type: Cow::Borrowed("Basic") });
                response
            })
        });
        TestStack::of::<ServerTiming>(options).timed().then_stage(slow).then_stage(user).over(async |_| {
            sleep(Duration::from_secs(2)).await;
            let mut response = Response::new(Body::from("text"));
            response.headers_mut().insert(SERVER_TIMING, HeaderValue::from_static("db;dur=7"));
            response
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_times_of_layers_and_app_are_added_to_those_of_the_app() {
        let response = stack(r#""192.0.2.0/24""#).get("/").await;
        let values: Vec<_> = response.headers().get_all(SERVER_TIMING).iter().map(|value| value.to_str().unwrap()).collect();
        // Timers of tokio are in whole milliseconds.
        assert_eq!(values, ["db;dur=7", "total;dur=2002, server_timing;dur=0, test#2;dur=2, test;dur=0, app;dur=2000"]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_those_who_may_see_them_get_the_times() {
        for (options, is_shown) in [
            ("{}", false),
            (r#""192.0.2.1""#, true),
            (r#"{"clients": [], "users": "ann"}"#, true),
            (r#"{"clients": "10.0.0.0/8", "users": ["bob"]}"#, false),
        ] {
            let response = stack(options).get("/").await;
            assert_eq!(response.headers().get_all(SERVER_TIMING).iter().count() == 2, is_shown, "{options}");
        }
        let local = ConnectionInfo {
            client: Some(std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()),
            client_port: None,
            scheme: crate::Scheme::Http,
            server_port: None,
            local: None,
            is_vetted: false,
        };
        assert_eq!(stack("{}").get("/").fact(local).await.headers().get_all(SERVER_TIMING).iter().count(), 2);
    }

    #[test]
    fn a_stack_that_is_not_timed_is_refused() {
        assert_eq!(TestStack::refusal::<ServerTiming>("{}").len(), 1);
        assert_eq!(TestStack::refusal::<ServerTiming>(r#"{"clients": []}"#).len(), 1);
    }

    #[test]
    fn names_that_are_no_tokens_are_descriptions() {
        let mut value = String::new();
        for name in ["compress#2", "blog/compress", "größe", "a\"b"] {
            put(&mut value, name, Duration::from_nanos(1_234_567));
        }
        assert_eq!(value, "compress#2;dur=1.235, blog.compress;desc=\"blog/compress\";dur=1.235, gr..e;dur=1.235, a.b;dur=1.235");
    }
}
