//! Real servers as the data plane sees them: one record for each (virtual server, real server).

use crate::Word;

/// Where frames for one real server go.
///
/// Words are written by the daemon only. `ethernet` holds the destination MAC as a whole, so a MAC changes in
/// one store.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Destination {
    /// Bytes 0 to 7 of the new Ethernet header: destination MAC, first two bytes of the source MAC.
    pub ethernet: Word,
    /// Bytes 8 to 11 of the new Ethernet header in the low half: the rest of the source MAC.
    pub source_tail: Word,
    /// [`Flags`].
    pub flags: Word,
    /// The number of the service, for the daemon that takes over.
    pub service: Word,
    /// The real server's address, for the daemon that takes over: IPv4 as `::ffff:a.b.c.d`, the bytes in
    /// network order, loaded as two little-endian words.
    pub address: [Word; 2],
    /// The configured weight in the low half; the last that was not 0 in the high half.
    pub weight: Word,
    /// [`Detour`]; read only if [`Flags::DETOUR`] is set.
    pub detour: Word,
}

const _: () = assert!(size_of::<Destination>() == 64, "one cache line");

impl Destination {
    /// Whether frames may be sent there.
    #[inline(always)]
    pub fn is_usable(&self) -> bool {
        Flags::from_word(self.flags.load()).contains(Flags::USABLE)
    }

    /// Whether frames may be sent there, out of the interface they came in on, with nothing changed but the MACs, and
    /// without asking what becomes of its connections.
    #[inline(always)]
    pub fn is_straight(&self) -> bool {
        self.flags.load() & (Flags::USABLE.0 | Flags::DETOUR.0 | Flags::FAILING.0) == Flags::USABLE.0
    }

    /// Whether its connections are not to stay where they are: its virtual server's policy says what becomes of them.
    #[inline(always)]
    pub fn is_failing(&self) -> bool {
        Flags::from_word(self.flags.load()).contains(Flags::FAILING)
    }

    /// Whether new connections may be sent there: it answers, whatever its weight.
    #[inline(always)]
    pub fn is_up(&self) -> bool {
        self.flags.load() & (Flags::USABLE.0 | Flags::DOWN.0) == Flags::USABLE.0
    }

    /// How to get there.
    #[inline(always)]
    pub fn detour(&self) -> Detour {
        let is_detour = Flags::from_word(self.flags.load()).contains(Flags::DETOUR);
        if is_detour { Detour(self.detour.load()) } else { Detour::NONE }
    }
}

/// What it takes to get a frame to a real server beside new MACs: a VLAN, another interface, or no wire at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detour(u64);

crate::one_word!(Detour, u64);

impl Detour {
    const HAS_VLAN: u64 = 1 << 12;
    const INTERFACE_SHIFT: u32 = 16;
    const LOCAL: u64 = 1 << 24;

    /// Straight ahead.
    pub const NONE: Self = Self(0);

    /// Through a VLAN; `id` is cut to its 12 bits.
    #[must_use]
    pub const fn with_vlan(self, id: u16) -> Self {
        Self(self.0 & !0xfff | Self::HAS_VLAN | id as u64 & 0xfff)
    }

    /// Out of another interface: `place` is its index in the settings and in the map of interfaces.
    #[must_use]
    pub const fn with_interface(self, place: u8) -> Self {
        Self(self.0 & !(0xff << Self::INTERFACE_SHIFT) | (place as u64 + 1) << Self::INTERFACE_SHIFT)
    }

    /// The director itself is the real server.
    #[must_use]
    pub const fn local() -> Self {
        Self(Self::LOCAL)
    }

    /// The VLAN to send to, if it is not the one that the frame came from.
    #[inline(always)]
    #[must_use]
    pub const fn vlan(self) -> Option<u16> {
        if self.0 & Self::HAS_VLAN != 0 { Some(self.0 as u16 & 0xfff) } else { None }
    }

    /// The interface to send out of, if it is not the one that the frame came in on.
    #[inline(always)]
    #[must_use]
    pub const fn interface(self) -> Option<u32> {
        match (self.0 >> Self::INTERFACE_SHIFT) as u32 & 0xff {
            0 => None,
            place => Some(place - 1),
        }
    }

    /// Whether the local stack gets the frame.
    #[inline(always)]
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0 & Self::LOCAL != 0
    }
}

/// What may be done with a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u64);

crate::one_word!(Flags, u64);

impl Flags {
    /// The record is in use and its MAC is known: frames of its connections may be sent.
    pub const USABLE: Self = Self(1);
    /// The record is in use, if only because connections remember it.
    pub const ALLOCATED: Self = Self(2);
    /// It takes more than new MACs to get there: [`Destination::detour`] says what.
    pub const DETOUR: Self = Self(4);
    /// It gets no new connections: it does not answer.
    pub const DOWN: Self = Self(8);
    /// It is down, and its connections are not simply to stay ([`OnDown`](crate::policy::OnDown)): an established one's
    /// frames are looked at once more, and those of other destinations are not.
    pub const FAILING: Self = Self(16);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is set.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The two MACs of a rewritten header as [`Destination::ethernet`] and [`Destination::source_tail`].
#[must_use]
pub const fn ethernet_words(destination: [u8; 6], source: [u8; 6]) -> (u64, u64) {
    let [d0, d1, d2, d3, d4, d5] = destination;
    let [s0, s1, s2, s3, s4, s5] = source;
    let head = u64::from_le_bytes([d0, d1, d2, d3, d4, d5, s0, s1]);
    let tail = u64::from_le_bytes([s2, s3, s4, s5, 0, 0, 0, 0]);
    (head, tail)
}

/// The destination MAC in [`Destination::ethernet`].
#[must_use]
pub const fn destination_mac(ethernet: u64) -> [u8; 6] {
    let [d0, d1, d2, d3, d4, d5, _, _] = ethernet.to_le_bytes();
    [d0, d1, d2, d3, d4, d5]
}
