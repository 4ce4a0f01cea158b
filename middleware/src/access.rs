//! `access`: lets clients in by their network.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::metrics::Counter;
use crate::network::lets_everybody_in;
use crate::options::OneOrMany;
use crate::{
    Behavior, ConnectionInfo, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Metrics, Middleware, Network, Peer, Problem,
    Request, Response, Result, around,
};

/// Lets clients in by their network, and refuses the others with `403 Forbidden`.
///
/// The rules are tried in order, and the first one that names the client decides. A client that no rule names is refused. So a list of those who may come in needs
/// no last rule, and a list of those who may not ends with `{ "allow": "all" }`.
///
/// The client is the one that [`forwarded`](forwarded.md) has found, or else the peer of the connection. An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) is the
/// IPv4 address.
///
/// The first refusal is logged, and then one line in 10 seconds says how many there were. `ziggurat_access_refused_total` counts them.
///
/// Place it below `forwarded` and `access_log`, and above everything that costs time.
///
/// ```json
/// {
///   "layers": [
///     "access_log",
///     { "access": [{ "deny": "10.0.0.7" }, { "allow": ["10.0.0.0/8", "fd00::/8", "unix"] }] }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
///
/// In a route, it protects a part of the site:
///
/// ```json
/// {
///   "app": {
///     "routes": [
///       { "match": { "path": "/admin/*" }, "layers": [{ "access": { "rules": [{ "allow": "192.0.2.0/24" }] } }], "app": { "wsgi": "hello:app" } },
///       { "app": { "wsgi": "hello:app" } }
///     ]
///   }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The rules, in the order in which they are tried.
    rules: Vec<AccessRule>,
}

/// Who is let in, or who is not: one of `allow` and `deny`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct AccessRule {
    /// Clients that are let in: networks such as `10.0.0.0/8` or `fd00::/8`, addresses, `unix` for clients on a Unix socket, and `all`.
    allow: OneOrMany<Who>,
    /// Clients that are refused, named in the same way.
    deny: OneOrMany<Who>,
}

impl Middleware for Access {
    const NAME: &'static str = "access";
    const SHORTHAND: Option<&'static str> = Some("rules");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::AnswersEarly, Behavior::NeedsConnectionInfo];

    fn validate(&self, findings: &mut Findings) {
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.allow.0.is_empty() == rule.deny.0.is_empty() {
                let finding = Finding::new("a rule has either `allow` or `deny`").at("rules").at(at);
                findings.push(finding.hint("write one after the other: `[{ \"deny\": \"10.0.0.7\" }, { \"allow\": \"10.0.0.0/8\" }]`"));
            }
        }
        let verdicts = self.verdicts();
        if !verdicts.iter().any(|verdict| verdict.allows) {
            let finding = Finding::new("nobody is let in: no rule allows anybody").at("rules");
            findings.push(finding.hint("end the list with `{ \"allow\": \"all\" }` to let everybody in whom no rule denies"));
        }
        for (at, verdict) in verdicts.iter().enumerate() {
            let above = verdicts[..at].iter().find(|above| above.who.covers(&verdict.who));
            if let Some(above) = above.filter(|above| above.allows != verdict.allows) {
                let option = if verdict.allows { "allow" } else { "deny" };
                let finding = Finding::new(format!("`{}` has no effect: {above} comes first", verdict.who)).at("rules").at(verdict.rule);
                findings.push(finding.at(option).hint("the first rule that names a client decides: put the narrower network first"));
            }
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        match judge(&self.verdicts(), explain.request()) {
            Ok(verdict) => explain.note(format!("{} comes in: {verdict}", client(explain.request()))),
            Err(problem) => explain.refuse(problem),
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::AdmitsClients);
        let verdicts = self.verdicts();
        if lets_everybody_in(&verdicts.iter().flat_map(Verdict::networks).collect::<Vec<_>>()) {
            effects.add(Effect::AdmitsEverybody);
        }
        match verdicts.iter().take_while(|verdict| verdict.allows).any(|verdict| verdict.who == Who::All) {
            true => effects.add(Effect::PassesEverything),
            false => effects.refuse_with([StatusCode::FORBIDDEN]),
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let verdicts: Arc<[Verdict]> = self.verdicts().into();
        let refused = context.keep(Counter::default);
        let (figure, place) = (Arc::clone(&refused), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let family = metrics.counter("ziggurat_access_refused_total", "Requests that an `access` layer refused.");
            family.sample(&[("place", place.as_str())], &*figure);
        });
        Ok(around(move |request: &mut Request| {
            judge(&verdicts, request).inspect_err(|_| refused.add(1))?;
            Ok(|response: Response| response)
        }))
    }
}

