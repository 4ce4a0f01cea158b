//! The request that is asked about.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};
use ziggurat_middleware::units::Size;

/// A request in words, as a command line, a test in the file or the control socket gives it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) method: String,
    /// An absolute URL, or the path alone.
    pub(crate) url: String,
    /// Names and values.
    pub(crate) headers: Vec<(String, String)>,
    /// Of the request's body, for instance `12MiB`.
    pub(crate) body_size: Option<String>,
    /// The peer of the connection: an IP address, or `unix`.
    pub(crate) from: Option<String>,
    /// As in curl: a name, or name and password with a colon between them, for HTTP Basic.
    pub(crate) user: Option<String>,
    /// The subject of the client's certificate.
    pub(crate) client_cert: Option<String>,
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Address(IpAddr),
    Unix,
}

/// What is wrong with a question.
pub(crate) struct InvalidQuestion {
    /// The option of a test that it is about.
    pub(crate) option: &'static str,
    pub(crate) message: String,
}

impl Question {
    /// A method and a URL in one text: `GET /admin/`, or the URL alone.
    pub(crate) fn of_line(line: &str) -> Self {
        let (method, url) = line.trim().split_once(char::is_whitespace).unwrap_or(("GET", line.trim()));
        Self { method: method.to_owned(), url: url.trim().to_owned(), ..Self::default() }
    }

    /// Whether such a request can be made.
    pub(crate) fn check(&self) -> Result<(), InvalidQuestion> {
        let about = |option| move |message| InvalidQuestion { option, message };
        self.method().map_err(about("request"))?;
        self.uri().map_err(about("request"))?;
        self.from().map_err(about("from"))?;
        self.headers(None).map_err(about("headers"))?;
        Ok(())
    }

    pub(super) fn method(&self) -> Result<Method, String> {
        self.method.parse().map_err(|_| format!("`{}` is not a method", self.method.escape_debug()))
    }

    /// The URL.
    pub(super) fn uri(&self) -> Result<Uri, String> {
        let hint = "hint: write a URL such as `https://shop.example/x?y=1`, or a path such as `/x`";
        let refuse = |why: &str| format!("`{}` is not a URL: {why}\n{hint}", self.url.escape_debug());
        let uri: Uri = self.url.parse().map_err(|error: http::uri::InvalidUri| refuse(&error.to_string()))?;
        match uri.scheme_str() {
            Some("http" | "https") => Ok(uri),
            Some(scheme) => Err(refuse(&format!("the scheme is `{scheme}`, and a server of HTTP has `http` and `https`"))),
            None if uri.path().starts_with('/') || self.url == "*" => Ok(uri),
            None => Err(refuse("it begins neither with a scheme nor with `/`")),
        }
    }

    pub(super) fn from(&self) -> Result<Option<From>, String> {
        match self.from.as_deref() {
            None => Ok(None),
            Some("unix") => Ok(Some(From::Unix)),
            Some(address) => {
                let parsed = address.parse().map_err(|_| {
                    format!("`{}` is not the address of a client\nhint: write an IP address, or `unix`", address.escape_debug())
                })?;
                Ok(Some(From::Address(parsed)))
            }
        }
    }

    /// The headers as the client sends them. `authority` is that of the URL.
    pub(super) fn headers(&self, authority: Option<&str>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let shown = || format!("`{}: {}` is not a header", name.escape_debug(), value.escape_debug());
            let (name, value) = (HeaderName::try_from(name).map_err(|_| shown())?, HeaderValue::try_from(value).map_err(|_| shown())?);
            headers.append(name, value);
        }
        if !headers.contains_key(HOST) {
            let host = authority.unwrap_or("localhost");
            headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| format!("`{}` is not a host", host.escape_debug()))?);
        }
        if let Some(user) = &self.user {
            let pair = if user.contains(':') { user.clone() } else { format!("{user}:") };
            let value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)));
            headers.insert(AUTHORIZATION, value.map_err(|_| "the user cannot be written into a header".to_owned())?);
        }
        if let Some(size) = &self.body_size {
            headers.insert(CONTENT_LENGTH, size.parse::<Size>()?.0.into());
        }
        Ok(headers)
    }

    /// Adds a header `name: value`.
    ///
    /// # Errors
    ///
    /// If there is no colon.
    pub(crate) fn add_header(&mut self, line: &str) -> Result<(), String> {
        let (name, value) =
            line.split_once(':').ok_or_else(|| format!("`{}` is not a header\nhint: write `name: value`", line.escape_debug()))?;
        self.headers.push((name.trim().to_owned(), value.trim().to_owned()));
        Ok(())
    }

    /// Adds a cookie `name=value`.
    pub(crate) fn add_cookie(&mut self, pair: &str) {
        match self.headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(COOKIE.as_str())) {
            Some((_, value)) => value.extend(["; ", pair]),
            None => self.headers.push((COOKIE.to_string(), pair.to_owned())),
        }
    }
}
