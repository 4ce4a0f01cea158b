//! What no type of a condition finds: what no request can meet.

use std::collections::BTreeMap;

use http::{HeaderName, header};
use ziggurat_middleware::{Finding, Findings, Step};

use super::Match;
use super::parse::check_name;
use super::path::Path;
use super::values::Values;

impl Match {
    /// Reports conditions that no request can meet.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let empty = [
            ("host", self.host.as_ref().is_some_and(|list| list.0.is_empty())),
            ("path", self.path.as_ref().is_some_and(|list| list.0.is_empty())),
            ("method", self.method.as_ref().is_some_and(|list| list.0.is_empty())),
            ("client", self.client.as_ref().is_some_and(|list| list.0.is_empty())),
            ("client_cert", matches!(&self.client_cert, Some(Values::OneOf(subjects)) if subjects.is_empty())),
        ];
        for (field, _) in empty.iter().filter(|(_, empty)| *empty) {
            findings.push(
                Finding::new("an empty list, which no request can match")
                    .at(*field)
                    .hint(format!("leave `{field}` out to take every {field}")),
            );
        }
        self.names_of_groups(findings);
        for (name, values) in &self.header {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                findings.push(Finding::new(format!("`{name}` is not a header name")).at("header").at(name.as_str()));
            }
            let known = [
                (header::HOST, "the host is matched by `host`", "write `\"match\": { \"host\": \"example.com\" }`"),
                (header::COOKIE, "cookies are matched by `cookie`", "write `\"match\": { \"cookie\": { \"name\": \"value\" } }`"),
            ];
            for (_, message, hint) in known.iter().filter(|(known, ..)| name.eq_ignore_ascii_case(known.as_str())) {
                findings.push(Finding::new(*message).at("header").at(name.as_str()).hint(*hint));
            }
            values.validate("header", name, findings);
        }
        cookies(&self.cookie, findings);
        for (name, values) in &self.query {
            values.validate("query", name, findings);
        }
        if let Some(not) = &self.not {
            if not.is_empty() {
                findings.push(
                    Finding::new("`not` has no condition, so that no request can match")
                        .at("not")
                        .hint("write a key of `match` into it, or leave it out"),
                );
            }
            let mut inner = Findings::default();
            not.validate(&mut inner);
            for mut finding in inner {
                finding.path.insert(0, "not".into());
                findings.push(finding);
            }
        }
    }

    /// Regular expressions know more names than can be filled in.
    fn names_of_groups(&self, findings: &mut Findings) {
        for (nth, path) in self.paths().iter().enumerate() {
            let Path::Regex(regex) = path else { continue };
            for error in regex.names().filter_map(|name| check_name(name).err()) {
                let mut finding = Finding::new(error.clone()).at("path");
                if let Some((message, hint)) = error.split_once("\nhint: ") {
                    finding = Finding::new(message).hint(hint).at("path");
                }
                let index = (self.paths().len() > 1).then_some(Step::Index(nth));
                finding.path.extend(index.into_iter().chain(["regex".into()]));
                findings.push(finding);
            }
        }
    }

    fn is_empty(&self) -> bool {
        let Self { host, path, method, scheme, client, client_cert, header, cookie, query, not } = self;
        host.is_none()
            && path.is_none()
            && method.is_none()
            && scheme.is_none()
            && client.is_none()
            && client_cert.is_none()
            && header.is_empty()
            && cookie.is_empty()
            && query.is_empty()
            && not.is_none()
    }
}

/// Names and values that RFC 6265 section 4.1.1 does not allow, and that therefore no client sends.
fn cookies(cookies: &BTreeMap<String, Values>, findings: &mut Findings) {
    for (name, values) in cookies {
        // A token, as the name of a header is.
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            findings.push(Finding::new(format!("`{}` is not the name of a cookie", name.escape_debug())).at("cookie").at(name.as_str()));
        }
        values.validate("cookie", name, findings);
        let Values::OneOf(texts) = values else { continue };
        for text in texts.iter().filter(|text| text.contains(|c: char| c.is_control() || c == ';') || text.trim() != *text) {
            let message = format!("`{}` cannot be the value of a cookie", text.escape_debug());
            findings.push(
                Finding::new(message).at("cookie").at(name.as_str()).hint("write it as clients send it, without `;` and spaces around it"),
            );
        }
    }
}
