//! Addresses, TLS, and the proxies in front.

use serde_json::{Map, Value as Json, json};
use ziggurat_middleware::Network;

use super::Import;
use super::json::Node;
use crate::import::proxies::{trusted, unread};
use crate::import::remarks::Treatment::{Approximated, Dropped, Taken};
use crate::import::value::escaped;

impl Import<'_> {
    pub(super) fn listener(&mut self, address: &str, listener: &Node, first: &str) {
        let pass = listener.get("pass").and_then(Node::text).unwrap_or_default();
        if pass != first {
            let note = format!(
                "every address of a pipeline serves the same, and the first one passes to `{first}`: import this one with a file of its own, without the others"
            );
            return self.add(listener, &format!("listeners/{address}"), Dropped, note);
        }
        let at = match address.strip_prefix("*:") {
            Some(port) => format!("0.0.0.0:{port}"),
            None => address.to_owned(),
        };
        let mut entry = Map::from_iter([("at".to_owned(), Json::from(escaped(&at)))]);
        let (treatment, note) =
            if at.starts_with("unix:") { (Approximated, "; `mode` says who may connect, by default the umask does") } else { (Taken, "") };
        self.add(listener, &format!("listeners/{address}"), treatment, format!("`listen`: {}{note}", Json::from(at)));
        for (name, value) in listener.entries() {
            let written = format!("{name} = {}", value.written());
            match name.as_str() {
                "pass" => {}
                "tls" => self.tls(value, &mut entry),
                "forwarded" => self.forwarded(value),
                "client_ip" => self.forwarded(value),
                "backlog" => self.add(value, &written, Dropped, "connections are accepted at once"),
                _ => self.add(value, &written, Dropped, "there is no counterpart"),
            }
        }
        let entry = if entry.len() == 1 { entry.remove("at").unwrap_or_default() } else { entry.into() };
        self.draft.listen.push(entry);
    }

    fn tls(&mut self, tls: &Node, entry: &mut Map<String, Json>) {
        for (name, value) in tls.entries() {
            let written = format!("tls/{name} = {}", value.written());
            let bundles: Vec<&str> = value.items().iter().filter_map(Node::text).collect();
            match (name.as_str(), &bundles[..]) {
                ("certificate", [bundle, further @ ..]) => {
                    let pair = |bundle: &str| {
                        let file = format!("tls/{}.pem", escaped(bundle));
                        json!({ "cert": file, "key": file })
                    };
                    let mut tls = pair(bundle);
                    if !further.is_empty() {
                        tls["certificates"] = further.iter().map(|bundle| pair(bundle)).collect();
                    }
                    entry.insert("tls".into(), tls);
                    self.add(
                        value,
                        &written,
                        Approximated,
                        "`tls`: bundles are in Unit's own store: write each one, chain and key, to the file that is named here",
                    );
                }
                ("session", _) => self.add(value, &written, Dropped, "sessions and tickets are on"),
                _ => self.add(value, &written, Dropped, "the TLS is that of rustls: `min` is the oldest version"),
            }
        }
    }

    fn forwarded(&mut self, node: &Node) {
        let written = format!("forwarded = {}", node.written());
        let sources: Vec<&str> = node.get("source").map(Node::items).unwrap_or_default().iter().filter_map(Node::text).collect();
        let are_networks = sources.iter().all(|source| *source == "unix" || source.parse::<Network>().is_ok());
        if sources.is_empty() || !are_networks {
            return self.add(node, &written, Dropped, "`forwarded.trust` takes addresses and networks: nobody is trusted");
        }
        let header = |name: &str| node.get(name).and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
        let is_usual = matches!(header("client_ip").as_str(), "" | "x-forwarded-for")
            && matches!(header("protocol").as_str(), "" | "x-forwarded-proto")
            && matches!(header("header").as_str(), "" | "x-forwarded-for");
        if !is_usual {
            return self.add(
                node,
                &written,
                Dropped,
                "`forwarded` reads X-Forwarded-For and X-Forwarded-Proto, or Forwarded: let the proxy set them",
            );
        }
        let mut read = Vec::new();
        if node.get("client_ip").or_else(|| node.get("header")).is_some() {
            read.push("x-forwarded-for");
        }
        if node.get("protocol").is_some() {
            read.push("x-forwarded-proto");
        }
        if read.is_empty() {
            return self.add(node, &written, Dropped, "it names no header that is read");
        }
        let layer = (trusted(&json!(sources)), read.clone());
        if self.forwarded.as_ref().is_some_and(|known| *known != layer) {
            return self.add(node, &written, Dropped, "one list of proxies holds for every address, and another address has another one");
        }
        self.forwarded = Some(layer);
        self.add(
            node,
            &written,
            Approximated,
            format!(
                "layer `forwarded`: it always skips trusted addresses from the right, and removes the headers of others; {}",
                unread("Unit", &read)
            ),
        );
    }
}
