//! What `ziggurat status` and the metrics say about certificates.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use ziggurat_middleware::Metrics;
use ziggurat_middleware::access_log::rfc3339;

use super::server::TlsServer;

/// The certificates of all listeners, each with what is wrong with its newer file.
pub(crate) fn status(servers: &[Arc<TlsServer>], now: SystemTime) -> Value {
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    for server in servers {
        let found = server.problems();
        for certificate in server.store().table().all() {
            let problem = problem_of(&found, &certificate.source);
            rows.push(json!({
                "listener": server.listener(),
                "names": certificate.named(),
                "from": certificate.source,
                "serial": certificate.serial,
                "expires": rfc3339(certificate.not_after),
                "days_left": certificate.days_left(now),
                "problem": problem,
            }));
        }
        let is_shown = |path: &Option<PathBuf>| {
            path.as_ref()
                .is_some_and(|path| server.store().table().all().iter().any(|certificate| certificate.source == path.display().to_string()))
        };
        problems.extend(
            found.iter().filter(|(path, _)| !is_shown(path)).map(|(_, text)| json!({ "listener": server.listener(), "problem": text })),
        );
    }
    let mut status = json!({ "certificates": rows });
    if !problems.is_empty() {
        status["problems"] = problems.into();
    }
    status
}

fn problem_of<'a>(found: &'a [(Option<PathBuf>, String)], source: &str) -> Option<&'a str> {
    let about = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.display().to_string() == source);
    found.iter().find(|(path, _)| about(path)).map(|(_, text)| text.as_str())
}

/// Days left of each certificate, and the number of files that cannot be used.
pub(crate) fn scrape(servers: &[Arc<TlsServer>], metrics: &mut Metrics) {
    let now = SystemTime::now();
    let days = metrics.gauge("ziggurat_tls_certificate_days_left", "Days until a certificate expires; negative afterwards.");
    for server in servers {
        for certificate in server.store().table().all() {
            let labels = [("listener", server.listener()), ("from", certificate.source.as_str()), ("serial", certificate.serial.as_str())];
            // A certificate is good for some thousand days at most.
            days.sample(&labels, certificate.days_left(now) as f64);
        }
    }
    let problems = metrics.gauge("ziggurat_tls_problems", "Files of certificates, authorities and revocation lists that cannot be used.");
    for server in servers {
        problems.sample(&[("listener", server.listener())], server.problems().len());
    }
}
