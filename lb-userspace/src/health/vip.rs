//! Probes that go to a VIP at a real server's MAC: the way of clients' packets, which finds the real server that is well
//! and lacks the VIP.
//!
//! The director has the VIP itself, or must not have it (a backup), so no socket of the kernel's can do that. Frames go
//! past the stack:
//!
//! ```text
//!   Path::connect ─> tcp ──┐ (smoltcp, one for each connection)       ┌─> real server, whose lo has the VIP
//!   Path::exchange ────────┼─ frames to the MAC ─> wire ─> interface ─┘        │
//!   Path::echo ────────────┘                                                   │ answers: from the VIP, to
//!        ^                                                                     v one of our addresses and ports
//!        └── demux, by VIP and port <── packet socket <── filter <──────── interface
//!                                                                              └─> probe_replies drops them
//! ```
//!
//! A probe has a port from [`FIRST_PORT`](lb_common::probe::FIRST_PORT) on as long as it lives. Whoever makes paths has
//! [`ProbeReplies`](crate::dataplane::ProbeReplies) follow the VIPs and interfaces that they lead to, before they are
//! used: the kernel would answer answers with resets.

mod datagram;
mod demux;
mod device;
mod filter;
mod reply;
mod tcp;
mod way;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use demux::Demux;
use way::Leg;
pub use way::{NoWay, Way, Ways};
use wire::{Opener, Wire, Wires, open_socket};

/// What all paths have in common: the ways, the sockets, the ports.
pub struct Stack {
    shared: Arc<Shared>,
}

struct Shared {
    ways: watch::Receiver<Arc<Ways>>,
    demux: Arc<Demux>,
    wires: Wires,
}

impl Stack {
    /// One that follows the ways to real servers. Sockets are opened with the first probe that needs them.
    #[must_use]
    pub fn new(ways: watch::Receiver<Arc<Ways>>) -> Self {
        Self::with(ways, Box::new(open_socket))
    }

    fn with(ways: watch::Receiver<Arc<Ways>>, opener: Opener) -> Self {
        let demux = Arc::new(Demux::default());
        let wires = Wires::new(Arc::clone(&demux), ways.clone(), opener);
        Self { shared: Arc::new(Shared { ways, demux, wires }) }
    }

    /// The path to a VIP at a real server, named by its own address. Probes come from `bind`, or else from the director's
    /// own address on the interface towards the real server.
    #[must_use]
    pub fn path(&self, server: IpAddr, vip: IpAddr, bind: Option<IpAddr>) -> Path {
        Path { shared: Arc::clone(&self.shared), server, vip, bind }
    }
}

/// The path to a VIP at a real server.
#[derive(Clone)]
pub struct Path {
    shared: Arc<Shared>,
    server: IpAddr,
    vip: IpAddr,
    bind: Option<IpAddr>,
}

impl Path {
    /// The VIP.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.vip
    }

    /// The real server's own address.
    #[must_use]
    pub fn server(&self) -> IpAddr {
        self.server
    }

    /// Whether the real server is the director itself, so that no frame leads to it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.shared.ways.borrow().get(&self.server), Some(Err(NoWay::Local(_))))
    }

    /// Connects to a TCP port. Takes as long as nobody answers: it is for the caller to lose patience, by dropping this.
    /// The connection is to be read and written by one task; dropping it resets it.
    ///
    /// # Errors
    /// `ConnectionRefused` if the real server says no, `HostUnreachable` if there is no way to it or another one
    /// answers in its place; what a socket may fail with.
    pub async fn connect(
        &self,
        port: u16,
    ) -> io::Result<impl AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + use<>> {
        let (leg, wire) = self.leg()?;
        tcp::connect(leg, wire, &self.shared.demux, port).await
    }

    /// Sends one datagram to a UDP port and returns the first answer.
    ///
    /// # Errors
    /// As those of [`connect`](Self::connect); `InvalidInput` if it is too long for one packet.
    pub async fn exchange(&self, port: u16, payload: &[u8]) -> io::Result<Vec<u8>> {
        let (leg, wire) = self.leg()?;
        datagram::exchange(&leg, &*wire, &self.shared.demux, port, payload).await
    }

    /// Sends an ICMP echo request and waits for the answer.
    ///
    /// # Errors
    /// As those of [`connect`](Self::connect).
    pub async fn echo(&self) -> io::Result<()> {
        let (leg, wire) = self.leg()?;
        datagram::echo(&leg, &*wire, &self.shared.demux).await
    }

    /// The way as it is now.
    fn leg(&self) -> io::Result<(Leg, Arc<dyn Wire>)> {
        let unreachable = |no_way: NoWay| io::Error::new(io::ErrorKind::HostUnreachable, no_way);
        let found = self.shared.ways.borrow().get(&self.server).cloned();
        let way = found.unwrap_or(Err(NoWay::Unknown(self.server))).map_err(unreachable)?;
        let is_of_family = |address: &IpAddr| address.is_ipv4() == self.vip.is_ipv4();
        let mut sources = self.bind.iter().chain(&way.addresses);
        let Some(source) = sources.find(|address| is_of_family(address)).copied() else {
            let family = if self.vip.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(unreachable(NoWay::NoSource { interface: way.name.clone(), family }));
        };
        let wire = self.shared.wires.to(&way)?;
        Ok((Leg { way, source, vip: self.vip }, wire))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Path").field("server", &self.server).field("vip", &self.vip).finish_non_exhaustive()
    }
}
