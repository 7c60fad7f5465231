//! Dry runs: what the program would make of a frame, asked of the program itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use etherparse::{PacketBuilder, TcpHeader, VlanId};
use lb_common::trace::Trace;

use super::clock::KernelClock;
use super::error::DataplaneError;
use super::explanation::Explanation;
use super::memory::{Memory, Region};
use super::open::{handle, xdp_mut};
use crate::config::Protocol;

/// A frame to ask about. Source and destination are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The place in the settings of the interface that it comes in on.
    pub interface: u8,
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes to.
    pub destination: SocketAddr,
    /// What is in it.
    pub protocol: Protocol,
    /// Byte 13 of the TCP header.
    pub tcp_flags: u8,
    /// The VLAN that it is tagged with.
    pub vlan: Option<u16>,
}

/// Asks the program `explain`. One question at a time.
pub struct Explainer {
    memory: Arc<Memory>,
    clock: KernelClock,
    /// Where there are programs.
    program: Option<Mutex<(Xdp, Region<Trace>)>>,
}

const PROGRAM: &str = "explain";
/// The map of what dry runs note. It is not pinned: each daemon has its own.
const TRACE: &str = "TRACE";
/// A made-up neighbour's.
const SOURCE_MAC: [u8; 6] = [2, b'l', b'b', 0, 0, 0];
/// Room for a tag that a frame gets.
const ROOM: usize = 4;
/// A client some routers away.
const HOPS_LEFT: u8 = 60;

impl Explainer {
    /// Takes what it needs from `ebpf`, whose programs are loaded.
    pub(super) fn open(
        ebpf: &mut Ebpf,
        directory: &Path,
        memory: Arc<Memory>,
        clock: KernelClock,
    ) -> Result<Self, DataplaneError> {
        let Some(Map::Array(map)) = ebpf.take_map(TRACE) else { return Err(DataplaneError::Missing(TRACE)) };
        let trace = Region::map(map.fd().as_fd(), 1);
        let trace = trace.map_err(|source| DataplaneError::Map { operation: "map", map: TRACE, source })?;
        // A handle of its own: the other one is lent to whoever attaches programs.
        let program = handle(xdp_mut(ebpf, PROGRAM)?, directory).map_err(failed)?;
        let program = Some(Mutex::new((program, trace)));
        Ok(Self { memory, clock, program })
    }

    /// One on memory that no program reads, so that it explains nothing.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn in_process(memory: Arc<Memory>) -> Result<Self, DataplaneError> {
        Ok(Self { memory, clock: KernelClock::in_process()?, program: None })
    }

    /// What the program would do with a frame. Nothing is changed by asking.
    ///
    /// # Errors
    /// [`DataplaneError::Explain`], [`DataplaneError::Clock`].
    pub fn explain(&self, question: &Question) -> Result<Explanation, DataplaneError> {
        let interface = self.memory.settings().interfaces.get(usize::from(question.interface));
        let interface = interface.ok_or_else(|| failed(io::Error::from(io::ErrorKind::NotFound)))?;
        let [a, b, c, d, e, f, _, _] = interface.mac.load().to_le_bytes();
        let frame = frame(question, [a, b, c, d, e, f])?;
        let mut sent = vec![0; frame.len() + ROOM];
        // A question that panicked left nothing behind that the next would meet.
        let Some(program) = &self.program else {
            return Err(failed(io::Error::from(io::ErrorKind::Unsupported)));
        };
        let program = program.lock().unwrap_or_else(PoisonError::into_inner);
        let (program, trace) = (&program.0, &program.1[0]);
        trace.begin(question.interface);
        let options =
            TestRunOptions { data_in: Some(&frame), data_out: Some(&mut sent), ..TestRunOptions::new() };
        let ran = program.test_run(options).map_err(failed)?;
        sent.truncate(ran.data_size_out as usize);
        Ok(Explanation::read(trace, ran.return_value, &frame, &sent, &self.memory, self.clock.now()?))
    }
}

