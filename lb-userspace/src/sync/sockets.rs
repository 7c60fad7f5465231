//! The sockets of synchronisation: bound to its interface, so that nothing is believed or answered elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::config::Sync;

/// Room for what comes while the thread does something else: some 100 ms of the fastest sender.
const BUFFER: usize = 4 << 20;

/// The address of all peers' datagrams to arrive at.
fn any(settings: &Sync) -> SocketAddr {
    let is_ipv4 = settings.destinations().all(|destination| destination.is_ipv4());
    let ip = if is_ipv4 { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, settings.port)
}

/// For datagrams; `interface` is the index of the interface.
pub(super) fn datagrams(settings: &Sync, interface: u32) -> io::Result<UdpSocket> {
    let address = any(settings);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    prepare(&socket, settings)?;
    // More than the system's limit needs CAP_NET_ADMIN, which a director has; without, as much as is allowed.
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    socket.set_send_buffer_size(BUFFER)?;
    match settings.group.map(|group| group.ip()) {
        Some(IpAddr::V4(group)) => {
            let by_index = socket2::InterfaceIndexOrAddress::Index(interface);
            socket.join_multicast_v4_n(&group, &by_index)?;
            socket.set_multicast_loop_v4(false)?;
            // It is bound to the interface, and so leaves by that.
            socket.set_multicast_ttl_v4(1)?;
        }
        Some(IpAddr::V6(group)) => {
            socket.join_multicast_v6(&group, interface)?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_multicast_if_v6(interface)?;
        }
        None => {}
    }
    socket.bind(&SockAddr::from(address))?;
    UdpSocket::from_std(socket.into())
}

/// For those who ask.
pub(super) fn listener(settings: &Sync) -> io::Result<TcpListener> {
    let address = any(settings);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    prepare(&socket, settings)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(16)?;
    TcpListener::from_std(socket.into())
}

/// To ask somebody.
pub(super) async fn connect(settings: &Sync, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind_device(Some(settings.interface.value.as_bytes()))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn prepare(socket: &Socket, settings: &Sync) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if any(settings).is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind_device(Some(settings.interface.value.as_bytes()))
}
