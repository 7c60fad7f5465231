//! Schedulers: real servers and their weights to a selector and a table of slots.
//!
//! The data plane indexes the table ([`lb_common::selector`]); which real server is in which slot is decided
//! here, exactly as IPVS would choose. IPVS adds a destination at the head of its list (`ip_vs_ctl.c`), so
//! every scheduler walks the real servers in reverse order of addition.
//!
//! ONE list, [`ALL`], drives the configuration, `--help`, the documentation and the tests. A new scheduler is
//! one file and one line of it.

mod dh;
mod flag;
mod fo;
mod lblc;
mod lblcr;
mod lc;
mod mh;
mod nq;
mod ovf;
mod rr;
mod sed;
mod sh;
mod twos;
mod wlc;
mod wrr;

use std::fmt;
use std::net::IpAddr;

use lb_common::selector::{Options, Selector};

pub use flag::{Flag, Parameters};

/// Every scheduler.
pub static ALL: [Scheduler; 14] = [
    Scheduler(&rr::RoundRobin),
    Scheduler(&wrr::WeightedRoundRobin),
    Scheduler(&lc::LeastConnection),
    Scheduler(&wlc::WeightedLeastConnection),
    Scheduler(&lblc::Locality),
    Scheduler(&lblcr::ReplicatedLocality),
    Scheduler(&sh::SourceHashing),
    Scheduler(&dh::DestinationHashing),
    Scheduler(&sed::ShortestExpectedDelay),
    Scheduler(&nq::NeverQueue),
    Scheduler(&mh::MaglevHashing),
    Scheduler(&fo::WeightedFailover),
    Scheduler(&ovf::WeightedOverflow),
    Scheduler(&twos::TwoChoices),
];

/// One of [`ALL`].
#[derive(Clone, Copy)]
pub struct Scheduler(&'static (dyn Algorithm + Sync));

/// A real server as a scheduler sees it. Slices of these are in the order of addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// The configured weight; 0 takes no new connections.
    pub weight: u32,
    /// If that is 0: what it was before, or 0 if it always was.
    pub weight_before: u32,
    /// Whether frames can be sent to it at all: a server whose MAC is unknown gets no traffic, whatever its weight.
    pub usable: bool,
}

impl Server {
    fn takes_connections(self) -> bool {
        self.usable && self.weight > 0
    }

    /// The last weight that was not 0, if there was one (`last_weight` of `struct ip_vs_dest`).
    fn last_weight(self) -> u32 {
        if self.weight > 0 { self.weight } else { self.weight_before }
    }
}

/// A slot: an index into the slice of servers, or none, for flows that get no real server.
pub type Slot = Option<usize>;

/// The servers that take connections, in the order in which IPVS walks them.
fn taking_connections(servers: &[Server]) -> Vec<Slot> {
    (0..servers.len()).rev().filter(|i| servers[*i].takes_connections()).map(Some).collect()
}

trait Algorithm {
    fn name(&self) -> &'static str;
    fn description(&self) -> &'static str;
    fn selector(&self) -> Selector;
    fn slots(&self, servers: &[Server], parameters: &Parameters) -> Vec<Slot>;

    /// Flags that it knows.
    fn flags(&self) -> &'static [Flag] {
        &[]
    }

    /// What the data plane does because of flags.
    fn options(&self, _parameters: &Parameters) -> Options {
        Options::NONE
    }
}

impl Scheduler {
    /// What a virtual server has that names none (`DEF_SCHED` of ipvsadm).
    pub const DEFAULT: Self = Self(&wlc::WeightedLeastConnection);

    /// The scheduler with this name, as `ipvsadm -s` takes it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|scheduler| scheduler.name() == name)
    }

    /// The name, as `ipvsadm -s` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// One sentence for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.0.description()
    }

    /// How the data plane picks a slot.
    #[must_use]
    pub fn selector(self) -> Selector {
        self.0.selector()
    }

    /// The flags that it knows.
    #[must_use]
    pub fn flags(self) -> &'static [Flag] {
        self.0.flags()
    }

    /// What the data plane does besides picking a slot.
    #[must_use]
    pub fn options(self, parameters: &Parameters) -> Options {
        self.0.options(parameters)
    }

    /// The slot table; empty if no server takes connections. At most [`lb_common::limits::MAX_SLOTS`] long.
    #[must_use]
    pub fn slots(self, servers: &[Server], parameters: &Parameters) -> Vec<Slot> {
        if servers.iter().any(|server| server.takes_connections()) {
            self.0.slots(servers, parameters)
        } else {
            Vec::new()
        }
    }
}

impl PartialEq for Scheduler {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Scheduler {}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
