//! What the `acme` sections of `listen` ask for, taken together.

use std::path::Path;

use crate::acme::{AcmeSettings, Challenge, NameSettings, Store};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::ListenEntry;
use crate::server::Address;

/// One for each authority and store. Sections with the same ones are one account; that they agree is checked before.
pub(super) fn settings(entries: &[ListenEntry], base: &Path) -> Vec<AcmeSettings> {
    let mut all: Vec<AcmeSettings> = Vec::new();
    for options in sections(entries) {
        let challenges = options.challenge.map_or_else(|| challenges(entries), |challenge| vec![challenge]);
        let root = base.join(&options.store);
        let at = all.iter().position(|settings| settings.store.root() == root && settings.directory == options.directory);
        let at = at.unwrap_or_else(|| {
            all.push(AcmeSettings {
                store: Store::new(root),
                directory: options.directory.clone(),
                ca: options.ca.as_ref().map(|ca| base.join(ca)),
                email: options.email.clone(),
                eab: options.eab.clone(),
                names: Vec::new(),
            });
            all.len() - 1
        });
        for name in options.names() {
            if all[at].names.iter().all(|known| known.name != name) {
                all[at].names.push(NameSettings { name, challenges: challenges.clone() });
            }
        }
    }
    all
}

/// A warning about each store that this process cannot use.
pub(super) fn obstacles(entries: &[ListenEntry], base: &Path) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for entry in entries {
        let Some(tls) = &entry.tls else { continue };
        let Some(obstacle) = tls.value.acme().and_then(|acme| Store::new(base.join(&acme.store)).obstacle()) else { continue };
        let span = tls.node.nearest(&["acme".into(), "store".into()]).span.clone();
        let finding = Diagnostic::warning(Id::DoubtfulCertificate, format!("no certificate can be ordered: {obstacle}"), span);
        if found.iter().all(|known| known.message != finding.message) {
            found.push(finding.label("the store").hint("`store` has to be a folder that the server's user can write to, or can make"));
        }
    }
    found
}

pub(super) fn sections(entries: &[ListenEntry]) -> impl Iterator<Item = &crate::acme::AcmeOptions> {
    entries.iter().filter_map(|entry| entry.tls.as_ref()?.value.acme())
}

/// The challenges that the addresses allow: an authority connects to port 443 or 80. If none of these is listened on, something may forward them.
pub(super) fn challenges(entries: &[ListenEntry]) -> Vec<Challenge> {
    let allowed: Vec<_> = Challenge::ALL.into_iter().filter(|challenge| is_reachable(entries, *challenge)).collect();
    if !allowed.is_empty() {
        return allowed;
    }
    let is_possible = |challenge: &Challenge| *challenge == Challenge::TlsAlpn01 || entries.iter().any(is_clear_text);
    Challenge::ALL.into_iter().filter(is_possible).collect()
}

/// Whether an address is one where the authority looks for this challenge. Of inherited sockets nobody knows.
pub(super) fn is_reachable(entries: &[ListenEntry], challenge: Challenge) -> bool {
    let has_port = |entry: &ListenEntry, wanted: u16| match &entry.listen.address {
        Address::Tcp { port, .. } => *port == wanted,
        Address::Inherited(_) | Address::Systemd(_) => true,
        Address::Unix(_) => false,
    };
    entries.iter().any(|entry| match challenge {
        Challenge::TlsAlpn01 => entry.tls.as_ref().is_some_and(|tls| tls.value.acme().is_some()) && has_port(entry, 443),
        Challenge::Http01 => is_clear_text(entry) && has_port(entry, 80),
    })
}

pub(super) const fn is_clear_text(entry: &ListenEntry) -> bool {
    entry.tls.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Pipeline;

    fn settings_of(listen: &str) -> Vec<AcmeSettings> {
        let text = format!(r#"{{ "listen": {listen}, "app": {{ "respond": 200 }} }}"#);
        let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new("/srv"), &crate::builtin(), &|_| None);
        settings(&pipeline.unwrap_or_else(|report| panic!("{report}")).file.listen, Path::new("/srv"))
    }

    #[test]
    fn the_ports_that_are_listened_on_decide_about_challenges() {
        use Challenge::{Http01, TlsAlpn01};
        let entry = |at: &str| format!(r#"{{ "at": "{at}", "tls": {{ "acme": {{ "names": ["example.com"] }} }} }}"#);
        for (listen, challenges) in [
            (format!(r#"[":80", {}]"#, entry(":443")), vec![TlsAlpn01, Http01]),
            (entry(":443"), vec![TlsAlpn01]),
            (format!(r#"[":80", {}]"#, entry(":8443")), vec![Http01]),
            // Something forwards, or nothing works.
            (format!(r#"[":8080", {}]"#, entry(":8443")), vec![TlsAlpn01, Http01]),
            (entry(":8443"), vec![TlsAlpn01]),
            (format!(r#"["fd:3", {}]"#, entry("fd:4")), vec![TlsAlpn01, Http01]),
        ] {
            assert_eq!(settings_of(&listen)[0].names[0].challenges, challenges, "{listen}");
        }
    }

    #[test]
    fn sections_of_one_authority_and_store_are_one() {
        let entry = |at: &str, more: &str| format!(r#"{{ "at": "{at}", "tls": {{ "acme": {{ {more} }} }} }}"#);
        let listen = [
            entry(":443", r#""names": ["A.example.com", "b.example.com"]"#),
            entry(":8443", r#""names": ["b.example.com", "c.example.com"], "challenge": "tls-alpn-01""#),
            entry(":9443", r#""names": ["a.example.com"], "store": "other""#),
        ];
        let all = settings_of(&format!("[{}]", listen.join(", ")));
        let names = |settings: &AcmeSettings| settings.names.iter().map(|name| name.name.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(all.iter().map(names).collect::<Vec<_>>(), ["a.example.com b.example.com c.example.com", "a.example.com"]);
        assert_eq!(all[0].store.root(), Path::new("/srv/var/acme"));
    }
}
