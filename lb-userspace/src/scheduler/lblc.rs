//! Locality-based least connection (`net/netfilter/ipvs/ip_vs_lblc.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct Locality;

impl Algorithm for Locality {
    fn name(&self) -> &'static str {
        "lblc"
    }

    fn description(&self) -> &'static str {
        "locality-based least connection: a VIP keeps its real server until that is overloaded, then as wlc"
    }

    fn selector(&self) -> Selector {
        Selector::Locality
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
