//! Pebble and its DNS server, each on ports of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::black_box::PATIENCE;

/// A running authority. Every name is 127.0.0.1 to it.
pub(crate) struct Pebble {
    folder: tempfile::TempDir,
    directory: u16,
    /// Where it looks for answers to challenges.
    pub(crate) http: u16,
    pub(crate) tls: u16,
    dns: SocketAddr,
    processes: Vec<Child>,
    log: Arc<Mutex<String>>,
    config: Value,
}

impl Pebble {
    pub(crate) fn start() -> Self {
        Self::start_with(json!({}))
    }

    /// With further keys of its configuration.
    pub(crate) fn start_with(more: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [directory, http, tls, dns, management] = free_ports();
        make_certificate(folder.path());
        let mut config = json!({
            "listenAddress": format!("127.0.0.1:{directory}"), "managementListenAddress": "",
            "certificate": folder.path().join("pebble.pem"), "privateKey": folder.path().join("pebble.key"),
            "httpPort": http, "tlsPort": tls, "ocspResponderURL": "", "externalAccountBindingRequired": false,
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let dns = SocketAddr::from(([127, 0, 0, 1], dns));
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-dns01", &dns.to_string(), "-management", &format!("127.0.0.1:{management}")]);
        let names =
            names.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("`pebble-challtestsrv` is in the Debian package `pebble`");
        let mut pebble = Self { folder, directory, http, tls, dns, processes: vec![names], log: Arc::default(), config };
        pebble.run();
        pebble
    }

    fn run(&mut self) {
        let file = self.folder.path().join("pebble.json");
        fs::write(&file, json!({ "pebble": self.config }).to_string()).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-config").arg(&file).args(["-strict", "-dnsserver", &self.dns.to_string()]);
        command.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "20"), ("PEBBLE_AUTHZREUSE", "0")]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("`pebble` is a Debian package");
        let (log, pipe) = (Arc::clone(&self.log), child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        self.processes.push(child);
        let listens = || TcpStream::connect(("127.0.0.1", self.directory)).is_ok();
        until("Pebble listens", listens);
    }

    /// Ends the authority; its DNS server stays.
    pub(crate) fn stop(&mut self) {
        let mut child = self.processes.pop().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again at the same address. It has forgotten everything.
    pub(crate) fn start_again(&mut self) {
        self.run();
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.directory)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// How many orders were placed so far.
    pub(crate) fn orders(&self) -> usize {
        self.log.lock().unwrap().matches("orders in the db").count()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until this holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE * 2, "never: {what}");
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// Ports that nobody listens on, neither over TCP nor over UDP. All are open at once, so they differ.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let sockets: Vec<(TcpListener, UdpSocket)> = std::iter::from_fn(|| {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap());
        Some(udp.ok().map(|udp| (tcp, udp)))
    })
    .flatten()
    .take(N)
    .collect();
    std::array::from_fn(|at| sockets[at].0.local_addr().unwrap().port())
}

/// The certificate of the directory, and its authority.
fn make_certificate(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
    fs::write(folder.join("pebble.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("pebble.key"), key.serialize_pem()).unwrap();
}
