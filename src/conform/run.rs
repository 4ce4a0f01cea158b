//! Runs cases against a server, one after the other, each within its time.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use http::Uri;
use rustls::ClientConnection;
use ziggurat_middleware::Place;

use super::exchange::{Exchange, Stop, ask};
use super::{Case, Step};
use crate::upstream::{TlsClient, TlsOptions};

/// The time of a case.
const CASE: Duration = Duration::from_secs(5);

/// The time of a whole run.
const RUN: Duration = Duration::from_secs(300);

/// The server under test.
#[derive(Clone)]
pub(crate) struct Target {
    /// `HOST:PORT` as the URL has it.
    pub(super) authority: String,
    pub(super) address: SocketAddr,
    tls: Option<Tls>,
}

/// Whom connections to a server trust, and its name.
#[derive(Clone)]
struct Tls {
    client: TlsClient,
    host: String,
}

impl Target {
    /// Reads a URL and looks its host up. The certificate of an `https` URL is verified as `tls` says. The error is a message with a hint.
    pub(crate) fn new(url: &str, tls: &TlsOptions) -> Result<Self, String> {
        let wrong = || {
            format!(
                "error: `{url}` is not the URL of a server\nhint: write `http://HOST:PORT` or `https://HOST:PORT`; the app is served at the root"
            )
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_root = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().filter(|authority| is_root && !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let (default_port, tls) = match uri.scheme_str() {
            Some("http") if *tls != TlsOptions::default() => {
                return Err(format!("error: `{url}` has no certificate\nhint: write `https://`, or leave `--ca` and `--insecure` out"));
            }
            Some("http") => (80, None),
            Some("https") => {
                let client = tls.client(&Place::new("conform"), |path| path.to_owned(), &[b"http/1.1"]);
                let client = client.map_err(|finding| format!("error: {finding}"))?;
                (443, Some(Tls { client, host: host.to_owned() }))
            }
            _ => return Err(wrong()),
        };
        let port = authority.port_u16().unwrap_or(default_port);
        let address = (host, port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let address = address.ok_or_else(|| format!("error: `{host}` has no address"))?;
        Ok(Self { authority: authority.to_string(), address, tls })
    }

    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The client's side of TLS for a new connection, if the server has TLS.
    pub(super) fn session(&self) -> Result<Option<ClientConnection>, String> {
        self.tls.as_ref().map(|tls| tls.client.session(&tls.host)).transpose()
    }
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// Why not.
    Failed(String),
    /// What the server lacks that the case needs.
    Skipped(String),
}

/// The verdict on a case, and what it is based on.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// What was sent (`> `) and what came (`< `).
    pub(crate) transcript: String,
}

/// A run against one server.
pub(crate) struct Run {
    target: Target,
    end: Instant,
}

impl Run {
    /// Begins a run, whose time begins.
    pub(crate) fn new(target: Target) -> Self {
        Self { target, end: Instant::now() + RUN }
    }

    /// Whether the server serves the app of this suite. The error is a message with a hint.
    pub(crate) fn recognize(&self) -> Result<(), String> {
        let expected = super::APP.lines().find_map(|line| line.strip_prefix("VERSION = ")).unwrap_or_default().trim_matches('"');
        let url = format!("{}://{}", self.target.scheme(), self.target.authority);
        let (status, body) = ask(&self.target, "/version", self.deadline()).map_err(|error| format!("error: `{url}/version`: {error}"))?;
        if status == 200 && body == expected.as_bytes() {
            return Ok(());
        }
        Err(format!(
            "error: `{url}` does not serve the app of this suite\nhint: write it with `ziggurat conform --write app.py`, and serve its `application` at the root"
        ))
    }

    /// Runs a case.
    pub(crate) fn case(&self, case: &Case) -> Outcome {
        if Instant::now() >= self.end {
            let verdict = Verdict::Failed(format!("not run: the {} s of the run are over", RUN.as_secs()));
            return Outcome { verdict, transcript: String::new() };
        }
        let token = format!("{:032x}", fastrand::u128(..));
        let mut exchange = Exchange::new(&self.target, &token, self.deadline());
        let verdict = match exchange.run(&case.steps) {
            Ok(()) | Err(Stop::Passed) => Verdict::Passed,
            Err(Stop::Failed(why)) => Verdict::Failed(why),
            Err(Stop::Skipped(why)) => Verdict::Skipped(why),
        };
        let transcript = exchange.transcript();
        drop(exchange);
        if case.steps.iter().any(|step| matches!(step, Step::Record(_) | Step::Note(_) | Step::Together { .. })) {
            // A server that does not answer any more keeps a file of a few octets.
            let _ = ask(&self.target, &format!("/forget/{token}"), Instant::now() + Duration::from_secs(1));
        }
        Outcome { verdict, transcript }
    }

    fn deadline(&self) -> Instant {
        self.end.min(Instant::now() + CASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_of_a_server_is_a_target() {
        let target = |url: &str| Target::new(url, &TlsOptions::default());
        assert_eq!(target("http://127.0.0.1:8000").unwrap().authority, "127.0.0.1:8000");
        assert_eq!(target("http://[::1]:8000/").unwrap().address.port(), 8000);
        for wrong in ["127.0.0.1:8000", "ftp://127.0.0.1", "http://127.0.0.1/app", "http://me@127.0.0.1", "http://127.0.0.1/?a", ""] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_with_tls_is_one_and_what_is_trusted_needs_tls() {
        let insecure = TlsOptions::of_client(None, false);
        let target = Target::new("https://localhost", &insecure).unwrap();
        assert_eq!((target.address.port(), target.scheme()), (443, "https"));
        assert!(target.session().unwrap().is_some());
        assert!(Target::new("http://localhost", &insecure).err().unwrap().contains("has no certificate"));
        assert!(Target::new("https://localhost", &TlsOptions::of_client(Some("/nowhere.pem".into()), true)).is_err());
    }
}
