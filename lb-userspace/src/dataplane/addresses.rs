//! The perfect hash of service addresses: drawing multipliers until no bucket gets too many.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use lb_common::service::{BUCKET_ENTRIES, GENERATION_BUCKETS, Index, key_v4};

use super::memory::Memory;
use super::view::ServiceAddress;
use crate::config::Protocol;

/// The word of an IPv4 address in the map.
fn key(address: &ServiceAddress) -> Option<u64> {
    let IpAddr::V4(vip) = address.vip else { return None };
    Some(key_v4(u32::from_le_bytes(vip.octets()), address.port.to_be(), address.protocol.number()))
}

fn address(key: u64) -> Option<ServiceAddress> {
    let [a, b, c, d, high, low, protocol, _] = key.to_le_bytes();
    Some(ServiceAddress {
        vip: Ipv4Addr::new(a, b, c, d).into(),
        port: u16::from_be_bytes([high, low]),
        protocol: Protocol::from_number(protocol)?,
    })
}

/// An index, and which addresses go to which element of the map.
type Placement = (Index, HashMap<u32, Vec<(u64, u32)>>);

/// Places addresses in buckets of `generation`; `random` yields well mixed words.
///
/// Returns `None` if no multiplier was found for the largest index: there are more addresses than
/// [`lb_common::limits::MAX_SERVICE_ADDRESSES`].
fn place(
    addresses: &BTreeMap<u64, u32>,
    generation: bool,
    mut random: impl FnMut() -> u64,
) -> Option<Placement> {
    // With half an address per bucket, one bucket in 6000 gets five: a few draws do for a thousand addresses,
    // some hundreds for the most there may be.
    const DRAWS: u32 = 20_000;
    let wanted = (2 * addresses.len()).next_power_of_two().max(2);
    let smallest = wanted.trailing_zeros();
    let largest = GENERATION_BUCKETS.trailing_zeros();
    for bits in smallest..=largest {
        for _ in 0..DRAWS {
            let index = Index::new(random(), bits, generation);
            if let Some(buckets) = place_with(index, addresses) {
                return Some((index, buckets));
            }
        }
    }
    None
}

fn place_with(index: Index, addresses: &BTreeMap<u64, u32>) -> Option<HashMap<u32, Vec<(u64, u32)>>> {
    let mut buckets: HashMap<u32, Vec<(u64, u32)>> = HashMap::with_capacity(addresses.len());
    for (key, service) in addresses {
        let bucket = buckets.entry(index.position(*key)).or_default();
        if bucket.len() == BUCKET_ENTRIES {
            return None;
        }
        bucket.push((*key, *service));
    }
    Some(buckets)
}

/// Writes addresses into the generation that is not in use, and publishes it.
///
/// No program may still be looking at that generation: the caller has waited since the last publication.
/// Returns false, and publishes nothing, if there are too many addresses.
pub(super) fn publish(
    memory: &Memory,
    addresses: &BTreeMap<ServiceAddress, u32>,
    random: impl FnMut() -> u64,
) -> bool {
    let v4 = addresses.iter().filter_map(|(address, service)| Some((key(address)?, *service)));
    publish_v4(memory, &v4.collect(), random)
}

fn publish_v4(memory: &Memory, addresses: &BTreeMap<u64, u32>, random: impl FnMut() -> u64) -> bool {
    let word = &memory.settings().services_v4;
    if addresses.is_empty() {
        word.store(Index::EMPTY.word());
        return true;
    }
    let generation = !Index::from_word(word.load()).generation();
    let Some((index, mut buckets)) = place(addresses, generation, random) else { return false };
    let first = if generation { GENERATION_BUCKETS } else { 0 };
    for position in first..first + (1 << index.bits()) {
        let mut entries = buckets.remove(&position).unwrap_or_default().into_iter();
        for place in &memory.services_v4[position as usize].entries {
            let (key, service) = entries.next().unwrap_or((0, 0));
            place.service.store(u64::from(service));
            place.key.store(key);
        }
    }
    word.store(index.word());
    true
}

/// The addresses in use.
pub(super) fn read(memory: &Memory) -> BTreeMap<ServiceAddress, u32> {
    let index = Index::from_word(memory.settings().services_v4.load());
    if index.is_empty() {
        return BTreeMap::new();
    }
    let first = if index.generation() { GENERATION_BUCKETS } else { 0 } as usize;
    let buckets = &memory.services_v4[first..first + (1 << index.bits())];
    let entries = buckets.iter().flat_map(|bucket| &bucket.entries);
    entries
        .filter_map(|entry| Some((address(entry.key.load())?, u32::try_from(entry.service.load()).ok()?)))
        .collect()
}
