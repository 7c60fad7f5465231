//! Maglev hashing (`net/netfilter/ipvs/ip_vs_mh.c`): a hash of the client's address names a slot of a table that
//! changes little when a server comes or goes.

use lb_common::selector::{MAGLEV_SLOTS, Options, Selector, hashed, maglev_permutation, word};

use super::{Algorithm, Flag, Parameters, Server, Slot};

pub(super) struct MaglevHashing;

/// The `CONFIG_IP_VS_MH_TAB_INDEX` of the shortest table.
const FIRST_INDEX: usize = 8;

impl Algorithm for MaglevHashing {
    fn name(&self) -> &'static str {
        "mh"
    }

    fn description(&self) -> &'static str {
        "Maglev hashing: a client always gets the same real server, and few get another when a server leaves"
    }

    fn selector(&self) -> Selector {
        Selector::Maglev
    }

    fn flags(&self) -> &'static [Flag] {
        &[Flag::MhFallback, Flag::MhPort]
    }

    fn options(&self, parameters: &Parameters) -> Options {
        let falls_back = if parameters.has(Flag::MhFallback) { Options::FALLBACK } else { Options::NONE };
        let by_port = if parameters.has(Flag::MhPort) { Options::PORT } else { Options::NONE };
        falls_back.and(by_port)
    }

    /// What clients of a slot get: its server; nobody if that has weight 0; and if it cannot be reached, which IPVS
    /// has no notion of, the slot's server in a table of those that can. With `mh-fallback` a slot without a server
    /// sends its clients on, each its own way.
    fn slots(&self, servers: &[Server], parameters: &Parameters) -> Vec<Slot> {
        let slots = table(servers, parameters, |server| server.last_weight());
        if parameters.has(Flag::MhFallback) || servers.iter().all(|server| server.usable) {
            let choice = |i: usize| Some(i).filter(|i| servers[*i].takes_connections());
            return slots.into_iter().map(choice).collect();
        }
        let weight = |server: &Server| if server.takes_connections() { server.weight } else { 0 };
        let others = table(servers, parameters, weight);
        let choice = |(i, other): (usize, usize)| match servers[i] {
            server if server.takes_connections() => Some(i),
            server if server.weight == 0 => None,
            _ => Some(other),
        };
        slots.into_iter().zip(others).map(choice).collect()
    }
}

/// Which server has which slot (`ip_vs_mh_populate`); empty if all weights are 0.
fn table(servers: &[Server], parameters: &Parameters, weight: impl Fn(&Server) -> u32) -> Vec<usize> {
    let slots = parameters.table_size;
    let mut list = preferences(servers, parameters, weight);
    let mut table: Vec<Option<usize>> = vec![None; slots as usize];
    let mut left = if list.is_empty() { 0 } else { table.len() };
    while left > 0 {
        for preference in &mut list {
            for _ in 0..preference.turns.min(left) {
                while table[preference.next as usize].is_some() {
                    preference.next = (preference.next + preference.skip) % slots;
                }
                table[preference.next as usize] = Some(preference.server);
                left -= 1;
            }
        }
    }
    table.into_iter().flatten().collect()
}

/// The order in which a server wants slots, and how many it takes at a time (`ip_vs_mh_dest_setup`).
struct Preference {
    server: usize,
    next: u32,
    skip: u32,
    turns: usize,
}

/// Of servers whose weight is not 0, in the order of the list.
fn preferences(
    servers: &[Server],
    parameters: &Parameters,
    weight: impl Fn(&Server) -> u32,
) -> Vec<Preference> {
    let weights: Vec<u32> = servers.iter().map(weight).collect();
    let divisor = weights.iter().copied().fold(0, super::gcd).max(1);
    let shift = shift(weights.iter().copied().max().unwrap_or(0) / divisor, parameters.table_size);
    let preference = |server: usize| {
        let client = hashed(word(servers[server].address), parameters.port);
        let (next, skip) = maglev_permutation(client, parameters.table_size);
        let turns = ((weights[server] / divisor) >> shift).max(1) as usize;
        Preference { server, next, skip, turns }
    };
    (0..servers.len()).rev().filter(|server| weights[*server] > 0).map(preference).collect()
}

/// By how many bits weights are too long (`ip_vs_mh_shift_weight`): more than half of the table's index.
fn shift(highest: u32, slots: u32) -> u32 {
    let index = MAGLEV_SLOTS.iter().take_while(|length| **length < slots).count() + FIRST_INDEX;
    let bits = u32::try_from(index / 2).unwrap_or(u32::MAX);
    (u32::BITS - highest.leading_zeros()).saturating_sub(bits)
}
