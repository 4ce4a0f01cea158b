//! Certificates of authorities (ACME): what the listeners of a file ask for, and the managers that get it.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::json;
use tokio::runtime::Handle;
use ziggurat_middleware::access_log::rfc3339;
use ziggurat_middleware::{Client, Context, Finding, Metrics};

use super::Site;
use crate::acme::{AcmeOptions, AcmeSettings, Manager, Managers, NameReport};
use crate::pipeline::acme::settings;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::ListenEntry;
use crate::pipeline::options::OptionReader;
use crate::tls::{AcmeSource, TlsServer};
use crate::upstream::{client, client_trusting};
use crate::worker::Trial;

/// Has the managers of a generation order what is due.
pub(in crate::pipeline) fn begin_orders(site: Site<'_>) {
    Context::new(PLACE, site.base, site.lifecycle.clone()).keep(Managers::default).begin();
}

const PLACE: &str = "acme";

/// The managers of a generation.
pub(super) struct AcmeCertificates {
    context: Context,
    managers: Arc<Managers>,
    settings: Vec<AcmeSettings>,
    entered: Vec<Manager>,
}

impl AcmeCertificates {
    /// Has the listeners serve what their sections ask for.
    pub(super) fn attach_all(entries: &[ListenEntry], servers: &[Option<Arc<TlsServer>>], site: Site<'_>) -> Result<(), Vec<Diagnostic>> {
        let context = Context::new(PLACE, site.base, site.lifecycle.clone());
        let managers = context.keep(Managers::default);
        let mut all = Self { context, managers, settings: settings(entries, site.base), entered: Vec::new() };
        let reader = OptionReader { owner: "`tls`", noun: "option", secrets: site.secrets };
        let mut errors = Vec::new();
        for (entry, server) in entries.iter().zip(servers) {
            let (Some(tls), Some(server)) = (&entry.tls, server) else { continue };
            if let Some(options) = tls.value.acme()
                && let Err(finding) = all.attach(options, server)
            {
                errors.push(reader.locate(Id::UnusableCertificate, finding, &tls.node));
            }
        }
        if errors.is_empty() {
            all.finish();
            return Ok(());
        }
        all.abandon();
        Err(errors)
    }

    /// Has the listener serve what its section asks for. In a trial nothing is ordered, but files are read.
    fn attach(&mut self, options: &AcmeOptions, server: &TlsServer) -> Result<(), Finding> {
        let client = match &options.ca {
            Some(ca) => client_trusting(self.context.resolve(ca))
                .map_err(|finding| Finding { path: vec!["acme".into(), "ca".into()], ..finding })?,
            None => client(),
        };
        if self.context.host::<Trial>().is_some() {
            return Ok(());
        }
        let root = self.context.resolve(&options.store);
        let wanted = self.settings.iter().find(|settings| settings.store.root() == root && settings.directory == options.directory);
        let Some(settings) = wanted.cloned() else { return Ok(()) };
        let manager = self.manager(settings, client);
        AcmeSource::attach(&manager, server.store(), options.names().collect());
        Ok(())
    }

    fn manager(&mut self, settings: AcmeSettings, client: Client) -> Manager {
        if let Some(manager) = self.entered.iter().find(|manager| *manager.settings() == settings) {
            return manager.clone();
        }
        let manager = self.managers.enter(settings, client);
        self.entered.push(manager.clone());
        manager
    }

    /// Tells of them in the status and the metrics, and leaves them when the generation ends.
    fn finish(self) {
        let Self { context, managers, entered, .. } = self;
        if entered.is_empty() {
            return;
        }
        let (status, metrics) = (Arc::clone(&managers), Arc::clone(&managers));
        context.on_status(move || json!({ "certificates": status.reports().iter().map(row).collect::<Vec<_>>() }));
        context.on_scrape(move |scraped| scrape(&metrics, scraped));
        let runtime = Handle::current();
        context.on_shutdown(move || {
            for manager in &entered {
                runtime.block_on(managers.leave(manager));
            }
        });
    }

    /// Leaves them: the generation does not come to be.
    fn abandon(self) {
        let Self { managers, entered, .. } = self;
        if entered.is_empty() {
            return;
        }
        tokio::spawn(async move {
            for manager in &entered {
                managers.leave(manager).await;
            }
        });
    }
}

fn row(report: &NameReport) -> serde_json::Value {
    let at = |time: Option<_>| time.map(|time: crate::acme::Timestamp| rfc3339(time.system()));
    json!({
        "name": report.name,
        "expires": at(report.not_after),
        "renewal": at(report.renew_at),
        "failures": report.failures,
        "next_attempt": at(report.next_attempt_at),
        "error": report.error,
    })
}

fn scrape(managers: &Managers, metrics: &mut Metrics) {
    let figures = managers.figures();
    let orders = metrics.counter("ziggurat_acme_attempts_total", "Attempts to get a certificate by ACME, by how they ended.");
    orders.sample(&[("outcome", "issued")], &*figures.issued).sample(&[("outcome", "failed")], &*figures.failed);
    let reports = managers.reports();
    let expiry =
        metrics.gauge("ziggurat_acme_expiry_time_seconds", "End of the certificate of a name, in seconds since 1970; 0 without one.");
    for report in &reports {
        let end = report.not_after.map_or(0.0, |time| time.system().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        expiry.sample(&[("name", &report.name)], end);
    }
    let failures = metrics.gauge("ziggurat_acme_failures", "Attempts for a name that have failed in a row.");
    for report in &reports {
        failures.sample(&[("name", &report.name)], f64::from(report.failures));
    }
}
