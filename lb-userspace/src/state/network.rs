//! Where real servers are, seen from the director: behind which of its interfaces, in which VLAN. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use macaddr::MacAddr6;

use crate::net::{Link, Route, Vlan};

/// The director's interfaces, and where everybody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The interfaces' MACs, by place.
    pub macs: BTreeMap<u8, MacAddr6>,
    /// Where real servers and peers are.
    pub locations: BTreeMap<IpAddr, Location>,
}

impl Network {
    /// One interface, at place 0, and everybody on its segment.
    #[must_use]
    pub fn of_one(mac: MacAddr6) -> Self {
        Self { macs: BTreeMap::from([(0, mac)]), locations: BTreeMap::new() }
    }

    /// Where a host is.
    #[must_use]
    pub fn location(&self, address: IpAddr) -> Location {
        let here = Location::Segment { asked: 0, interface: None, vlan: None };
        self.locations.get(&address).cloned().unwrap_or(here)
    }

    /// Whether anybody is in a VLAN.
    #[must_use]
    pub fn has_vlans(&self) -> bool {
        let is_vlan = |location: &Location| matches!(location, Location::Segment { vlan: Some(_), .. });
        self.locations.values().any(is_vlan)
    }
}

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// It is the director itself.
    Local,
    /// On a segment of the director.
    Segment {
        /// The index of the interface on which its MAC is asked for.
        asked: u32,
        /// The place of the interface it is behind; `None` if it is behind the one that frames come in on.
        interface: Option<u8>,
        /// Its VLAN, if it is behind one of the director's.
        vlan: Option<u16>,
    },
    /// Behind an interface that the director does not have.
    Elsewhere {
        /// The name of the interface.
        interface: String,
    },
}

/// The director's interfaces on this machine: their indices with their places, in the order of the configuration.
pub type Places = [(u32, u8)];

/// Where a host is to which `route` leads, in the VLAN `vlan` if the configuration says so.
#[must_use]
pub fn locate(route: Option<Route>, vlan: Option<u16>, links: &[Link], places: &Places) -> Location {
    let behind = |index: u32| {
        let found = segment(index, links, places)?;
        Some(Location::Segment { asked: index, interface: found.interface, vlan: vlan.or(found.vlan) })
    };
    if route == Some(Route::Local) {
        return Location::Local;
    }
    // A VLAN that the configuration names, if the machine has an interface for it.
    let named = links.iter().find(|link| {
        let is_named = |found: Vlan| Some(found.id) == vlan && place(found.parent, places).is_some();
        link.vlan.is_some_and(is_named)
    });
    if let Some(location) = named.and_then(|link| behind(link.index)) {
        return location;
    }
    match route {
        Some(Route::Direct(index)) => behind(index).unwrap_or_else(|| {
            let link = links.iter().find(|link| link.index == index);
            let interface = link.map_or_else(|| format!("interface {index}"), |link| link.name.clone());
            Location::Elsewhere { interface }
        }),
        Some(Route::Through(index)) => behind(index).unwrap_or_else(|| on_the_first(vlan, links, places)),
        _ => on_the_first(vlan, links, places),
    }
}

/// Where hosts are taken to be that no route tells of: a default route says nothing about a segment.
fn on_the_first(vlan: Option<u16>, links: &[Link], places: &Places) -> Location {
    let Some((index, place)) = places.first().copied() else {
        return Location::Elsewhere { interface: String::new() };
    };
    let asked = addressed(index, links);
    let found = segment(asked, links, places);
    let interface = found.map_or((places.len() > 1).then_some(place), |found| found.interface);
    Location::Segment { asked, interface, vlan }
}

/// A segment of the director.
struct Segment {
    interface: Option<u8>,
    vlan: Option<u16>,
}

/// The segment that the interface `index` is on, if it is one of the director's.
fn segment(index: u32, links: &[Link], places: &Places) -> Option<Segment> {
    if let Some(place) = place(index, places) {
        return Some(Segment { interface: (places.len() > 1).then_some(place), vlan: None });
    }
    let link = links.iter().find(|link| link.index == index)?;
    if let Some(Vlan { id, parent }) = link.vlan {
        // Frames of a VLAN in a VLAN have two tags, and we write one.
        let parent = segment(parent, links, places).filter(|parent| parent.vlan.is_none())?;
        return Some(Segment { vlan: Some(id), ..parent });
    }
    // A bond has the addresses, and its members the frames.
    let is_member =
        |member: u32| links.iter().any(|link| link.index == member && link.controller == Some(index));
    let members = places.iter().filter(|(member, _)| is_member(*member));
    let first = members.clone().next()?.1;
    Some(Segment { interface: (members.count() < places.len()).then_some(first), vlan: None })
}

