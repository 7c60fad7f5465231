//! What the program that tells what becomes of frames (`traced`) is asked for, and what it tells of one.
//!
//! ```text
//!   daemon ── Watch ──> program ── a Sample and the frame's first bytes ──> ring ──> daemon
//! ```

use crate::Word;
use crate::connection::KEY_WORDS_V4;
use crate::limits::MAX_DESTINATIONS;
use crate::selector::NO_DESTINATION;
use crate::service::NO_SERVICE;

/// Bytes of the ring that samples wait in.
pub const SAMPLE_RING_BYTES: u32 = 1 << 20;

/// The most bytes of a frame that a sample comes with.
pub const MAX_SNAP: u32 = 2048;

/// [`Sample::reason`] of a frame that was not counted under any.
pub const NO_REASON: u64 = u64::MAX;

/// [`Watch::outcomes`]: frames that went to a real server. Below are the bits of reasons.
pub const FORWARDED: u64 = 1 << 63;

/// Seconds for which a [`Watch`] holds after its daemon renewed it last.
pub const WATCH_SECONDS: u32 = 4;

/// What became of one frame, as the program notes it while it balances.
#[repr(C)]
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
pub struct Sample {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: Word,
    /// The source address as it lies in the frame; of IPv4, the low half of the first word.
    pub source: [Word; 2],
    /// The destination address.
    pub destination: [Word; 2],
    /// The last word of the flow's key: ports and protocol ([`key_v4`](crate::connection::key_v4)).
    pub transport: Word,
    /// [`packet_word`], or 0 if the frame was not read so far as to know its flow.
    pub packet: Word,
    /// The number of the virtual server, or [`NO_SERVICE`].
    pub service: Word,
    /// The flow's entry in the main connection table, if it was looked at and there is one: a
    /// [`Meta`](crate::connection::Meta); or 0.
    pub known: Word,
    /// The number of the destination that it went to, or [`NO_DESTINATION`].
    pub server: Word,
    /// The [`Reason`](crate::counter::Reason) that it was counted under, or [`NO_REASON`].
    pub reason: Word,
    /// What the program returned (`enum xdp_action`); above, 1 more than the place of the interface that the frame was
    /// redirected to.
    pub action: Word,
    /// The place of the interface that it came in on.
    pub arrival: Word,
    /// Bytes of the frame, above; below, how many of them come with the sample.
    pub length: Word,
}

/// Words of a sample.
pub const SAMPLE_WORDS: usize = size_of::<Sample>() / size_of::<Word>();

/// [`Sample::packet`] of a packet of `bytes`, whose key has `words`, with this byte 13 of the TCP header.
#[inline(always)]
#[must_use]
pub const fn packet_word(bytes: u32, words: usize, tcp_flags: u8, is_error: bool) -> u64 {
    (bytes as u64) << 32 | (words as u64) << 16 | (is_error as u64) << 8 | tcp_flags as u64
}

impl Sample {
    /// Forgets the frame before.
    #[inline(always)]
    pub fn begin(&self, place: usize) {
        self.packet.store(0);
        self.service.store(u64::from(NO_SERVICE));
        self.known.store(0);
        self.server.store(u64::from(NO_DESTINATION));
        self.reason.store(NO_REASON);
        self.action.store(0);
        self.arrival.store(place as u64);
        self.length.store(0);
    }

    /// Words of the flow's key, which tell its family; 0 if the flow is not known.
    #[inline(always)]
    fn words(&self) -> u64 {
        self.packet.load() >> 16 & 0xff
    }
}

#[cfg(not(any(loom, target_arch = "bpf")))]
impl Default for Sample {
    fn default() -> Self {
        let words = || [Word::new(0), Word::new(0)];
        let word = || Word::new(0);
        Self {
            time: word(),
            source: words(),
            destination: words(),
            transport: word(),
            packet: word(),
            service: word(),
            known: word(),
            server: word(),
            reason: word(),
            action: word(),
            arrival: word(),
            length: word(),
        }
    }
}

