//! VRRP's messages, read by a director that expects something of them.
//!
//! The first byte says what; the others are the message.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

// The decoder needs nothing of the rest of that crate, whose dependencies would all have to be built with instrumentation.
#[path = "../../lb-userspace/src/vrrp"]
#[expect(dead_code, reason = "not all of it is the decoder's")]
mod vrrp {
    pub mod packet;
}

use vrrp::packet::{self, Advert, Envelope, Expectation, GROUP_V4, GROUP_V6, TTL, Version};

const VERSION_3: u8 = 1;
const IPV6: u8 = 2;
const PASSWORD: u8 = 4;
const UNICAST: u8 = 8;
/// The checksum is made right, which nobody would guess.
const SEALED: u8 = 16;
/// The virtual router and the addresses are those that the message has.
const AGREEING: u8 = 32;

const SOURCES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2))];

fuzz_target!(|input: &[u8]| {
    let Some((flags, message)) = input.split_first() else { return };
    let has = |flag| flags & flag != 0;
    let mut message = message.to_vec();
    let version = if has(VERSION_3) { Version::V3 } else { Version::V2 };
    let source = SOURCES[usize::from(has(IPV6))];
    let group = if has(IPV6) { GROUP_V6.into() } else { GROUP_V4.into() };
    let destination = if has(UNICAST) { source } else { group };
    if has(SEALED) {
        packet::seal(&mut message, version, source, destination);
    }
    let envelope = Envelope { source, destination, ttl: TTL };
    let mut expected = Expectation {
        version,
        vrid: 51,
        interval: Duration::from_secs(1),
        addresses: vec![Ipv4Addr::new(192, 0, 2, 80).into()],
        authentication: has(PASSWORD).then_some(*b"1111\0\0\0\0"),
        peers: if has(UNICAST) { vec![source] } else { Vec::new() },
    };
    if has(AGREEING) && message.len() >= 8 {
        agree(&mut expected, &message, has(IPV6));
    }
    match Advert::decode(&message, &envelope, &expected) {
        Err(rejected) => assert!(!rejected.to_string().is_empty()),
        Ok(advert) => {
            let again = advert.encode(source, destination);
            assert_eq!(again.len(), message.len());
            assert_eq!(Advert::decode(&again, &envelope, &expected), Ok(advert));
        }
    }
});

fn agree(expected: &mut Expectation, message: &[u8], is_v6: bool) {
    expected.vrid = message[1];
    // None at all cannot be configured.
    expected.interval = Duration::from_secs(message[5].max(1).into());
    let list = &message[8..];
    let mut addresses = if is_v6 { addresses::<16>(list) } else { addresses::<4>(list) };
    addresses.truncate(message[3].into());
    expected.addresses = addresses;
}

fn addresses<const BYTES: usize>(list: &[u8]) -> Vec<IpAddr>
where
    IpAddr: From<[u8; BYTES]>,
{
    list.as_chunks::<BYTES>().0.iter().map(|bytes| IpAddr::from(*bytes)).collect()
}
