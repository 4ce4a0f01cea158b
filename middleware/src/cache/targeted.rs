//! `CDN-Cache-Control`: directives for the shared caches that belong to a site (RFC 9213), a dictionary of structured fields (RFC 9651).

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::control::LONGEST;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The directives of responses.
const NAMES: [&str; 11] = [
    "no-cache",
    "no-store",
    "private",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "max-age",
    "s-maxage",
    "stale-while-revalidate",
    "stale-if-error",
];

/// The directives that apply instead of `Cache-Control` and `Expires`, each with its argument if that is a time. `None` if the field is missing, empty or invalid: it is ignored
/// then (RFC 9213 section 2.1).
pub(super) fn targeted(headers: &HeaderMap) -> Option<impl Iterator<Item = (&'static str, Option<Duration>)>> {
    let mut lines = headers.get_all(CDN_CACHE_CONTROL).iter();
    let first = lines.next()?.as_bytes();
    let whole = lines.fold(first.to_vec(), |whole, line| [&whole, &b","[..], line.as_bytes()].concat());
    let arguments = Parser::new(&whole).parse_dictionary_with_visitor(Directives::default()).ok()??;
    Some(NAMES.into_iter().zip(arguments).filter_map(|(name, argument)| match argument? {
        Argument::Time(time) => Some((name, Some(time))),
        Argument::Other => Some((name, None)),
        Argument::No => None,
    }))
}

/// What stands behind the name of a directive.
#[derive(Clone, Copy)]
enum Argument {
    Time(Duration),
    /// `?0`: the directive does not hold.
    No,
    /// Nothing, or something that is no time.
    Other,
}

type Arguments = [Option<Argument>; NAMES.len()];

/// Collects the arguments of directives. Of two with one name, the last one counts (RFC 9651 section 4.2.2).
#[derive(Default)]
struct Directives {
    arguments: Arguments,
    /// Whether there is any member.
    is_stated: bool,
}

impl<'de> DictionaryVisitor<'de> for Directives {
    type Out = Option<Arguments>;
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
        self.is_stated = true;
        let known = NAMES.iter().position(|name| *name == key.as_str()).and_then(|at| self.arguments.get_mut(at));
        Ok(Entry(known.map(|argument| argument.insert(Argument::Other))))
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.is_stated.then_some(self.arguments))
    }
}

struct Entry<'a>(Option<&'a mut Argument>);

impl<'de> EntryVisitor<'de> for Entry<'_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        Ok(Ignored)
    }
}

impl<'de> ItemVisitor<'de> for Entry<'_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(self, item: BareItemFromInput<'de>) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        let argument = match item {
            // A time before now is over.
            BareItemFromInput::Integer(seconds) => {
                Argument::Time(Duration::from_secs(u64::try_from(i64::from(seconds)).unwrap_or_default().min(LONGEST)))
            }
            BareItemFromInput::Boolean(false) => Argument::No,
            _ => Argument::Other,
        };
        if let Some(slot) = self.0 {
            *slot = argument;
        }
        Ok(Ignored)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&[u8]]) -> Option<Vec<(String, Option<u64>)>> {
        let headers = lines.iter().map(|line| (CDN_CACHE_CONTROL, HeaderValue::from_bytes(line).unwrap())).collect();
        Some(targeted(&headers)?.map(|(name, time)| (name.to_owned(), time.map(|time| time.as_secs()))).collect())
    }

    #[test]
    fn directives_are_members_of_a_dictionary_and_an_invalid_one_is_ignored_whole() {
        let named = |name: &str, time| Some(vec![(name.to_owned(), time)]);
        assert_eq!(read(&[b"max-age=60"]), named("max-age", Some(60)));
        assert_eq!(read(&[b"max-age=60;x=\"y\""]), named("max-age", Some(60)));
        assert_eq!(read(&[b"max-age=5, foo", b"max-age=60"]), named("max-age", Some(60)));
        assert_eq!(read(&[b"max-age=999999999999999"]), named("max-age", Some(LONGEST)));
        assert_eq!(read(&[b"max-age=-1"]), named("max-age", Some(0)));
        assert_eq!(read(&[b"max-age=\"60\""]), named("max-age", None));
        assert_eq!(read(&[b"no-store, private=?0"]), named("no-store", None));
        assert_eq!(read(&[b"private=(\"a\" \"b\")"]), named("private", None));
        assert_eq!(read(&[b"no-store=?0"]), Some(Vec::new()));
        assert_eq!(read(&[b"foo"]), Some(Vec::new()));
        for invalid in ["", "MAX-AGE=60", "max-age=60, &&", "max-age =60", "max-age=60,", "max-age=9999999999999999"] {
            assert_eq!(read(&[invalid.as_bytes()]), None, "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(line in prop::collection::vec(prop::sample::select(b"max-age=\"\\, 01?:@()*;\x80".to_vec()), 0..60)) {
            read(&[&line]);
        }
    }
}
