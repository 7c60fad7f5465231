//! What is to be done with a frame.

use lb_common::counter::Reason;

/// What is to be done with a frame, in one register.
///
/// An enum would do, but where arms meet the compiler keeps fields that only one of them has, and the verifier refuses a
/// program that reads what was never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(u64);

/// A [`Verdict`], spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Send it out of the interface it came in on; its MACs have been rewritten.
    Transmit,
    /// Hand it to the local network stack, unchanged.
    Pass(Reason),
    /// Drop it.
    Drop(Reason),
    /// Hand it to the local network stack, which is the real server; it has been counted.
    Deliver,
    /// Send it out of the interface at this place in the map of interfaces; its MACs have been rewritten.
    Redirect(u32),
    /// Answer it with a TCP reset ([`answer_with_reset`](crate::reset::answer_with_reset)) out of the interface it came
    /// in on.
    Reset,
    /// It goes to the destination `number`, which takes more than new MACs:
    /// [`take_detour`](crate::forward::take_detour). `length` is that of its IP packet in bytes.
    Detour {
        /// The number of the destination.
        number: u32,
        /// Bytes of the IP packet.
        length: u32,
    },
}

impl Verdict {
    // The low half is the reason, place or number; above it 20 bits of length; above that the kind.
    const LENGTH_SHIFT: u32 = 32;
    const LENGTH_MASK: u64 = (1 << 20) - 1;
    const KIND_SHIFT: u32 = 56;
    const PASS: u64 = 1;
    const DROP: u64 = 2;
    const REDIRECT: u64 = 4;
    const DETOUR: u64 = 5;
    const RESETTING: u64 = 6;

    /// [`Outcome::Transmit`].
    pub const TRANSMIT: Self = Self(0);
    /// [`Outcome::Deliver`].
    pub const DELIVER: Self = Self(3 << Self::KIND_SHIFT);

    /// [`Outcome::Reset`].
    pub const RESET: Self = Self(Self::RESETTING << Self::KIND_SHIFT);

    /// [`Outcome::Pass`].
    #[inline(always)]
    #[must_use]
    pub const fn pass(reason: Reason) -> Self {
        Self(Self::PASS << Self::KIND_SHIFT | reason as u64)
    }

    /// [`Outcome::Drop`].
    #[inline(always)]
    #[must_use]
    pub const fn drop(reason: Reason) -> Self {
        Self(Self::DROP << Self::KIND_SHIFT | reason as u64)
    }

    /// [`Outcome::Redirect`].
    #[inline(always)]
    #[must_use]
    pub const fn redirect(place: u32) -> Self {
        Self(Self::REDIRECT << Self::KIND_SHIFT | place as u64)
    }

    /// [`Outcome::Detour`].
    #[inline(always)]
    #[must_use]
    pub const fn detour(number: u32, length: u32) -> Self {
        let length = (length as u64 & Self::LENGTH_MASK) << Self::LENGTH_SHIFT;
        Self(Self::DETOUR << Self::KIND_SHIFT | length | number as u64)
    }

    /// The verdict, spelled out.
    #[inline(always)]
    #[must_use]
    pub fn outcome(self) -> Outcome {
        let number = self.0 as u32;
        let reason = || Reason::from_number(number).unwrap_or(Reason::DropInternal);
        match self.0 >> Self::KIND_SHIFT {
            0 => Outcome::Transmit,
            Self::PASS => Outcome::Pass(reason()),
            Self::DROP => Outcome::Drop(reason()),
            Self::RESETTING => Outcome::Reset,
            Self::REDIRECT => Outcome::Redirect(number),
            Self::DETOUR => {
                Outcome::Detour { number, length: (self.0 >> Self::LENGTH_SHIFT & Self::LENGTH_MASK) as u32 }
            }
            _ => Outcome::Deliver,
        }
    }
}
