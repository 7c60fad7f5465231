//! Service addresses: the perfect hash of those that are exact, by drawing multipliers until no bucket gets too many,
//! and the search for all others.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use lb_common::Word;
use lb_common::form::{FORM_SPANS, FORM_WORDS, PORT_WORDS, Part, Span, WORDS_OF_A_FORM};
use lb_common::service::{
    A_VIP, ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, BUCKET_ENTRIES, GENERATION_BUCKETS, Index,
};

use super::memory::Memory;
use super::tables::{address_from_words, address_words};
use super::view::ServiceAddress;
use crate::config::Protocol;
use crate::forms::{Form, Layout, Ports, Prefix, VirtualAddress, key, lay_out};

/// Writes addresses into the generations that are not in use, and publishes them.
///
/// No program may still be looking at those: the caller has waited since the last publication. Returns false, and
/// publishes nothing, if there are too many addresses. `random` yields well mixed words.
pub(super) fn publish(
    memory: &Memory,
    addresses: &BTreeMap<ServiceAddress, u32>,
    mut random: impl FnMut() -> u64,
) -> bool {
    let (table_v4, table_v6) = (AddressTable::v4(memory), AddressTable::v6(memory));
    let family = |is_ipv6| addresses.iter().filter(move |(address, _)| address.address.is_ipv6() == is_ipv6);
    let Some(v4) = table_v4.place(family(false), &mut random) else { return false };
    let Some(v6) = table_v6.place(family(true), &mut random) else { return false };
    table_v4.publish(v4);
    table_v6.publish(v6);
    true
}

/// The addresses in use.
pub(super) fn read(memory: &Memory) -> BTreeMap<ServiceAddress, u32> {
    let (v4, v6) = (AddressTable::v4(memory), AddressTable::v6(memory));
    let exact_v4 = v4.read().filter_map(|([key], service)| {
        Some((service_address(IpAddr::from((key as u32).to_le_bytes()), key)?, service))
    });
    let exact_v6 = v6.read().filter_map(|([first, second, last], service)| {
        let vip = (u128::from(first) | u128::from(second) << 64).to_le_bytes();
        Some((service_address(IpAddr::from(vip), last)?, service))
    });
    exact_v4.chain(exact_v6).chain(v4.read_forms()).chain(v6.read_forms()).collect()
}

fn service_address(vip: IpAddr, last_word: u64) -> Option<ServiceAddress> {
    let [.., high, low, protocol, _] = last_word.to_le_bytes();
    let ports = Ports::one(u16::from_be_bytes([high, low]));
    Some(ServiceAddress {
        address: VirtualAddress { vips: vip.into(), ports },
        protocol: Protocol::from_number(protocol)?,
    })
}

/// A form as it is kept for the daemon that takes over: the first VIP, then ports, prefix length and protocol, then
/// the service.
fn form_words(form: &Form) -> [u64; WORDS_OF_A_FORM as usize] {
    let VirtualAddress { vips, ports } = form.address;
    let [low, high] = address_words(vips.first());
    let rest = u64::from(ports.first) | u64::from(ports.last) << 16;
    let rest = rest | u64::from(vips.length()) << 32 | u64::from(form.protocol) << 40;
    [low, high, rest, form.service.into()]
}

/// `None` if these words are not a form.
fn form_from_words([low, high, rest, service]: [u64; WORDS_OF_A_FORM as usize]) -> Option<Form> {
    let [first, first_high, last, last_high, length, protocol, ..] = rest.to_le_bytes();
    let ports =
        Ports { first: u16::from_le_bytes([first, first_high]), last: u16::from_le_bytes([last, last_high]) };
    let vips = Prefix::new(address_from_words([low, high]), length)?;
    let service = u32::try_from(service).ok()?;
    (protocol != 0).then_some(Form { address: VirtualAddress { vips, ports }, protocol, service })
}

/// The addresses of one family: the word that says where they are, and both generations of buckets, of spans and of
/// the words that those refer to.
struct AddressTable<'a, const W: usize> {
    index: &'a Word,
    buckets: &'a [AddressBucket<W>],
    spans: &'a [Span<W>],
    ports: &'a [Word],
}

/// Which exact addresses go to which bucket.
type Buckets<const W: usize> = HashMap<u32, Vec<([u64; W], u32)>>;

/// What is to be published.
struct Placement<const W: usize> {
    index: Index,
    buckets: Buckets<W>,
    /// All others, and how they are found.
    forms: Vec<Form>,
    layout: Option<Layout<W>>,
}

impl<'a> AddressTable<'a, ADDRESS_WORDS_V4> {
    fn v4(memory: &'a Memory) -> Self {
        Self {
            index: &memory.settings().services_v4,
            buckets: &memory.services_v4,
            spans: &memory.forms_v4,
            ports: &memory.form_ports_v4,
        }
    }
}

impl<'a> AddressTable<'a, ADDRESS_WORDS_V6> {
    fn v6(memory: &'a Memory) -> Self {
        Self {
            index: &memory.settings().services_v6,
            buckets: &memory.services_v6,
            spans: &memory.forms_v6,
            ports: &memory.form_ports_v6,
        }
    }
}

