//! Listening sockets.

use std::fmt;
use std::io::{self, ErrorKind};
#[cfg(feature = "experimental-http3")]
use std::net::UdpSocket;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::socket_file::SocketFile;
use super::{Address, Listen, SocketAccess, SocketMode, socket_file, systemd};

/// Clients in the kernel's queue of a listener. The kernel limits it to `net.core.somaxconn`.
pub(super) const BACKLOG: u16 = 4096;

/// How often a port is tried that is free in TCP and UDP.
const ATTEMPTS: usize = 16;

/// A listening socket. Clients can connect as soon as it exists. A [`Server`](super::Server) serves them.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: ListeningSocket,
    /// The entry that it was bound from.
    pub(super) listen: Listen,
    name: String,
    /// The file of a Unix socket, removed when the listener ends.
    pub(super) file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
    #[cfg(feature = "experimental-http3")]
    Udp(UdpSocket),
}

impl Listener {
    /// Binds and listens. A relative path of a Unix socket starts at `base`. A socket file is replaced if no process listens there any more.
    /// `systemd` can give several listeners. HTTP/3 is a listener of its own, at the UDP port with the number of the TCP port.
    ///
    /// # Errors
    ///
    /// The error of the system, with the address in its text, and possibly a last line `hint: ...`.
    pub fn bind(listen: &Listen, base: &Path) -> io::Result<Vec<Self>> {
        // A free port of TCP may be taken in UDP.
        let is_any = listen.http.has_http3() && matches!(listen.address, Address::Tcp { port: 0, .. });
        let mut attempts = if is_any { ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            let mut listeners = Self::bind_streams(listen, base)?;
            let addresses: Vec<_> = if listen.http.has_http3() { listeners.iter().map(Self::socket_addr).collect() } else { Vec::new() };
            let datagrams = addresses.into_iter().map(|address| {
                let none = || io::Error::new(ErrorKind::InvalidInput, format!("cannot listen on `{listen}`: HTTP/3 takes a TCP address"));
                Self::bind_http3(listen, address.ok_or_else(none)?)
            });
            match datagrams.collect::<io::Result<Vec<_>>>() {
                Err(error) if error.kind() == ErrorKind::AddrInUse && attempts > 0 => {}
                datagrams => {
                    listeners.extend(datagrams?);
                    return Ok(listeners);
                }
            }
        }
    }

    /// Binds the UDP port beside the address of a TCP listener.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    #[cfg(feature = "experimental-http3")]
    pub fn bind_http3(listen: &Listen, address: SocketAddr) -> io::Result<Self> {
        let bound = super::udp::bind(address);
        let socket = bound.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on `{listen}`: {error}")))?;
        let name = format!("{}://{address} (HTTP/3, UDP)", listen.scheme());
        Ok(Self { socket: ListeningSocket::Udp(socket), listen: listen.clone(), name, file: None })
    }

    /// Fails: this program was built without HTTP/3.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(feature = "experimental-http3"))]
    pub fn bind_http3(_: &Listen, _: SocketAddr) -> io::Result<Self> {
        Err(io::Error::new(ErrorKind::Unsupported, "this program was built without HTTP/3"))
    }

    fn bind_streams(listen: &Listen, base: &Path) -> io::Result<Vec<Self>> {
        let scheme = listen.scheme();
        let bound = match &listen.address {
            Address::Tcp { host: Some(host), port } => tcp_at(host, *port, scheme).map(|one| vec![one]),
            Address::Tcp { host: None, port } => every_interface(*port, scheme).map(|one| vec![one]),
            Address::Unix(path) => unix(&base.join(path), &listen.access).map(|one| vec![one]),
            Address::Inherited(number) => inherited(*number, scheme).map(|one| vec![one]),
            Address::Systemd(name) => {
                systemd::passed(name.as_deref()).and_then(|numbers| numbers.into_iter().map(|number| inherited(number, scheme)).collect())
            }
        };
        let bound = bound.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on `{listen}`: {error}")))?;
        Ok(bound.into_iter().map(|(socket, name, file)| Self { socket, listen: listen.clone(), name, file }).collect())
    }

