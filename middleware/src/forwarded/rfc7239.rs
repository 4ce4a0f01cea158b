//! `Forwarded`: `for=192.0.2.60;proto=https;host=example.com, for="[2001:db8::17]:4711"`.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::FORWARDED;

use super::chain::{follow, scheme};
use super::node::{self, Node};
use super::trust::Trust;
use super::{Claim, Malformed};

const MALFORMED: Malformed = Malformed("Forwarded");

/// The whole header must be well formed: because of quotes, it cannot be read from the right.
pub(super) fn read(headers: &HeaderMap, trust: &Trust) -> Result<Claim, Malformed> {
    let mut elements = Vec::new();
    for line in headers.get_all(FORWARDED) {
        parse(line.as_bytes(), &mut elements).ok_or(MALFORMED)?;
    }
    let hops = elements.iter().rev().map(|element| match &element.client {
        Some(node) => Node::parse(node).ok_or(MALFORMED),
        None => Ok(Node::Hidden),
    });
    let end = follow(hops, trust)?;
    let Some(element) = elements.iter().nth_back(end.distance) else {
        return Ok(Claim::default());
    };
    Ok(Claim {
        client: end.client,
        scheme: element.proto.as_deref().map(|proto| scheme(proto).ok_or(MALFORMED)).transpose()?,
        host: element.host.as_deref().map(|host| node::host(host).ok_or(MALFORMED)).transpose()?,
        port: None,
        prefix: None,
    })
}

/// What one proxy wrote. Other parameters are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element<'a> {
    client: Option<Cow<'a, [u8]>>,
    proto: Option<Cow<'a, [u8]>>,
    host: Option<Cow<'a, [u8]>>,
}

/// Adds the elements of one line; `None` if it is malformed (RFC 7239 section 4).
fn parse<'a>(line: &'a [u8], elements: &mut Vec<Element<'a>>) -> Option<()> {
    let mut rest = line.trim_ascii();
    let mut element = None;
    while let Some(first) = rest.first() {
        match first {
            b',' => elements.extend(element.take()),
            b';' => {}
            _ => {
                let (name, value, after) = pair(rest)?;
                rest = after.trim_ascii_start();
                element.get_or_insert_with(Element::default).set(name, value)?;
                if !matches!(rest.first(), None | Some(b',' | b';')) {
                    return None;
                }
                continue;
            }
        }
        rest = rest[1..].trim_ascii_start();
    }
    elements.extend(element);
    Some(())
}

impl<'a> Element<'a> {
    /// `None` if there are two parameters of this name.
    fn set(&mut self, name: &[u8], value: Cow<'a, [u8]>) -> Option<()> {
        let place = match name.to_ascii_lowercase().as_slice() {
            b"for" => &mut self.client,
            b"proto" => &mut self.proto,
            b"host" => &mut self.host,
            _ => return Some(()),
        };
        place.replace(value).is_none().then_some(())
    }
}

/// A name, its value, and what follows.
type Pair<'a> = (&'a [u8], Cow<'a, [u8]>, &'a [u8]);

fn pair(text: &[u8]) -> Option<Pair<'_>> {
    let (name, rest) = split_where(text, |octet| !is_token(octet));
    let rest = rest.strip_prefix(b"=")?;
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(inside) => quoted(inside)?,
        None => {
            // RFC 7239 requires quotes in `for=192.0.2.1:80` and `host=a:80`. Many proxies omit them, and the meaning is clear.
            let (value, rest) = split_where(rest, |octet| !is_token(octet) && !b":[]".contains(&octet));
            (Cow::Borrowed(value), rest)
        }
    };
    (!name.is_empty() && !value.is_empty()).then_some((name, value, rest))
}

/// The content of a quoted string after its first quote, and what follows its last.
fn quoted(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut unescaped: Option<Vec<u8>> = None;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => {
                let value = unescaped.map_or(Cow::Borrowed(&text[..at]), Cow::Owned);
                return Some((value, &text[at + 1..]));
            }
            b'\\' => {
                unescaped.get_or_insert_with(|| text[..at].to_vec()).push(*text.get(at + 1)?);
                at += 2;
            }
            octet => {
                if let Some(unescaped) = &mut unescaped {
                    unescaped.push(*octet);
                }
                at += 1;
            }
        }
    }
}

fn split_where(text: &[u8], end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|octet| end(*octet)).unwrap_or(text.len()))
}

/// RFC 9110 section 5.6.2.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clients(line: &str) -> Option<Vec<String>> {
        let mut elements = Vec::new();
        parse(line.as_bytes(), &mut elements)?;
        let text = |element: Element| element.client.map(|client| String::from_utf8(client.into_owned()).unwrap()).unwrap_or_default();
        Some(elements.into_iter().map(text).collect())
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        assert_eq!(clients(r#"for="_gazonk""#).unwrap(), ["_gazonk"]);
        assert_eq!(clients(r#"For="[2001:db8:cafe::17]:4711""#).unwrap(), ["[2001:db8:cafe::17]:4711"]);
        assert_eq!(clients("for=192.0.2.60;proto=http;by=203.0.113.43").unwrap(), ["192.0.2.60"]);
        assert_eq!(clients("for=192.0.2.43, for=198.51.100.17").unwrap(), ["192.0.2.43", "198.51.100.17"]);
    }

    #[test]
    fn quotes_hide_commas_and_backslashes_hide_quotes() {
        assert_eq!(clients(r#"x="a, for=1.1.1.1; \"";for=2.2.2.2"#).unwrap(), ["2.2.2.2"]);
        assert_eq!(clients(r#"for="2.\2.2.2""#).unwrap(), ["2.2.2.2"]);
    }

    #[test]
    fn lists_may_have_gaps_and_spaces() {
        assert_eq!(clients(" , for=a ; proto=http ;; ,\t,host=b,").unwrap(), ["a", ""]);
        assert_eq!(clients("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn missing_quotes_around_a_port_are_forgiven() {
        assert_eq!(clients("for=192.0.2.1:80;host=a:443").unwrap(), ["192.0.2.1:80"]);
    }

    #[test]
    fn what_is_malformed_is_refused_as_a_whole() {
        for line in [
            "for",
            "for=",
            "=a",
            "for =a",
            "for= a",
            r#"for="a"#,
            r#"for="a\"#,
            r#"for="a"b"#,
            r#"for="""#,
            "for=a b",
            "for=a for=b",
            "for=a;for=b",
            "for=a;FOR=b",
            "a/b=c",
            "for=a\u{fc}",
        ] {
            assert_eq!(clients(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&line, &mut Vec::new());
        }

        #[test]
        fn anything_in_quotes_is_read_back(value in "[ -~]{1,20}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(clients(&format!("for=\"{escaped}\", for=z")).unwrap(), [value.as_str(), "z"]);
        }
    }
}
