//! Packet sockets: whole frames out of an interface, and whole frames from it.

use std::io::{self, IoSliceMut};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, UnknownCmsg, recvmsg, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{SockFilter, SockRef};

use crate::error::{Doing, Result};
use crate::namespace::Namespace;

/// Receives every protocol, in both directions.
pub(crate) const EVERYTHING: u16 = libc::ETH_P_ALL as u16;
/// Receives nothing: for sockets that only send.
const NOTHING: u16 = 0;
/// Room for a second of frames at the speed of a lab.
const RECEIVE_BUFFER: usize = 64 << 20;
/// Where a VLAN tag sits in a frame: behind both Ethernet addresses.
const TAG_OFFSET: usize = 12;

/// Has the kernel note when frames pass. It begins a moment after the machine's first socket asks for it
/// (`net_enable_timestamp`), and gives those before the time at which they are received: this one asks before a capture does,
/// and for as long as the process lives.
pub(crate) fn note_times() -> Result<()> {
    static ASKS: OnceLock<OwnedFd> = OnceLock::new();
    if ASKS.get().is_none() {
        let asks = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .and_then(|asks| setsockopt(&asks, sockopt::ReceiveTimestampns, &true).map(|()| asks));
        _ = ASKS.set(asks.doing(|| "ask for frames' times".into())?);
    }
    Ok(())
}

/// A socket for one interface.
pub(crate) struct PacketSocket(OwnedFd);

/// A frame as the socket delivers it.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) outgoing: bool,
    /// Since the epoch, as the kernel noted it ([`note_times`]).
    pub(crate) at: TimeSpec,
}

impl PacketSocket {
    /// Opens a socket for an interface of the namespace. Frames from now on are received.
    pub(crate) fn open(namespace: &Namespace, interface: &str, protocol: u16) -> Result<Self> {
        let open = || Self::here(interface, protocol);
        namespace.enter(open)?.doing(|| format!("open a packet socket on {interface} of {}", namespace.name))
    }

    /// The same in the namespace of the calling thread.
    fn here(interface: &str, protocol: u16) -> io::Result<Self> {
        let index = if_nametoindex(interface)?;
        // Protocol 0 receives nothing until the socket is bound: no frame of another interface slips in.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        let socket = Self(socket);
        if protocol != NOTHING {
            setsockopt(&socket.0, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            setsockopt(&socket.0, sockopt::ReceiveTimestampns, &true)?;
            socket.enable(libc::PACKET_AUXDATA)?;
        }
        socket.bind(index, protocol)?;
        Ok(socket)
    }

    fn bind(&self, interface: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: a C structure of integers, for which zeros are valid.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = interface.cast_signed();
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address lives during the call and has the length that is given.
        let result = unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), length) };
        Errno::result(result)?;
        Ok(())
    }

    fn enable(&self, option: libc::c_int) -> io::Result<()> {
        let on: libc::c_int = 1;
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the value lives during the call and has the length that is given.
        let result = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), length)
        };
        Errno::result(result)?;
        Ok(())
    }

    /// The next frame; nothing if none is waiting.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut control = nix::cmsg_space!(TimeSpec, libc::tpacket_auxdata);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<LinkAddr>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            // The interface was taken down, which is said once, and before what had come until then.
            Err(Errno::ENETDOWN) => return self.receive(buffer),
            Err(error) => return Err(error.into()),
        };
        let outgoing = message.address.is_some_and(|address| address.pkttype() == libc::PACKET_OUTGOING);
        let (mut at, mut tag) = (TimeSpec::new(0, 0), None);
        for item in message.cmsgs()? {
            match item {
                ControlMessageOwned::ScmTimestampns(time) => at = time,
                ControlMessageOwned::Unknown(item) => tag = tag.or(removed_tag(&item)),
                _ => {}
            }
        }
        let length = message.bytes;
        let mut bytes = buffer[..length].to_vec();
        if let Some(tag) = tag.filter(|_| length >= TAG_OFFSET) {
            bytes.splice(TAG_OFFSET..TAG_OFFSET, tag);
        }
        Ok(Some(Received { bytes, outgoing, at }))
    }

    /// Takes no frame from now on; those that have arrived can still be received.
    pub(crate) fn take_no_more(&self) -> io::Result<()> {
        let nothing = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
        SockRef::from(&self.0).attach_filter(&[nothing])
    }

    /// How many frames found no room in the socket since the last call.
    pub(crate) fn lost(&self) -> io::Result<u32> {
        // SAFETY: a C structure of integers, for which zeros are valid.
        let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: both live during the call, and the length is the structure's.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        Errno::result(result)?;
        Ok(statistics.tp_drops)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The VLAN tag that the kernel took out of the frame (packet(7), PACKET_AUXDATA).
fn removed_tag(item: &UnknownCmsg) -> Option<[u8; 4]> {
    let header = item.cmsg_header;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // struct tpacket_auxdata: status, len, snaplen (u32), mac, net, vlan_tci, vlan_tpid (u16).
    let field = |at: usize| item.data_bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes);
    let status = u32::from_ne_bytes(item.data_bytes.get(..4)?.try_into().ok()?);
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let (tci, tpid) = (field(16)?, field(18)?);
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 { 0x8100 } else { tpid };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    Some([a, b, c, d])
}

/// Sends frames out of an interface as they are.
pub struct FrameSender {
    socket: PacketSocket,
}

impl FrameSender {
    pub(crate) fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        Ok(Self { socket: PacketSocket::open(namespace, interface, NOTHING)? })
    }

    /// For an interface of the namespace of the calling thread.
    pub fn here(interface: &str) -> Result<Self> {
        let socket = PacketSocket::here(interface, NOTHING);
        Ok(Self { socket: socket.doing(|| format!("open a packet socket on {interface}"))? })
    }

    /// Sends one frame, from the destination address to the last byte of payload.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.socket.0.as_raw_fd(), frame, MsgFlags::empty());
        sent.map(drop).doing(|| format!("send a frame of {} bytes", frame.len()))
    }
}
