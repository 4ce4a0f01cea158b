//! The TLS of a connection, as the server has negotiated and verified it.

use std::borrow::Cow;
use std::sync::Arc;

/// The TLS of the connection that a request came over. The server sets this fact in every request over TLS, and only the server: no header of a request has any part in
/// it. WSGI apps read it as the variables of Apache's mod_ssl: `SSL_PROTOCOL`, `SSL_CIPHER`, `SSL_CLIENT_S_DN` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`: `SSL_PROTOCOL`.
    pub protocol: Cow<'static, str>,
    /// The cipher suite, by the name that OpenSSL has for it: `SSL_CIPHER`.
    pub cipher: Cow<'static, str>,
    /// The host name that the client asked for (SNI), in lower case: `SSL_TLS_SNI`.
    pub server_name: Option<Arc<str>>,
    /// Whether the session was begun on an earlier connection: `SSL_SESSION_RESUMED`.
    pub is_resumed: bool,
    /// The certificate of the client, which was verified; `None` if it has shown none.
    pub client: Option<Arc<ClientCertificate>>,
}

/// A client's certificate. Names are as RFC 4514 writes them: `CN=ann,O=Example`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whose it is: `SSL_CLIENT_S_DN`.
    pub subject: String,
    /// The first common name of the subject: `SSL_CLIENT_S_DN_CN`.
    pub common_name: Option<String>,
    /// Who issued it: `SSL_CLIENT_I_DN`.
    pub issuer: String,
    /// The first common name of the issuer: `SSL_CLIENT_I_DN_CN`.
    pub issuer_common_name: Option<String>,
    /// The serial number in hexadecimal figures: `SSL_CLIENT_M_SERIAL`.
    pub serial: String,
    /// The begin of its validity, as in `Nov 30 04:00:00 2026 GMT`: `SSL_CLIENT_V_START`.
    pub not_before: String,
    /// The end of its validity: `SSL_CLIENT_V_END`.
    pub not_after: String,
    /// Its email addresses: `SSL_CLIENT_SAN_Email_0` and so on.
    pub emails: Vec<String>,
    /// Its host names: `SSL_CLIENT_SAN_DNS_0` and so on.
    pub hosts: Vec<String>,
    /// Its URIs: `SSL_CLIENT_SAN_URI_0` and so on.
    pub uris: Vec<String>,
    /// The certificate in PEM, where the options of the listener ask for it: `SSL_CLIENT_CERT`.
    pub pem: Option<String>,
}
