//! NICs that take the VLAN tag off a frame before a program sees it: the program would send the frame back without
//! one, into another VLAN.

use std::io;
use std::sync::Arc;

use super::error::DataplaneError;
use super::memory::Memory;
use crate::net::{Ethtool, Feature, Link};

/// Switches the removal of tags off, and remembers where in the settings, for the daemon that takes over.
#[derive(Clone, Debug)]
pub struct VlanOffload(Arc<Memory>);

impl VlanOffload {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self(memory)
    }

    /// Has the interfaces leave VLAN tags where they are.
    ///
    /// # Errors
    /// [`DataplaneError::VlanOffload`] for the first that does not do that.
    pub fn switch_off(&self, links: &[(u8, Link)]) -> Result<(), DataplaneError> {
        for (place, link) in links {
            let failed = |source| DataplaneError::VlanOffload { interface: link.name.clone(), source };
            if !removes_tags(link).map_err(failed)? {
                continue;
            }
            set_removal(link, false).map_err(failed)?;
            if removes_tags(link).map_err(failed)? {
                return Err(failed(io::ErrorKind::Unsupported.into()));
            }
            self.0.settings().interfaces[usize::from(*place)].vlan_offload_was_on.store(1);
            tracing::info!("{}: switched rx-vlan-offload off, so that XDP sees VLAN tags", link.name);
        }
        Ok(())
    }

    /// Switches it on again where it was switched off.
    pub fn restore(&self, links: &[(u8, Link)]) {
        for (place, link) in links {
            let was_on = &self.0.settings().interfaces[usize::from(*place)].vlan_offload_was_on;
            if was_on.load() == 0 {
                continue;
            }
            match set_removal(link, true) {
                Ok(()) => was_on.store(0),
                Err(error) => tracing::warn!("{}: switch rx-vlan-offload on again: {error}", link.name),
            }
        }
    }
}

fn removes_tags(link: &Link) -> io::Result<bool> {
    Ok(Ethtool::open()?.features(link.index)?.active.contains(&Feature::VlanRemoval))
}

fn set_removal(link: &Link, on: bool) -> io::Result<()> {
    Ethtool::open()?.set_feature(link.index, Feature::VlanRemoval, on)
}
