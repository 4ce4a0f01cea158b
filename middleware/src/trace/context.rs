//! The headers of W3C Trace Context, read strictly: what another program says of the trace that a request belongs to.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The header with the ids (W3C Trace Context section 3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header with what vendors add (W3C Trace Context section 3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The id of a trace. It is displayed as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub NonZeroU128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The ids of a span, and whether its trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    span_id: NonZeroU64,
    is_sampled: bool,
}

impl TraceContext {
    /// The context of a span.
    #[must_use]
    pub const fn new(trace_id: TraceId, span_id: NonZeroU64, is_sampled: bool) -> Self {
        Self { trace_id, span_id, is_sampled }
    }

    /// The first span of a new trace.
    #[must_use]
    pub fn root(is_sampled: impl FnOnce(TraceId) -> bool) -> Self {
        let trace_id = TraceId(random());
        Self { trace_id, span_id: random_span(), is_sampled: is_sampled(trace_id) }
    }

    /// The context of a new span below this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: random_span(), ..*self }
    }

    /// This span, recorded or not.
    #[must_use]
    pub const fn sampled(self, is_sampled: bool) -> Self {
        Self { is_sampled, ..self }
    }

    /// The context in the headers of a request. `None` if there is none, more than one, or a malformed one: a new trace begins then.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()),
            _ => None,
        }
    }

    /// Parses the value of a `traceparent`. Of a later version than 00, only the fields of version 00 are read.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (fields, rest) = value.split_at_checked(55)?;
        let [b'-', b'-', b'-'] = [fields[2], fields[35], fields[52]] else { return None };
        let version = hex(&fields[..2])?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|octet| *octet == b'-'),
        };
        let trace_id = TraceId(NonZeroU128::new(hex(&fields[3..35])?)?);
        let span_id = NonZeroU64::new(u64::try_from(hex(&fields[36..52])?).ok()?)?;
        let flags = hex(&fields[53..])?;
        is_whole.then_some(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }

    /// The value of a `traceparent`.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        // Hexadecimal digits and hyphens are always a value.
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The id of the trace.
    #[must_use]
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The id of the span.
    #[must_use]
    pub const fn span_id(&self) -> NonZeroU64 {
        self.span_id
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

/// As in a `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.is_sampled))
    }
}

/// Lower-case hexadecimal digits, at most 32.
fn hex(digits: &[u8]) -> Option<u128> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(u128::from(octet - b'0')),
        b'a'..=b'f' => Some(u128::from(octet - b'a' + 10)),
        _ => None,
    };
    digits.iter().try_fold(0, |value, octet| Some(value << 4 | digit(*octet)?))
}

fn random() -> NonZeroU128 {
    NonZeroU128::new(fastrand::u128(..)).unwrap_or(NonZeroU128::MIN)
}

fn random_span() -> NonZeroU64 {
    NonZeroU64::new(fastrand::u64(..)).unwrap_or(NonZeroU64::MIN)
}

/// What vendors say of a trace, to be passed on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceState(HeaderValue);

/// The most members of a `tracestate` (W3C Trace Context section 3.3.1.1).
const MOST_MEMBERS: usize = 32;

/// The most octets of a `tracestate` that are passed on: as many as a program must pass on (W3C Trace Context section 3.3.1.5).
const LONGEST: usize = 512;

impl TraceState {
    /// The state in the headers of a request, whose lines are one list. `None` if there is none, or if it is malformed or too long.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut text = String::new();
        let mut keys: Vec<&str> = Vec::new();
        for member in headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str).flat_map(members) {
            let member = member?;
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MOST_MEMBERS {
                return None;
            }
            keys.push(key);
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(member);
            if text.len() > LONGEST {
                return None;
            }
        }
        if text.is_empty() { None } else { HeaderValue::try_from(text).ok().map(Self) }
    }

    /// The value of a `tracestate`.
    #[must_use]
    pub const fn header(&self) -> &HeaderValue {
        &self.0
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The members of a line, without the empty ones; `None` for a line that is no text.
fn members<E>(line: Result<&str, E>) -> Box<dyn Iterator<Item = Option<&str>> + '_> {
    match line {
        Ok(line) => Box::new(line.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()).map(Some)),
        Err(_) => Box::new(std::iter::once(None)),
    }
}

