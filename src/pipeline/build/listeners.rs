//! From the entries of `listen` to listeners: certificates are read.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ziggurat_middleware::{Context, Findings};

use super::Site;
use super::certificates::AcmeCertificates;
use super::uncovered::uncovered;
use crate::pipeline::diagnostic::{Diagnostic, Id, Severity};
use crate::pipeline::model::{File, ListenEntry};
use crate::pipeline::options::OptionReader;
use crate::server::Listen;
use crate::tls::{self, FileAccess, Tickets, TlsServer, status};

/// How often ticket keys are asked whether they are too old.
const ROTATION: Duration = Duration::from_secs(60 * 60);

/// The listeners, and warnings. Their certificates are watched until the stack retires.
pub(in crate::pipeline) fn listeners(file: &File, site: Site<'_>) -> Result<(Vec<Listen>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let context = Context::new("tls", site.base, site.lifecycle.clone());
    let tickets = context.keep(Tickets::default);
    let (opened, mut warnings) = open(&file.listen, site, &tickets)?;
    AcmeCertificates::attach_all(&file.listen, &opened, site)?;
    warnings.extend(uncovered(file, opened.iter().flatten().map(AsRef::as_ref)));
    let servers: Vec<_> = opened.iter().flatten().cloned().collect();
    let listeners = file.listen.iter().zip(opened).map(|(entry, tls)| {
        let mut listen = entry.listen.clone();
        listen.transport.tls = tls;
        listen
    });
    let listeners = listeners.collect();
    if !servers.is_empty() {
        for server in &servers {
            tls::watch(Arc::clone(server), &context);
        }
        let (shown, scraped) = (servers.clone(), servers);
        context.on_status(move || status::status(&shown, SystemTime::now()));
        context.on_scrape(move |metrics| status::scrape(&scraped, metrics));
        context.spawn(async move {
            loop {
                tokio::time::sleep(ROTATION).await;
                tickets.rotate();
            }
        });
    }
    Ok((listeners, warnings))
}

/// For each entry its TLS, if it has any.
type Opened = Vec<Option<Arc<TlsServer>>>;

/// Reads the files that the entries name.
pub(in crate::pipeline) fn open(
    entries: &[ListenEntry],
    site: Site<'_>,
    tickets: &Arc<Tickets>,
) -> Result<(Opened, Vec<Diagnostic>), Vec<Diagnostic>> {
    let access = Context::new("tls", site.base, site.lifecycle.clone()).host::<FileAccess>().cloned().unwrap_or_default();
    let reader = OptionReader { owner: "`tls`", noun: "option", secrets: site.secrets };
    let (mut opened, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for ListenEntry { listen, tls, .. } in entries {
        let Some(tls) = tls else {
            opened.push(None);
            continue;
        };
        let locate = |id, findings: Findings| findings.into_iter().map(move |finding| reader.locate(id, finding, &tls.node));
        match TlsServer::open(&listen.to_string(), &tls.value, listen.http.protocols(), site.base, access.clone(), tickets) {
            Ok((server, doubts)) => {
                opened.push(Some(Arc::new(server)));
                let doubts = locate(Id::DoubtfulCertificate, doubts);
                warnings.extend(doubts.map(|doubt| Diagnostic { severity: Severity::Warning, ..doubt }));
            }
            Err(found) => errors.extend(locate(Id::UnusableCertificate, found)),
        }
    }
    if errors.is_empty() { Ok((opened, warnings)) } else { Err(errors) }
}
