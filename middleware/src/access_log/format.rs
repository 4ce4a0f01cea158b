//! The format of a line, compiled.

use http::HeaderName;
use http::header::{HOST, REFERER, USER_AGENT};
use serde::{Deserialize, Serialize};

use crate::timing::AppPart;

const COMMON: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s"#;
const COMBINED: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

/// The option `format`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Format {
    written: String,
    /// Empty for JSON, whose fields are fixed.
    pub(super) pieces: Vec<Piece>,
    /// The request headers of a line; pieces refer to them by index.
    pub(super) request_headers: Vec<HeaderName>,
    /// The response headers of a line.
    pub(super) response_headers: Vec<HeaderName>,
}

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Client,
    ClientPort,
    Nothing,
    User,
    AuthType,
    Time,
    RequestLine,
    Method,
    Target,
    Path,
    Query,
    Protocol,
    Scheme,
    Status,
    Sent,
    SentOrDash,
    Seconds,
    Millis,
    Micros,
    DecimalSeconds,
    Process,
    RequestId,
    TraceId,
    Received,
    CloseCode,
    /// A part of the app's time.
    Part(AppPart),
    /// The time of what has answered, without the queue.
    AppTime,
    /// The self time of the layer or app of this name.
    SelfTime(String),
    RequestHeader(usize),
    ResponseHeader(usize),
}

impl Format {
    /// The headers of JSON lines: the field, and its index in `request_headers`.
    pub(super) const JSON_HEADERS: [(&str, usize); 3] = [("host", 0), ("referer", 1), ("user_agent", 2)];

    pub(super) fn is_json(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether it shows times of layers and apps.
    pub(super) fn is_timed(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Part(_) | Piece::AppTime | Piece::SelfTime(_)))
    }

    fn empty(written: String) -> Self {
        Self { written, pieces: Vec::new(), request_headers: Vec::new(), response_headers: Vec::new() }
    }

    fn compile(mut self, mut rest: &str) -> Result<Self, String> {
        while let Some((literal, after)) = rest.split_once('%') {
            self.literal(literal);
            if let Some(after) = after.strip_prefix('%') {
                self.literal("%");
                rest = after;
                continue;
            }
            let (name, after) = after.strip_prefix('(').and_then(|after| after.split_once(")s")).ok_or_else(|| {
                let start: String = after.chars().take(12).collect();
                format!("`%{start}` does not begin an atom\nhint: atoms are written as `%(h)s`, and a percent sign as `%%`")
            })?;
            let piece = self.atom(name).ok_or_else(|| {
                let hint = "atoms are `h`, `l`, `u`, `t`, `r`, `m`, `U`, `q`, `H`, `s`, `B`, `b`, `f`, `a`, `T`, `M`, `D`, `L`, `p`, \
                            `queue`, `python`, `upstream`, `app`, `{header}i`, `{header}o`, `{variable}e` and `{place}t`";
                format!("unknown atom `%({name})s`\nhint: {hint}")
            })?;
            self.pieces.push(piece);
            rest = after;
        }
        self.literal(rest);
        Ok(self)
    }

    /// Appends text.
    fn literal(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Literal(before)) => before.push_str(text),
            _ => self.pieces.push(Piece::Literal(text.to_owned())),
        }
    }

    fn atom(&mut self, name: &str) -> Option<Piece> {
        Some(match name {
            "h" => Piece::Client,
            "l" => Piece::Nothing,
            "u" => Piece::User,
            "t" => Piece::Time,
            "r" => Piece::RequestLine,
            "m" => Piece::Method,
            "U" => Piece::Path,
            "q" => Piece::Query,
            "H" => Piece::Protocol,
            "s" => Piece::Status,
            "B" => Piece::Sent,
            "b" => Piece::SentOrDash,
            "f" => self.request_header(REFERER),
            "a" => self.request_header(USER_AGENT),
            "T" => Piece::Seconds,
            "M" => Piece::Millis,
            "D" => Piece::Micros,
            "L" => Piece::DecimalSeconds,
            "p" => Piece::Process,
            "queue" => Piece::Part(AppPart::Queue),
            "python" => Piece::Part(AppPart::Python),
            "upstream" => Piece::Part(AppPart::Upstream),
            "app" => Piece::AppTime,
            _ => {
                let (name, kind) = name.strip_prefix('{')?.rsplit_once('}')?;
                match kind {
                    "i" => self.request_header(name.parse().ok()?),
                    "o" => Piece::ResponseHeader(index_of(name.parse().ok()?, &mut self.response_headers)),
                    "e" => self.variable(name)?,
                    "t" => Piece::SelfTime(name.to_owned()),
                    _ => return None,
                }
            }
        })
    }

    /// A variable of the environ.
    fn variable(&mut self, name: &str) -> Option<Piece> {
        Some(match name {
            "REMOTE_ADDR" => Piece::Client,
            "REMOTE_PORT" => Piece::ClientPort,
            "REMOTE_USER" => Piece::User,
            "AUTH_TYPE" => Piece::AuthType,
            "REQUEST_METHOD" => Piece::Method,
            "REQUEST_URI" => Piece::Target,
            "QUERY_STRING" => Piece::Query,
            "SERVER_PROTOCOL" => Piece::Protocol,
            "wsgi.url_scheme" => Piece::Scheme,
            "ziggurat.request_id" => Piece::RequestId,
            "ziggurat.trace_id" => Piece::TraceId,
            "ziggurat.received" => Piece::Received,
            "ziggurat.close_code" => Piece::CloseCode,
            _ => self.request_header(name.strip_prefix("HTTP_")?.replace('_', "-").parse().ok()?),
        })
    }

    fn request_header(&mut self, name: HeaderName) -> Piece {
        Piece::RequestHeader(index_of(name, &mut self.request_headers))
    }
}

