//! Prefixes that lie in each other and ranges that overlap, to spans and ranges that do not.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use lb_common::form::{
    FORM_SPANS, MAX_FORMS, MAX_FORMS_OF_A_VIP, PORT_WORDS, PORTS_END, Part, ports_word, span_key,
};
use lb_common::service::{A_VIP, ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, NO_SERVICE, key_v4, key_v6};

use super::prefix::bits;
use super::{Ports, VirtualAddress};

/// An address that is not exact, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    /// The address.
    pub address: VirtualAddress,
    /// The protocol's number.
    pub protocol: u8,
    /// The number of the virtual server.
    pub service: u32,
}

/// What is to be written for one family, whose addresses are keys of `W` words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout<const W: usize> {
    /// Where spans start, and what they refer to; sorted, as many as a power of two.
    pub spans: Vec<([u64; W], Part)>,
    /// The words that they refer to.
    pub ports: Vec<u64>,
}

impl<const W: usize> Layout<W> {
    /// How many spans there are, as a power of two.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.spans.len().trailing_zeros()
    }
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// For so many forms of a family.
    Forms(usize),
    /// For so many forms that cover one VIP.
    OfAVip {
        /// The first such VIP.
        vip: IpAddr,
        /// How many.
        count: usize,
    },
    /// For the ranges of ports of all VIPs.
    Ranges,
}

/// A key of `W` words for an address of the family that has such keys; port and protocol as in the configuration.
#[must_use]
pub fn key<const W: usize>(vip: IpAddr, port: u16, protocol: u8) -> [u64; W] {
    let mut words = [0; W];
    match vip {
        IpAddr::V4(vip) => {
            let key: [u64; ADDRESS_WORDS_V4] =
                key_v4(u32::from_le_bytes(vip.octets()), port.to_be(), protocol);
            words.iter_mut().zip(key).for_each(|(word, value)| *word = value);
        }
        IpAddr::V6(vip) => {
            let key: [u64; ADDRESS_WORDS_V6] = key_v6(halves(vip), port.to_be(), protocol);
            words.iter_mut().zip(key).for_each(|(word, value)| *word = value);
        }
    }
    words
}

fn halves(address: Ipv6Addr) -> [u64; 2] {
    let (high, low) = ((address.to_bits() >> 64) as u64, address.to_bits() as u64);
    [high.to_be(), low.to_be()]
}

/// The forms of one family as the data plane searches them; `None` if there are none.
///
/// # Errors
/// [`TooMany`].
pub fn lay_out<const W: usize>(forms: &[Form]) -> Result<Option<Layout<W>>, TooMany> {
    if forms.is_empty() {
        return Ok(None);
    }
    if forms.len() > MAX_FORMS as usize {
        return Err(TooMany::Forms(forms.len()));
    }
    let mut layout = Layout { spans: Vec::new(), ports: Vec::new() };
    let mut known = HashMap::new();
    let protocols: BTreeSet<u8> = forms.iter().map(|form| form.protocol).collect();
    // Packets without ports (later fragments) ask whether theirs is a VIP at all.
    let any = |form: &Form| Form {
        address: VirtualAddress { ports: Ports::ANY, ..form.address },
        protocol: 0,
        service: A_VIP,
    };
    let vips: BTreeSet<Form> = forms.iter().map(any).collect();
    layout.add_protocol(0, vips.into_iter().collect(), &mut known)?;
    for protocol in protocols {
        let of = forms.iter().copied().filter(|form| form.protocol == protocol).collect();
        layout.add_protocol(protocol, of, &mut known)?;
    }
    if layout.spans.len() > FORM_SPANS as usize {
        return Err(TooMany::Forms(forms.len()));
    }
    let nothing = layout.part(vec![ports_word(0, NO_SERVICE)], &mut known)?;
    layout.spans.resize(layout.spans.len().next_power_of_two().max(2), ([u64::MAX; W], nothing));
    Ok(Some(layout))
}

impl<const W: usize> Layout<W> {
    /// Adds the spans of one protocol, from the first address to the last.
    fn add_protocol(
        &mut self,
        protocol: u8,
        mut forms: Vec<Form>,
        known: &mut HashMap<Vec<u64>, Part>,
    ) -> Result<(), TooMany> {
        let Some(family) = forms.first().map(|form| form.address.vips.first()) else { return Ok(()) };
        forms.sort_by_key(|form| form.address.precedence());
        let ranges: Vec<(u128, u128)> = forms.iter().map(numbers).collect();
        let mut starts = BTreeSet::from([0]);
        for (first, last) in &ranges {
            starts.insert(*first);
            // Behind the last address is the next protocol.
            starts.extend(last.checked_add(1).filter(|next| *next <= last_address(family)));
        }
        let mut before = None;
        for start in starts {
            let covers = |((first, last), form): (&(u128, u128), &Form)| {
                (*first <= start && start <= *last).then_some(*form)
            };
            let covering: Vec<Form> = ranges.iter().zip(&forms).filter_map(covers).collect();
            if protocol != 0 && covering.len() > MAX_FORMS_OF_A_VIP {
                return Err(TooMany::OfAVip { vip: address(start, family), count: covering.len() });
            }
            let part = self.part(words(&covering), known)?;
            if before != Some(part) {
                self.spans.push((span_key(&key(address(start, family), 0, protocol)), part));
                before = Some(part);
            }
        }
        // What has another protocol has no service.
        let nothing = self.part(words(&[]), known)?;
        self.spans.push((span_key(&key(address(0, family), 0, protocol + 1)), nothing));
        Ok(())
    }

    /// The place of these words: once, however many spans have them.
    fn part(&mut self, words: Vec<u64>, known: &mut HashMap<Vec<u64>, Part>) -> Result<Part, TooMany> {
        if let Some(part) = known.get(&words) {
            return Ok(*part);
        }
        let length = words.len().next_power_of_two();
        let first = u32::try_from(self.ports.len()).unwrap_or(u32::MAX);
        let part = Part { first, bits: length.trailing_zeros() };
        self.ports.extend(&words);
        self.ports.resize(first as usize + length, PORTS_END);
        if self.ports.len() > PORT_WORDS as usize {
            return Err(TooMany::Ranges);
        }
        known.insert(words, part);
        Ok(part)
    }
}

/// Who serves each port, by forms of which the first that has a port counts.
fn words(forms: &[Form]) -> Vec<u64> {
    let mut starts = BTreeSet::from([0]);
    for Ports { first, last } in forms.iter().map(|form| form.address.ports) {
        starts.insert(first);
        starts.extend(last.checked_add(1));
    }
    let mut words = Vec::new();
    let mut before = None;
    for start in starts {
        let has = |form: &&Form| form.address.ports.overlap(Ports::one(start));
        let service = forms.iter().find(has).map_or(NO_SERVICE, |form| form.service);
        if before != Some(service) {
            words.push(ports_word(start, service));
            before = Some(service);
        }
    }
    words
}

/// The first and the last address of a form as numbers.
fn numbers(form: &Form) -> (u128, u128) {
    let vips = form.address.vips;
    let first = number(vips.first());
    let others = bits(vips.first()) - vips.length();
    (first, first | 1u128.checked_shl(others.into()).unwrap_or(0).wrapping_sub(1))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address with this number, of the family of another.
fn address(number: u128, family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::from((number as u32).to_be_bytes()),
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

fn last_address(family: IpAddr) -> u128 {
    if family.is_ipv4() { u32::MAX.into() } else { u128::MAX }
}
