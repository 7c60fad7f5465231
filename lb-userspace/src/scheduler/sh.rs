//! Source hashing (`net/netfilter/ipvs/ip_vs_sh.c`): the client's address names a bucket, the bucket a server.

use lb_common::selector::{HASH_SLOTS, Options, Selector};

use super::{Algorithm, Flag, Parameters, Server, Slot};

pub(super) struct SourceHashing;

impl Algorithm for SourceHashing {
    fn name(&self) -> &'static str {
        "sh"
    }

    fn description(&self) -> &'static str {
        "source hashing: a client always gets the same real server"
    }

    fn selector(&self) -> Selector {
        Selector::Source
    }

    fn flags(&self) -> &'static [Flag] {
        &[Flag::ShFallback, Flag::ShPort]
    }

    fn options(&self, parameters: &Parameters) -> Options {
        let falls_back = if parameters.has(Flag::ShFallback) { Options::FALLBACK } else { Options::NONE };
        let by_port = if parameters.has(Flag::ShPort) { Options::PORT } else { Options::NONE };
        falls_back.and(by_port)
    }

    fn slots(&self, servers: &[Server], parameters: &Parameters) -> Vec<Slot> {
        let buckets = buckets(servers);
        let falls_back = parameters.has(Flag::ShFallback);
        (0..buckets.len()).map(|bucket| choice(bucket, &buckets, servers, falls_back)).collect()
    }
}

/// The buckets: the list over and over, each server taking as many in a row as its weight, and one if it is 0
/// (`ip_vs_sh_reassign`).
fn buckets(servers: &[Server]) -> Vec<usize> {
    let in_a_row = |i: usize| std::iter::repeat_n(i, servers[i].weight.max(1) as usize);
    (0..servers.len()).rev().flat_map(in_a_row).cycle().take(HASH_SLOTS as usize).collect()
}

/// What clients of a bucket get: its server; nobody if that has weight 0; and if it cannot be reached, which IPVS has no
/// notion of, the one that `sh-fallback` finds (`ip_vs_sh_get_fallback`). With that flag the data plane looks for it: a
/// server that is overloaded is passed over, too.
fn choice(bucket: usize, buckets: &[usize], servers: &[Server], falls_back: bool) -> Slot {
    let server = servers[buckets[bucket]];
    if server.takes_connections() {
        return Some(buckets[bucket]);
    }
    if server.weight == 0 || falls_back {
        return None;
    }
    // The offset of the hash begins at the hash itself, so the search begins at twice the bucket's number.
    (0..buckets.len())
        .map(|offset| buckets[(2 * bucket + offset) % buckets.len()])
        .find(|i| servers[*i].takes_connections())
}