    /// Binds a Unix socket that only the user of this process may open, whatever the umask is.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    pub fn bind_private(path: &Path) -> io::Result<Self> {
        let bound = unix(path, &SocketAccess { mode: Some(SocketMode::PRIVATE), group: None });
        let (socket, name, file) =
            bound.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on `{}`: {error}", path.display())))?;
        Ok(Self { socket, listen: Address::Unix(path.to_owned()).into(), name, file })
    }

    /// Gives the file of a Unix socket that is kept at a reload the mode and the group of its entry.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    pub fn update_access(listen: &Listen, base: &Path) -> io::Result<()> {
        let Address::Unix(path) = &listen.address else { return Ok(()) };
        let updated = listen.access.apply(&base.join(path));
        updated.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on `{listen}`: {error}")))
    }

    /// The entry that it was bound from.
    #[must_use]
    pub const fn listen(&self) -> &Listen {
        &self.listen
    }

    /// The address for people: `http://127.0.0.1:8000`, `uwsgi://127.0.0.1:3031`, `unix:/run/site.sock`, `fd:3 (http://0.0.0.0:80)`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.name
    }

    /// Whether it is for HTTP/3.
    #[must_use]
    pub const fn is_http3(&self) -> bool {
        !matches!(self.socket, ListeningSocket::Tcp(_) | ListeningSocket::Unix(_))
    }

    /// The address of a TCP or UDP listener.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket.local_addr().ok(),
            ListeningSocket::Unix(_) => None,
            #[cfg(feature = "experimental-http3")]
            ListeningSocket::Udp(socket) => socket.local_addr().ok(),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A socket, its address for people, and its file.
type Named = (ListeningSocket, String, Option<SocketFile>);

fn tcp(socket: Socket, scheme: &str) -> io::Result<Named> {
    let socket = TcpListener::from(socket);
    let name = format!("{scheme}://{}", socket.local_addr()?);
    Ok((ListeningSocket::Tcp(socket), name, None))
}