/// The verdict that lets a request in, or the refusal.
fn judge<'v>(verdicts: &'v [Verdict], request: &Request) -> Result<&'v Verdict, Problem> {
    let connection = request.extensions().get::<ConnectionInfo>();
    let verdict = verdicts.iter().find(|verdict| verdict.who.sent(connection));
    if let Some(verdict) = verdict.filter(|verdict| verdict.allows) {
        return Ok(verdict);
    }
    let (problem, client) = (Problem::new(StatusCode::FORBIDDEN).detail("access from this address is denied"), client(request));
    Err(problem.because(match verdict {
        Some(verdict) => format!("{client} is refused: {verdict}"),
        None => format!("{client} is refused: no rule names it"),
    }))
}

fn client(request: &Request) -> String {
    let client = request.extensions().get::<ConnectionInfo>().and_then(|connection| connection.client);
    client.map_or_else(|| "a client without an address".to_owned(), |client| client.to_string())
}

impl Access {
    /// One after the other, what is said about whom.
    fn verdicts(&self) -> Vec<Verdict> {
        let verdicts = self.rules.iter().enumerate().flat_map(|(rule, AccessRule { allow, deny })| {
            let allowed = allow.0.iter().map(move |who| Verdict { who: *who, allows: true, rule });
            allowed.chain(deny.0.iter().map(move |who| Verdict { who: *who, allows: false, rule }))
        });
        verdicts.collect()
    }
}

/// What a rule says about a client.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    who: Who,
    allows: bool,
    /// The number of the rule.
    rule: usize,
}

impl Verdict {
    /// Whom it means by address, and whether they are let in.
    fn networks(&self) -> impl Iterator<Item = (Network, bool)> + use<> {
        let networks = match self.who {
            Who::All => Network::ALL.to_vec(),
            Who::Peer(Peer::Net(net)) => vec![net],
            Who::Peer(Peer::Unix) => Vec::new(),
        };
        let allows = self.allows;
        networks.into_iter().map(move |net| (net, allows))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of rule {} {} it", self.who, self.rule + 1, if self.allows { "allows" } else { "denies" })
    }
}

/// Whom a rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
enum Who {
    All,
    Peer(Peer),
}

impl Who {
    fn sent(&self, connection: Option<&ConnectionInfo>) -> bool {
        match self {
            Self::All => true,
            Self::Peer(peer) => connection.is_some_and(|connection| peer.sent(connection)),
        }
    }

    /// Whether everybody whom the other one means is among these.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Peer(Peer::Net(net)), Self::Peer(Peer::Net(other))) => net.covers(other),
            (one, other) => one == other,
        }
    }
}

impl TryFrom<String> for Who {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "all" { Ok(Self::All) } else { Peer::try_from(text).map(Self::Peer) }
    }
}

impl From<Who> for String {
    fn from(who: Who) -> Self {
        who.to_string()
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

impl JsonSchema for Who {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Who".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A network such as `10.0.0.0/8`, an address, `unix`, or `all`." })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::forwarded::Forwarded;
    use crate::{Scheme, TestStack};

    fn from(client: Option<&str>) -> ConnectionInfo {
        ConnectionInfo {
            client: client.map(|client| client.parse().unwrap()),
            client_port: None,
            scheme: Scheme::Http,
            server_port: None,
            local: client.map(|_| ([192, 0, 2, 80], 80).into()),
            is_vetted: false,
        }
    }

    async fn passes(stack: &TestStack, client: Option<&str>) -> bool {
        let response = stack.get("/").fact(from(client)).await;
        assert_eq!(response.status(), if response.text() == "in" { 200 } else { 403 });
        response.text() == "in"
    }