fn place(index: u32, places: &Places) -> Option<u8> {
    places.iter().find(|(found, _)| *found == index).map(|(_, place)| *place)
}

/// The interface that has the addresses for the interface `index`: itself, or the bond that it is a member of.
#[must_use]
pub fn addressed(index: u32, links: &[Link]) -> u32 {
    links.iter().find(|link| link.index == index).and_then(|link| link.controller).unwrap_or(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        let name = name.to_owned();
        Link {
            index,
            name,
            mac: None,
            is_up: true,
            is_running: true,
            xdp: None,
            controller: None,
            vlan: None,
        }
    }

    fn vlan(index: u32, id: u16, parent: u32) -> Link {
        Link { vlan: Some(Vlan { id, parent }), ..link(index, "vlan") }
    }

    fn member(index: u32, controller: u32) -> Link {
        Link { controller: Some(controller), ..link(index, "member") }
    }

    const ONE: &Places = &[(2, 0)];
    const TWO: &Places = &[(2, 0), (3, 5)];

    fn on(asked: u32, interface: Option<u8>, vlan: Option<u16>) -> Location {
        Location::Segment { asked, interface, vlan }
    }

    #[test]
    fn the_route_says_behind_which_interface_a_real_server_is() {
        let links = [link(2, "eth0"), link(3, "eth1"), link(4, "eth2")];
        assert_eq!(locate(Some(Route::Direct(2)), None, &links, ONE), on(2, None, None));
        assert_eq!(locate(Some(Route::Direct(2)), None, &links, TWO), on(2, Some(0), None));
        assert_eq!(locate(Some(Route::Direct(3)), None, &links, TWO), on(3, Some(5), None));
        let elsewhere = Location::Elsewhere { interface: "eth2".to_owned() };
        assert_eq!(locate(Some(Route::Direct(4)), None, &links, TWO), elsewhere);
        assert_eq!(locate(Some(Route::Local), None, &links, TWO), Location::Local);
    }

    #[test]
    fn without_a_route_of_its_own_a_real_server_is_taken_to_be_on_the_first_interface() {
        let links = [link(2, "eth0"), link(3, "eth1"), link(4, "eth2")];
        assert_eq!(locate(None, None, &links, ONE), on(2, None, None));
        assert_eq!(locate(Some(Route::Through(4)), None, &links, TWO), on(2, Some(0), None));
        assert_eq!(locate(Some(Route::Through(3)), None, &links, TWO), on(3, Some(5), None));
    }

    #[test]
    fn a_vlan_of_the_directors_interface_tells_number_and_interface() {
        let links = [link(2, "eth0"), link(3, "eth1"), vlan(7, 100, 3), vlan(8, 200, 9), vlan(9, 300, 3)];
        assert_eq!(locate(Some(Route::Direct(7)), None, &links, TWO), on(7, Some(5), Some(100)));
        let in_two = locate(Some(Route::Direct(8)), None, &links, TWO);
        assert!(matches!(in_two, Location::Elsewhere { .. }), "{in_two:?}");
    }

    #[test]
    fn the_configuration_names_a_vlan() {
        let links = [link(2, "eth0"), link(3, "eth1"), vlan(7, 100, 3)];
        assert_eq!(locate(Some(Route::Direct(2)), Some(100), &links, TWO), on(7, Some(5), Some(100)));
        assert_eq!(locate(Some(Route::Direct(2)), Some(200), &links, TWO), on(2, Some(0), Some(200)));
        assert_eq!(locate(None, Some(200), &links, ONE), on(2, None, Some(200)));
    }

    #[test]
    fn behind_a_bond_frames_leave_through_the_member_they_came_in_on() {
        let links = [member(2, 10), member(3, 10), link(10, "bond0"), link(4, "eth2"), vlan(11, 100, 10)];
        assert_eq!(locate(Some(Route::Direct(10)), None, &links, TWO), on(10, None, None));
        assert_eq!(locate(Some(Route::Direct(11)), None, &links, TWO), on(11, None, Some(100)));
        let with_another: &Places = &[(4, 0), (2, 1), (3, 2)];
        assert_eq!(locate(Some(Route::Direct(10)), None, &links, with_another), on(10, Some(1), None));
        assert_eq!(locate(None, None, &links, TWO), on(10, None, None), "a member has no address");
    }
}
