//! Requests as CGI variables (RFC 3875 section 4.1), in both directions.
//!
//! WSGI (PEP 3333), FastCGI, SCGI, the uwsgi protocol and CGI describe a request by the same variables and carry them in different ways. Both
//! conversions exist once, over two traits: [`from_request`] writes variables to a [`VariableSink`], and [`to_request`] reads them from a
//! [`VariableSource`].

mod explain;
mod from_request;
mod list;
#[cfg(test)]
mod tests;
mod tls;
mod to_request;

use std::borrow::Cow;
use std::fmt;

use http::header::{self, HeaderMap, HeaderName};
use ziggurat_middleware::hop_by_hop;

pub(crate) use explain::script_and_path;
pub(crate) use from_request::from_request;
pub(crate) use list::{items, joined};
pub(crate) use to_request::to_request;

/// A variable that describes the request. Every other variable is a header: `HTTP_` and its name.
///
/// The link between server and workers sends the discriminants in place of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Variable {
    /// RFC 3875 section 4.1.12.
    RequestMethod = 1,
    /// Section 4.1.13, percent-decoded: the prefixes that mounts took off the path.
    ScriptName,
    /// Section 4.1.5, percent-decoded: the path below the mounts.
    PathInfo,
    /// Section 4.1.7, as the client wrote it.
    QueryString,
    /// Path and query as the client wrote them. Not in RFC 3875; every server sets it.
    RequestUri,
    /// Section 4.1.14.
    ServerName,
    /// Section 4.1.15.
    ServerPort,
    /// Section 4.1.16.
    ServerProtocol,
    /// Section 4.1.8. Empty for a client on a Unix socket.
    RemoteAddr,
    /// The client's port. Not in RFC 3875; most servers set it.
    RemotePort,
    /// Section 4.1.11.
    RemoteUser,
    /// Section 4.1.1.
    AuthType,
    /// Section 4.1.3.
    ContentType,
    /// Section 4.1.2.
    ContentLength,
    /// The `Host` header or the authority of the request target.
    HttpHost,
    /// `http` or `https`; PEP 3333's `wsgi.url_scheme`.
    UrlScheme,
    /// The id of the request. It has a name only in WSGI.
    RequestId,
    /// `on` over TLS. Not in RFC 3875; every server sets it. So are the following, which Apache's mod_ssl sets.
    Https,
    /// The version of TLS.
    SslProtocol,
    /// The cipher suite.
    SslCipher,
    /// The host that the client asked TLS for.
    SslTlsSni,
    /// `Initial` or `Resumed`.
    SslSessionResumed,
    /// `SUCCESS`, or `NONE` without a certificate of the client.
    SslClientVerify,
    /// The subject of the client's certificate, and so on.
    SslClientSubject,
    SslClientCommonName,
    SslClientIssuer,
    SslClientIssuerCommonName,
    SslClientSerial,
    SslClientStart,
    SslClientEnd,
    /// Its email addresses: a list.
    SslClientEmails,
    /// Its host names: a list.
    SslClientHosts,
    /// Its URIs: a list. mod_ssl does not have them.
    SslClientUris,
    /// The certificate in PEM.
    SslClientCert,
    /// What a finding about PEP 3333 does, if callables are checked. It has a name only in WSGI.
    WsgiLint,
}

impl Variable {
    /// All of them, in the order of their discriminants.
    pub(crate) const ALL: [Self; 35] = [
        Self::RequestMethod,
        Self::ScriptName,
        Self::PathInfo,
        Self::QueryString,
        Self::RequestUri,
        Self::ServerName,
        Self::ServerPort,
        Self::ServerProtocol,
        Self::RemoteAddr,
        Self::RemotePort,
        Self::RemoteUser,
        Self::AuthType,
        Self::ContentType,
        Self::ContentLength,
        Self::HttpHost,
        Self::UrlScheme,
        Self::RequestId,
        Self::Https,
        Self::SslProtocol,
        Self::SslCipher,
        Self::SslTlsSni,
        Self::SslSessionResumed,
        Self::SslClientVerify,
        Self::SslClientSubject,
        Self::SslClientCommonName,
        Self::SslClientIssuer,
        Self::SslClientIssuerCommonName,
        Self::SslClientSerial,
        Self::SslClientStart,
        Self::SslClientEnd,
        Self::SslClientEmails,
        Self::SslClientHosts,
        Self::SslClientUris,
        Self::SslClientCert,
        Self::WsgiLint,
    ];

    /// Its place in [`Variable::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }

