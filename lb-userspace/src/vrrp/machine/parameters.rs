//! What a virtual router is told: its configuration, and how what it depends on is.

use std::net::IpAddr;
use std::time::Duration;

use crate::vrrp::packet::{Advert, Expectation, Version};

/// The configuration of a virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The interface, for messages.
    pub interface: String,
    /// The version it speaks.
    pub version: Version,
    /// The virtual router, 1 to 255.
    pub vrid: u8,
    /// The configured priority, 1 to 255.
    pub priority: u8,
    /// How often a master sends an advert; one that the version [can say](Version::can_say).
    pub interval: Duration,
    /// The virtual addresses, of one family, 1 to 255.
    pub addresses: Vec<IpAddr>,
    /// Version 2: the password.
    pub authentication: Option<[u8; 8]>,
    /// Whether it takes over from a master of a lower priority that is well. The owner of the addresses always does.
    pub preempt: bool,
    /// How long it hears a master of a lower priority before it takes over. The owner does at once.
    pub preempt_delay: Duration,
    /// Whether it belongs to a sync group, which then says when it is master.
    pub is_grouped: bool,
}

impl Parameters {
    /// An advert with this priority.
    #[must_use]
    pub fn advert(&self, priority: u8) -> Advert {
        Advert {
            version: self.version,
            vrid: self.vrid,
            priority,
            interval: self.interval,
            addresses: self.addresses.clone(),
            authentication: self.authentication,
        }
    }

    /// What adverts of others have to be like; with the peers, if there are any.
    #[must_use]
    pub fn expectation(&self, peers: Vec<IpAddr>) -> Expectation {
        Expectation {
            version: self.version,
            vrid: self.vrid,
            interval: self.interval,
            addresses: self.addresses.clone(),
            authentication: self.authentication,
            peers,
        }
    }
}

/// How the interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up and has a carrier.
    pub is_up: bool,
    /// Which address adverts are sent from, of the family of the virtual addresses; between equal priorities it decides.
    pub address: Option<IpAddr>,
}

/// What the tracked scripts and interfaces say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// The sum of the weights that count now.
    pub weight: i32,
    /// What is down that has no weight, as a sentence: `link of eth1 is down`.
    pub fault: Option<String>,
    /// Whether some have not said anything yet: it does not start before they have.
    pub is_pending: bool,
}