/// Which frames somebody wants to be told of, and what was told: the one element of the map WATCH. All zeroes is nothing.
#[repr(C)]
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
pub struct Watch {
    /// The second ([`clock`](crate::clock)) in which its daemon renewed it last; while it is 0, or
    /// [`WATCH_SECONDS`] ago, nothing is looked at.
    pub renewed: Word,
    /// How many samples may still be told, as an `i64`. Renewed every second.
    pub budget: Word,
    /// Frames that were wanted.
    pub matched: Word,
    /// Of these, those that were not told because there was no budget left.
    pub limited: Word,
    /// Of these, those that found no room in the ring.
    pub lost: Word,
    /// One frame of how many is looked at, by chance.
    pub one_of: Word,
    /// How many bytes of a frame are wanted, at most [`MAX_SNAP`].
    pub snap: Word,
    /// Bits of reasons, and [`FORWARDED`].
    pub outcomes: Word,
    /// Words of the flow's key; 0 for either family, and for frames without a flow.
    pub words: Word,
    /// The protocol; 0 for any.
    pub protocol: Word,
    /// Of the source address: bits, and which of them count.
    pub source: [Word; 2],
    /// Which bits of the source address count.
    pub source_mask: [Word; 2],
    /// Of the destination address.
    pub destination: [Word; 2],
    /// Which bits of the destination address count.
    pub destination_mask: [Word; 2],
    /// The destination port in host byte order; 0 for any.
    pub port: Word,
    /// 1 more than the number of the virtual server; 0 for any.
    pub service: Word,
    /// Whether [`servers`](Self::servers) counts.
    pub has_servers: Word,
    /// A bit for each destination that is wanted.
    pub servers: [Word; SERVER_WORDS],
}

const SERVER_WORDS: usize = MAX_DESTINATIONS as usize / 64;

impl Watch {
    /// Whether somebody wants to be told of frames now.
    #[inline(always)]
    pub fn is_on(&self, now: u32) -> bool {
        let renewed = self.renewed.load();
        renewed != 0 && crate::clock::age(now, renewed as u32) < WATCH_SECONDS
    }

    /// Whether there is something left of what may be told.
    #[inline(always)]
    pub fn has_budget(&self) -> bool {
        self.budget.load().cast_signed() > 0
    }

    /// Takes one of those that may be told; says whether there was one.
    #[inline(always)]
    pub fn take(&self) -> bool {
        self.budget.fetch_add(u64::MAX).cast_signed() > 0
    }

    /// Whether a frame of which this was noted is wanted.
    #[inline(always)]
    pub fn wants(&self, sample: &Sample) -> bool {
        let (reason, server) = (sample.reason.load(), sample.server.load());
        let outcome = if reason == NO_REASON { FORWARDED } else { 1 << (reason & 0x3f) };
        if self.outcomes.load() & outcome == 0 {
            return false;
        }
        if self.has_servers.load() != 0 && !self.has_server(server) {
            return false;
        }
        let service = self.service.load();
        if service != 0 && sample.service.load() + 1 != service {
            return false;
        }
        let words = self.words.load();
        // Without these, any frame, also one that has no flow.
        if words != 0 && words != sample.words() {
            return false;
        }
        let (protocol, port) = (self.protocol.load(), self.port.load());
        if protocol | port != 0 && sample.words() == 0 {
            return false;
        }
        let transport = sample.transport.load();
        if protocol != 0 && transport >> 32 & 0xff != protocol {
            return false;
        }
        if port != 0 && u64::from(((transport >> 16) as u16).swap_bytes()) != port {
            return false;
        }
        // With a family of 0 the masks are 0.
        let differs = |bits: &[Word; 2], mask: &[Word; 2], of: &[Word; 2]| {
            (bits[0].load() ^ of[0].load()) & mask[0].load()
                | (bits[1].load() ^ of[1].load()) & mask[1].load()
        };
        differs(&self.source, &self.source_mask, &sample.source)
            | differs(&self.destination, &self.destination_mask, &sample.destination)
            == 0
    }

    #[inline(always)]
    fn has_server(&self, number: u64) -> bool {
        number < u64::from(MAX_DESTINATIONS)
            && self.servers[(number >> 6) as usize % SERVER_WORDS].load() >> (number & 63) & 1 != 0
    }
}

