//! How probes get to a real server: what they use of a network, and the ways that have it.
//!
//! ```text
//!   probe ──connect, exchange, echo──> Path ──Direct──> the kernel's sockets, to the real server's own address
//!                                        └────Vip─────> frames, to a VIP at the real server's MAC
//! ```

mod direct;
mod echo;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::vip;

/// How probes get to a real server.
#[derive(Clone, Debug)]
pub enum Path {
    /// By sockets of the kernel, to its own address.
    Direct {
        /// Its own address.
        server: IpAddr,
        /// The address they are sent from, if one is configured.
        bind: Option<IpAddr>,
    },
    /// Past the kernel's stack, to a VIP at the real server's MAC.
    Vip(vip::Path),
}

/// A connection. Whoever drops it closes it in order, and nothing of it remains at the director.
pub type Stream = Box<dyn Duplex>;

/// What reads and writes.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// The machine does not have the address that probes are to be sent from. The cause in an [`io::Error`] of kind
/// `AddrNotAvailable`, which by itself says that there is no free port.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is not an address of this machine")]
pub struct NoSource(pub IpAddr);

impl Path {
    /// The address that is asked.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Direct { server, .. } => *server,
            Self::Vip(path) => path.address(),
        }
    }

    /// The real server's own address.
    pub fn server(&self) -> IpAddr {
        match self {
            Self::Direct { server, .. } => *server,
            Self::Vip(path) => path.server(),
        }
    }

    /// The VIP that is asked, if one is.
    pub fn vip(&self) -> Option<IpAddr> {
        match self {
            Self::Direct { .. } => None,
            Self::Vip(path) => Some(path.address()),
        }
    }

    /// Connects to a TCP port. Takes as long as it takes; whoever waits limits it.
    ///
    /// # Errors
    /// As of connect(2); [`NoSource`].
    pub async fn connect(&self, port: u16) -> io::Result<Stream> {
        match self {
            Self::Direct { server, bind } => direct::connect(*server, *bind, port).await,
            // Clients of a real server that is this machine get to its own sockets, and so does a probe.
            Self::Vip(path) if path.is_local() => direct::connect(path.address(), None, port).await,
            Self::Vip(path) => Ok(Box::new(path.connect(port).await?)),
        }
    }

    /// Sends one datagram to a UDP port and waits for the first that comes back, at most so long. None if none came.
    ///
    /// # Errors
    /// As of connect(2) and recv(2): `ConnectionRefused` is an ICMP error that says that the port is unreachable;
    /// [`NoSource`].
    pub async fn exchange(&self, port: u16, payload: &[u8], wait: Duration) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Direct { server, bind } => direct::exchange(*server, *bind, port, payload, wait).await,
            Self::Vip(path) if path.is_local() => {
                direct::exchange(path.address(), None, port, payload, wait).await
            }
            Self::Vip(path) => timeout(wait, path.exchange(port, payload)).await.ok().transpose(),
        }
    }

    /// Sends one ICMP echo request and waits for its reply. Takes as long as it takes; whoever waits limits it.
    ///
    /// # Errors
    /// As of sendto(2): what the kernel knows at once, such as that there is no route; [`NoSource`].
    pub async fn echo(&self) -> io::Result<()> {
        match self {
            Self::Direct { server, bind } => echo::ask(*server, *bind).await,
            Self::Vip(path) if path.is_local() => echo::ask(path.address(), None).await,
            Self::Vip(path) => path.echo().await,
        }
    }
}