/// The frame that is asked about, as a router would send it to `mac`.
fn frame(question: &Question, mac: [u8; 6]) -> Result<Vec<u8>, DataplaneError> {
    let ethernet = PacketBuilder::ethernet2(SOURCE_MAC, mac);
    let vlan = question.vlan.map(VlanId::try_new).transpose().map_err(failed)?;
    let ip = match (question.source.ip(), question.destination.ip(), vlan) {
        (IpAddr::V4(from), IpAddr::V4(to), None) => ethernet.ipv4(from.octets(), to.octets(), HOPS_LEFT),
        (IpAddr::V6(from), IpAddr::V6(to), None) => ethernet.ipv6(from.octets(), to.octets(), HOPS_LEFT),
        (IpAddr::V4(from), IpAddr::V4(to), Some(vlan)) => {
            ethernet.single_vlan(vlan).ipv4(from.octets(), to.octets(), HOPS_LEFT)
        }
        (IpAddr::V6(from), IpAddr::V6(to), Some(vlan)) => {
            ethernet.single_vlan(vlan).ipv6(from.octets(), to.octets(), HOPS_LEFT)
        }
        _ => return Err(failed(io::Error::from(io::ErrorKind::InvalidInput))),
    };
    let (from, to) = (question.source.port(), question.destination.port());
    let mut frame = Vec::new();
    let written = match question.protocol {
        Protocol::Tcp => ip.tcp_header(tcp(from, to, question.tcp_flags)).write(&mut frame, &[]),
        Protocol::Udp => ip.udp(from, to).write(&mut frame, &[]),
    };
    written.map_err(failed)?;
    Ok(frame)
}

fn tcp(from: u16, to: u16, flags: u8) -> TcpHeader {
    let is_set = |bit: u32| flags >> bit & 1 != 0;
    TcpHeader {
        fin: is_set(0),
        syn: is_set(1),
        rst: is_set(2),
        psh: is_set(3),
        ack: is_set(4),
        urg: is_set(5),
        ece: is_set(6),
        cwr: is_set(7),
        ..TcpHeader::new(from, to, 1, u16::MAX)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> DataplaneError {
    DataplaneError::Explain(io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that the frame says is what was asked about, in both families, tagged or not.
    #[test]
    fn a_frame_is_what_was_asked_about() {
        for (source, destination) in [("198.51.100.7", "192.0.2.1"), ("2001:db8::7", "2001:db8:1::1")] {
            for (vlan, protocol) in
                [(None, Protocol::Tcp), (Some(100), Protocol::Tcp), (Some(7), Protocol::Udp)]
            {
                let socket =
                    |address: &str, port| SocketAddr::new(address.parse().expect("an address"), port);
                let (source, destination) = (socket(source, 40_000), socket(destination, 80));
                let question =
                    Question { interface: 0, source, destination, protocol, tcp_flags: 0x52, vlan };
                let bytes = frame(&question, [2, 0, 0, 0, 0, 1]).expect("a frame");
                let read = etherparse::SlicedPacket::from_ethernet(&bytes).expect("whole headers");
                assert_eq!(bytes[..6], [2, 0, 0, 0, 0, 1]);
                assert_eq!(read.vlan_ids().first().map(|id| id.value()), vlan);
                match read.transport {
                    Some(etherparse::TransportSlice::Tcp(tcp)) => {
                        assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 80));
                        assert_eq!(tcp.slice()[13], 0x52);
                        assert_eq!(protocol, Protocol::Tcp);
                    }
                    Some(etherparse::TransportSlice::Udp(udp)) => {
                        assert_eq!((udp.source_port(), udp.destination_port()), (40_000, 80));
                        assert_eq!(protocol, Protocol::Udp);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_frame_has_one_family() {
        let question = Question {
            interface: 0,
            source: "198.51.100.7:1".parse().expect("an address"),
            destination: "[2001:db8::1]:1".parse().expect("an address"),
            protocol: Protocol::Udp,
            tcp_flags: 0,
            vlan: None,
        };
        assert!(matches!(frame(&question, [0; 6]), Err(DataplaneError::Explain(_))));
    }
}
