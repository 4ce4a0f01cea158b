//! The headers in which layers tell apps who a client is.

use http::HeaderName;
use http::header::{CONTENT_LENGTH, HOST};

use crate::units::HeaderKey;
use crate::{Finding, Findings, hop_by_hop};

/// Reports headers of this option that are about the connection or the body: whoever sets one changes where a request begins or ends.
pub(crate) fn check_headers<'k>(option: &'static str, names: impl IntoIterator<Item = &'k HeaderKey>, findings: &mut Findings) {
    for HeaderKey(name) in names.into_iter().filter(|name| !may_tell(&name.0)) {
        let finding = Finding::new(format!("`{name}` is about the connection or the body, and not about a client")).at(option);
        findings.push(finding.hint("choose another header, such as `x-user`"));
    }
}

fn may_tell(name: &HeaderName) -> bool {
    !hop_by_hop::contains(name) && !matches!(*name, HOST | CONTENT_LENGTH)
}
