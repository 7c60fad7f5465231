//! The ways to real servers, as probes need them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use etherparse::EtherType;
use macaddr::MacAddr6;
use thiserror::Error;

use crate::net::question;

/// The ways to real servers, by their own addresses: to all that there are, also to those that nobody probes, for an
/// answer in somebody else's place is told by the MAC of another one.
pub type Ways = BTreeMap<IpAddr, Result<Arc<Way>, NoWay>>;

/// The way to a real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The index of the interface that frames leave through, and that answers arrive at: the one that has the
    /// director's address on the real server's segment.
    pub interface: u32,
    /// Its name.
    pub name: String,
    /// Its MAC.
    pub own_mac: MacAddr6,
    /// The director's addresses on it that are no VIPs; the first of a family is the one that probes come from.
    pub addresses: Vec<IpAddr>,
    /// Bytes of the longest packet it takes.
    pub mtu: u32,
    /// The VLAN that frames have to be tagged with, if the interface does not do it.
    pub vlan: Option<u16>,
    /// The real server's MAC.
    pub server_mac: MacAddr6,
}

/// Why there is no way to a real server, in words for its operator.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoWay {
    /// It has not been looked for.
    #[error("it is not known yet where {0} is")]
    Unknown(IpAddr),
    /// Nobody says where it is.
    #[error("its MAC is not known: nobody answers {} for {server}", question(*server))]
    Unresolved {
        /// Its address.
        server: IpAddr,
    },
    /// It is the director, which is no way off.
    #[error("{0} is the director itself: a VIP of its own cannot be probed by its MAC")]
    Local(IpAddr),
    /// It is on no segment of the director's.
    #[error("{server} is behind {interface}, which is not among director.interfaces")]
    Elsewhere {
        /// Its address.
        server: IpAddr,
        /// The name of the interface.
        interface: String,
    },
    /// The interface has no address that answers could come to.
    #[error("{interface} has no {family} address but VIPs: give it one, or set health_check.bind")]
    NoSource {
        /// The name of the interface.
        interface: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// The interface has no MAC, or is gone.
    #[error("interface {0} is gone, or is not an Ethernet interface")]
    NoInterface(u32),
}

impl NoWay {
    /// Whether the fault is the director's own, so that nothing is known of the real server.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::NoSource { .. } | Self::NoInterface(_))
    }
}

/// A way with the address that probes come from.
#[derive(Clone, Debug)]
pub(super) struct Leg {
    pub(super) way: Arc<Way>,
    pub(super) source: IpAddr,
    pub(super) vip: IpAddr,
}

impl Leg {
    /// How long a link's header of ours may be.
    const LONGEST_HEADER: usize = 18;

    /// A frame to the real server with room for an IP packet of `length` bytes, and where that begins.
    pub(super) fn frame(&self, length: usize) -> (Vec<u8>, usize) {
        let mut frame = Vec::with_capacity(Self::LONGEST_HEADER + length);
        frame.extend(self.way.server_mac.into_array());
        frame.extend(self.way.own_mac.into_array());
        if let Some(vlan) = self.way.vlan {
            frame.extend(EtherType::VLAN_TAGGED_FRAME.0.to_be_bytes());
            frame.extend((vlan & 0x0fff).to_be_bytes());
        }
        let ether_type = if self.vip.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        frame.extend(ether_type.0.to_be_bytes());
        let start = frame.len();
        frame.resize(start + length, 0);
        (frame, start)
    }
}
