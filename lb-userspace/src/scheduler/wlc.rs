//! Weighted least connection (`net/netfilter/ipvs/ip_vs_wlc.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct WeightedLeastConnection;

impl Algorithm for WeightedLeastConnection {
    fn name(&self) -> &'static str {
        "wlc"
    }

    fn description(&self) -> &'static str {
        "weighted least connection: the fewest connections for its weight"
    }

    fn selector(&self) -> Selector {
        Selector::WeightedLeastConnection
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
