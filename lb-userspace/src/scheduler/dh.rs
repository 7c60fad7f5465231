//! Destination hashing (`net/netfilter/ipvs/ip_vs_dh.c`): the VIP names a bucket, the bucket a server.

use lb_common::selector::{HASH_SLOTS, Selector};

use super::{Algorithm, Parameters, Server, Slot};

pub(super) struct DestinationHashing;

impl Algorithm for DestinationHashing {
    fn name(&self) -> &'static str {
        "dh"
    }

    fn description(&self) -> &'static str {
        "destination hashing: a VIP always gets the same real server"
    }

    fn selector(&self) -> Selector {
        Selector::Destination
    }

    /// The list over and over, whatever the weights (`ip_vs_dh_reassign`).
    ///
    /// A bucket's flows get nobody if its server has weight 0, and the next server that can be reached if it
    /// cannot.
    fn slots(&self, servers: &[Server], _parameters: &Parameters) -> Vec<Slot> {
        let list: Vec<usize> = (0..servers.len()).rev().collect();
        let choice = |bucket: usize| {
            let server = servers[list[bucket % list.len()]];
            if server.weight == 0 {
                return None;
            }
            (bucket..bucket + list.len())
                .map(|bucket| list[bucket % list.len()])
                .find(|i| servers[*i].takes_connections())
        };
        (0..HASH_SLOTS as usize).map(choice).collect()
    }
}
