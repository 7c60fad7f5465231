//! Power of two choices (`net/netfilter/ipvs/ip_vs_twos.c`). The data plane compares the loads; the table is the list of servers.

use lb_common::selector::Selector;

use super::{Algorithm, Parameters, Server, Slot, taking_connections};

pub(super) struct TwoChoices;

impl Algorithm for TwoChoices {
    fn name(&self) -> &'static str {
        "twos"
    }

    fn description(&self) -> &'static str {
        "two random choices: of two real servers picked by weight the one with fewer connections for its weight"
    }

    fn selector(&self) -> Selector {
        Selector::TwoChoices
    }

    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        taking_connections(servers)
    }
}