    #[tokio::test]
    async fn the_first_rule_that_names_the_client_decides() {
        let stack =
            TestStack::of::<Access>(r#"[{"deny": "10.0.0.7"}, {"allow": ["10.0.0.0/8", "2001:db8::/32", "unix"]}]"#).over_text("in");
        for client in ["10.0.0.1", "::ffff:10.1.1.1", "2001:db8::7"] {
            assert!(passes(&stack, Some(client)).await, "{client}");
        }
        assert!(passes(&stack, None).await, "unix");
        for client in ["10.0.0.7", "::ffff:10.0.0.7", "11.0.0.1", "2001:db9::1"] {
            assert!(!passes(&stack, Some(client)).await, "{client}");
        }
    }

    #[tokio::test]
    async fn everybody_may_come_in_whom_no_rule_denies_if_the_last_rule_says_so() {
        let stack = TestStack::of::<Access>(r#"{"rules": [{"deny": "192.0.2.0/24"}, {"allow": "all"}]}"#).over_text("in");
        assert!(!passes(&stack, Some("192.0.2.9")).await);
        assert!(passes(&stack, Some("198.51.100.1")).await && passes(&stack, Some("::1")).await && passes(&stack, None).await);
    }

    #[tokio::test]
    async fn a_client_on_a_unix_socket_is_in_no_network() {
        let stack = TestStack::of::<Access>(r#"[{"allow": ["0.0.0.0/0", "::/0"]}]"#).over_text("in");
        assert!(!passes(&stack, None).await);
    }

    #[tokio::test]
    async fn a_request_without_any_connection_is_refused_unless_all_may_come_in() {
        let ask = async |rules: &str| {
            let request = http::Request::new(crate::Body::empty());
            TestStack::of::<Access>(rules).over_text("in").send(request).await.status()
        };
        assert_eq!(ask(r#"[{"allow": ["0.0.0.0/0", "unix"]}]"#).await, 403);
        assert_eq!(ask(r#"[{"allow": "all"}]"#).await, 200);
    }

    #[tokio::test]
    async fn the_client_is_the_one_that_a_trusted_proxy_names() {
        let stack = TestStack::of::<Forwarded>(r#""192.0.2.1""#).then::<Access>(r#"[{"allow": "203.0.113.0/24"}]"#).over_text("in");
        assert_eq!(stack.get("/").header("x-forwarded-for", "203.0.113.7").await.status(), 200);
        assert_eq!(stack.get("/").header("x-forwarded-for", "198.51.100.7").await.status(), 403);
        assert_eq!(stack.get("/").await.status(), 403);
        let spoofed = stack.get("/").header("x-forwarded-for", "203.0.113.7").fact(from(Some("192.0.2.2")));
        assert_eq!(spoofed.await.status(), 403);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_counted_and_two_lines_in_the_log() {
        let stack = TestStack::of::<Access>(r#"[{"deny": "192.0.2.0/24"}, {"allow": "all"}]"#).over_text("in");
        for _ in 0..100 {
            let refused = stack.get("/").await;
            assert!(refused.text().contains("access from this address is denied"), "{}", refused.text());
        }
        tokio::time::sleep(std::time::Duration::from_secs(11)).await;
        let log = stack.log();
        assert_eq!(log.len(), 2, "{log:?}");
        assert!(log[0].ends_with("192.0.2.1 is refused: `192.0.2.0/24` of rule 1 denies it"), "{log:?}");
        assert!(log[1].contains("99 more requests"), "{log:?}");
        assert!(stack.metrics().contains("ziggurat_access_refused_total{place=\"access\"} 100"), "{}", stack.metrics());
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let refusal = TestStack::refusal::<Access>;
        assert!(refusal(r#"[{}, {"allow": "all"}]"#)[0].contains("a rule has either `allow` or `deny`"), "{:?}", refusal("[{}]"));
        assert!(refusal(r#"[{"allow": "all", "deny": "10.0.0.1"}]"#)[0].contains("either"));
        for rules in ["[]", r#"[{"deny": "all"}]"#] {
            assert!(refusal(rules)[0].contains("nobody is let in"), "{:?}", refusal(rules));
        }
        let hidden = refusal(r#"[{"allow": "10.0.0.0/8"}, {"deny": "10.0.0.7"}]"#);
        assert!(hidden[0].contains("`10.0.0.7` has no effect: `10.0.0.0/8` of rule 1 allows it comes first"), "{hidden:?}");
        assert!(refusal(r#"[{"allow": "everybody"}]"#)[0].contains("is not a network"));
    }

    #[test]
    fn a_network_that_an_earlier_rule_covers_may_be_named_again() {
        drop(TestStack::of::<Access>(r#"[{"allow": "10.0.0.0/8"}, {"allow": "10.1.0.0/16"}]"#).over_text("in"));
    }

    proptest! {
        /// As a person reads a list of networks: bit by bit, from the top to the first that has the client.
        #[test]
        fn rules_decide_as_they_are_read(
            rules in proptest::collection::vec((proptest::bool::ANY, 0_u32..4, 0_u32..=32), 1..8),
            client in proptest::num::u32::ANY,
        ) {
            let rules: Vec<(bool, u32, u32)> = rules.into_iter().map(|(allows, first, bits)| {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                (allows, (first << 30) & mask, bits)
            }).collect();
            let in_network = |base: u32, bits: u32| (0..bits).all(|bit| (base ^ client) >> (31 - bit) & 1 == 0);
            let expected = rules.iter().find(|(_, base, bits)| in_network(*base, *bits)).is_some_and(|(allows, ..)| *allows);
            let rules = rules.iter().map(|(allows, base, bits)| {
                let who = OneOrMany(vec![Who::try_from(format!("{}/{bits}", Ipv4Addr::from(*base))).unwrap()]);
                if *allows { AccessRule { allow: who, ..AccessRule::default() } } else { AccessRule { deny: who, ..AccessRule::default() } }
            });
            let verdicts = Access { rules: rules.collect() }.verdicts();
            let connection = from(Some(&Ipv4Addr::from(client).to_string()));
            let decided = verdicts.iter().find(|verdict| verdict.who.sent(Some(&connection)));
            prop_assert_eq!(decided.is_some_and(|verdict| verdict.allows), expected);
        }
    }
}
