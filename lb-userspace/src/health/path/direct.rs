//! Connections and datagrams by the kernel's sockets.
//!
//! 5,000 connections a second that the director closes first would be 300,000 in TIME_WAIT, each for a minute, which is
//! more than `net.ipv4.tcp_max_tw_buckets` allows to be. HAProxy's plain connect checks avoid that with SO_LINGER of 0
//! (its `tcp-check connect linger` is for servers that mind): a RST, which servers log as an error of the client, and
//! some count until they lock the client out (MySQL's `max_connect_errors`). keepalived closes in order, and has them.
//!
//! Here the director closes in order and has none. A negative TCP_LINGER2 is for connections that nobody holds any more:
//! FIN goes out and is repeated until it is acknowledged, then the kernel forgets the connection
//! (`net/ipv4/tcp_input.c`, `tcp_rcv_state_process`, TCP_FIN_WAIT1) where it would wait for the server's FIN
//! otherwise. The server reads an end of file. When it closes in its turn, its FIN finds no connection and is answered
//! with RST, of which a program that has closed its socket learns nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use nix::{setsockopt_impl, sockopt_impl};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::{NoSource, Stream};

/// The longest datagram.
const DATAGRAM: usize = 65_535;

sockopt_impl!(
    /// How many seconds a connection that nobody holds waits for the other side's FIN; not at all if negative.
    Linger2,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_LINGER2,
    libc::c_int
);

pub(super) async fn connect(server: IpAddr, bind: Option<IpAddr>, port: u16) -> io::Result<Stream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    setsockopt(&socket, Linger2, &-1)?;
    if let Some(source) = bind {
        // The port is chosen by connect(2): only it knows which are free towards this server.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        bound(socket.bind(SocketAddr::new(source, 0)), source)?;
    }
    Ok(Box::new(socket.connect(SocketAddr::new(server, port)).await?))
}

pub(super) async fn exchange(
    server: IpAddr,
    bind: Option<IpAddr>,
    port: u16,
    payload: &[u8],
    wait: Duration,
) -> io::Result<Option<Vec<u8>>> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = bind.unwrap_or(any);
    let socket = bound(UdpSocket::bind(SocketAddr::new(source, 0)).await, source)?;
    // Only a connected socket is told of ICMP errors, and only the server's datagrams come to it.
    socket.connect(SocketAddr::new(server, port)).await?;
    let mut answer = Vec::with_capacity(DATAGRAM);
    let exchanged = async {
        socket.send(payload).await?;
        socket.recv_buf(&mut answer).await
    };
    match timeout(wait, exchanged).await {
        Ok(received) => received.map(|_| Some(answer)),
        Err(_) => Ok(None),
    }
}

/// What bind(2) said, in words that tell a missing address from a missing port.
pub(super) fn bound<T>(result: io::Result<T>, source: IpAddr) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::AddrNotAvailable => io::Error::new(io::ErrorKind::AddrNotAvailable, NoSource(source)),
        _ => error,
    })
}
