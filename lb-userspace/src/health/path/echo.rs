//! ICMP echo requests, and whose the replies are.
//!
//! ```text
//!   probe ──socket that receives nothing──> request ─ ─ ─> reply ──> the family's receiver: one socket, one thread
//!     ^                                                                 │ filter in the kernel: replies to us
//!     └──────────────────── oneshot, by the token in the payload <──────┘
//! ```
//!
//! Ping sockets, between which the kernel tells replies apart, are for groups in `net.ipv4.ping_group_range`: nobody,
//! unless somebody configured it. A raw socket needs CAP_NET_RAW, which the daemon has, but sees all ICMP of the
//! machine. With one for each of 5,000 probes, every ICMP packet would be delivered 5,000 times; so there is one, with a
//! filter that lets in only replies that have this process's identifier.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Type};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::sync::oneshot;

use super::direct::bound;
use crate::net::filter_code as code;

/// Type, code, checksum, identifier, sequence number (RFC 792, RFC 4443 section 4.1).
const HEADER: usize = 8;
/// Room for an IPv4 header with options, and a reply.
const LONGEST: usize = 128;
/// Room for the replies to 5,000 requests at once, at less than 800 bytes each as the kernel counts them.
const BUFFER: usize = 4 << 20;

/// Sends a request and waits for its reply.
pub(super) async fn ask(server: IpAddr, bind: Option<IpAddr>) -> io::Result<()> {
    static V4: OnceLock<Receiver> = OnceLock::new();
    static V6: OnceLock<Receiver> = OnceLock::new();
    let receiver = Receiver::started(if server.is_ipv4() { &V4 } else { &V6 }, server.is_ipv4())?;

    let token = getrandom::u64()?;
    let (replied, reply) = oneshot::channel();
    receiver.waiting().insert(token, Waiting { server, replied });
    let _forget = Forget { receiver, token };
    send(server, bind, &request(server, receiver.identifier, token))?;
    reply.await.map_err(|_| io::Error::other("the thread that receives ICMP echo replies has ended"))
}

/// The sequence number says nothing that the token does not, but is what people look for in captures.
fn sequence(token: u64) -> u16 {
    let [.., high, low] = token.to_be_bytes();
    u16::from_be_bytes([high, low])
}

fn request(server: IpAddr, identifier: u16, token: u64) -> Vec<u8> {
    let payload = token.to_be_bytes();
    let echo = IcmpEchoHeader { id: identifier, seq: sequence(token) };
    let header = if server.is_ipv4() {
        Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &payload).to_bytes().to_vec()
    } else {
        // The kernel writes the checksum, which covers addresses that it chooses (RFC 3542, section 3.1).
        etherparse::Icmpv6Header::new(Icmpv6Type::EchoRequest(echo)).to_bytes().to_vec()
    };
    [header.as_slice(), payload.as_slice()].concat()
}

/// A socket for each request: packets to servers whose MACs the kernel looks for in vain are counted as their socket's,
/// and would fill a common one's buffer.
fn send(server: IpAddr, bind: Option<IpAddr>, request: &[u8]) -> io::Result<()> {
    let socket = raw(server.is_ipv4())?;
    socket.attach_filter(&[SockFilter::new(code::RETURN, 0, 0, 0)])?;
    if let Some(source) = bind {
        bound(socket.bind(&SockAddr::from(SocketAddr::new(source, 0))), source)?;
    }
    socket.set_nonblocking(true)?;
    socket.send_to(request, &SockAddr::from(SocketAddr::new(server, 0)))?;
    Ok(())
}

fn raw(is_v4: bool) -> io::Result<Socket> {
    let (domain, protocol) =
        if is_v4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    Socket::new(domain, Type::RAW, Some(protocol))
}

