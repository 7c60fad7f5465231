//! What the maps say, decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::connection::Timeouts;
use lb_common::load::Thresholds;
use lb_common::persistence::Persistence;
use lb_common::policy::ServiceOptions;
use lb_common::selector::{Options, Selector, Slot};
use macaddr::MacAddr6;

use super::acl::AclViews;
use super::tables::Operation;
use crate::config::Protocol;
use crate::forms::VirtualAddress;

/// An address of a virtual server, with its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAddress {
    /// VIPs and ports.
    pub address: VirtualAddress,
    /// The protocol.
    pub protocol: Protocol,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// How a slot is picked.
    pub selector: Selector,
    /// What is done besides.
    pub options: Options,
    /// The slots.
    pub slots: Vec<Slot>,
    /// How it remembers its clients.
    pub persistence: Persistence,
    /// What becomes of connections of a real server that is down, and of datagrams.
    pub policies: ServiceOptions,
    /// The number of the sorry server's destination, if there is one.
    pub sorry: Option<u32>,
}

/// A destination: a real server of one virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationView {
    /// The number of the virtual server.
    pub service: u32,
    /// The real server.
    pub address: IpAddr,
    /// The configured weight.
    pub weight: u32,
    /// The last weight that was not 0; 0 if there was none.
    pub last_weight: u32,
    /// How many connections it gets at most.
    pub thresholds: Thresholds,
    /// Whether it gets no new connections because it does not answer.
    pub is_down: bool,
    /// Whether its connections are not simply to stay: it is down, and its virtual server's policy says more.
    pub is_failing: bool,
    /// Where frames go; `None` if nowhere, because the MAC is unknown or the server has been removed.
    pub way: Option<Way>,
}

/// How frames get to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is the director itself.
    Local,
    /// To this MAC.
    Wire {
        /// The real server's.
        mac: MacAddr6,
        /// Out of the interface at this place; `None`: out of the one that they came in on.
        interface: Option<u8>,
        /// In this VLAN; `None`: in the one that they came in.
        vlan: Option<u16>,
    },
}

impl Way {
    /// Straight to this MAC.
    #[must_use]
    pub const fn to(mac: MacAddr6) -> Self {
        Self::Wire { mac, interface: None, vlan: None }
    }

    /// The MAC that frames get.
    #[must_use]
    pub const fn mac(self) -> Option<MacAddr6> {
        match self {
            Self::Local => None,
            Self::Wire { mac, .. } => Some(mac),
        }
    }
}

/// What is known of an interface and the peers on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceView {
    /// Its MAC; frames to other MACs are left alone. `None` before it is first set.
    pub mac: Option<MacAddr6>,
    /// Peer directors' MACs.
    pub peers: BTreeSet<MacAddr6>,
}

/// Everything that [`Tables`](super::Tables) writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The interfaces by place.
    pub interfaces: BTreeMap<u8, InterfaceView>,
    /// Timeouts of connections.
    pub timeouts: Timeouts,
    /// Which virtual server has which address.
    pub addresses: BTreeMap<ServiceAddress, u32>,
    /// Virtual servers by number.
    pub services: BTreeMap<u32, ServiceView>,
    /// Whose clients are let in.
    pub acls: AclViews,
    /// Destinations by number, those that were removed but that connections may remember among them.
    pub destinations: BTreeMap<u32, DestinationView>,
}

impl View {
    /// What the maps say after `operation`.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::SetInterface { place, interface } => {
                if interface.mac.is_some() {
                    self.interfaces.insert(*place, interface.clone());
                } else {
                    self.interfaces.remove(place);
                }
            }
            Operation::SetTimeouts(timeouts) => self.timeouts = timeouts.clone(),
            Operation::PutDestination { number, destination } => {
                self.destinations.insert(*number, *destination);
            }
            Operation::PublishSlots { service, table } => {
                self.services.insert(*service, table.clone());
            }
            Operation::SetAcl { scope, acl } => {
                self.acls.insert(*scope, acl.clone());
                self.acls.retain(|_, acl| !acl.is_empty());
            }
            Operation::PublishAddresses(addresses) => self.addresses.clone_from(addresses),
            Operation::Retire { services, destinations } => {
                self.services.retain(|number, _| !services.contains(number));
                for number in destinations {
                    if let Some(destination) = self.destinations.get_mut(number) {
                        destination.way = None;
                    }
                }
            }
            Operation::ReleaseDestinations(numbers) => {
                self.destinations.retain(|number, _| !numbers.contains(number));
            }
        }
    }
}
