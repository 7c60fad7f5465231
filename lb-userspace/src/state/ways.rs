//! The ways of probes of VIPs, from where real servers are and what their MACs are. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::network::{Location, Network};
use crate::health::vip::{NoWay, Way, Ways};
use crate::neighbour::Resolutions;
use crate::net::{Address, LinkDetails};

/// The ways to `servers`: all real servers that there are. `addresses` are those of the interfaces by index, at least of
/// those on which MACs are asked for, and `vips` the addresses that are not the director's own.
#[must_use]
pub fn ways(
    servers: &BTreeSet<IpAddr>,
    network: &Network,
    resolutions: &Resolutions,
    links: &[LinkDetails],
    addresses: &BTreeMap<u32, Vec<Address>>,
    vips: &BTreeSet<IpAddr>,
) -> Ways {
    let way = |server: IpAddr| -> Result<Arc<Way>, NoWay> {
        let (asked, vlan) = match network.location(server) {
            Location::Local => return Err(NoWay::Local(server)),
            Location::Elsewhere { interface } => return Err(NoWay::Elsewhere { server, interface }),
            Location::Segment { asked, vlan, .. } => (asked, vlan),
        };
        let details = links.iter().find(|details| details.link.index == asked);
        let details = details.ok_or(NoWay::NoInterface(asked))?;
        let link = &details.link;
        let own_mac = link.mac.filter(|mac| !mac.is_nil()).ok_or(NoWay::NoInterface(asked))?;
        let server_mac = resolutions.get(&server).and_then(|found| found.mac);
        let server_mac = server_mac.ok_or(NoWay::Unresolved { server })?;
        // The interface of a VLAN tags frames itself.
        let vlan = vlan.filter(|id| link.vlan.is_none_or(|own| own.id != *id));
        let present = addresses.get(&asked).map(Vec::as_slice).unwrap_or_default();
        Ok(Arc::new(Way {
            interface: asked,
            name: link.name.clone(),
            own_mac,
            addresses: sources(present, server, vips),
            mtu: details.mtu,
            vlan,
            server_mac,
        }))
    };
    servers.iter().map(|server| (*server, way(*server))).collect()
}

/// The addresses that probes to a real server can come from, the best first: in its network, then any; a link-local one
/// only if there is no other.
fn sources(present: &[Address], server: IpAddr, vips: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let is_own = |address: &&Address| {
        !address.is_ours && !address.is_of_host_scope && !vips.contains(&address.address)
    };
    let mut own: Vec<&Address> = present.iter().filter(is_own).collect();
    own.sort_by_key(|address| (is_link_local(address.address), !address.has_in_its_network(server)));
    own.into_iter().map(|address| address.address).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use macaddr::MacAddr6;

    use super::*;
    use crate::neighbour::Resolution;
    use crate::net::{Link, Vlan};

    const OWN: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 1);
    const SERVER: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 1, 1);

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn details(index: u32, name: &str, vlan: Option<Vlan>) -> LinkDetails {
        let (name, mac) = (name.to_owned(), Some(OWN));
        let link =
            Link { index, name, mac, is_up: true, is_running: true, xdp: None, controller: None, vlan };
        let (driver, xdp_program) = (None, None);
        LinkDetails { link, is_ethernet: true, has_carrier: true, mtu: 9000, xdp_program, driver }
    }

    fn address(text: &str, prefix: u8) -> Address {
        Address { address: ip(text), prefix, is_ours: false, is_limited: false, is_of_host_scope: false }
    }

    /// The way to 192.0.2.51 there, asked for on interface 7 or 8.
    fn way_to(location: Location, mac: Option<MacAddr6>) -> Result<Arc<Way>, NoWay> {
        let server = ip("192.0.2.51");
        let network = Network { macs: BTreeMap::new(), locations: BTreeMap::from([(server, location)]) };
        let resolutions = Resolutions::from([(server, Resolution { mac, is_reachable: mac.is_some() })]);
        let links = [details(7, "eth0", None), details(8, "eth0.100", Some(Vlan { id: 100, parent: 7 }))];
        let present = vec![
            address("fe80::1", 64),
            Address { is_ours: true, ..address("192.0.2.100", 32) },
            address("192.0.2.101", 32),
            address("198.51.100.1", 24),
            address("192.0.2.1", 24),
            address("2001:db8::1", 64),
        ];
        let addresses = BTreeMap::from([(7, present)]);
        let vips = BTreeSet::from([ip("192.0.2.101")]);
        let found = ways(&BTreeSet::from([server]), &network, &resolutions, &links, &addresses, &vips);
        found.get(&server).cloned().expect("it was asked for")
    }

    fn on(asked: u32, vlan: Option<u16>) -> Location {
        Location::Segment { asked, interface: None, vlan }
    }

    #[test]
    fn a_probe_leaves_where_the_mac_is_asked_for_from_an_address_that_is_no_vip() {
        let way = way_to(on(7, None), Some(SERVER)).expect("a way");
        assert_eq!((way.interface, way.name.as_str(), way.mtu, way.vlan), (7, "eth0", 9000, None));
        assert_eq!((way.own_mac, way.server_mac), (OWN, SERVER));
        assert_eq!(way.addresses, ["192.0.2.1", "198.51.100.1", "2001:db8::1", "fe80::1"].map(ip));
    }

    #[test]
    fn a_tag_is_written_where_no_interface_does_it() {
        assert_eq!(way_to(on(8, Some(100)), Some(SERVER)).expect("a way").vlan, None);
        assert_eq!(way_to(on(7, Some(200)), Some(SERVER)).expect("a way").vlan, Some(200));
    }

    #[test]
    fn without_a_way_there_is_a_reason() {
        let server = ip("192.0.2.51");
        assert_eq!(way_to(on(7, None), None), Err(NoWay::Unresolved { server }));
        assert_eq!(way_to(Location::Local, None), Err(NoWay::Local(server)));
        assert_eq!(way_to(on(9, None), Some(SERVER)), Err(NoWay::NoInterface(9)));
        let interface = "eth9".to_owned();
        let elsewhere = way_to(Location::Elsewhere { interface: interface.clone() }, None);
        assert_eq!(elsewhere, Err(NoWay::Elsewhere { server, interface }));
    }
}
