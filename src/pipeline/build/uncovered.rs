//! Hosts of routes that no certificate covers.

use crate::acme::AcmeOptions;
use crate::pipeline::acme::sections;
use crate::pipeline::diagnostic::{Diagnostic, Id, Severity};
use crate::pipeline::model::{Event, File};
use crate::pipeline::tree::{Node, Value};
use crate::tls::TlsServer;

/// A warning for each host that a route names and that no certificate of the listeners is for. A file without TLS has no such hosts.
pub(super) fn uncovered<'a>(file: &File, servers: impl Iterator<Item = &'a TlsServer> + Clone) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    if servers.clone().next().is_none() {
        return warnings;
    }
    // Some of them may still be on their way.
    let ordered: Vec<String> = sections(&file.listen).flat_map(AcmeOptions::names).collect();
    let is_covered = |host: &str| {
        if ordered.iter().any(|name| name == host) {
            return true;
        }
        let tables: Vec<_> = servers.clone().map(|server| server.store().table()).collect();
        tables.iter().flat_map(|table| table.all()).any(|certificate| match host.strip_prefix("*.") {
            // Any name below it: a wildcard is for most of them.
            Some(_) => certificate.names.iter().any(|name| name == host),
            None => certificate.covers(host),
        })
    };
    for stack in file.stacks() {
        stack.walk(|event, _| {
            let Event::Route(route) = event else { return };
            for (text, node) in route.condition.iter().flat_map(|condition| hosts(&condition.node)) {
                let host = text.trim_end_matches('.').to_ascii_lowercase();
                if !is_covered(&host) {
                    let finding = Diagnostic::error(Id::UncoveredHost, format!("no certificate covers `{text}`"), node.span.clone());
                    let finding = finding.label("clients of this host get another certificate");
                    let finding = finding.hint("add its certificate to `tls`, or leave the host out");
                    warnings.push(Diagnostic { severity: Severity::Warning, ..finding });
                }
            }
        });
    }
    warnings
}

/// The hosts of a condition.
fn hosts(condition: &Node) -> Vec<(&str, &Node)> {
    let Value::Object(entries) = &condition.value else { return Vec::new() };
    let Some(host) = entries.iter().find(|entry| entry.key == "host") else { return Vec::new() };
    let nodes = match &host.value.value {
        Value::Array(items) => items.iter().collect(),
        _ => vec![&host.value],
    };
    nodes.into_iter().filter_map(|node| if let Value::String(text) = &node.value { Some((text.as_str(), node)) } else { None }).collect()
}
