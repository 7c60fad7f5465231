//! The director's interfaces: the place of each in the settings and in DEVICES, and a program on each.
//!
//! A program knows the place of its interface from the moment it is loaded, so an interface keeps its place as long as
//! it is there: whoever takes over finds it in DEVICES.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::MapError;
use lb_common::limits::MAX_INTERFACES;

use super::attach::{self, Attached};
use super::error::DataplaneError;
use super::migrate;
use super::offload::VlanOffload;
use super::open::{Dataplane, handle, load, read_object, xdp_mut};
use crate::config::XdpMode;
use crate::net::Link;

impl Dataplane {
    /// The place of each interface, in the same order.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn places(&self, links: &[Link]) -> Result<Vec<u8>, DataplaneError> {
        let wanted: Vec<u32> = links.iter().map(|link| link.index).collect();
        Ok(assign(&self.held()?, &wanted))
    }

    /// The interfaces of the director as it was left that are not among `kept`.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn dropped(&self, all: &[Link], kept: &[(u8, Link)]) -> Result<Vec<(u8, Link)>, DataplaneError> {
        let is_kept = |index: u32| kept.iter().any(|(_, link)| link.index == index);
        let held = self.held()?.into_iter().filter(|(_, index)| !is_kept(*index));
        let link = |index| all.iter().find(|link| link.index == index).cloned();
        Ok(held.filter_map(|(place, index)| Some((place, link(index)?))).collect())
    }

    /// The places that have an interface, with its index.
    pub(super) fn held(&self) -> Result<BTreeMap<u8, u32>, DataplaneError> {
        let mut held = BTreeMap::new();
        for place in places() {
            match self.devices.get(place.into(), 0) {
                Ok(device) => {
                    held.insert(place, device.if_index);
                }
                // The kernel empties the place of an interface that is gone.
                Err(MapError::KeyNotFound) => {}
                Err(error) => {
                    let source = io::Error::other(error);
                    return Err(DataplaneError::Map { operation: "read", map: "DEVICES", source });
                }
            }
        }
        Ok(held)
    }

    /// Attaches a program to each interface, or puts it in the place of the one that is attached there, without
    /// losing a frame; detaches those of other interfaces. If one cannot be attached, those that were not attached
    /// before are not afterwards.
    ///
    /// # Errors
    /// [`DataplaneError::Attach`] with what to do, [`DataplaneError::Map`], and what loading a program may fail with.
    pub fn attach(&mut self, links: &[(u8, Link)], mode: XdpMode) -> Result<Vec<Attached>, DataplaneError> {
        for (place, link) in links {
            self.devices.set((*place).into(), link.index, None, 0).map_err(|error| DataplaneError::Map {
                operation: "write",
                map: "DEVICES",
                source: io::Error::other(error),
            })?;
        }
        let mut all = Vec::new();
        for (place, link) in links {
            match self.attach_one(*place, link, mode) {
                Ok(attached) => all.push(attached),
                Err(error) => {
                    for ((_, link), attached) in links.iter().zip(&all) {
                        if *attached != Attached::Replaced {
                            self.detach(link.index);
                        }
                    }
                    return Err(error);
                }
            }
        }
        // Connections that old programs recorded in the old tables since they were copied.
        self.migrate()?;
        migrate::remove(&self.directory);
        self.opened.earlier.remove();
        for index in attach::attached(&self.directory) {
            if !links.iter().any(|(_, link)| link.index == index) {
                self.detach(index);
            }
        }
        self.observe_programs(links);
        Ok(all)
    }

    /// Has the observer know the attached programs.
    fn observe_programs(&mut self, links: &[(u8, Link)]) {
        let others = self.others.iter_mut().map(|(place, ebpf)| (*place, ebpf));
        let all = [(0, &mut self.ebpf)].into_iter().chain(others);
        let mut programs = Vec::new();
        for (place, ebpf) in all.filter(|(place, _)| links.iter().any(|(attached, _)| attached == place)) {
            let opened = xdp_mut(ebpf, "lb").map(|program| handle(program, &self.directory));
            match opened {
                Ok(Ok(program)) => programs.push((place, program)),
                // It forwards all the same.
                Ok(Err(error)) => tracing::debug!("open the program of an interface once more: {error}"),
                Err(error) => tracing::debug!("{error}"),
            }
        }
        self.observer.watch(programs);
    }

    fn attach_one(&mut self, place: u8, link: &Link, mode: XdpMode) -> Result<Attached, DataplaneError> {
        self.opened
            .earlier
            .hand_over(link.index, &self.directory)
            .map_err(|source| DataplaneError::Directory { directory: self.directory.clone(), source })?;
        if place == 0 {
            return attach::attach(xdp_mut(&mut self.ebpf, "lb")?, &self.directory, link, mode);
        }
        let mut ebpf = read_object(&self.directory, &self.layouts, &self.constants.at(place))?;
        load(&mut ebpf, "lb")?;
        let attached = attach::attach(xdp_mut(&mut ebpf, "lb")?, &self.directory, link, mode)?;
        self.others.insert(place, ebpf);
        Ok(attached)
    }

    fn detach(&self, index: u32) {
        let pin: PathBuf = attach::pin(&self.directory, index);
        match fs::remove_file(&pin) {
            Ok(()) => tracing::info!("detached from interface {index}"),
            Err(error) => tracing::warn!("remove {}: {error}", pin.display()),
        }
    }

    /// What can switch NICs' removal of VLAN tags off, and on again.
    #[must_use]
    pub fn vlan_offload(&self) -> VlanOffload {
        VlanOffload::new(Arc::clone(&self.memory))
    }
}

fn places() -> impl Iterator<Item = u8> {
    (0..).take(MAX_INTERFACES)
}

/// A place for each of the interfaces with these indices: the one that it holds, or one that nobody does, or at last
/// one of an interface that is not among them.
fn assign(held: &BTreeMap<u8, u32>, wanted: &[u32]) -> Vec<u8> {
    let of = |index: u32| held.iter().find(|(_, held)| **held == index).map(|(place, _)| *place);
    let kept: Vec<u8> = wanted.iter().filter_map(|index| of(*index)).collect();
    let mut free: Vec<u8> = places().filter(|place| !kept.contains(place)).collect();
    free.sort_by_key(|place| held.contains_key(place));
    let mut free = free.into_iter();
    // The configuration has no more interfaces than there are places.
    wanted.iter().filter_map(|index| of(*index).or_else(|| free.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_interfaces_get_the_first_places() {
        assert_eq!(assign(&BTreeMap::new(), &[7, 3, 9]), [0, 1, 2]);
    }

    #[test]
    fn an_interface_keeps_its_place_whatever_comes_before_it() {
        let held = BTreeMap::from([(0, 7), (1, 3)]);
        assert_eq!(assign(&held, &[3, 7]), [1, 0]);
        assert_eq!(assign(&held, &[9, 3]), [2, 1], "a place that was never anybody's comes first");
    }

    #[test]
    fn places_of_interfaces_that_are_not_listed_any_more_come_last() {
        let held: BTreeMap<u8, u32> = places().map(|place| (place, u32::from(place) + 100)).collect();
        assert_eq!(assign(&held, &[50, 105, 51]), [0, 5, 1]);
    }
}
