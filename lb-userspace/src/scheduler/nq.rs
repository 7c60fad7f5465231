//! Never queue (`net/netfilter/ipvs/ip_vs_nq.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct NeverQueue;

impl Algorithm for NeverQueue {
    fn name(&self) -> &'static str {
        "nq"
    }

    fn description(&self) -> &'static str {
        "never queue: a real server without active connections, or else as sed"
    }

    fn selector(&self) -> Selector {
        Selector::NeverQueue
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
