//! A real server at the other end of a wire: smoltcp's TCP, and the rest by hand.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket,
    TransportSlice,
};
use macaddr::MacAddr6;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use tokio::sync::watch;

use super::super::demux::Demux;
use super::super::wire::Wire;
use super::{OWN_MAC, SERVER_MAC, Ways};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Behaviour {
    /// It answers: TCP port 80 with what it got, many times; UDP port 53 with what it got.
    Serve,
    /// It lacks the VIPs.
    BlackHole,
    /// It resets connections that say something.
    Reset,
    /// It answers from another MAC.
    AnswerFrom(MacAddr6),
}

/// Bytes of an answer over TCP: more than a probe takes in at a time.
pub(super) const ANSWER: usize = 30_000;

pub(in super::super) struct RealServer {
    behaviour: Behaviour,
    interface: Interface,
    sockets: SocketSet<'static>,
    device: Device,
    listening: SocketHandle,
    /// What is still to be sent of the answer.
    answer: Option<Vec<u8>>,
    now: i64,
    /// Frames it got, and frames it sent.
    pub(super) sent: Vec<Vec<u8>>,
    pub(super) answered: Vec<Vec<u8>>,
}

impl RealServer {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        let mut device = Device::default();
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for vip in ["192.0.2.100/32", "2001:db8::100/128"] {
                let vip: IpCidr = vip.parse().expect("an address");
                let _ = addresses.push(vip);
            }
        });
        let mut sockets = SocketSet::new(Vec::new());
        let listening = sockets.add(listener());
        let (sent, answered) = (Vec::new(), Vec::new());
        Self { behaviour, interface, sockets, device, listening, answer: None, now: 0, sent, answered }
    }

    /// What it answers to a frame.
    fn handle(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.sent.push(frame.to_vec());
        if self.behaviour == Behaviour::BlackHole {
            return Vec::new();
        }
        let packet = &frame[14..];
        let answers = match answer(packet) {
            Some(answer) => vec![answer],
            None => self.speak_tcp(packet),
        };
        let mac = if let Behaviour::AnswerFrom(mac) = self.behaviour { mac } else { SERVER_MAC };
        let frames = answers.into_iter().map(|packet| {
            let ether_type = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
            [&OWN_MAC.into_array()[..], &mac.into_array(), &ether_type, &packet].concat()
        });
        let frames: Vec<Vec<u8>> = frames.collect();
        self.answered.extend(frames.clone());
        frames
    }

    fn speak_tcp(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        self.device.arrived.push_back(packet.to_vec());
        // Whatever it wants to wait for has come by the next frame.
        self.now += 1_000;
        for _ in 0..2 {
            self.interface.poll(Instant::from_millis(self.now), &mut self.device, &mut self.sockets);
            self.serve();
        }
        self.interface.poll(Instant::from_millis(self.now), &mut self.device, &mut self.sockets);
        std::mem::take(&mut self.device.sent)
    }

    fn serve(&mut self) {
        let socket: &mut Socket<'_> = self.sockets.get_mut(self.listening);
        if !socket.is_open() {
            *socket = listener();
            self.answer = None;
        }
        if socket.can_recv() {
            let said = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).expect("there is something");
            if self.behaviour == Behaviour::Reset {
                socket.abort();
                return;
            }
            self.answer = Some(said.iter().copied().cycle().take(ANSWER).collect());
        }
        if let Some(answer) = &mut self.answer
            && socket.may_send()
        {
            let sent = socket.send_slice(answer).expect("it is open");
            answer.drain(..sent);
            if answer.is_empty() {
                socket.close();
            }
        }
    }
}

fn listener() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; 64 << 10]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_ack_delay(None);
    socket.listen(80).expect("a port");
    socket
}

/// The answer to an echo request or a datagram.
fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let sliced = SlicedPacket::from_ip(packet).expect("a proper packet");
    let mut answer = Vec::new();
    match (sliced.net?, sliced.transport?) {
        (NetSlice::Ipv4(v4), transport) => {
            let (from, to) = (v4.header().destination(), v4.header().source());
            let ip = PacketBuilder::ipv4(from, to, 64);
            match transport {
                TransportSlice::Icmpv4(icmp) => {
                    let Icmpv4Type::EchoRequest(echo) = icmp.icmp_type() else { return None };
                    ip.icmpv4_echo_reply(echo.id, echo.seq).write(&mut answer, icmp.payload())
                }
                TransportSlice::Udp(udp) if udp.destination_port() != 53 => {
                    let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
                    ip.icmpv4(kind).write(&mut answer, packet)
                }
                TransportSlice::Udp(udp) => reply(ip, 53, udp.source_port(), udp.payload(), &mut answer),
                _ => return None,
            }
        }
        (NetSlice::Ipv6(v6), transport) => {
            let (from, to) = (v6.header().destination(), v6.header().source());
            let ip = PacketBuilder::ipv6(from, to, 64);
            match transport {
                TransportSlice::Icmpv6(icmp) => {
                    let Icmpv6Type::EchoRequest(echo) = icmp.icmp_type() else { return None };
                    ip.icmpv6_echo_reply(echo.id, echo.seq).write(&mut answer, icmp.payload())
                }
                TransportSlice::Udp(udp) if udp.destination_port() != 53 => {
                    let kind = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port);
                    ip.icmpv6(kind).write(&mut answer, packet)
                }
                TransportSlice::Udp(udp) => reply(ip, 53, udp.source_port(), udp.payload(), &mut answer),
                _ => return None,
            }
        }
        _ => return None,
    }
    .expect("a vector takes everything");
    Some(answer)
}

fn reply(
    ip: PacketBuilderStep<IpHeaders>,
    from: u16,
    to: u16,
    payload: &[u8],
    answer: &mut Vec<u8>,
) -> Result<(), etherparse::err::packet::BuildWriteError> {
    ip.udp(from, to).write(answer, payload)
}

/// A wire to it, on which answers are there at once.
pub(super) struct FakeWire {
    pub(super) server: Arc<Mutex<RealServer>>,
    pub(super) demux: Arc<Demux>,
    pub(super) ways: watch::Receiver<Arc<Ways>>,
}

impl Wire for FakeWire {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let answers = self.server.lock().expect("no panic").handle(frame);
        for answer in answers {
            self.demux.deliver(&answer, &self.ways.borrow());
        }
        Ok(())
    }

    fn is_alive(&self) -> bool {
        true
    }
}

impl fmt::Debug for FakeWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeWire")
    }
}

#[derive(Default)]
struct Device {
    arrived: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

impl phy::Device for Device {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Departing<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Arrived, Departing<'_>)> {
        self.arrived.pop_front().map(|packet| (Arrived(packet), Departing(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Departing<'_>> {
        Some(Departing(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = (Medium::Ip, 1500);
        capabilities
    }
}

struct Arrived(Vec<u8>);

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Departing<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Departing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push(packet);
        result
    }
}
