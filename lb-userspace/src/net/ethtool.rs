//! What a NIC and its driver do with frames before XDP sees them, and what they can do for XDP: the generic netlink
//! families `ethtool` (Documentation/networking/ethtool-netlink.rst) and `netdev`.

use std::collections::BTreeSet;
use std::io;

use super::genetlink::{Genetlink, attribute, attributes, find, find_u32, nested, text};

/// `ETHTOOL_MSG_FEATURES_GET`, `_SET` and `ETHTOOL_MSG_CHANNELS_GET` (linux/ethtool_netlink.h).
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const CHANNELS_GET: u8 = 17;

/// The header of each request, `ETHTOOL_A_*_HEADER`, and the interface in it.
const HEADER: u16 = 1;
const HEADER_INDEX: u16 = 1;

/// `ETHTOOL_A_FEATURES_*`.
const FEATURES_HW: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;

/// `ETHTOOL_A_BITSET_BITS`, `ETHTOOL_A_BITSET_BITS_BIT`, `ETHTOOL_A_BITSET_BIT_*`.
const BITS: u16 = 3;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// `ETHTOOL_A_CHANNELS_*`.
const RX_MAX: u16 = 2;
const COMBINED_MAX: u16 = 5;
const RX_COUNT: u16 = 6;
const COMBINED_COUNT: u16 = 9;

/// What a NIC does by itself, by the kernel's name of it (net/ethtool/common.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Several TCP segments become one that cannot be taken apart again.
    Lro,
    /// Several TCP segments become one, in the NIC.
    GroHw,
    /// VLAN tags are taken off arriving frames.
    VlanRemoval,
}

impl Feature {
    const ALL: [Self; 3] = [Self::Lro, Self::GroHw, Self::VlanRemoval];

    const fn kernel_name(self) -> &'static str {
        match self {
            Self::Lro => "rx-lro",
            Self::GroHw => "rx-gro-hw",
            Self::VlanRemoval => "rx-vlan-hw-parse",
        }
    }

    /// As ethtool(8) takes it with -K and shows it with -k.
    #[must_use]
    pub const fn ethtool_name(self) -> &'static str {
        match self {
            Self::Lro => "large-receive-offload",
            Self::GroHw => "rx-gro-hw",
            Self::VlanRemoval => "rx-vlan-offload",
        }
    }
}

/// Which [`Feature`]s an interface has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Those that are on.
    pub active: BTreeSet<Feature>,
    /// Those that can be switched.
    pub changeable: BTreeSet<Feature>,
}

/// How many receive queues an interface has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Now.
    pub count: u32,
    /// At most.
    pub max: u32,
    /// Whether they are combined with transmit queues (`ethtool -L … combined`).
    pub combined: bool,
}

/// What a driver can do for XDP: `enum netdev_xdp_act` (linux/netdev.h), Linux 6.3 and later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    /// Those of `NETDEV_XDP_ACT_*` whose bits are set.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// It runs programs.
    #[must_use]
    pub const fn is_native(self) -> bool {
        self.0 & 1 != 0
    }

    /// It takes frames that were redirected to it.
    #[must_use]
    pub const fn takes_redirected(self) -> bool {
        self.0 & 4 != 0
    }

    /// It gives programs frames in several buffers.
    #[must_use]
    pub const fn has_several_buffers(self) -> bool {
        self.0 & 32 != 0
    }
}

/// Requests to ethtool's family.
#[derive(Debug)]
pub struct Ethtool(Genetlink);

impl Ethtool {
    /// Opens a socket in this network namespace.
    ///
    /// # Errors
    /// The kernel was built without CONFIG_ETHTOOL_NETLINK, or is older than 5.6.
    pub fn open() -> io::Result<Self> {
        Genetlink::open("ethtool").map(Self)
    }