    /// Its key in a WSGI environ, but for the number of an item of a list.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RequestMethod => "REQUEST_METHOD",
            Self::ScriptName => "SCRIPT_NAME",
            Self::PathInfo => "PATH_INFO",
            Self::QueryString => "QUERY_STRING",
            Self::RequestUri => "REQUEST_URI",
            Self::ServerName => "SERVER_NAME",
            Self::ServerPort => "SERVER_PORT",
            Self::ServerProtocol => "SERVER_PROTOCOL",
            Self::RemoteAddr => "REMOTE_ADDR",
            Self::RemotePort => "REMOTE_PORT",
            Self::RemoteUser => "REMOTE_USER",
            Self::AuthType => "AUTH_TYPE",
            Self::ContentType => "CONTENT_TYPE",
            Self::ContentLength => "CONTENT_LENGTH",
            Self::HttpHost => "HTTP_HOST",
            Self::UrlScheme => "wsgi.url_scheme",
            Self::RequestId => "ziggurat.request_id",
            Self::Https => "HTTPS",
            Self::SslProtocol => "SSL_PROTOCOL",
            Self::SslCipher => "SSL_CIPHER",
            Self::SslTlsSni => "SSL_TLS_SNI",
            Self::SslSessionResumed => "SSL_SESSION_RESUMED",
            Self::SslClientVerify => "SSL_CLIENT_VERIFY",
            Self::SslClientSubject => "SSL_CLIENT_S_DN",
            Self::SslClientCommonName => "SSL_CLIENT_S_DN_CN",
            Self::SslClientIssuer => "SSL_CLIENT_I_DN",
            Self::SslClientIssuerCommonName => "SSL_CLIENT_I_DN_CN",
            Self::SslClientSerial => "SSL_CLIENT_M_SERIAL",
            Self::SslClientStart => "SSL_CLIENT_V_START",
            Self::SslClientEnd => "SSL_CLIENT_V_END",
            Self::SslClientEmails => "SSL_CLIENT_SAN_Email",
            Self::SslClientHosts => "SSL_CLIENT_SAN_DNS",
            Self::SslClientUris => "SSL_CLIENT_SAN_URI",
            Self::SslClientCert => "SSL_CLIENT_CERT",
            Self::WsgiLint => "ziggurat.lint",
        }
    }
}

/// Receives the variables of a request, each at most once.
pub(crate) trait VariableSink {
    /// Sets a variable.
    fn set(&mut self, variable: Variable, value: &[u8]);

    /// Sets the variable of a header. [`push_header_variable`] gives its name.
    fn set_header(&mut self, name: &HeaderName, value: &[u8]);
}

/// Provides the variables of a request.
pub(crate) trait VariableSource {
    /// Why a variable cannot be read.
    type Error: From<Invalid>;

    /// The value of a variable, if it is set.
    fn get(&self, variable: Variable) -> Result<Option<Cow<'_, [u8]>>, Self::Error>;

    /// How many variables have a name that begins with `HTTP_`, at most.
    fn header_count(&self) -> usize;

    /// Calls `each` for every variable whose name begins with `HTTP_`, with the rest of the name and the value.
    fn headers(&self, each: impl FnMut(&[u8], &[u8]) -> Result<(), Invalid>) -> Result<(), Self::Error>;
}

/// A variable with a value that no request can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// The name of the variable.
    pub(crate) variable: String,
    /// What is wrong, to follow the name.
    pub(crate) reason: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.variable, self.reason)
    }
}

impl std::error::Error for Invalid {}

/// Appends the name of a header's variable: `HTTP_`, and the header's name in upper case with `_` for `-` (RFC 3875 section 4.1.18).
pub(crate) fn push_header_variable(name: &HeaderName, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP_");
    out.extend(name.as_str().bytes().map(|octet| if octet == b'-' { b'_' } else { octet.to_ascii_uppercase() }));
}

/// The value of `Content-Length`, if it is a number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a header becomes a variable `HTTP_...`. Headers that do not go on to an app do not. `Content-Type` and `Content-Length` have their own
/// variables, `Proxy` would set the environment variable `HTTP_PROXY` (CVE-2016-5385), and a name with `_` would set the variable of another header.
fn has_variable(name: &HeaderName, is_vetted: bool) -> bool {
    hop_by_hop::goes_on(name, is_vetted)
        && *name != header::CONTENT_LENGTH
        && *name != header::CONTENT_TYPE
        && name.as_str() != "proxy"
        && !name.as_str().contains('_')
}
