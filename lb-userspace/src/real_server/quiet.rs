//! The settings that keep a real server quiet about addresses of `lo`: which values do, and which interfaces have others.

use crate::net::{Link, SysctlError, read_sysctl};

/// A setting of each interface and of `all`, of which the greater counts (`IN_DEV_MAXCONF` in
/// include/linux/inetdevice.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// For which addresses ARP requests are answered.
    ArpIgnore,
    /// Which address ARP requests come from.
    ArpAnnounce,
}

/// What a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values {
    setting: Setting,
    all: u32,
    /// Of each interface, by name.
    own: Vec<(String, u32)>,
}

impl Setting {
    pub(super) const ALL: [Self; 2] = [Self::ArpIgnore, Self::ArpAnnounce];

    /// The value that is set where another one does not do.
    pub(super) const fn value(self) -> &'static str {
        match self {
            Self::ArpIgnore => "1",
            Self::ArpAnnounce => "2",
        }
    }

    /// Its path below /proc/sys.
    pub(super) fn path(self, interface: &str) -> String {
        let name = match self {
            Self::ArpIgnore => "arp_ignore",
            Self::ArpAnnounce => "arp_announce",
        };
        format!("net/ipv4/conf/{interface}/{name}")
    }

    /// What an interface says about a VIP of `lo` with this value.
    ///
    /// `arp_ignore` (net/ipv4/arp.c): with 1 and 2 requests for addresses of other interfaces are not answered, with 8
    /// none at all. 3 keeps quiet about addresses of `scope host` only, which a VIP seldom is, and about local routes; 0,
    /// 4 to 7 and everything else are loud. `arp_announce` (`arp_solicit`): 2 asks with an address of the interface
    /// itself; 1 may ask with the VIP if it is in the interface's network; 0 and everything else ask with any.
    pub(super) const fn is_quiet(self, value: u32, is_of_host_scope: bool) -> bool {
        match self {
            Self::ArpIgnore => matches!(value, 1 | 2 | 8) || (value == 3 && is_of_host_scope),
            Self::ArpAnnounce => value == 2,
        }
    }

    /// Reads it for these interfaces; loopback's is of use for nobody's requests, and as recipes have it.
    pub(super) fn read(self, links: &[Link]) -> Result<Values, SysctlError> {
        let number = |interface: &str| -> Result<u32, SysctlError> {
            let path = self.path(interface);
            // Negative or too large: no value that is known, as one that is loud.
            read_sysctl(&path).map(|value| value.parse().unwrap_or(u32::MAX))
        };
        // Interfaces without IPv4, and those that vanish meanwhile, have none.
        let own = links.iter().filter_map(|link| Some((link.name.clone(), number(&link.name).ok()?)));
        Ok(Values { setting: self, all: number("all")?, own: own.collect() })
    }
}

/// An interface whose setting lets others know of a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loud {
    pub(super) interface: String,
    /// What counts there.
    pub(super) value: u32,
    /// The setting that is to be changed for it.
    pub(super) path: String,
}

impl Values {
    /// The value of `all`.
    pub(super) fn all(&self) -> u32 {
        self.all
    }

    /// The settings that `up` changes, with what they are. One value that keeps quiet is as good as another.
    pub(super) fn to_change(&self) -> Vec<(String, u32)> {
        let is_quiet = |value| self.setting.is_quiet(value, false);
        let mut changes = Vec::new();
        let mut all = self.all;
        if !is_quiet(all) {
            changes.push((self.setting.path("all"), all));
            all = self.setting.value().parse().unwrap_or(all);
        }
        let is_loud =
            |(name, own): &&(String, u32)| !is_quiet(*own.max(&all)) || (name == "lo" && !is_quiet(*own));
        changes.extend(self.own.iter().filter(is_loud).map(|(name, own)| (self.setting.path(name), *own)));
        changes
    }

    /// The interfaces that are not quiet, loopback aside.
    pub(super) fn loud(&self, is_of_host_scope: bool) -> Vec<Loud> {
        let others = self.own.iter().filter(|(name, _)| name != "lo");
        let loud = others.filter(|(_, own)| !self.setting.is_quiet(*own.max(&self.all), is_of_host_scope));
        loud.map(|(name, own)| {
            let place = if *own > self.all { name } else { "all" };
            Loud { interface: name.clone(), value: *own.max(&self.all), path: self.setting.path(place) }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(setting: Setting, all: u32, own: &[(&str, u32)]) -> Values {
        let own = own.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Values { setting, all, own }
    }

    #[test]
    fn only_some_values_are_quiet() {
        let quiet = |setting: Setting, is_of_host_scope| -> Vec<u32> {
            (0..10).filter(|value| setting.is_quiet(*value, is_of_host_scope)).collect()
        };
        assert_eq!(quiet(Setting::ArpIgnore, false), [1, 2, 8]);
        assert_eq!(quiet(Setting::ArpIgnore, true), [1, 2, 3, 8]);
        assert_eq!(quiet(Setting::ArpAnnounce, false), [2]);
    }

    #[test]
    fn the_greater_of_all_and_the_interfaces_own_counts() {
        let loud = |all, own| {
            let found = values(Setting::ArpIgnore, all, &[("lo", 0), ("eth0", own)]).loud(false);
            found.into_iter().map(|loud| (loud.value, loud.path)).next()
        };
        let (of_all, of_eth0) = ("net/ipv4/conf/all/arp_ignore", "net/ipv4/conf/eth0/arp_ignore");
        assert_eq!(loud(0, 0), Some((0, of_all.to_owned())));
        assert_eq!(loud(1, 0), None);
        assert_eq!(loud(0, 1), None, "as quiet as if all were");
        assert_eq!(loud(1, 3), Some((3, of_eth0.to_owned())), "3 was taken for more than 1");
        assert_eq!(loud(3, 1), Some((3, of_all.to_owned())));
        assert_eq!(loud(5, 8), None);
    }

    #[test]
    fn what_is_quiet_is_left_as_it_is() {
        let paths = |all, lo, eth0| -> Vec<(String, u32)> {
            values(Setting::ArpIgnore, all, &[("lo", lo), ("eth0", eth0)]).to_change()
        };
        let conf = |name: &str| format!("net/ipv4/conf/{name}/arp_ignore");
        assert_eq!(paths(0, 0, 0), [(conf("all"), 0), (conf("lo"), 0)]);
        assert_eq!(paths(8, 1, 0), []);
        assert_eq!(paths(2, 1, 1), []);
        assert_eq!(paths(1, 1, 3), [(conf("eth0"), 3)]);
        assert_eq!(paths(3, 1, 0), [(conf("all"), 3)]);
    }
}
