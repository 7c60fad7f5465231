//! Persistence: for a while, new connections of a client go where its last one went.
//!
//! A *template* says where. It is an entry of the connection tables in state
//! [`Template`](crate::connection::State::Template), under a key that no packet has:
//!
//! ```text
//!   IPv4   client · virtual server │ marker
//!   IPv6   client │ client │ virtual server │ 0 │ marker
//! ```
//!
//! The client is masked. Its virtual server is there by number, so all addresses of one share their templates, as the
//! ports of a service by firewall mark or of any port do in `ip_vs_sched_persist` (ip_vs_core.c).
//!
//! How long it lives is its virtual server's matter and not that of its state: whoever looks one up judges by
//! [`Persistence::has_expired`]. It lives on while it has connections; the daemon, which can tell, sees to that.

use crate::connection::{KEY_WORDS_V4, Meta};

/// How long clients are remembered, and how many of them together; as one word of a
/// [`Service`](crate::service::Service).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Persistence(u64);

/// What a template has in the last word of its key, above the ports and the protocol of a packet.
const MARKER: u64 = 1 << 40;

const PREFIX_SHIFT: u32 = 32;

crate::one_word!(Persistence, u64);

impl Persistence {
    /// Every connection goes where the scheduler says.
    pub const NONE: Self = Self(0);

    /// Clients whose first `prefix` bits are the same (at least one) are remembered together, for `timeout` seconds.
    #[must_use]
    pub const fn new(timeout: u32, prefix: u8) -> Self {
        Self((prefix as u64) << PREFIX_SHIFT | timeout as u64)
    }

    /// Whether nobody is remembered.
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Seconds without a new connection after which a client is forgotten.
    #[inline(always)]
    #[must_use]
    pub const fn timeout(self) -> u32 {
        self.0 as u32
    }

    /// Bits of a client's address that count.
    #[inline(always)]
    #[must_use]
    pub const fn prefix(self) -> u32 {
        (self.0 >> PREFIX_SHIFT) as u32 & 0xff
    }

    /// Whether a template has outlived its time, connections aside.
    #[inline(always)]
    #[must_use]
    pub const fn has_expired(self, template: Meta, now: u32) -> bool {
        template.age(now) >= self.timeout()
    }

    /// The key of the template for a flow's client at the virtual server `service`; `flow` is the flow's key, or that
    /// of any other flow of the client.
    #[inline(always)]
    #[must_use]
    pub const fn key<const K: usize>(self, flow: &[u64; K], service: u32) -> [u64; K] {
        let prefix = self.prefix();
        let mut key = [0; K];
        if K == KEY_WORDS_V4 {
            let client = flow[0] as u32 & ((leading_ones(prefix) >> 32) as u32).to_be();
            key[0] = client as u64 | (service as u64) << 32;
        } else {
            key[0] = flow[0] & leading_ones(prefix).to_be();
            key[1] = flow[1] & leading_ones(prefix.saturating_sub(64)).to_be();
            key[2 % K] = service as u64;
        }
        key[K - 1] = MARKER;
        key
    }
}

/// A word whose first bits are set: at most all.
#[inline(always)]
const fn leading_ones(bits: u32) -> u64 {
    match bits {
        0 => 0,
        1..64 => u64::MAX << (64 - bits),
        _ => u64::MAX,
    }
}

/// Whether a key is a template's.
#[inline(always)]
#[must_use]
pub const fn is_template<const K: usize>(key: &[u64; K]) -> bool {
    key[K - 1] & MARKER != 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::connection::{State, key_v4, key_v6};

    fn halves(address: [u8; 16]) -> [u64; 2] {
        let word = |i| u64::from_le_bytes(core::array::from_fn(|j| address[i + j]));
        [word(0), word(8)]
    }

    #[test]
    fn clients_of_one_network_share_a_template() {
        let flow = |client: [u8; 4], port: u16| {
            let [a, b, c, d] = client;
            let addresses = u64::from_le_bytes([a, b, c, d, 192, 0, 2, 1]);
            key_v4(addresses, u32::from_le_bytes([1, 2, 0, 80]) | u32::from(port), 6)
        };
        for (prefix, network) in
            [(32, [198, 51, 103, 7]), (24, [198, 51, 103, 0]), (22, [198, 51, 100, 0]), (1, [128, 0, 0, 0])]
        {
            let persistence = Persistence::new(60, prefix);
            let key = persistence.key(&flow([198, 51, 103, 7], 1), 5);
            assert_eq!(key[0], u64::from(u32::from_le_bytes(network)) | 5 << 32, "/{prefix}");
            assert_eq!(persistence.key(&flow(network, 2), 5), key, "of any flow");
            assert!(is_template(&key) && !is_template(&flow([198, 51, 103, 7], 1)));
            assert_ne!(persistence.key(&flow(network, 2), 6), key, "of one virtual server");
        }
    }

    #[test]
    fn clients_of_one_ipv6_network_share_a_template() {
        let client = core::array::from_fn(|i| 0xe1 + i as u8);
        let [high, low] = halves(client);
        let flow = key_v6([high, low, 7, 8], 9, 17);
        for prefix in 1..=128u8 {
            let mut network: [u8; 16] = client;
            for (i, byte) in (0..).zip(&mut network) {
                *byte &= (0xff00u16 >> prefix.saturating_sub(8 * i).min(8)) as u8;
            }
            let [high, low] = halves(network);
            let key = Persistence::new(60, prefix).key(&flow, 4095);
            assert_eq!(key, [high, low, 4095, 0, MARKER], "/{prefix}");
        }
        assert!(!is_template(&flow));
    }

    #[test]
    fn a_word_holds_what_it_is_made_of() {
        let persistence = Persistence::new(1 << 22, 128);
        assert_eq!((persistence.timeout(), persistence.prefix()), (1 << 22, 128));
        assert_eq!(Persistence::from_word(persistence.word()), persistence);
        assert!(Persistence::NONE.is_none() && !persistence.is_none());
        let persistence = Persistence::new(60, 32);
        let template = Meta::new(1, State::Template, 100);
        assert!(!persistence.has_expired(template, 159) && persistence.has_expired(template, 160));
    }
}
