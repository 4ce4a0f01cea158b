//! Proxies in front, of which no more is believed than the other server believes.

use serde_json::{Value as Json, json};

use super::draft::Draft;

/// The headers that the layer `forwarded` reads.
const CLAIMS: [&str; 5] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"];

/// Whom `forwarded` trusts. Where that is everybody, what counts is what the peer of the connection says of the one before it: the rest of a list comes from the client.
pub(super) fn trusted(trust: &Json) -> Json {
    let is_everybody = trust.as_array().is_some_and(|list| list.contains(&json!("0.0.0.0/0")));
    if is_everybody { json!({ "proxies": 1 }) } else { json!({ "trust": trust }) }
}

/// What becomes of the headers that are not read, for the report.
pub(super) fn unread(server: &str, read: &[&str]) -> String {
    let all: Vec<String> = removed(read).iter().map(|name| format!("`{name}`")).collect();
    if all.is_empty() {
        return format!("{server} reads the same headers");
    }
    format!("{server} does not read {}, which proxies often pass on from the client: `headers` removes them", all.join(", "))
}

fn removed(read: &[&str]) -> Vec<&'static str> {
    CLAIMS.into_iter().filter(|name| !read.contains(name)).collect()
}

impl Draft {
    /// Puts the layer `forwarded` at a place, and above it one that removes the headers that are not in `read`.
    pub(super) fn believe(&mut self, at: usize, options: Json, read: &[&str]) {
        let removed = removed(read);
        self.layers.insert(at, json!({ "forwarded": options }));
        if removed.is_empty() {
            return;
        }
        if CLAIMS[..2].iter().any(|name| removed.contains(name)) {
            let reason = "the server in whose place this one stands does not read them";
            self.allow.push(json!({ "lint": "header-removed-above", "reason": reason }));
        }
        self.layers.insert(at, json!({ "headers": { "request": { "remove": removed } } }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_server_does_not_read_is_removed_above() {
        let all = |read: &[&str]| {
            let mut draft = Draft { layers: vec![json!("access_log")], ..Draft::default() };
            draft.believe(0, trusted(&json!(["127.0.0.1"])), read);
            (draft.layers, draft.allow.len())
        };
        let forwarded = json!({ "forwarded": { "trust": ["127.0.0.1"] } });
        assert_eq!(all(&CLAIMS), (vec![forwarded.clone(), json!("access_log")], 0));
        let headers = json!({ "headers": { "request": { "remove": ["x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"] } } });
        assert_eq!(all(&CLAIMS[..2]), (vec![headers, forwarded, json!("access_log")], 0));
        assert_eq!(all(&CLAIMS[..1]).1, 1);
    }

    #[test]
    fn where_everybody_is_trusted_only_the_last_hop_counts() {
        assert_eq!(trusted(&json!(["0.0.0.0/0", "::/0", "unix"])), json!({ "proxies": 1 }));
        assert_eq!(trusted(&json!(["10.0.0.0/8"])), json!({ "trust": ["10.0.0.0/8"] }));
    }
}
