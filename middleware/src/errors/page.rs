//! A page: text with gaps.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::Body;
use crate::files::kind::media_type;

/// The longest file.
const LONGEST: u64 = 1 << 20;

/// A page, read.
pub(super) struct Page {
    media_type: HeaderValue,
    syntax: Syntax,
    pieces: Vec<Piece>,
}

/// How values are escaped.
#[derive(Clone, Copy)]
enum Syntax {
    Markup,
    Json,
    Plain,
}

enum Piece {
    Text(Bytes),
    Gap(Gap),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    Status,
    Reason,
    Detail,
    RequestId,
}

const GAPS: [(&str, Gap); 4] =
    [("{status}", Gap::Status), ("{reason}", Gap::Reason), ("{detail}", Gap::Detail), ("{request_id}", Gap::RequestId)];

/// What fills the gaps.
pub(super) struct Values<'a> {
    pub(super) status: StatusCode,
    pub(super) detail: &'a str,
    pub(super) id: &'a str,
}

impl Values<'_> {
    pub(super) fn reason(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }
}

impl Page {
    /// Reads a file. The error is the reason why it is no page.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        if !file.metadata().map_err(|error| error.to_string())?.is_file() {
            return Err("it is no regular file".to_owned());
        }
        let mut octets = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut octets).map_err(|error| error.to_string())?;
        if octets.len() as u64 > LONGEST {
            return Err("it is longer than 1 MiB".to_owned());
        }
        let text = String::from_utf8(octets).map_err(|_| "it is not UTF-8".to_owned())?;
        let page = Self::new(media_type(path.as_os_str().as_bytes()), text);
        if page.essence() == "application/octet-stream" {
            Err("its name tells no media type, as `.html` does".to_owned())
        } else {
            Ok(page)
        }
    }

    fn new(media_type: HeaderValue, text: String) -> Self {
        let mut page = Self { syntax: Syntax::Plain, pieces: Vec::new(), media_type };
        page.syntax = match page.essence() {
            "application/json" => Syntax::Json,
            essence if essence.ends_with("+json") => Syntax::Json,
            "text/html" | "text/xml" | "application/xml" => Syntax::Markup,
            essence if essence.ends_with("+xml") => Syntax::Markup,
            _ => Syntax::Plain,
        };
        let text = Bytes::from(text);
        let (mut start, mut at) = (0, 0);
        while let Some(found) = memchr::memchr(b'{', &text[at..]) {
            at += found;
            match GAPS.iter().find(|(gap, _)| text[at..].starts_with(gap.as_bytes())) {
                Some((spelled, gap)) => {
                    page.pieces.extend([Piece::Text(text.slice(start..at)), Piece::Gap(*gap)]);
                    at += spelled.len();
                    start = at;
                }
                None => at += 1,
            }
        }
        page.pieces.push(Piece::Text(text.slice(start..)));
        page
    }

    pub(super) const fn media_type(&self) -> &HeaderValue {
        &self.media_type
    }

    /// The media type without parameters.
    pub(super) fn essence(&self) -> &str {
        self.media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default()
    }

    /// Whether the page differs by request.
    pub(super) fn names_the_request(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Gap(Gap::RequestId)))
    }

    pub(super) fn fill(&self, values: &Values<'_>) -> Body {
        if let [Piece::Text(text)] = &*self.pieces {
            return Body::from(text.clone());
        }
        let mut filled = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.extend_from_slice(text),
                Piece::Gap(gap) => {
                    let value = match gap {
                        Gap::Status => values.status.as_str(),
                        Gap::Reason => values.reason(),
                        Gap::Detail => values.detail,
                        Gap::RequestId => values.id,
                    };
                    filled.extend_from_slice(self.syntax.escaped(value).as_bytes());
                }
            }
        }
        Body::from(filled)
    }
}

impl Syntax {
    fn escaped(self, value: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => value.into(),
            Self::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                quoted[1..quoted.len() - 1].to_owned().into()
            }
            Self::Markup => {
                let mut escaped = String::with_capacity(value.len());
                for letter in value.chars() {
                    match letter {
                        '&' => escaped.push_str("&amp;"),
                        '<' => escaped.push_str("&lt;"),
                        '>' => escaped.push_str("&gt;"),
                        '"' => escaped.push_str("&quot;"),
                        '\'' => escaped.push_str("&#39;"),
                        letter => escaped.push(letter),
                    }
                }
                escaped.into()
            }
        }
    }
}
