//! Shortest expected delay (`net/netfilter/ipvs/ip_vs_sed.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct ShortestExpectedDelay;

impl Algorithm for ShortestExpectedDelay {
    fn name(&self) -> &'static str {
        "sed"
    }

    fn description(&self) -> &'static str {
        "shortest expected delay: the fewest active connections for its weight, the new one included"
    }

    fn selector(&self) -> Selector {
        Selector::ShortestExpectedDelay
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
