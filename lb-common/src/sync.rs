//! What the data plane tells the daemon of connections, for other directors: one event for each flow that is confirmed,
//! and for each confirmed one whose state or real server changes. Templates are told of likewise.

use crate::connection::{KEY_WORDS_V4, KEY_WORDS_V6, Meta};

/// Bytes of the ring that events wait in: half a second of 100,000 connections a second that open and close.
pub const EVENT_RING_BYTES: u32 = 1 << 22;

/// An entry of a connection table as it has become.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The entry's [`Meta`].
    pub meta: u64,
    /// Words of the key: those of IPv4 or of IPv6.
    pub words: u64,
    /// The key; for IPv4, zeroes behind.
    pub key: [u64; KEY_WORDS_V6],
}

const _: () = assert!(size_of::<Event>() == 56, "with its header, 64 in the ring");

impl Event {
    /// Of the flow with this key.
    #[inline(always)]
    #[must_use]
    pub const fn new<const K: usize>(key: &[u64; K], meta: Meta) -> Self {
        let mut wide = [0; KEY_WORDS_V6];
        let mut i = 0;
        while i < K {
            wide[i] = key[i];
            i += 1;
        }
        Self { meta: meta.word(), words: K as u64, key: wide }
    }

    /// What the entry holds.
    #[must_use]
    pub const fn meta(&self) -> Meta {
        Meta::from_word(self.meta)
    }

    /// The key, if it is of IPv4.
    #[must_use]
    pub fn v4(&self) -> Option<[u64; KEY_WORDS_V4]> {
        (self.words == KEY_WORDS_V4 as u64).then_some([self.key[0], self.key[1]])
    }

    /// The key, if it is of IPv6.
    #[must_use]
    pub fn v6(&self) -> Option<[u64; KEY_WORDS_V6]> {
        (self.words == KEY_WORDS_V6 as u64).then_some(self.key)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::connection::State;

    #[test]
    fn an_event_is_of_one_family() {
        let meta = Meta::new(7, State::Established, 9);
        let event = Event::new(&[1, 2], meta);
        assert_eq!((event.v4(), event.v6(), event.meta()), (Some([1, 2]), None, meta));
        let event = Event::new(&[1, 2, 3, 4, 5], meta);
        assert_eq!((event.v4(), event.v6()), (None, Some([1, 2, 3, 4, 5])));
    }

    #[test]
    fn what_another_director_told_is_its_word_until_a_frame_is_seen() {
        let told = Meta::new(7, State::Established, 9).synchronised();
        assert!(told.is_synchronised() && told.aged(5).is_synchronised());
        assert_eq!(told.aged(5).seen(), 5);
        let seen = told.touched(told.state(), told.seen());
        assert!(seen != told && !seen.is_synchronised(), "even within the second");
        assert!(!told.moved(8, told.state(), 9).is_synchronised());
        assert_eq!((told.destination(), told.state()), (7, State::Established as u32));
    }
}
