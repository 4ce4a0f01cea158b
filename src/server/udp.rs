//! UDP sockets, for HTTP/3.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel may keep of datagrams in each direction. It limits it to `net.core.rmem_max` and `net.core.wmem_max`.
const BUFFER: usize = 2 << 20;

/// Binds the address of a TCP listener.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let every = address.is_ipv6() && address.ip().is_unspecified();
    // `[::]` takes IPv4 too, unless another listener has it.
    let bound = match bind_at(address, !every) {
        Err(error) if every && error.kind() == ErrorKind::AddrInUse => bind_at(address, true),
        bound => bound,
    };
    bound.map_err(|error| io::Error::new(error.kind(), format!("UDP, for HTTP/3, at `{address}`: {error}")))
}

fn bind_at(address: SocketAddr, only_v6: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Without them, HTTP/3 is slower.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
