//! What a dry run of the data plane noted: which stage decided what about one made-up frame.

use crate::Word;

macro_rules! notes {
    ($($(#[doc = $doc:literal])+ $variant:ident,)+) => {
        /// Something a stage found out or decided, as one word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Note {
            $($(#[doc = $doc])+ $variant,)+
        }

        /// Notes there are.
        const NOTES: usize = [$(Note::$variant),+].len();
    };
}

notes! {
    /// The last word of the flow's key: ports and protocol ([`key_v4`](crate::connection::key_v4)).
    Transport,
    /// Bytes of the IP packet above, byte 13 of the TCP header below.
    Packet,
    /// The number of the virtual server, or [`NO_SERVICE`](crate::service::NO_SERVICE).
    Service,
    /// The flow's entry in the main connection table: a [`Meta`](crate::connection::Meta), or 0 for none.
    Established,
    /// Its entry in the table of half-open flows.
    HalfOpen,
    /// The virtual server's [`SlotTable`](crate::service::SlotTable).
    SlotTable,
    /// How often a slot was picked from that table before.
    Picks,
    /// The slot that was picked now.
    Slot,
    /// The slot that would have been picked if it had a real server, if another may be picked in its place.
    OwnSlot,
    /// What an entry would have become: a [`Meta`](crate::connection::Meta).
    Changed,
    /// The table that the flow would have been recorded in: 0 half-open flows, 1 the main one.
    Recorded,
    /// The destination that a connection would have been counted at.
    Connection,
    /// The destination that a forwarded frame would have been counted at; above, the bytes.
    Forwarded,
    /// The [`Reason`](crate::counter::Reason) that would have been counted.
    Reason,
    /// The client's template, if that decided: a [`Meta`](crate::connection::Meta).
    Template,
    /// The destination of a template that would have been recorded, or brought up to date.
    Templated,
    /// The real server of the flow's entry is down, and what came of that: [`ON_DOWN_STAYS`] and so on.
    OnDown,
    /// The destination of the sorry server, which was chosen because the scheduler found no real server.
    Sorry,
    /// The place of the interface that the frame would have left by, if it is not the one that it came in on.
    Redirect,
}

/// [`Note::OnDown`]: there is no other real server, and that one gets the frame.
pub const ON_DOWN_STAYS: u64 = 0;
/// [`Note::OnDown`]: another real server gets it.
pub const ON_DOWN_MOVED: u64 = 1;
/// [`Note::OnDown`]: the client gets a reset.
pub const ON_DOWN_RESET: u64 = 2;

/// The trace map's one element.
#[repr(C)]
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
pub struct Trace {
    /// The place of the interface that the frame comes in on.
    interface: Word,
    /// One bit for each note that was made.
    made: Word,
    notes: [Word; NOTES],
}

const _: () = assert!(NOTES <= 64, "a bit for each in a word");

#[cfg(not(any(loom, target_arch = "bpf")))]
impl Default for Trace {
    fn default() -> Self {
        Self { interface: Word::new(0), made: Word::new(0), notes: core::array::from_fn(|_| Word::new(0)) }
    }
}

impl Trace {
    /// Notes something; what was noted of it before is forgotten.
    #[inline(always)]
    pub fn note(&self, note: Note, value: u64) {
        self.notes[note as usize].store(value);
        self.made.store(self.made.load() | 1 << note as u32);
    }

    /// What was noted, if anything was.
    pub fn get(&self, note: Note) -> Option<u64> {
        (self.made.load() >> note as u32 & 1 != 0).then(|| self.notes[note as usize].load())
    }

    /// Forgets everything, for a frame that comes in on the interface at this place.
    pub fn begin(&self, interface: u8) {
        self.interface.store(interface.into());
        self.made.store(0);
    }

    /// The place of the interface that the frame comes in on.
    #[inline(always)]
    pub fn interface(&self) -> usize {
        self.interface.load() as usize
    }
}