/// Who receives a family's replies.
struct Receiver {
    identifier: u16,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

struct Waiting {
    server: IpAddr,
    replied: oneshot::Sender<()>,
}

impl Receiver {
    /// The family's one, which the first probe starts.
    fn started(cell: &'static OnceLock<Self>, is_v4: bool) -> io::Result<&'static Self> {
        static STARTING: Mutex<()> = Mutex::new(());
        if let Some(receiver) = cell.get() {
            return Ok(receiver);
        }
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = cell.get() {
            return Ok(receiver);
        }
        let [.., high, low] = getrandom::u64()?.to_be_bytes();
        let identifier = u16::from_be_bytes([high, low]);
        let socket = raw(is_v4)?;
        socket.attach_filter(&replies_only(is_v4, identifier))?;
        // Without CAP_NET_ADMIN it stays as large as it is.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
        // For its `recv_from`, which is the same for all sockets whose addresses are IP addresses.
        let socket = UdpSocket::from(socket);
        let receive = move || cell.wait().receive(&socket);
        thread::Builder::new().name("icmp-replies".to_owned()).spawn(receive)?;
        Ok(cell.get_or_init(|| Self { identifier, waiting: Mutex::default() }))
    }

    fn receive(&self, socket: &UdpSocket) {
        let mut buffer = [0; LONGEST];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    if let Some(token) = token(packet, from.is_ipv4(), self.identifier) {
                        self.replied(token, from.ip());
                    }
                }
                // An ICMP error, or a lack of memory, is told once; the socket is as it was.
                Err(error) => tracing::debug!(%error, "receive ICMP echo replies"),
            }
        }
    }

    fn replied(&self, token: u64, from: IpAddr) {
        let mut waiting = self.waiting();
        if waiting.get(&token).is_some_and(|waiting| waiting.server == from) {
            // Whoever waits no longer does not hear it.
            let _ = waiting.remove(&token).map(|waiting| waiting.replied.send(()));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose probe has ended, however it did.
struct Forget {
    receiver: &'static Receiver,
    token: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.receiver.waiting().remove(&self.token);
    }
}

/// A filter for a raw socket: IPv4's begins with the IP header, IPv6's behind it (`net/ipv6/raw.c`).
fn replies_only(is_v4: bool, identifier: u16) -> Vec<SockFilter> {
    let identifier = u32::from(identifier);
    let tail = |kind: u32, load_byte: u16, load_half: u16| {
        [
            SockFilter::new(load_byte, 0, 0, 0),
            SockFilter::new(code::JUMP_EQUAL, 0, 3, kind),
            SockFilter::new(load_half, 0, 0, 4),
            SockFilter::new(code::JUMP_EQUAL, 0, 1, identifier),
            SockFilter::new(code::RETURN, 0, 0, u32::MAX),
            SockFilter::new(code::RETURN, 0, 0, 0),
        ]
    };
    if is_v4 {
        let reply = u32::from(etherparse::icmpv4::TYPE_ECHO_REPLY);
        let mut filter = vec![SockFilter::new(code::INDEX_IPV4_HEADER, 0, 0, 0)];
        filter.extend(tail(reply, code::LOAD_BYTE_INDIRECT, code::LOAD_HALF_INDIRECT));
        filter
    } else {
        let reply = u32::from(etherparse::icmpv6::TYPE_ECHO_REPLY);
        Vec::from(tail(reply, code::LOAD_BYTE, code::LOAD_HALF))
    }
}

/// What a packet of a raw socket answers, if it is a reply to us.
fn token(packet: &[u8], is_v4: bool, identifier: u16) -> Option<u64> {
    let icmp = if is_v4 { packet.get(usize::from(packet.first()? & 0xf) * 4..)? } else { packet };
    let (&[kind, code, _, _, id_high, id_low, sequence_high, sequence_low], payload) =
        icmp.split_first_chunk::<HEADER>()?;
    let reply = if is_v4 { etherparse::icmpv4::TYPE_ECHO_REPLY } else { etherparse::icmpv6::TYPE_ECHO_REPLY };
    let token = u64::from_be_bytes(payload.try_into().ok()?);
    let is_ours = kind == reply
        && code == 0
        && u16::from_be_bytes([id_high, id_low]) == identifier
        && u16::from_be_bytes([sequence_high, sequence_low]) == sequence(token);
    is_ours.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(server: IpAddr, identifier: u16, token: u64) -> Vec<u8> {
        let mut reply = request(server, identifier, token);
        if server.is_ipv4() {
            reply[0] = etherparse::icmpv4::TYPE_ECHO_REPLY;
            let mut packet = vec![0; 20];
            packet[0] = 0x45;
            packet.extend(reply);
            return packet;
        }
        reply[0] = etherparse::icmpv6::TYPE_ECHO_REPLY;
        reply
    }

    #[test]
    fn a_reply_is_told_by_identifier_sequence_and_payload() {
        for server in ["192.0.2.1", "2001:db8::1"] {
            let server: IpAddr = server.parse().expect("an address");
            let (is_v4, icmp) = (server.is_ipv4(), if server.is_ipv4() { 20 } else { 0 });
            let good = reply(server, 7, 0x1234_5678_9abc_def0);
            assert_eq!(token(&good, is_v4, 7), Some(0x1234_5678_9abc_def0));
            assert_eq!(token(&good, is_v4, 8), None, "another identifier");
            for changed in [icmp, icmp + 1, icmp + 6, icmp + 15] {
                let mut bad = good.clone();
                bad[changed] ^= 1;
                assert_eq!(token(&bad, is_v4, 7), None, "byte {changed}");
            }
            for length in 0..good.len() {
                assert_eq!(token(&good[..length], is_v4, 7), None, "{length} bytes");
            }
        }
    }

    #[test]
    fn only_the_server_that_was_asked_replies() {
        let receiver = Receiver { identifier: 1, waiting: Mutex::default() };
        let (replied, mut reply) = oneshot::channel();
        let server = IpAddr::from([192, 0, 2, 1]);
        receiver.waiting().insert(9, Waiting { server, replied });
        receiver.replied(9, IpAddr::from([192, 0, 2, 2]));
        receiver.replied(8, server);
        assert!(reply.try_recv().is_err(), "somebody else's");
        receiver.replied(9, server);
        assert_eq!(reply.try_recv(), Ok(()));
    }
}
