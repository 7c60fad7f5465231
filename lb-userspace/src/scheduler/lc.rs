//! Least connection (`net/netfilter/ipvs/ip_vs_lc.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct LeastConnection;

impl Algorithm for LeastConnection {
    fn name(&self) -> &'static str {
        "lc"
    }

    fn description(&self) -> &'static str {
        "least connection: the real server with the fewest connections, an active one counting as 256 inactive ones"
    }

    fn selector(&self) -> Selector {
        Selector::LeastConnection
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
