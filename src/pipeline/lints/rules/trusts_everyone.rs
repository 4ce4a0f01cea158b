//! Every client is believed, on an address that everybody reaches.

use ziggurat_middleware::{Effect, Peer, lets_everybody_in};

use crate::pipeline::lints::site::is_public;
use crate::pipeline::lints::{Example, Harm, Hit, Lint, Site};
use crate::pipeline::model::ListenEntry;

pub(super) const LINT: Lint = Lint {
    id: "trusts-everyone",
    harm: Harm::Access,
    summary: "`forwarded`, or a listener for front servers, trusts every address, and other machines reach the server.",
    why: "`0.0.0.0/0` and `::/0` are all addresses. Every client then says itself who it is: it passes rules by address, has a limit of its own for each request, and appears in the log under any \
          address. Whoever is a front server also says who the user is.

          Name the addresses of the proxies. Where they are not known, as behind the routers of a platform, say with `proxies` how many there are, and make sure that clients reach the server through \
          them alone.",
    wrong: Example {
        text: r#"
{
  "listen": "0.0.0.0:8000",
  "layers": [{ "forwarded": { "trust": "0.0.0.0/0" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
        places: (r#"{ "trust": "0.0.0.0/0" }"#, Some(r#""0.0.0.0:8000""#)),
        files: &[],
    },
    right: r#"
{
  "listen": "0.0.0.0:8000",
  "layers": [{ "forwarded": { "trust": "10.0.0.0/8" } }],
  "app": { "wsgi": "mysite.wsgi:application" }
}"#,
    allow: "A firewall lets only the proxies connect.",
    is_fixed: false,
    check,
};

fn check(site: &Site<'_>) -> Vec<Hit> {
    let open = site.gateways().filter(|entry| is_public(&entry.listen.address) && is_everybody(entry));
    let mut hits: Vec<Hit> = open
        .map(|entry| {
            let hit = Hit::at_span(entry.span.clone(), "every machine is believed to be a front server").label("trusts all addresses");
            hit.hint("name the addresses of the front servers in `trust`, as in `[\"10.0.0.4\"]`")
        })
        .collect();
    // The clients of a front server come from everywhere.
    let Some(listen) = site.public().next().or_else(|| site.gateways().next()) else { return hits };
    let layers = site.stages().filter(|stage| stage.does(&Effect::TrustsEverybody)).filter_map(|stage| {
        let hit = Hit::at(stage, format!("`{}` believes every client", stage.name()))?.label("trusts all addresses");
        Some(
            hit.with_span(listen.span.clone(), "clients of other machines come here")
                .hint("name the addresses of the proxies, as in `\"10.0.0.0/8\"`"),
        )
    });
    hits.extend(layers);
    hits
}

/// Whether the front servers that a listener trusts are all machines.
fn is_everybody(entry: &ListenEntry) -> bool {
    let network = |peer: &Peer| if let Peer::Net(network) = peer { Some((*network, true)) } else { None };
    lets_everybody_in(&entry.listen.trust.peers().iter().filter_map(network).collect::<Vec<_>>())
}
