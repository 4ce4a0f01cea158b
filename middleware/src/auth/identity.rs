//! The headers in which layers tell apps who a client is.

use http::HeaderName;
use http::header::{CONTENT_LENGTH, HOST};

use crate::units::HeaderKey;
use crate::{Finding, Findings, hop_by_hop};

/// Reports headers of this option that no app should get: those that [`check_framing`] reports, and those with an underscore. A WSGI app does not get them, and has what the client sends with a hyphen in their place.
pub(crate) fn check_headers<'k>(option: &'static str, names: impl IntoIterator<Item = &'k HeaderKey> + Clone, findings: &mut Findings) {
    check_framing(option, names.clone(), findings);
    for HeaderKey(name) in names.into_iter().filter(|name| may_tell(&name.0) && name.0.as_str().contains('_')) {
        let hyphened = name.as_str().replace('_', "-");
        let finding = Finding::new(format!("an app does not get `{name}`, and takes a client's `{hyphened}` for it")).at(option);
        findings.push(finding.hint(format!("write `{hyphened}`")));
    }
}

/// Reports headers of this option that are about the connection or the body: whoever sets one changes where a request begins or ends.
pub(crate) fn check_framing<'k>(option: &'static str, names: impl IntoIterator<Item = &'k HeaderKey>, findings: &mut Findings) {
    for HeaderKey(name) in names.into_iter().filter(|name| !may_tell(&name.0)) {
        let finding = Finding::new(format!("`{name}` is about the connection or the body, and not about a client")).at(option);
        findings.push(finding.hint("choose another header, such as `x-user`"));
    }
}

/// Whether a header may tell something of a client or a request, and is not about the connection or the body.
pub(crate) fn may_tell(name: &HeaderName) -> bool {
    !hop_by_hop::contains(name) && !matches!(*name, HOST | CONTENT_LENGTH)
}