    /// The features of the interface `index`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn features(&self, index: u32) -> io::Result<Features> {
        let answer = self.0.ask(FEATURES_GET, &header(index))?;
        let set = |kind| find(&answer, kind).map(set_features).unwrap_or_default();
        Ok(Features { active: set(FEATURES_ACTIVE), changeable: set(FEATURES_HW) })
    }

    /// Has the interface `index` do something by itself, or not. The driver may have a say: look again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_feature(&self, index: u32, feature: Feature, on: bool) -> io::Result<()> {
        let mut bit = text(BIT_NAME, feature.kernel_name());
        if on {
            bit.extend(attribute(BIT_VALUE, &[]));
        }
        let wanted = nested(FEATURES_WANTED, &nested(BITS, &nested(BIT, &bit)));
        self.0.ask(FEATURES_SET, &[header(index), wanted].concat()).map(drop)
    }

    /// The receive queues of the interface `index`; none if its driver does not tell.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn channels(&self, index: u32) -> io::Result<Option<Channels>> {
        let answer = match self.0.ask(CHANNELS_GET, &header(index)) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
            answer => answer?,
        };
        let number = |kind| find_u32(&answer, kind).unwrap_or(0);
        let (combined, of_their_own) = (number(COMBINED_COUNT), number(RX_COUNT));
        Ok(Some(Channels {
            count: combined + of_their_own,
            max: number(COMBINED_MAX).max(number(RX_MAX)),
            combined: number(COMBINED_MAX) > 0,
        }))
    }
}

/// What the driver of the interface `index` can do for XDP; none if the kernel does not tell.
#[must_use]
pub fn xdp_features(index: u32) -> Option<XdpFeatures> {
    /// `NETDEV_CMD_DEV_GET`, `NETDEV_A_DEV_IFINDEX`, `NETDEV_A_DEV_XDP_FEATURES` (linux/netdev.h).
    const GET: u8 = 1;
    const INDEX: u16 = 1;
    const FEATURES: u16 = 3;
    let answer =
        Genetlink::open("netdev").and_then(|netdev| netdev.ask(GET, &attribute(INDEX, &index.to_ne_bytes())));
    let answer = answer.ok()?;
    let bits = find(&answer, FEATURES)?;
    Some(XdpFeatures(u64::from_ne_bytes(bits.try_into().ok()?)))
}

fn header(index: u32) -> Vec<u8> {
    nested(HEADER, &attribute(HEADER_INDEX, &index.to_ne_bytes()))
}

/// The features that are in a bitset (`struct ethtool_bitset`): each set bit is there with its name.
fn set_features(bitset: &[u8]) -> BTreeSet<Feature> {
    let bits = attributes(find(bitset, BITS).unwrap_or_default());
    let is_list = find(bitset, 1).is_some();
    let names = bits.filter_map(|(_, bit)| {
        // Without a mask, what is listed is set (ETHTOOL_A_BITSET_NOMASK).
        let is_set = is_list || find(bit, BIT_VALUE).is_some();
        find(bit, BIT_NAME).filter(|_| is_set).map(|name| name.strip_suffix(&[0]).unwrap_or(name))
    });
    let feature = |name: &[u8]| Feature::ALL.into_iter().find(|known| known.kernel_name().as_bytes() == name);
    names.filter_map(feature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(name: &str, value: bool) -> Vec<u8> {
        let value = if value { attribute(BIT_VALUE, &[]) } else { Vec::new() };
        nested(BIT, &[text(BIT_NAME, name), value].concat())
    }

    #[test]
    fn features_are_read_with_a_mask_and_without() {
        let bits = [bit("rx-lro", true), bit("rx-gro", true), bit("rx-gro-hw", false)].concat();
        let masked = nested(BITS, &bits);
        assert_eq!(set_features(&masked), BTreeSet::from([Feature::Lro]));
        let list = [attribute(1, &[]), nested(BITS, &bits)].concat();
        assert_eq!(set_features(&list), BTreeSet::from([Feature::Lro, Feature::GroHw]));
    }

    #[test]
    fn the_kernel_tells_of_loopback() {
        let ethtool = Ethtool::open().expect("this kernel has ethtool's family");
        assert!(!ethtool.features(1).expect("lo has features").active.contains(&Feature::Lro));
        assert_eq!(ethtool.channels(1).expect("a question may be asked"), None);
    }
}
