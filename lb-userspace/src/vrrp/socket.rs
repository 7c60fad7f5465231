//! The raw sockets of a virtual router: protocol 112 on one interface.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::task::{Context, Poll};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::packet::{Envelope, GROUP_V4, GROUP_V6, PROTOCOL, TTL};
use crate::net::filter_code as code;

/// Room for an IPv4 header with options, and the longest message: 255 addresses of IPv6.
const LONGEST: usize = 60 + 8 + 255 * 16 + 8;
/// "Internetwork control" (RFC 2474, section 4.2.2.2), what routers send to each other with.
const INTERNETWORK_CONTROL: u32 = 0xc0;
/// Room for what comes while the thread does something else: some thousand adverts.
const BUFFER: usize = 1 << 20;

/// Where a virtual router speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The interface.
    pub(super) interface: String,
    /// Its index.
    pub(super) index: u32,
    /// Which virtual router's messages are received.
    pub(super) vrid: u8,
    /// Where messages come from.
    pub(super) source: IpAddr,
    /// To whom they go; the group if there are none.
    pub(super) peers: Vec<IpAddr>,
}

/// The sockets of a virtual router. Dropping them leaves the group.
pub(super) struct Sockets {
    /// For its readiness, which is the same for all sockets.
    receiver: UdpSocket,
    /// Bound to its source, so that it receives nothing that is sent to the group.
    sender: Socket,
    place: Place,
    buffer: Vec<u8>,
}

impl Sockets {
    /// Opens them: takes CAP_NET_RAW, and a runtime.
    pub(super) fn open(place: Place) -> io::Result<Self> {
        Ok(Self {
            receiver: UdpSocket::from_std(receiver(&place)?.into())?,
            sender: sender(&place)?,
            place,
            buffer: vec![0; LONGEST],
        })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Where messages go.
    pub(super) fn destinations(&self) -> Vec<IpAddr> {
        match (self.place.peers.as_slice(), self.place.source) {
            ([], IpAddr::V4(_)) => vec![GROUP_V4.into()],
            ([], IpAddr::V6(_)) => vec![GROUP_V6.into()],
            (peers, _) => peers.to_vec(),
        }
    }

    /// Sends a message without waiting: an advert that is late says something that is no longer true.
    pub(super) fn send(&self, message: &[u8], destination: IpAddr) -> io::Result<()> {
        self.sender.send_to(message, &scoped(destination, self.place.index)).map(|_| ())
    }

    /// Until something has come. Whoever is told reads until there is nothing more.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.receiver.poll_recv_ready(context).map(|_| ())
    }

    /// The next message, and how it came, if one has come.
    pub(super) fn receive(&mut self) -> io::Result<Option<(&[u8], Envelope)>> {
        let Self { receiver, buffer, place, .. } = self;
        loop {
            match read(receiver, buffer, place.source.is_ipv4()) {
                Ok(Some((range, envelope))) => {
                    return Ok(Some((self.buffer.get(range).unwrap_or_default(), envelope)));
                }
                // Nothing of ours.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // It is readable when something else has come.
                    let _ = receiver.try_io(Interest::READABLE, || Err::<(), _>(error));
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A socket address; one of IPv6's segment-local addresses needs its interface.
fn scoped(address: IpAddr, index: u32) -> SockAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, 0).into(),
        IpAddr::V6(address) => {
            let is_of_segment = address.is_unicast_link_local() || address.is_multicast();
            SocketAddrV6::new(address, 0, 0, if is_of_segment { index } else { 0 }).into()
        }
    }
}

fn raw(place: &Place) -> io::Result<Socket> {
    let domain = if place.source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn receiver(place: &Place) -> io::Result<Socket> {
    let socket = raw(place)?;
    // Before it is bound: until then it would receive what is on other interfaces.
    socket.attach_filter(&messages_of(place.vrid, place.source.is_ipv4()))?;
    socket.bind_device(Some(place.interface.as_bytes()))?;
    // Without CAP_NET_ADMIN it stays as large as it is.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
    match place.source {
        IpAddr::V4(_) => {
            socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(place.index))?;
        }
        IpAddr::V6(_) => {
            socket.join_multicast_v6(&GROUP_V6, place.index)?;
            socket.set_recv_hoplimit_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    Ok(socket)
}

fn sender(place: &Place) -> io::Result<Socket> {
    let socket = raw(place)?;
    socket.attach_filter(&[SockFilter::new(code::RETURN, 0, 0, 0)])?;
    socket.bind_device(Some(place.interface.as_bytes()))?;
    let ttl = u32::from(TTL);
    match place.source {
        IpAddr::V4(_) => {
            socket.set_multicast_loop_v4(false)?;
            socket.set_multicast_ttl_v4(ttl)?;
            socket.set_ttl_v4(ttl)?;
            socket.set_tos_v4(INTERNETWORK_CONTROL)?;
            // Of a configured source, whoever has it: keepalived's `mcast_src_ip` need not be an address of this machine.
            socket.set_freebind_v4(true)?;
            socket.set_ip_transparent_v4(true)?;
        }
        IpAddr::V6(_) => {
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_hops_v6(ttl)?;
            socket.set_unicast_hops_v6(ttl)?;
            socket.set_tclass_v6(INTERNETWORK_CONTROL)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&scoped(place.source, place.index))?;
    Ok(socket)
}

/// Messages of one virtual router only: those of others on the segment, however many, cost it nothing.
fn messages_of(vrid: u8, is_v4: bool) -> Vec<SockFilter> {
    let load = if is_v4 { code::LOAD_BYTE_INDIRECT } else { code::LOAD_BYTE };
    let mut filter = Vec::new();
    if is_v4 {
        filter.push(SockFilter::new(code::INDEX_IPV4_HEADER, 0, 0, 0));
    }
    filter.extend([
        SockFilter::new(load, 0, 0, 1),
        SockFilter::new(code::JUMP_EQUAL, 0, 1, u32::from(vrid)),
        SockFilter::new(code::RETURN, 0, 0, u32::MAX),
        SockFilter::new(code::RETURN, 0, 0, 0),
    ]);
    filter
}

/// Where in the buffer a message lies, and how it came; none if that cannot be told.
fn read(
    socket: &UdpSocket,
    buffer: &mut [u8],
    is_v4: bool,
) -> io::Result<Option<(std::ops::Range<usize>, Envelope)>> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let length = received.bytes;
    if !is_v4 {
        let source = received.address.as_ref().and_then(|address| Some(address.as_sockaddr_in6()?.ip()));
        let (mut ttl, mut destination) = (None, None);
        for message in received.cmsgs()? {
            match message {
                ControlMessageOwned::Ipv6HopLimit(limit) => ttl = u8::try_from(limit).ok(),
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                }
                _ => {}
            }
        }
        let envelope =
            (|| Some(Envelope { source: source?.into(), destination: destination?.into(), ttl: ttl? }))();
        return Ok(envelope.map(|envelope| (0..length, envelope)));
    }
    let packet = buffer.get(..length).unwrap_or_default();
    Ok(etherparse::Ipv4HeaderSlice::from_slice(packet).ok().map(|header| {
        let (source, destination): (Ipv4Addr, Ipv4Addr) = (header.source_addr(), header.destination_addr());
        let envelope = Envelope { source: source.into(), destination: destination.into(), ttl: header.ttl() };
        (header.slice().len()..length, envelope)
    }))
}
