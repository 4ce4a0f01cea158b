//! Requests that a condition holds for, as examples: checks of a whole file try them.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::path::{Path, Rest, Segment};
use super::values::Values;
use super::{Host, HostOf, Match};

/// What cannot stand in a segment of a path (RFC 3986 section 3.3).
const NO_SEGMENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');

impl Match {
    /// A host for each of its patterns, as in a URL.
    pub(crate) fn sample_hosts(&self) -> impl Iterator<Item = String> {
        self.host.iter().flat_map(|hosts| &hosts.0).map(|host| match host {
            Host::Exact(name) => name.clone(),
            Host::Address(address) => format!("[{address}]"),
            Host::Below(suffix) => format!("www{suffix}"),
        })
    }

    /// A path for each of its patterns, as in a URL. None is known for most regular expressions.
    pub(crate) fn sample_paths(&self) -> impl Iterator<Item = String> {
        self.paths().iter().filter_map(Path::sample)
    }

    /// A client that it holds for.
    pub(crate) fn sample_client(&self) -> Option<IpAddr> {
        self.client.as_ref()?.0.first().map(ziggurat_middleware::Network::address)
    }

    /// The headers that it asks for, each with a value.
    pub(crate) fn sample_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.header.iter().filter_map(|(name, values)| match values {
            Values::Any => Some((name.as_str(), "x")),
            Values::Absent => None,
            Values::OneOf(texts) => Some((name.as_str(), texts.first()?.as_str())),
        })
    }

    /// Whether it names this host, or a pattern that it meets.
    pub(crate) fn names_host(&self, name: &str) -> bool {
        self.host.iter().flat_map(|hosts| &hosts.0).any(|host| host.holds(HostOf::new(name)))
    }
}

impl Path {
    fn sample(&self) -> Option<String> {
        let Self::Segments { segments, rest } = self else { return self.plain() };
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.extend(utf8_percent_encode(text, NO_SEGMENT)),
                Segment::Name(_) => path.push('x'),
            }
        }
        if *rest != Rest::None {
            path.push_str("/x");
        }
        Some(path)
    }
}