impl<'a, const W: usize> AddressTable<'a, W> {
    /// Places addresses in the generation that is not in use.
    ///
    /// Returns `None` if no multiplier was found for the largest index: there are more addresses than
    /// [`lb_common::limits::MAX_SERVICE_ADDRESSES`]; or if there are more forms than can be laid out.
    fn place<'b>(
        &self,
        addresses: impl Iterator<Item = (&'b ServiceAddress, &'b u32)>,
        mut random: impl FnMut() -> u64,
    ) -> Option<Placement<W>> {
        // With half an address per bucket, one bucket in 6000 gets five: a few draws do for a thousand addresses,
        // some hundreds for the most there may be.
        const DRAWS: u32 = 20_000;
        let mut exact = BTreeMap::new();
        let mut forms = Vec::new();
        for (ServiceAddress { address, protocol }, service) in addresses {
            let protocol = protocol.number();
            match address.exact() {
                Some(address) => {
                    exact.insert(key(address.ip(), address.port(), protocol), *service);
                    exact.insert(key(address.ip(), 0, 0), A_VIP);
                }
                None => forms.push(Form { address: *address, protocol, service: *service }),
            }
        }
        let layout = lay_out(&forms).ok()?;
        if exact.is_empty() && layout.is_none() {
            return Some(Placement { index: Index::EMPTY, buckets: HashMap::new(), forms, layout });
        }
        let form_bits = layout.as_ref().map_or(0, Layout::bits);
        let generation = !Index::from_word(self.index.load()).generation();
        let wanted = (2 * exact.len()).next_power_of_two().max(2);
        let largest = GENERATION_BUCKETS.trailing_zeros();
        // The VIPs themselves are among the keys, so there may be more than half as many as buckets.
        let smallest = wanted.trailing_zeros().min(largest);
        for bits in smallest..=largest {
            for _ in 0..DRAWS {
                let index = Index::new(random(), bits, generation).with_forms(form_bits);
                if let Some(buckets) = place_with(index, &exact) {
                    return Some(Placement { index, buckets, forms, layout });
                }
            }
        }
        None
    }

    fn publish(&self, placement: Placement<W>) {
        let Placement { index, mut buckets, forms, layout } = placement;
        for (position, bucket) in self.generation(index) {
            let mut entries = buckets.remove(&position).unwrap_or_default().into_iter();
            for place in &bucket.entries {
                let (key, service) = entries.next().unwrap_or(([0; W], 0));
                place.service.store(u64::from(service));
                for (word, value) in place.key.iter().zip(key) {
                    word.store(value);
                }
            }
        }
        if let Some(layout) = layout {
            let (spans, ports, kept) = self.forms(index);
            for (span, (start, part)) in spans.iter().zip(layout.spans) {
                span.part.store(part.word());
                for (word, value) in span.start.iter().zip(start) {
                    word.store(value);
                }
            }
            for (word, value) in ports.iter().zip(layout.ports) {
                word.store(value);
            }
            let words = forms.iter().flat_map(form_words).chain(std::iter::repeat(0));
            for (word, value) in kept.iter().zip(words) {
                word.store(value);
            }
        }
        self.index.store(index.word());
    }

    /// The forms in use; none if what is searched is not what they say, so that it will be mended.
    fn read_forms(&self) -> impl Iterator<Item = (ServiceAddress, u32)> + use<W> {
        let forms = self.kept_forms().unwrap_or_default();
        forms.into_iter().filter_map(|form| {
            let protocol = Protocol::from_number(form.protocol)?;
            Some((ServiceAddress { address: form.address, protocol }, form.service))
        })
    }

    fn kept_forms(&self) -> Option<Vec<Form>> {
        let index = Index::from_word(self.index.load());
        if !index.has_forms() {
            return None;
        }
        let (spans, ports, kept) = self.forms(index);
        let kept = kept.as_chunks().0.iter();
        let words = kept.map(|words: &[Word; WORDS_OF_A_FORM as usize]| words.each_ref().map(Word::load));
        let forms: Vec<Form> = words.map_while(form_from_words).collect();
        let layout = lay_out::<W>(&forms).ok()??;
        let is_span = |(span, (start, part)): (&Span<W>, &([u64; W], Part))| {
            span.part.load() == part.word()
                && span.start.iter().zip(start).all(|(word, value)| word.load() == *value)
        };
        let is_there = layout.bits() == index.form_bits()
            && spans.iter().zip(&layout.spans).all(is_span)
            && ports.iter().zip(&layout.ports).all(|(word, value)| word.load() == *value);
        is_there.then_some(forms)
    }

    /// Spans, their words, and the forms that are kept, of the generation of an index.
    fn forms(&self, index: Index) -> (&'a [Span<W>], &'a [Word], &'a [Word]) {
        let generation = usize::from(index.generation());
        let part = |length: u32| generation * length as usize..(generation + 1) * length as usize;
        let words = self.ports.get(part(FORM_WORDS)).unwrap_or_default();
        let (ports, kept) = words.split_at_checked(PORT_WORDS as usize).unwrap_or_default();
        (self.spans.get(part(FORM_SPANS)).unwrap_or_default(), ports, kept)
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

fn place_with<const W: usize>(index: Index, addresses: &BTreeMap<[u64; W], u32>) -> Option<Buckets<W>> {
    let mut buckets: Buckets<W> = HashMap::with_capacity(addresses.len());
    for (key, service) in addresses {
        let bucket = buckets.entry(index.position(key)).or_default();
        if bucket.len() == BUCKET_ENTRIES {
            return None;
        }
        bucket.push((*key, *service));
    }
    Some(buckets)
}