fn index_of(name: HeaderName, names: &mut Vec<HeaderName>) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

impl TryFrom<String> for Format {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let format = Self::empty(written.clone());
        match written.as_str() {
            "json" => Ok(Self { request_headers: vec![HOST, REFERER, USER_AGENT], ..format }),
            "common" => format.compile(COMMON),
            "combined" => format.compile(COMBINED),
            text if text.contains('%') => format.compile(text),
            text => Err(format!(
                "`{text}` is not a format\nhint: formats are `combined`, `common`, `json`, or a text with atoms such as `%(h)s`; a file is named by `to`"
            )),
        }
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.written
    }
}

impl Default for Format {
    fn default() -> Self {
        // `combined` is tested to compile.
        Self::empty("combined".to_owned()).compile(COMBINED).unwrap_or_else(Self::empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<Format, String> {
        Format::try_from(text.to_owned())
    }

    #[test]
    fn the_named_formats_compile() {
        assert_eq!(compile("combined").unwrap().pieces, Format::default().pieces);
        assert_eq!(Format::default().request_headers, [REFERER, USER_AGENT]);
        assert!(compile("json").unwrap().is_json());
        assert!(!compile("common").unwrap().is_json());
    }

    #[test]
    fn literals_and_atoms_alternate() {
        let literal = |text: &str| Piece::Literal(text.to_owned());
        let format = compile("100%% %(h)s:%({X-A}i)s%({x-a}i)s %({x-b}o)s %({HTTP_X_C}e)s.").unwrap();
        let pieces = [
            literal("100% "),
            Piece::Client,
            literal(":"),
            Piece::RequestHeader(0),
            Piece::RequestHeader(0),
            literal(" "),
            Piece::ResponseHeader(0),
            literal(" "),
            Piece::RequestHeader(1),
            literal("."),
        ];
        assert_eq!(format.pieces, pieces);
        assert_eq!(String::from(format), "100%% %(h)s:%({X-A}i)s%({x-a}i)s %({x-b}o)s %({HTTP_X_C}e)s.");
    }

    #[test]
    fn what_is_no_format_is_refused_with_what_is() {
        for (text, said) in [
            ("combnied", "`combnied` is not a format\n"),
            ("", "is not a format"),
            ("%(z)s", "unknown atom `%(z)s`\n"),
            ("%(h)s %(tt)s", "unknown atom `%(tt)s`"),
            ("%({a b}i)s", "unknown atom `%({a b}i)s`"),
            ("%({x}z)s", "unknown atom"),
            ("%({PATH}e)s", "unknown atom"),
            ("%h %l", "`%h %l` does not begin an atom\n"),
            ("%(h)d", "does not begin an atom"),
            ("%(h", "does not begin an atom"),
            ("%", "does not begin an atom"),
        ] {
            assert!(compile(text).unwrap_err().contains(said), "{text}: {:?}", compile(text));
        }
    }
}