/// A key: `simple` or `tenant@system` (W3C Trace Context section 3.3.1.3.1).
fn is_key(key: &str) -> bool {
    let is_char = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || matches!(octet, b'_' | b'-' | b'*' | b'/');
    let is_part = |part: &str, longest: usize, may_begin_with_digit: bool| {
        let begins = part.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || may_begin_with_digit && first.is_ascii_digit());
        begins && part.len() <= longest && part.bytes().all(is_char)
    };
    match key.split_once('@') {
        Some((tenant, system)) => is_part(tenant, 241, true) && is_part(system, 14, false),
        None => is_part(key, 256, false),
    }
}

/// A value of 1 to 256 printable characters without `,` and `=`, which does not end in a space (W3C Trace Context section 3.3.1.3.2).
fn is_value(value: &str) -> bool {
    let is_char = |octet: u8| matches!(octet, b' '..=b'~') && !matches!(octet, b',' | b'=');
    (1..=256).contains(&value.len()) && value.bytes().all(is_char) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((context.to_string().as_str(), context.is_sampled()), (GOOD, true));
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(!TraceContext::parse(GOOD.replace("-01", "-00").as_bytes()).unwrap().is_sampled());
        let child = context.child();
        assert!(child.trace_id() == context.trace_id() && child.span_id() != context.span_id());
    }

    #[test]
    fn flags_that_are_not_known_are_not_passed_on() {
        let context = TraceContext::parse(GOOD.replace("-01", "-ff").as_bytes()).unwrap();
        assert_eq!(context.to_string(), GOOD);
    }

    #[test]
    fn a_malformed_traceparent_is_none() {
        let long = format!("{GOOD}-00");
        let malformed = [
            "",
            "00",
            &GOOD[..54],
            &long,
            &GOOD.replace("00-4bf9", "ff-4bf9"),
            &GOOD.replace("00-4bf9", "0x-4bf9"),
            &GOOD.to_uppercase(),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace("4bf9", "4bf "),
        ];
        for value in malformed {
            assert_eq!(TraceContext::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(TraceContext::read(&headers(TRACEPARENT, &[GOOD, GOOD])), None);
        assert_eq!(TraceContext::read(&HeaderMap::new()), None);
    }

    #[test]
    fn a_later_version_may_have_more_fields() {
        let later = GOOD.replace("00-4bf9", "cc-4bf9");
        for value in [later.clone(), format!("{later}-what-comes"), format!("{later}-")] {
            assert_eq!(TraceContext::parse(value.as_bytes()).unwrap().to_string(), GOOD, "{value}");
        }
        assert_eq!(TraceContext::parse(format!("{later}.x").as_bytes()), None);
    }

    fn state(values: &[&str]) -> Option<String> {
        TraceState::read(&headers(TRACESTATE, values)).map(|state| state.as_str().to_owned())
    }

    #[test]
    fn the_lines_of_a_tracestate_are_one_list() {
        assert_eq!(state(&["a=1 , b=2", "", "t@sys=x;y,"]).unwrap(), "a=1,b=2,t@sys=x;y");
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[" , "]), None);
    }

    #[test]
    fn a_malformed_or_long_tracestate_is_none() {
        for value in ["a", "a=", "=1", "A=1", "1a=1", "a=1,a=2", "a=b=c", "a@b@c=1", "a=\u{7f}x"] {
            assert_eq!(HeaderValue::from_str(value).ok().and_then(|_| state(&[value])), None, "{value}");
        }
        let many = |count: usize| (0..count).map(|nth| format!("k{nth}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&[&many(32)]).is_some() && state(&[&many(33)]).is_none());
        let long = |length: usize| format!("a={},b={}", "x".repeat(200), "y".repeat(length - 205));
        assert!(state(&[&long(405)]).is_some());
        assert!(state(&[&long(405), "c=123", &format!("d={}", "z".repeat(200))]).is_none());
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..80), mut tail in Just(GOOD.as_bytes().to_vec()), at in 0_usize..55, octet: u8) {
            let _ = TraceContext::parse(&octets);
            tail[at] = octet;
            if let Some(context) = TraceContext::parse(&tail) {
                // What is accepted is what is passed on, but for the version and flags that are not known.
                let passed_on = context.to_string();
                prop_assert_eq!(&passed_on.as_bytes()[2..52], &tail[2..52]);
            }
            if let Ok(value) = HeaderValue::from_bytes(&octets) {
                let state = TraceState::read(&HeaderMap::from_iter([(TRACESTATE, value)]));
                if let Some(state) = state {
                    prop_assert_eq!(TraceState::read(&HeaderMap::from_iter([(TRACESTATE, state.header().clone())])), Some(state));
                }
            }
        }
    }
}
