//! Locality-based least connection with replication (`net/netfilter/ipvs/ip_vs_lblcr.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct ReplicatedLocality;

impl Algorithm for ReplicatedLocality {
    fn name(&self) -> &'static str {
        "lblcr"
    }

    fn description(&self) -> &'static str {
        "the same with replication: a VIP keeps a set of real servers, and gets one more when they are overloaded"
    }

    fn selector(&self) -> Selector {
        Selector::ReplicatedLocality
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
