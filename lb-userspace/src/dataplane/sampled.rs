//! What the program told of a frame, put together.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6, Meta, State};
use lb_common::counter::Reason;
use lb_common::sample::SAMPLE_WORDS;
use lb_common::service::NO_SERVICE;

use super::connections::flow;
use super::explanation::Action;
use super::memory::Memory;
use super::tables::destination_view;

/// A frame, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// When, since 1970.
    pub time: Duration,
    /// The place of the interface that it came in on.
    pub arrival: u8,
    /// Its flow; `None` if it was not read so far as to know.
    pub flow: Option<SampledFlow>,
    /// The number of the virtual server.
    pub service: Option<u32>,
    /// The state of the flow's entry in the main table before, if there was one that was looked at.
    pub known: Option<State>,
    /// The real server that it went to. If its number was given to another meanwhile, that one.
    pub server: Option<IpAddr>,
    /// What became of it.
    pub action: Action,
    /// The reason that it was counted under.
    pub reason: Option<Reason>,
    /// Its length in bytes, with the Ethernet header.
    pub length: u32,
    /// Its first bytes, as they came in.
    pub frame: Vec<u8>,
}

/// Whose packet a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledFlow {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes to. A fragment that is not the first has no ports: 0.
    pub destination: SocketAddr,
    /// The IP protocol number; 0 of such a fragment.
    pub protocol: u8,
    /// Byte 13 of the TCP header.
    pub tcp_flags: u8,
    /// Whether it is an ICMP error about a packet of the flow.
    pub is_error: bool,
}

impl Sampled {
    /// Out of the ring's bytes: a [`Sample`](lb_common::sample::Sample), and the frame.
    pub(super) fn read(bytes: &[u8], epoch_at_boot: Duration, memory: &Memory) -> Option<Self> {
        let (head, frame) = bytes.split_at_checked(SAMPLE_WORDS * size_of::<u64>())?;
        let (words, _) = head.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let [
            time,
            source,
            source_end,
            destination,
            destination_end,
            transport,
            packet,
            service,
            known,
            server,
            reason,
            action,
            arrival,
            length,
        ] = words[..]
        else {
            return None;
        };
        let key = match usize::from((packet >> 16) as u8) {
            KEY_WORDS_V4 => flow(&[source & 0xffff_ffff | destination << 32, transport]),
            KEY_WORDS_V6 => flow(&[source, source_end, destination, destination_end, transport]),
            _ => None,
        };
        let server = usize::try_from(server).ok().and_then(|number| memory.destinations.get(number));
        let meta = Meta::from_word(known);
        Some(Self {
            time: epoch_at_boot + Duration::from_nanos(time),
            arrival: arrival as u8,
            flow: key.map(|(protocol, source, destination)| SampledFlow {
                source,
                destination,
                protocol,
                tcp_flags: packet as u8,
                is_error: packet >> 8 & 1 != 0,
            }),
            service: u32::try_from(service).ok().filter(|number| *number != NO_SERVICE),
            known: if known == 0 { None } else { State::from_number(meta.state()) },
            server: server.and_then(|server| Some(destination_view(server, None)?.address)),
            action: Action::of(action as u32, (action >> 32) as u32),
            reason: u32::try_from(reason).ok().and_then(Reason::from_number),
            length: (length >> 32) as u32,
            frame: frame[..frame.len().min(length as u32 as usize)].to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use lb_common::connection::key_v4;
    use lb_common::sample::{NO_REASON, packet_word};

    use super::super::Capacity;
    use super::*;

    fn read(reason: u64, packet: u64, action: u64) -> Sampled {
        let memory = Memory::in_process(Capacity { max_connections: 1024, has_ipv6: false });
        let ports = u32::from(40_000u16.to_be()) | u32::from(80u16.to_be()) << 16;
        let [addresses, transport] = key_v4(u64::from_le_bytes([198, 51, 100, 7, 192, 0, 2, 1]), ports, 6);
        let known = Meta::new(5, State::Established, 9).word();
        let words = [
            1_000_000_000,
            addresses & 0xffff_ffff,
            0,
            addresses >> 32,
            0,
            transport,
            packet,
            3,
            known,
            u64::from(u32::MAX),
            reason,
            action,
            2,
            60 << 32 | 4,
        ];
        let bytes: Vec<u8> =
            words.iter().flat_map(|word: &u64| word.to_ne_bytes()).chain([1, 2, 3, 4, 0, 0]).collect();
        let memory = memory.expect("there is memory");
        assert_eq!(Sampled::read(&bytes[..SAMPLE_WORDS * 8 - 1], Duration::ZERO, &memory), None);
        Sampled::read(&bytes, Duration::from_secs(1), &memory).expect("it is whole")
    }

    #[test]
    fn a_sample_is_read_as_it_was_written() {
        let sampled = read(NO_REASON, packet_word(40, KEY_WORDS_V4, 0x12, false), 4 | 3 << 32);
        let flow = sampled.flow.expect("it has one");
        assert_eq!(flow.source.to_string(), "198.51.100.7:40000");
        assert_eq!(flow.destination.to_string(), "192.0.2.1:80");
        assert_eq!((flow.protocol, flow.tcp_flags, flow.is_error), (6, 0x12, false));
        assert_eq!(
            (sampled.service, sampled.known, sampled.server),
            (Some(3), Some(State::Established), None)
        );
        assert_eq!((sampled.action, sampled.reason), (Action::Redirect(2), None));
        assert_eq!((sampled.length, &sampled.frame[..]), (60, &[1, 2, 3, 4][..]), "no padding");
        assert_eq!((sampled.time, sampled.arrival), (Duration::from_secs(2), 2));
    }

    #[test]
    fn a_frame_without_a_flow_has_a_reason() {
        let sampled = read(Reason::PassNotIp as u64, 0, 2);
        assert_eq!((sampled.flow, sampled.reason), (None, Some(Reason::PassNotIp)));
        assert_eq!(sampled.action, Action::Pass);
    }
}
