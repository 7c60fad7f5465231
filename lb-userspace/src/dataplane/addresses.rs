//! The perfect hash of service addresses: drawing multipliers until no bucket gets too many.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::Word;
use lb_common::service::{
    A_VIP, ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, BUCKET_ENTRIES, GENERATION_BUCKETS, Index,
    key_v4, key_v6,
};

use super::memory::Memory;
use super::view::ServiceAddress;
use crate::config::Protocol;

type KeyV4 = [u64; ADDRESS_WORDS_V4];
type KeyV6 = [u64; ADDRESS_WORDS_V6];

/// Writes addresses into the generations that are not in use, and publishes them.
///
/// No program may still be looking at those: the caller has waited since the last publication. Returns false, and
/// publishes nothing, if there are too many addresses. `random` yields well mixed words.
pub(super) fn publish(
    memory: &Memory,
    addresses: &BTreeMap<ServiceAddress, u32>,
    mut random: impl FnMut() -> u64,
) -> bool {
    let (mut v4, mut v6) = (BTreeMap::new(), BTreeMap::new());
    let mut insert = |vip, port, protocol, service| match vip {
        IpAddr::V4(vip) => v4.insert(key_v4(u32::from_le_bytes(vip.octets()), port, protocol), service),
        IpAddr::V6(vip) => v6.insert(key_v6(words(vip), port, protocol), service),
    };
    for (address, service) in addresses {
        insert(address.vip, address.port.to_be(), address.protocol.number(), *service);
        insert(address.vip, 0, 0, A_VIP);
    }
    let (table_v4, table_v6) = (AddressTable::v4(memory), AddressTable::v6(memory));
    let Some(v4) = table_v4.place(&v4, &mut random) else { return false };
    let Some(v6) = table_v6.place(&v6, &mut random) else { return false };
    table_v4.publish(v4);
    table_v6.publish(v6);
    true
}

/// The addresses in use.
pub(super) fn read(memory: &Memory) -> BTreeMap<ServiceAddress, u32> {
    let v4 = AddressTable::v4(memory).read().filter_map(|(key, service)| Some((address_v4(key)?, service)));
    let v6 = AddressTable::v6(memory).read().filter_map(|(key, service)| Some((address_v6(key)?, service)));
    v4.chain(v6).collect()
}

fn words(address: Ipv6Addr) -> [u64; 2] {
    let [first, second] = *address.octets().as_chunks().0 else { return [0; 2] };
    [u64::from_le_bytes(first), u64::from_le_bytes(second)]
}

fn address_v4([key]: KeyV4) -> Option<ServiceAddress> {
    let [a, b, c, d, ..] = key.to_le_bytes();
    service_address(Ipv4Addr::new(a, b, c, d).into(), key)
}

fn address_v6([first, second, last]: KeyV6) -> Option<ServiceAddress> {
    let vip = (u128::from(first) | u128::from(second) << 64).to_le_bytes();
    service_address(Ipv6Addr::from(vip).into(), last)
}

fn service_address(vip: IpAddr, last_word: u64) -> Option<ServiceAddress> {
    let [.., high, low, protocol, _] = last_word.to_le_bytes();
    Some(ServiceAddress {
        vip,
        port: u16::from_be_bytes([high, low]),
        protocol: Protocol::from_number(protocol)?,
    })
}

/// The addresses of one family: the word that says where they are, and the buckets of both generations.
struct AddressTable<'a, const W: usize> {
    index: &'a Word,
    buckets: &'a [AddressBucket<W>],
}

/// Which addresses, with their services, go to which bucket.
type Placed<const W: usize> = HashMap<u32, Vec<([u64; W], u32)>>;

/// The same, and the index that says so.
type Placement<const W: usize> = (Index, Placed<W>);

impl<'a> AddressTable<'a, ADDRESS_WORDS_V4> {
    fn v4(memory: &'a Memory) -> Self {
        Self { index: &memory.settings().services_v4, buckets: &memory.services_v4 }
    }
}

impl<'a> AddressTable<'a, ADDRESS_WORDS_V6> {
    fn v6(memory: &'a Memory) -> Self {
        Self { index: &memory.settings().services_v6, buckets: &memory.services_v6 }
    }
}

impl<'a, const W: usize> AddressTable<'a, W> {
    /// Places addresses in buckets of the generation that is not in use.
    ///
    /// Returns `None` if no multiplier was found for the largest index: there are more addresses than
    /// [`lb_common::limits::MAX_SERVICE_ADDRESSES`].
    fn place(
        &self,
        addresses: &BTreeMap<[u64; W], u32>,
        mut random: impl FnMut() -> u64,
    ) -> Option<Placement<W>> {
        // With half an address per bucket, one bucket in 6000 gets five: a few draws do for a thousand addresses,
        // some hundreds for the most there may be.
        const DRAWS: u32 = 20_000;
        if addresses.is_empty() {
            return Some((Index::EMPTY, HashMap::new()));
        }
        let generation = !Index::from_word(self.index.load()).generation();
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

    fn publish(&self, (index, mut placed): Placement<W>) {
        for (position, bucket) in self.generation(index) {
            let mut entries = placed.remove(&position).unwrap_or_default().into_iter();
            for place in &bucket.entries {
                let (key, service) = entries.next().unwrap_or(([0; W], 0));
                place.service.store(u64::from(service));
                for (word, value) in place.key.iter().zip(key) {
                    word.store(value);
                }
            }
        }
        self.index.store(index.word());
    }

    fn read(&self) -> impl Iterator<Item = ([u64; W], u32)> + use<'a, W> {
        let buckets = self.generation(Index::from_word(self.index.load()));
        buckets.flat_map(|(_, bucket)| &bucket.entries).filter_map(|entry| {
            let key = std::array::from_fn(|i| entry.key[i].load());
            Some((key, u32::try_from(entry.service.load()).ok()?))
        })
    }

    /// The buckets of an index with their positions.
    fn generation(&self, index: Index) -> impl Iterator<Item = (u32, &'a AddressBucket<W>)> + use<'a, W> {
        let first = if index.generation() { GENERATION_BUCKETS } else { 0 };
        let count = if index.is_empty() { 0 } else { 1 << index.bits() };
        let buckets = self.buckets;
        (first..first + count).filter_map(move |position| Some((position, buckets.get(position as usize)?)))
    }
}

fn place_with<const W: usize>(index: Index, addresses: &BTreeMap<[u64; W], u32>) -> Option<Placed<W>> {
    let mut buckets: Placed<W> = HashMap::with_capacity(addresses.len());
    for (key, service) in addresses {
        let bucket = buckets.entry(index.position(key)).or_default();
        if bucket.len() == BUCKET_ENTRIES {
            return None;
        }
        bucket.push((*key, *service));
    }
    Some(buckets)
}
