//! Counters: one for each reason of a verdict, and one for each event in the connection table.
//!
//! ONE list: the data plane counts by it, and the command line, the metrics and the documentation print it.
//! A forwarded frame is counted at its real server only ([`RealServerStats`]), so that it costs one write;
//! totals are sums over these.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $verdict:ident;)+) => {
        /// Why a frame was not forwarded, or what happened in the connection table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the counters in the map.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The reason with this number, if there is one.
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                $(if number == Self::$variant as u32 { return Some(Self::$variant); })+
                None
            }

            /// The counter's name, as it is printed and exported.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What is counted.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$verdict,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames handed to the local network stack, unchanged.
    Pass,
    /// Frames dropped.
    Drop,
    /// Events in the connection table; the frame has a verdict of its own.
    Event,
}

reasons! {
    /// Not addressed to this interface: flooded by a switch, multicast, or seen in promiscuous mode.
    PassNotForUs = "pass_not_for_us", Pass;
    /// Sent by a peer director: it has been scheduled already and is delivered locally.
    PassFromPeer = "pass_from_peer", Pass;
    /// Neither IPv4 nor IPv6: ARP, LLDP and so on.
    PassNotIp = "pass_not_ip", Pass;
    /// More VLAN tags than two.
    PassVlan = "pass_vlan", Pass;
    /// A fragment to a VIP whose datagram's first was not seen, and that could not be held.
    PassFragment = "pass_fragment", Pass;
    /// Neither TCP nor UDP, nor an ICMP error about them: echo requests, VRRP and so on.
    PassNotTcpUdp = "pass_not_tcp_udp", Pass;
    /// Too short for its headers, or its headers contradict each other.
    PassMalformed = "pass_malformed", Pass;
    /// No virtual server has this address, port and protocol.
    PassNotAVip = "pass_not_a_vip", Pass;
    /// A new connection from an address that can have none: the VIP itself, loopback, multicast, unspecified.
    PassMartian = "pass_martian", Pass;
    /// A TCP segment in the middle of a connection nobody remembers: the local stack answers with a reset.
    PassNoConnection = "pass_no_connection", Pass;
    /// A fragment that came before its datagram's first: the daemon has it, and sends it on when the first has come.
    DropFragmentHeld = "drop_fragment_held", Drop;
    /// A new connection of a client that the director's `acl` refuses.
    DropDenied = "drop_denied", Drop;
    /// A new connection of a client that the virtual server's `acl` refuses.
    DropDeniedByService = "drop_denied_by_service", Drop;
    /// A new connection, and no real server is usable.
    DropNoRealServer = "drop_no_real_server", Drop;
    /// A map held a number that the program cannot follow; never counted unless something else wrote the maps.
    DropInternal = "drop_internal", Drop;
    /// A fragment was held for a second, and its datagram's first did not come. Counted by the daemon.
    FragmentExpired = "fragment_expired", Event;
    /// A new flow took the place of a live one: the connection table is too small.
    EvictedLive = "evicted_live", Event;
    /// A new flow took the place of one that had sent a single packet only.
    EvictedHalfOpen = "evicted_half_open", Event;
    /// A flow was forwarded without being recorded: other CPUs wrote to the same place.
    InsertLost = "insert_lost", Event;
    /// A segment of a connection whose real server is down was answered with a TCP reset, as `on_down` says.
    ResetSent = "reset_sent", Event;
}

/// Counters in the map.
pub const REASONS: u32 = Reason::ALL.len() as u32;

/// What is counted for each destination on each CPU; one write for each forwarded frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealServerStats {
    /// Frames forwarded.
    pub packets: u64,
    /// Their length in bytes without the Ethernet header (the IPv4 total length), as IPVS counts.
    pub bytes: u64,
    /// Connections scheduled.
    pub connections: u64,
}

#[cfg(feature = "user")]
// SAFETY: three u64 without padding; any bytes are a value.
unsafe impl aya::Pod for RealServerStats {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_kind() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            assert!(!reason.description().is_empty());
            assert!(Reason::ALL[..i].iter().all(|other| other.name() != reason.name()));
            match reason.kind() {
                Kind::Pass => assert!(reason.name().starts_with("pass_")),
                Kind::Drop => assert!(reason.name().starts_with("drop_")),
                Kind::Event => {
                    assert!(!reason.name().starts_with("pass_") && !reason.name().starts_with("drop_"))
                }
            }
        }
    }
}