/// Binds the first address of the name that can be bound.
fn tcp_at(host: &str, port: u16, scheme: &str) -> io::Result<Named> {
    let mut last = io::Error::new(ErrorKind::AddrNotAvailable, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        let every = address.is_ipv6() && address.ip().is_unspecified();
        // `[::]` takes IPv4 too, unless another listener has it.
        let both = every.then(|| listen_on(address, false)).filter(Result::is_ok);
        match both.unwrap_or_else(|| listen_on(address, true)) {
            Ok(socket) => return tcp(socket, scheme),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Binds IPv6 and IPv4 on one socket, or IPv4 alone on a machine without IPv6.
fn every_interface(port: u16, scheme: &str) -> io::Result<Named> {
    let both = listen_on((std::net::Ipv6Addr::UNSPECIFIED, port).into(), false);
    let socket = match both {
        Err(error) if error.kind() != ErrorKind::AddrInUse => listen_on((std::net::Ipv4Addr::UNSPECIFIED, port).into(), true),
        other => other,
    };
    tcp(socket?, scheme)
}

fn listen_on(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Without it, a restart fails while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket)
}

fn unix(path: &Path, access: &SocketAccess) -> io::Result<Named> {
    let (socket, file) = socket_file::bind(path, access)?;
    Ok((ListeningSocket::Unix(socket), format!("unix:{}", path.display()), Some(file)))
}

fn inherited(number: RawFd, scheme: &str) -> io::Result<Named> {
    let not_open = |_| io::Error::new(ErrorKind::NotFound, "no such descriptor was inherited");
    let kind = std::fs::metadata(format!("/dev/fd/{number}")).map_err(not_open)?;
    if !kind.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the descriptor is not a socket"));
    }
    // SAFETY: the descriptor is open, as the line above shows. It is borrowed for two calls, and nothing in this process owns an inherited
    // descriptor and could close it between them.
    #[allow(unsafe_code)]
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    // The original stays open. Child processes do not inherit it.
    SockRef::from(&borrowed).set_cloexec(true)?;
    let socket = Socket::from(borrowed.try_clone_to_owned()?);
    if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the socket does not listen"));
    }
    socket.set_nonblocking(true)?;
    let (socket, name, _) = match socket.domain()? {
        Domain::UNIX => {
            let path = socket.local_addr()?.as_pathname().map_or_else(|| "(no file)".into(), |path| path.display().to_string());
            (ListeningSocket::Unix(OwnedFd::from(socket).into()), format!("unix:{path}"), None)
        }
        _ => tcp(socket, scheme)?,
    };
    Ok((socket, format!("fd:{number} ({name})"), None))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn bind(listen: &str, base: &Path) -> io::Result<Listener> {
        Listener::bind(&listen.parse().unwrap(), base).map(|mut bound| bound.remove(0))
    }

    #[test]
    fn a_listener_says_which_port_it_got() {
        let listener = bind("127.0.0.1:0", Path::new("/")).unwrap();
        assert_eq!(listener.to_string(), format!("http://{}", listener.socket_addr().unwrap()));
        assert_ne!(listener.socket_addr().unwrap().port(), 0);
    }

    #[test]
    fn every_interface_includes_ipv4() {
        let listener = bind(":0", Path::new("/")).unwrap();
        let port = listener.socket_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn the_unspecified_ipv6_address_takes_what_nobody_else_has() {
        let both = bind("[::]:0", Path::new("/")).unwrap();
        std::net::TcpStream::connect(("127.0.0.1", both.socket_addr().unwrap().port())).unwrap();
        let ipv4 = bind("0.0.0.0:0", Path::new("/")).unwrap();
        let port = ipv4.socket_addr().unwrap().port();
        let _ipv6 = bind(&format!("[::]:{port}"), Path::new("/")).unwrap();
        std::net::TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn a_unix_socket_has_the_mode_and_the_group_of_its_entry() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mut listen: Listen = "unix:site.sock".parse().unwrap();
        let file = || folder.path().join("site.sock").metadata().unwrap();
        for mode in ["0666", "0600", "0777"] {
            listen.access.mode = Some(mode.to_owned().try_into().unwrap());
            listen.access.group = Some(folder.path().metadata().unwrap().gid().to_string());
            drop(Listener::bind(&listen, folder.path()).unwrap());
            let _listener = Listener::bind(&listen, folder.path()).unwrap();
            assert_eq!(format!("{:04o}", file().permissions().mode() & 0o7777), mode);
            assert_eq!(file().gid(), folder.path().metadata().unwrap().gid());
        }
        listen.access.group = Some("no-such-group".to_owned());
        assert!(Listener::bind(&listen, folder.path()).unwrap_err().to_string().contains("no group `no-such-group`"));
    }

    #[test]
    fn a_taken_address_is_an_error_that_names_it() {
        let first = bind("127.0.0.1:0", Path::new("/")).unwrap();
        let address = first.socket_addr().unwrap().to_string();
        assert!(bind(&address, Path::new("/")).unwrap_err().to_string().contains(&address));
    }

    #[test]
    fn a_socket_file_is_removed_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let listener = bind("unix:x.sock", folder.path()).unwrap();
        assert!(folder.path().join("x.sock").exists());
        drop(listener);
        assert!(!folder.path().join("x.sock").exists());
    }

    #[test]
    fn a_private_socket_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let _listener = Listener::bind_private(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(Listener::bind_private(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_path_that_cannot_be_bound_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let error = bind("unix:run/x.sock", folder.path()).unwrap_err().to_string();
        assert!(error.contains("there is no folder `") && error.contains("\nhint: "), "{error}");
        let error = bind(&format!("unix:{}", "x".repeat(200)), folder.path()).unwrap_err().to_string();
        assert!(error.contains("at most 107 octets"), "{error}");
    }

    #[test]
    fn a_socket_file_of_a_running_process_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let _first = bind("unix:x.sock", folder.path()).unwrap();
        assert_eq!(bind("unix:x.sock", folder.path()).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_dead_socket_file_is_replaced_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(folder.path().join("x.sock")).unwrap());
        bind("unix:x.sock", folder.path()).unwrap();
        std::fs::write(folder.path().join("y.sock"), "precious").unwrap();
        assert!(bind("unix:y.sock", folder.path()).is_err());
        assert_eq!(std::fs::read(folder.path().join("y.sock")).unwrap(), b"precious");
    }

    #[test]
    fn an_inherited_socket_is_used_and_anything_else_refused() {
        use std::os::fd::AsRawFd;
        let outer = TcpListener::bind("127.0.0.1:0").unwrap();
        let inner = bind(&format!("fd:{}", outer.as_raw_fd()), Path::new("/")).unwrap();
        assert_eq!(inner.socket_addr(), outer.local_addr().ok());
        assert_eq!(inner.to_string(), format!("fd:{} (http://{})", outer.as_raw_fd(), outer.local_addr().unwrap()));
        assert!(rustix::io::fcntl_getfd(&outer).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        // It can be inherited again, and stays open.
        drop((inner, bind(&format!("fd:{}", outer.as_raw_fd()), Path::new("/")).unwrap()));
        let stream = std::net::TcpStream::connect(outer.local_addr().unwrap()).unwrap();
        let file = tempfile::tempfile().unwrap();
        for number in [stream.as_raw_fd(), file.as_raw_fd(), 9_999] {
            assert!(bind(&format!("fd:{number}"), Path::new("/")).is_err());
        }
    }
}
