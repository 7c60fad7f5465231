//! Whose new connections are let in: prefixes of clients' addresses, allowed or denied.
//!
//! ```text
//!   gate of a scope (settings, service) ──guarded──> ACL_V4 or _V6: (scope, source) ──longest prefix──> rule
//! ```
//!
//! A scope is the whole director or one virtual server; a client must be let in by both. Rules contradict each other
//! in the configuration only: userspace writes `DENY` for an allowed prefix that lies in a denied one, so the longest
//! prefix says it all and one look-up in each scope is enough.

/// The scope of rules for all virtual servers. Every other scope is the number of one.
pub const ALL_SERVICES: u32 = u32::MAX;

/// What the map says of a prefix whose clients are let in.
pub const ALLOW: u32 = 1;
/// What the map says of a prefix whose clients are refused.
pub const DENY: u32 = 2;
/// What a look-up says of a source that no prefix holds.
pub const NO_RULE: u32 = 0;

/// Bits of the scope, which every prefix begins with.
pub const SCOPE_BITS: u32 = 32;

/// 32-bit words in an IPv4 address.
pub const SOURCE_WORDS_V4: usize = 1;
/// 32-bit words in an IPv6 address.
pub const SOURCE_WORDS_V6: usize = 4;

/// What prefixes are compared to: a scope and a source address of `W` words as it lies in the frame, loaded as
/// little-endian words.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclKey<const W: usize> {
    /// [`ALL_SERVICES`], or the number of a virtual server.
    pub scope: u32,
    /// The source.
    pub source: [u32; W],
}

impl<const W: usize> AclKey<W> {
    /// The bits of a whole key.
    pub const BITS: u32 = SCOPE_BITS + 32 * W as u32;
}

/// What is to be done with new connections of a scope, as one word: 0 if there are no rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate(u64);

crate::one_word!(Gate, u64);

impl Gate {
    const GUARDED: u64 = 1;
    const REFUSES_OTHERS: u64 = 2;

    /// No rules: everybody is let in without a look-up.
    pub const OPEN: Self = Self(0);

    /// There are rules. Sources without one are let in, or refused.
    #[must_use]
    pub const fn guarded(refuses_others: bool) -> Self {
        Self(Self::GUARDED | if refuses_others { Self::REFUSES_OTHERS } else { 0 })
    }

    /// Whether there are no rules.
    #[inline(always)]
    #[must_use]
    pub const fn is_open(self) -> bool {
        self.0 == 0
    }

    /// Whether sources that no prefix holds are refused.
    #[inline(always)]
    #[must_use]
    pub const fn refuses_others(self) -> bool {
        self.0 & Self::REFUSES_OTHERS != 0
    }

    /// Whether a source is let in of which a look-up says `rule`.
    #[inline(always)]
    #[must_use]
    pub const fn lets_in(self, rule: u32) -> bool {
        if rule == NO_RULE { !self.refuses_others() } else { rule == ALLOW }
    }
}

#[cfg(feature = "user")]
// SAFETY: integers without padding; any bytes are a value.
unsafe impl<const W: usize> aya::Pod for AclKey<W> {}
