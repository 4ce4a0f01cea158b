//! Sections `acme` that no authority could serve, or not as they are meant: ports where nobody listens, accounts that contradict each other.

use crate::acme::{AcmeOptions, Challenge};
use crate::pipeline::acme::{is_clear_text, is_reachable};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{File, ListenEntry};
use crate::pipeline::tree::Span;

pub(super) fn check(file: &File) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let sections: Vec<_> = file.listen.iter().filter_map(Section::of).collect();
    for (index, section) in sections.iter().enumerate() {
        findings.extend(section.challenge(&file.listen));
        findings.extend(sections[..index].iter().find_map(|earlier| section.contradicts(earlier)));
    }
    findings
}

struct Section<'a> {
    entry: &'a ListenEntry,
    options: &'a AcmeOptions,
}

impl<'a> Section<'a> {
    fn of(entry: &'a ListenEntry) -> Option<Self> {
        Some(Self { entry, options: entry.tls.as_ref()?.value.acme()? })
    }

    /// Whether the authority finds an answer where it looks for one.
    fn challenge(&self, entries: &[ListenEntry]) -> Option<Diagnostic> {
        let is_reachable = |challenge| is_reachable(entries, challenge);
        let forwarded = "if something forwards that port to this server, `\"challenge\"` is right as it is";
        match self.options.challenge {
            Some(Challenge::Http01) if !entries.iter().any(is_clear_text) => Some(
                Diagnostic::error(Id::UnmetChallenge, "`http-01` is met in clear text, and every address has TLS", self.span("challenge"))
                    .label("nothing answers it")
                    .hint("listen on `:80` too, or use `tls-alpn-01`"),
            ),
            Some(Challenge::Http01) if !is_reachable(Challenge::Http01) => Some(
                Diagnostic::warning(Id::UnmetChallenge, "for `http-01` the authority connects to port 80, and no address has it", self.span("challenge"))
                    .label("probably not met")
                    .hint(format!("listen on `:80` in clear text; {forwarded}")),
            ),
            Some(Challenge::TlsAlpn01) if !is_reachable(Challenge::TlsAlpn01) => Some(
                Diagnostic::warning(
                    Id::UnmetChallenge,
                    "for `tls-alpn-01` the authority connects to port 443, and no address with `acme` has it",
                    self.span("challenge"),
                )
                .label("probably not met")
                .hint(format!("listen on `:443`; {forwarded}")),
            ),
            None if !Challenge::ALL.into_iter().any(is_reachable) => Some(
                Diagnostic::warning(
                    Id::UnmetChallenge,
                    "the authority connects to port 443 (`tls-alpn-01`) or port 80 (`http-01`), and no address has one of them",
                    self.span("names"),
                )
                .label("probably no certificate can be had")
                .hint("listen on `:443`, or on `:80` in clear text; if something forwards one of these ports to this server, say which with `\"challenge\"`"),
            ),
            _ => None,
        }
    }

    /// There is one account for each directory and store.
    fn contradicts(&self, earlier: &Self) -> Option<Diagnostic> {
        let (ours, theirs) = (self.options, earlier.options);
        if ours.store != theirs.store || ours.directory != theirs.directory {
            return None;
        }
        let differs = [("email", ours.email != theirs.email), ("eab", ours.eab != theirs.eab), ("ca", ours.ca != theirs.ca)];
        let (field, _) = differs.into_iter().find(|(_, differs)| *differs)?;
        let message = format!("`{field}` differs from that of an earlier section with the same `store` and `directory`");
        let finding = Diagnostic::error(Id::InvalidValue, message, self.span(field)).label("one account, two ways to make it");
        Some(finding.related(earlier.span(field), "the earlier one").hint("write the same in both, or give one of them another `store`"))
    }

    fn span(&self, field: &str) -> Span {
        let section = self.entry.tls.as_ref().map(|tls| tls.node.nearest(&["acme".into(), field.into()]).span.clone());
        section.unwrap_or_else(|| self.entry.span.clone())
    }
}
