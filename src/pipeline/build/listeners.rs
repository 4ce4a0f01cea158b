//! From the entries of `listen` to listeners: certificates are read.

use std::time::Duration;

use ziggurat_middleware::Context;

use super::Site;
use crate::pipeline::diagnostic::{Diagnostic, Id, Severity};
use crate::pipeline::model::ListenEntry;
use crate::pipeline::options::OptionReader;
use crate::server::Listen;
use crate::tls::{Tickets, TlsServer};

/// How often ticket keys are asked whether they are too old.
const ROTATION: Duration = Duration::from_secs(60 * 60);

/// The listeners, and warnings.
pub(in crate::pipeline) fn listeners(entries: &[ListenEntry], site: Site<'_>) -> Result<(Vec<Listen>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let context = Context::new("tls", site.base, site.lifecycle.clone());
    let tickets = context.keep(Tickets::default);
    let (mut listeners, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for ListenEntry { listen, tls, .. } in entries {
        let mut listen = listen.clone();
        if let Some(tls) = tls {
            let reader = OptionReader { owner: "`tls`", noun: "option", secrets: site.secrets };
            match TlsServer::open(&listen.to_string(), &tls.value, site.base, &tickets) {
                Ok((server, doubts)) => {
                    listen.transport.tls = Some(server.into());
                    let doubts = doubts.into_iter().map(|doubt| reader.locate(Id::DoubtfulCertificate, doubt, &tls.node));
                    warnings.extend(doubts.map(|doubt| Diagnostic { severity: Severity::Warning, ..doubt }));
                }
                Err(found) => errors.extend(found.into_iter().map(|finding| reader.locate(Id::UnusableCertificate, finding, &tls.node))),
            }
        }
        listeners.push(listen);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if listeners.iter().any(|listen| listen.transport.tls.is_some()) {
        context.spawn(async move {
            loop {
                tokio::time::sleep(ROTATION).await;
                tickets.rotate();
            }
        });
    }
    Ok((listeners, warnings))
}