/// Address words of a flow's key: source and destination, as [`Sample`] has them.
#[inline(always)]
#[must_use]
pub const fn addresses<const K: usize>(key: &[u64; K]) -> [[u64; 2]; 2] {
    if K == KEY_WORDS_V4 {
        [[key[0] & 0xffff_ffff, 0], [key[0] >> 32, 0]]
    } else {
        [[key[0], key[1 % K]], [key[2 % K], key[3 % K]]]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::mem::MaybeUninit;

    use super::*;
    use crate::connection::{KEY_WORDS_V6, key_v4};
    use crate::counter::{REASONS, Reason};

    fn watch() -> Watch {
        // SAFETY: words, of which zeroes are a value.
        let watch: Watch = unsafe { MaybeUninit::zeroed().assume_init() };
        watch.outcomes.store(u64::MAX);
        watch
    }

    /// A segment of 198.51.100.7:40000 to 192.0.2.1:80.
    fn sample() -> Sample {
        let sample = Sample::default();
        sample.begin(0);
        let addresses = u64::from_le_bytes([198, 51, 100, 7, 192, 0, 2, 1]);
        let ports = u32::from(40_000u16.to_be()) | u32::from(80u16.to_be()) << 16;
        let key = key_v4(addresses, ports, 6);
        let [source, destination] = super::addresses(&key);
        sample.source[0].store(source[0]);
        sample.destination[0].store(destination[0]);
        sample.transport.store(key[1]);
        sample.packet.store(packet_word(40, KEY_WORDS_V4, 2, false));
        sample
    }

    #[test]
    fn reasons_leave_room_for_forwarded() {
        assert!(u64::from(REASONS) < u64::from(FORWARDED.trailing_zeros()));
    }

    #[test]
    fn a_watch_without_wishes_wants_every_frame() {
        let none = Sample::default();
        none.begin(3);
        assert!(watch().wants(&sample()) && watch().wants(&none));
    }

    #[test]
    fn each_wish_counts_by_itself() {
        let sample = sample();
        let is_wanted = |wish: &dyn Fn(&Watch)| {
            let watch = watch();
            wish(&watch);
            watch.wants(&sample)
        };
        assert!(is_wanted(&|watch| watch.protocol.store(6)));
        assert!(!is_wanted(&|watch| watch.protocol.store(17)));
        assert!(is_wanted(&|watch| watch.port.store(80)));
        assert!(!is_wanted(&|watch| watch.port.store(40_000)), "the destination's");
        assert!(!is_wanted(&|watch| watch.words.store(KEY_WORDS_V6 as u64)));
        assert!(!is_wanted(&|watch| watch.service.store(1)), "it has none");
        assert!(!is_wanted(&|watch| watch.has_servers.store(1)), "it went to none");
        let client = |bytes: [u8; 4], mask: [u8; 4]| {
            move |watch: &Watch| {
                watch.words.store(KEY_WORDS_V4 as u64);
                watch.source[0].store(u32::from_le_bytes(bytes).into());
                watch.source_mask[0].store(u32::from_le_bytes(mask).into());
            }
        };
        assert!(is_wanted(&client([198, 51, 100, 0], [255, 255, 255, 0])));
        assert!(!is_wanted(&client([198, 51, 101, 0], [255, 255, 255, 0])));
    }

    #[test]
    fn an_outcome_is_a_reason_or_forwarded() {
        let (watch, sample) = (watch(), sample());
        watch.outcomes.store(FORWARDED);
        assert!(watch.wants(&sample));
        sample.reason.store(Reason::DropDenied as u64);
        assert!(!watch.wants(&sample));
        watch.outcomes.store(1 << Reason::DropDenied as u32);
        assert!(watch.wants(&sample));
    }

    #[test]
    fn a_server_is_a_bit() {
        let (watch, sample) = (watch(), sample());
        watch.has_servers.store(1);
        watch.servers[1].store(1 << 3);
        for (number, wanted) in [(67, true), (66, false), (3, false), (u64::from(NO_DESTINATION), false)] {
            sample.server.store(number);
            assert_eq!(watch.wants(&sample), wanted, "{number}");
        }
    }

    #[test]
    fn a_watch_holds_for_some_seconds() {
        let watch = watch();
        assert!(!watch.is_on(1000), "nobody ever asked");
        watch.renewed.store(1000);
        assert!(watch.is_on(1000) && watch.is_on(1003) && !watch.is_on(1004));
    }

    #[test]
    fn a_budget_is_not_overdrawn() {
        let watch = watch();
        assert!(!watch.has_budget() && !watch.take());
        watch.budget.store(2);
        assert_eq!([watch.take(), watch.take(), watch.take(), watch.take()], [true, true, false, false]);
        watch.budget.store(1);
        assert!(watch.has_budget() && watch.take());
    }
}
