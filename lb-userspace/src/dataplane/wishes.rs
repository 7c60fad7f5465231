//! Which frames somebody wants to be told of, as the program is told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::Word;
use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6};
use lb_common::counter::Reason;
use lb_common::sample::{FORWARDED, MAX_SNAP, Watch};

use crate::config::Protocol;
use crate::forms::Prefix;

/// Frames that are each of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Not forwarded for one of these reasons, or forwarded if there is `None` among them; any frames if it is empty.
    pub outcomes: BTreeSet<Option<Reason>>,
    /// From here.
    pub client: Option<Prefix>,
    /// To these addresses.
    pub vip: Option<Prefix>,
    /// To this port.
    pub port: Option<u16>,
    /// Of this protocol.
    pub protocol: Option<Protocol>,
    /// Of the virtual server with this number.
    pub service: Option<u32>,
    /// Sent to one of these destinations.
    pub servers: Option<BTreeSet<u32>>,
    /// At most so many in a second.
    pub rate: u32,
    /// One of so many, by chance.
    pub one_of: u32,
    /// With so many bytes of the frame at most.
    pub snap: u32,
}

impl Wishes {
    /// No frame at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self { servers: Some(BTreeSet::new()), ..Self::default() }
    }

    /// Tells the program.
    pub(super) fn write(&self, watch: &Watch) {
        watch.one_of.store(self.one_of.into());
        watch.snap.store(self.snap.min(MAX_SNAP).into());
        watch.outcomes.store(match self.outcomes.is_empty() {
            true => u64::MAX,
            false => self.outcomes.iter().map(|outcome| outcome_bit(*outcome)).fold(0, |all, bit| all | bit),
        });
        let family = self.client.or(self.vip).map_or(0, |prefix| match prefix.first() {
            IpAddr::V4(_) => KEY_WORDS_V4,
            IpAddr::V6(_) => KEY_WORDS_V6,
        });
        watch.words.store(family as u64);
        write_prefix(self.client, &watch.source, &watch.source_mask);
        write_prefix(self.vip, &watch.destination, &watch.destination_mask);
        watch.protocol.store(self.protocol.map_or(0, |protocol| protocol.number().into()));
        watch.port.store(self.port.unwrap_or(0).into());
        watch.service.store(self.service.map_or(0, |number| u64::from(number) + 1));
        let mut bits = vec![0u64; watch.servers.len()];
        for number in self.servers.iter().flatten() {
            if let Some(word) = bits.get_mut(*number as usize / 64) {
                *word |= 1 << (number % 64);
            }
        }
        watch.servers.iter().zip(bits).for_each(|(word, bits)| word.store(bits));
        watch.has_servers.store(self.servers.is_some().into());
    }
}

fn outcome_bit(outcome: Option<Reason>) -> u64 {
    outcome.map_or(FORWARDED, |reason| 1 << reason as u32)
}

fn write_prefix(prefix: Option<Prefix>, bits: &[Word; 2], mask: &[Word; 2]) {
    let (first, ones) = prefix.map_or(([0; 2], [0; 2]), |prefix| {
        (address_words(prefix.first()), mask_words(prefix.first(), prefix.length()))
    });
    for place in 0..2 {
        bits[place].store(first[place]);
        mask[place].store(ones[place]);
    }
}

/// An address as a frame has it, loaded as little-endian words.
fn address_words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u32::from_le_bytes(address.octets()).into(), 0],
        IpAddr::V6(address) => {
            let all = u128::from_le_bytes(address.octets());
            [all as u64, (all >> 64) as u64]
        }
    }
}

/// The first `length` bits of an address of this family, likewise.
fn mask_words(family: IpAddr, length: u8) -> [u64; 2] {
    let ones = |bits: u32| u128::MAX.checked_shl(bits - u32::from(length)).unwrap_or(0);
    match family {
        IpAddr::V4(_) => [u64::from((ones(32) as u32).swap_bytes()), 0],
        IpAddr::V6(_) => {
            let all = ones(128).swap_bytes();
            [all as u64, (all >> 64) as u64]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_bits_and_those_that_count() {
        let mask = |text: &str| {
            let prefix: Prefix = text.parse().expect("a prefix");
            mask_words(prefix.first(), prefix.length()).map(u64::to_le_bytes).concat()
        };
        assert_eq!(mask("198.51.100.0/24")[..4], [255, 255, 255, 0]);
        assert_eq!(mask("198.51.100.7")[..4], [255; 4]);
        assert_eq!(mask("0.0.0.0/0"), [0; 16]);
        assert_eq!(mask("2001:db8::/33")[..6], [255, 255, 255, 255, 128, 0]);
        assert_eq!(mask("2001:db8::1"), [255; 16]);
        assert_eq!(mask("::/0"), [0; 16]);
        let words = address_words("2001:db8::1".parse().expect("an address"));
        assert_eq!(words.map(u64::to_le_bytes).concat()[..4], [0x20, 1, 0xd, 0xb8]);
    }
}
