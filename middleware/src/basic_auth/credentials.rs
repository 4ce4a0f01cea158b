//! What the `Authorization` header says (RFC 7617 section 2).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// No password is longer, and some hashes take time that grows with the square of its length.
const LONGEST: usize = 1024;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// A user name and a password.
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl Credentials {
    /// Reads the header; `None` where it is missing, there twice, of another scheme or malformed.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line.as_bytes()),
            _ => None,
        }
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let (scheme, encoded) = line.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let decoded = String::from_utf8(BASE64.decode(encoded.trim_ascii()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        let sound = decoded.len() <= LONGEST && !decoded.chars().any(char::is_control);
        sound.then(|| Self { user: user.to_owned(), password: password.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Option<(String, String)> {
        Credentials::parse(line.as_bytes()).map(|found| (found.user, found.password))
    }

    #[test]
    fn credentials_are_read_as_the_grammar_says() {
        let found = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (line, expected) in [
            // Of RFC 7617: `Aladdin:open sesame`, and `test:123` with a pound sign.
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", found("Aladdin", "open sesame")),
            ("Basic dGVzdDoxMjPCow==", found("test", "123\u{a3}")),
            ("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", found("Aladdin", "open sesame")),
            ("BASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ== ", found("Aladdin", "open sesame")),
            ("Basic YTpiOmM=", found("a", "b:c")),
            ("Basic Og==", found("", "")),
            ("Basic YTo=", found("a", "")),
            ("Basic YQ==", None),
            ("Basic ", None),
            ("Basic", None),
            ("", None),
            ("Bearer YTpi", None),
            ("BasicYTpi", None),
            ("Basic YTpi YTpi", None),
            ("Basic YTpi!", None),
            ("Basic a:b", None),
            // Latin-1, NUL, line end.
            ("Basic YTrp", None),
            ("Basic YToA", None),
            ("Basic YTpiCg==", None),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
        assert_eq!(parse(&format!("Basic {}", BASE64.encode(format!("a:{}", "x".repeat(LONGEST))))), None);
    }

    proptest! {
        #[test]
        fn any_credentials_survive_being_sent(user in "[^:\\pC]{0,20}", password in "\\PC{0,20}") {
            let line = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
            prop_assert_eq!(parse(&line), Some((user, password)));
        }

        #[test]
        fn any_header_is_read_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Credentials::parse(&[b"Basic ".as_slice(), &line].concat());
            let _ = Credentials::parse(&line);
        }
    }
}
