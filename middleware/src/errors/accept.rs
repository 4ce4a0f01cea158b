//! What a client takes of a page and of problem details (RFC 9110 section 12.5.1).

use http::HeaderValue;

use crate::encoding::weight;

/// The media ranges of a request with their weights.
pub(super) struct Accept<'a>(Vec<(&'a str, u16)>);

/// What a client wants most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Page,
    Json,
    Neither,
}

/// How much a client wants a media type: in thousandths, then by how narrow the range is that says so. Programs name `application/json` beside
/// `*/*`, and mean it.
type Preference = (u16, u8);

impl<'a> Accept<'a> {
    /// The lines of `Accept`. Parts that cannot be read count as absent.
    pub(super) fn of(lines: &'a [HeaderValue]) -> Self {
        let parts = lines.iter().flat_map(|line| line.to_str().unwrap_or_default().split(','));
        let ranges = parts.filter_map(|part| {
            let mut parameters = part.split(';').map(str::trim);
            let range = parameters.next().filter(|range| !range.is_empty())?;
            let weighs = |parameter: &&str| parameter.split('=').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("q"));
            Some((range, weight(parameters.find(weighs).unwrap_or_default())?))
        });
        Self(ranges.collect())
    }

    /// Whether the client prefers a page of this media type or problem details; the page where it does not care.
    pub(super) fn wants(&self, page: &str) -> Wanted {
        let (page, json) = (self.preference(page), self.preference("application/problem+json").max(self.preference("application/json")));
        match (page.0, json.0) {
            (0, 0) => Wanted::Neither,
            _ if json > page => Wanted::Json,
            _ => Wanted::Page,
        }
    }

    /// The narrowest range that holds the type decides.
    fn preference(&self, essence: &str) -> Preference {
        if self.0.is_empty() {
            return (1000, 0);
        }
        let kind = essence.split('/').next().unwrap_or_default();
        let narrowness = |range: &str| match range.split_once('/') {
            Some(("*", "*")) => Some(0),
            Some((own, "*")) => own.eq_ignore_ascii_case(kind).then_some(1),
            _ => range.eq_ignore_ascii_case(essence).then_some(2),
        };
        let ranges = self.0.iter().filter_map(|(range, weight)| Some((narrowness(range)?, *weight)));
        ranges.max().map_or((0, 0), |(narrowness, weight)| (weight, narrowness))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wants(accept: &str, page: &str) -> Wanted {
        Accept::of(&[HeaderValue::from_str(accept).unwrap()]).wants(page)
    }

    #[test]
    fn weights_come_first_and_then_how_narrow_a_range_is() {
        for (accept, wanted) in [
            ("", Wanted::Page),
            ("*/*", Wanted::Page),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Wanted::Page),
            ("text/css,*/*;q=0.1", Wanted::Page),
            ("application/json", Wanted::Json),
            ("application/json, text/plain, */*", Wanted::Json),
            ("application/problem+json;q=0.9, text/html;q=0.8", Wanted::Json),
            ("application/json;q=0.8, text/*;q=0.9", Wanted::Page),
            ("application/*", Wanted::Json),
            ("application/json;charset=utf-8;q=0.1, TEXT/HTML", Wanted::Page),
            ("text/html;q=0, */*", Wanted::Json),
            ("text/plain", Wanted::Neither),
            ("*/*;q=0", Wanted::Neither),
            (", ;q=1,", Wanted::Page),
        ] {
            assert_eq!(wants(accept, "text/html"), wanted, "{accept}");
        }
        assert_eq!(wants("application/json", "application/json"), Wanted::Page);
        assert_eq!(Accept::of(&[]).wants("text/html"), Wanted::Page);
    }

    proptest! {
        #[test]
        fn any_header_is_read(accept in "[ -~]{0,40}") {
            wants(&accept, "text/html");
        }
    }
}
