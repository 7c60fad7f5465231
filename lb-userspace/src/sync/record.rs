//! A connection on the wire.
//!
//! ```text
//!   kind 1 │ protocol 1 │ state 1 │ bits 1 │ remaining 4 │ client port 2 │ virtual port 2 │ client │ VIP │ real server
//! ```
//!
//! Numbers are in network order, addresses have four bytes or sixteen: 24 bytes in all for IPv4, 60 for IPv6. `bits` are
//! those of a template's client; `remaining` are seconds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::connection::State;

use crate::config::Protocol;
use crate::dataplane::Flow;

/// A connection, or with [`TEMPLATE`] a template, of IPv4; one more is IPv6.
const V4: u8 = 1;
const V6: u8 = 2;
const TEMPLATE: u8 = 0x10;

/// Bytes of the longest record.
pub(super) const LONGEST: usize = 60;

/// Appends a record. Addresses of several families in one flow are not possible; such a one is left out.
pub(super) fn encode(flow: &Flow, bytes: &mut Vec<u8>) {
    let (ips, ports) = (
        [flow.client.ip(), flow.virtual_address.ip(), flow.server],
        [flow.client.port(), flow.virtual_address.port()],
    );
    let family = match ips {
        [IpAddr::V4(_), IpAddr::V4(_), IpAddr::V4(_)] => V4,
        [IpAddr::V6(_), IpAddr::V6(_), IpAddr::V6(_)] => V6,
        _ => return,
    };
    let kind = family | if flow.template.is_some() { TEMPLATE } else { 0 };
    bytes.extend([kind, flow.protocol.number(), flow.state as u8, flow.template.unwrap_or(0)]);
    bytes.extend(flow.remaining.to_be_bytes());
    bytes.extend(ports.map(u16::to_be_bytes).as_flattened());
    for ip in ips {
        match ip {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
}

/// Takes a record off `bytes`; `None` if there is none that this version knows.
pub(super) fn decode(bytes: &mut &[u8]) -> Option<Flow> {
    let [kind, protocol, state, bits] = take(bytes)?;
    let remaining = u32::from_be_bytes(take(bytes)?);
    let [client_port, virtual_port] = [take(bytes)?, take(bytes)?].map(u16::from_be_bytes);
    let mut address = || -> Option<IpAddr> {
        match kind & !TEMPLATE {
            V4 => Some(Ipv4Addr::from(take::<4>(bytes)?).into()),
            V6 => Some(Ipv6Addr::from(take::<16>(bytes)?).into()),
            _ => None,
        }
    };
    let (client, vip, server) = (address()?, address()?, address()?);
    let is_template = kind & TEMPLATE != 0;
    let state = State::from_number(state.into())?;
    if is_template != (state == State::Template) || state == State::None || !is_template && bits != 0 {
        return None;
    }
    Some(Flow {
        template: is_template.then_some(bits),
        protocol: Protocol::from_number(protocol)?,
        state,
        remaining,
        client: SocketAddr::new(client, client_port),
        virtual_address: SocketAddr::new(vip, virtual_port),
        server,
    })
}

/// So many bytes off the front; `None` if there are not as many.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any flow.
    pub(in crate::sync) fn flows() -> impl Strategy<Value = Flow> {
        let ports = (any::<u16>(), any::<u16>());
        let rest = (any::<bool>(), 1usize..12, any::<u32>(), prop::option::of(1u8..=32));
        (any::<[u128; 3]>(), any::<bool>(), ports, rest).prop_map(|(ips, is_ipv6, ports, rest)| {
            let [client, vip, server] = ips.map(|bits| match is_ipv6 {
                true => IpAddr::from(Ipv6Addr::from_bits(bits)),
                #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
                false => IpAddr::from(Ipv4Addr::from_bits(bits as u32)),
            });
            let (is_tcp, state, remaining, template) = rest;
            Flow {
                template,
                protocol: if is_tcp { Protocol::Tcp } else { Protocol::Udp },
                state: if template.is_some() { State::Template } else { State::ALL[state] },
                remaining,
                client: SocketAddr::new(client, ports.0),
                virtual_address: SocketAddr::new(vip, ports.1),
                server,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(flows in prop::collection::vec(flows(), 0..20), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            flows.iter().for_each(|flow| encode(flow, &mut bytes));
            let mut rest = &bytes[..];
            for flow in &flows {
                prop_assert_eq!(decode(&mut rest), Some(*flow));
            }
            prop_assert!(rest.is_empty() && decode(&mut rest).is_none());
            if let Some(flow) = flows.first() {
                let mut one = Vec::new();
                encode(flow, &mut one);
                prop_assert!(one.len() <= LONGEST);
                prop_assert_eq!(decode(&mut &one[..cut.index(one.len())]), None, "cut off");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut rest = &bytes[..];
            while decode(&mut rest).is_some() {}
        }
    }

    #[test]
    fn a_record_lies_as_it_is_described() {
        let flow = Flow {
            template: None,
            protocol: Protocol::Tcp,
            state: State::Established,
            remaining: 900,
            client: "198.51.100.7:4000".parse().expect("an address"),
            virtual_address: "192.0.2.1:80".parse().expect("an address"),
            server: "10.0.0.1".parse().expect("an address"),
        };
        let mut bytes = Vec::new();
        encode(&flow, &mut bytes);
        let expected = [
            [1, 6, 1, 0],
            [0, 0, 3, 132],
            [15, 160, 0, 80],
            [198, 51, 100, 7],
            [192, 0, 2, 1],
            [10, 0, 0, 1],
        ];
        assert_eq!(bytes, expected.as_flattened());
        for (place, wrong) in [(0, 3), (0, 0x11), (1, 1), (2, 0), (2, 12), (2, 200), (3, 24)] {
            let mut bytes = bytes.clone();
            bytes[place] = wrong;
            assert_eq!(decode(&mut &bytes[..]), None, "{wrong} at {place}");
        }
    }
}
