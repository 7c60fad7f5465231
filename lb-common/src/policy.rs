//! What a virtual server does beside choosing real servers: with connections of one that is down, and with datagrams.

/// What becomes of the TCP connections of a real server that is down. UDP flows move to another one at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum OnDown {
    /// Nothing, as with IPVS: their segments go on to it.
    #[default]
    Keep = 0,
    /// Another real server gets their segments, and answers with a reset.
    Reschedule = 1,
    /// The director answers with a reset.
    Reset = 2,
}

impl OnDown {
    /// All of them with their names in the configuration.
    pub const NAMES: [(&str, Self); 3] =
        [("keep", Self::Keep), ("reschedule", Self::Reschedule), ("reset", Self::Reset)];

    /// The one with this number; any other number is [`OnDown::Keep`]'s.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Reschedule,
            2 => Self::Reset,
            _ => Self::Keep,
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// A virtual server's policies as the data plane has them, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceOptions(u64);

crate::one_word!(ServiceOptions, u64);

impl ServiceOptions {
    const ON_DOWN: u64 = 0b11;
    const ONE_PACKET: u64 = 1 << 2;

    /// These.
    #[must_use]
    pub const fn new(on_down: OnDown, one_packet: bool) -> Self {
        Self(on_down as u64 | if one_packet { Self::ONE_PACKET } else { 0 })
    }

    /// What becomes of the connections of a real server that is down.
    #[inline(always)]
    #[must_use]
    pub const fn on_down(self) -> OnDown {
        OnDown::from_number(self.0 & Self::ON_DOWN)
    }

    /// Whether every datagram is scheduled by itself, and none remembered (`IP_VS_SVC_F_ONEPACKET`).
    #[inline(always)]
    #[must_use]
    pub const fn is_one_packet(self) -> bool {
        self.0 & Self::ONE_PACKET != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_their_word() {
        for (name, on_down) in OnDown::NAMES {
            assert_eq!(on_down.name(), name);
            for one_packet in [false, true] {
                let options = ServiceOptions::from_word(ServiceOptions::new(on_down, one_packet).word());
                assert_eq!((options.on_down(), options.is_one_packet()), (on_down, one_packet));
            }
        }
        assert_eq!(ServiceOptions::default(), ServiceOptions::new(OnDown::Keep, false));
    }
}
