//! Whose connections are let in: from one set of rules to another without a moment of wrong ones.
//!
//! A client's rule is that of the longest prefix that holds it. While prefixes are written one by one, each client
//! must find what was or what will be. In either set, whatever lies in a denied prefix is denied as well, so this order
//! does it: what is to be denied is written, then what is allowed; the gate is set; then what is no longer allowed is
//! taken away, and what is no longer denied. Programs may be between gate and look-up, or in the middle of one: they are
//! waited for before anything is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, Map, MapData, MapError};
use lb_common::acl::{ALL_SERVICES, ALLOW, AclKey, DENY, Gate, SCOPE_BITS, SOURCE_WORDS_V4, SOURCE_WORDS_V6};
use lb_common::connection::KEY_WORDS_V4;

use super::error::{DataplaneError, map_failed};
use crate::config::Acl;
use crate::forms::Prefix;

/// Whom rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclScope {
    /// Clients of every virtual server.
    All,
    /// Clients of the virtual server with this number.
    Service(u32),
}

impl AclScope {
    fn word(self) -> u32 {
        match self {
            Self::All => ALL_SERVICES,
            Self::Service(number) => number,
        }
    }

    fn from_word(word: u32) -> Self {
        if word == ALL_SERVICES { Self::All } else { Self::Service(word) }
    }
}

/// What becomes of a client's new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// They are let in.
    Allow,
    /// They are refused.
    Deny,
}

impl Rule {
    const fn word(self) -> u32 {
        match self {
            Self::Allow => ALLOW,
            Self::Deny => DENY,
        }
    }
}

/// The rules of one scope, without contradictions: what lies in a denied prefix is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclView {
    /// Whether there are rules at all, and what becomes of clients that no prefix holds.
    pub gate: Gate,
    /// The longest of these that holds a client says what becomes of it.
    pub rules: BTreeMap<Prefix, Rule>,
}

impl Default for AclView {
    /// Everybody is let in.
    fn default() -> Self {
        Self { gate: Gate::OPEN, rules: BTreeMap::new() }
    }
}

/// The rules of every scope that has any.
pub type AclViews = BTreeMap<AclScope, AclView>;

impl From<&Acl> for AclView {
    fn from(acl: &Acl) -> Self {
        let is_denied = |prefix: &Prefix| {
            !acl.deny.is_empty() && prefix.enclosing().any(|outer| acl.deny.contains(&outer))
        };
        let allowed = acl
            .allow
            .iter()
            .map(|prefix| (*prefix, if is_denied(prefix) { Rule::Deny } else { Rule::Allow }));
        let denied = acl.deny.iter().map(|prefix| (*prefix, Rule::Deny));
        let gate = if acl.is_empty() { Gate::OPEN } else { Gate::guarded(!acl.allow.is_empty()) };
        Self { gate, rules: allowed.chain(denied).collect() }
    }
}

impl AclView {
    /// Whether nothing is said about anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gate.is_open() && self.rules.is_empty()
    }
}

/// The rules of one scope, for many look-ups.
pub(super) struct Clients<'a> {
    view: &'a AclView,
    /// The lengths that there are in IPv4 and IPv6, longest first.
    lengths: [Vec<u8>; 2],
}

impl<'a> Clients<'a> {
    pub(super) fn new(view: &'a AclView) -> Self {
        let lengths = [true, false].map(|is_ipv4| {
            let of_family = view.rules.keys().filter(|prefix| prefix.is_ipv4() == is_ipv4);
            let lengths: BTreeSet<u8> = of_family.map(|prefix| prefix.length()).collect();
            lengths.into_iter().rev().collect()
        });
        Self { view, lengths }
    }

    pub(super) fn lets_in(&self, client: IpAddr) -> bool {
        if self.view.gate.is_open() {
            return true;
        }
        let lengths = &self.lengths[usize::from(client.is_ipv6())];
        let rule = lengths.iter().find_map(|length| self.view.rules.get(&Prefix::around(client, *length)?));
        rule.map_or(!self.view.gate.refuses_others(), |rule| *rule == Rule::Allow)
    }
}

/// The client of a flow.
pub(super) fn client<const K: usize>(key: &[u64; K]) -> IpAddr {
    let bytes: Vec<u8> = key.iter().take(2).flat_map(|word| word.to_le_bytes()).collect();
    if K == KEY_WORDS_V4 {
        Ipv4Addr::from(bytes.first_chunk().copied().unwrap_or_default()).into()
    } else {
        Ipv6Addr::from(bytes.first_chunk().copied().unwrap_or_default()).into()
    }
}

/// A step from one set of rules to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Put(Prefix, Rule),
    Remove(Prefix),
    Gate(Gate),
    /// For programs that may have seen what was before.
    Wait,
}

/// The steps, in their order.
pub(super) fn steps(from: &AclView, to: &AclView) -> Vec<Step> {
    let put = |wanted: Rule| {
        let new = to.rules.iter().filter(move |(_, rule)| **rule == wanted);
        let new = new.filter(|(prefix, rule)| from.rules.get(prefix) != Some(rule));
        new.map(|(prefix, rule)| Step::Put(*prefix, *rule))
    };
    let remove = |unwanted: Rule| {
        let old = from.rules.iter().filter(move |(_, rule)| **rule == unwanted);
        let old: Vec<Step> = old
            .filter(|(prefix, _)| !to.rules.contains_key(prefix))
            .map(|(prefix, _)| Step::Remove(*prefix))
            .collect();
        let wait = (!old.is_empty()).then_some(Step::Wait);
        wait.into_iter().chain(old)
    };
    put(Rule::Deny)
        .chain(put(Rule::Allow))
        .chain([Step::Gate(to.gate)])
        .chain(remove(Rule::Allow))
        .chain(remove(Rule::Deny))
        .collect()
}

/// The maps of both families.
pub(super) struct Tries {
    v4: Trie<SOURCE_WORDS_V4>,
    v6: Trie<SOURCE_WORDS_V6>,
}

/// A prefix as a map has it: how many bits of the key count, and the key.
type Entry<const W: usize> = (u32, AclKey<W>);

/// A map of prefixes: the kernel's, or one of this process.
enum Trie<const W: usize> {
    Kernel(&'static str, LpmTrie<MapData, AclKey<W>, u32>),
    InProcess(BTreeMap<Entry<W>, u32>),
}

impl Tries {
    pub(super) const V4: &str = "ACL_V4";
    pub(super) const V6: &str = "ACL_V6";

    /// The maps that `open` finds by their names.
    pub(super) fn open(
        open: impl Fn(&'static str) -> Result<MapData, MapError>,
    ) -> Result<Self, DataplaneError> {
        Ok(Self { v4: Trie::open(Self::V4, &open)?, v6: Trie::open(Self::V6, &open)? })
    }

    pub(super) fn in_process() -> Self {
        Self { v4: Trie::InProcess(BTreeMap::new()), v6: Trie::InProcess(BTreeMap::new()) }
    }

    pub(super) fn put(&mut self, scope: AclScope, prefix: Prefix, rule: Rule) -> Result<(), DataplaneError> {
        match prefix.first() {
            IpAddr::V4(address) => self.v4.put(entry(scope, prefix, words_v4(address)), rule.word()),
            IpAddr::V6(address) => self.v6.put(entry(scope, prefix, words_v6(address)), rule.word()),
        }
    }

    pub(super) fn remove(&mut self, scope: AclScope, prefix: Prefix) -> Result<(), DataplaneError> {
        match prefix.first() {
            IpAddr::V4(address) => self.v4.remove(entry(scope, prefix, words_v4(address))),
            IpAddr::V6(address) => self.v6.remove(entry(scope, prefix, words_v6(address))),
        }
    }

    /// Everything they hold. What nobody could have written but by mistake counts as allowed, so that it is found to
    /// differ from what should be there.
    pub(super) fn read(&self) -> Result<BTreeMap<AclScope, BTreeMap<Prefix, Rule>>, DataplaneError> {
        let mut rules: BTreeMap<AclScope, BTreeMap<Prefix, Rule>> = BTreeMap::new();
        let mut add = |scope: u32, address: IpAddr, length: u32, rule: u32| {
            let length = u8::try_from(length.saturating_sub(SCOPE_BITS)).ok();
            let prefix = length.and_then(|length| Prefix::around(address, length));
            let rule = if rule == DENY { Rule::Deny } else { Rule::Allow };
            rules
                .entry(AclScope::from_word(scope))
                .or_default()
                .insert(prefix.unwrap_or(address.into()), rule);
        };
        for ((length, key), rule) in self.v4.entries()? {
            let [word] = key.source;
            add(key.scope, Ipv4Addr::from(word.to_le_bytes()).into(), length, rule);
        }
        for ((length, key), rule) in self.v6.entries()? {
            let bytes: Vec<u8> = key.source.iter().flat_map(|word| word.to_le_bytes()).collect();
            let address = Ipv6Addr::from(bytes.first_chunk().copied().unwrap_or_default());
            add(key.scope, address.into(), length, rule);
        }
        Ok(rules)
    }
}

fn entry<const W: usize>(scope: AclScope, prefix: Prefix, source: [u32; W]) -> Entry<W> {
    (SCOPE_BITS + u32::from(prefix.length()), AclKey { scope: scope.word(), source })
}

fn words_v4(address: Ipv4Addr) -> [u32; SOURCE_WORDS_V4] {
    [u32::from_le_bytes(address.octets())]
}

fn words_v6(address: Ipv6Addr) -> [u32; SOURCE_WORDS_V6] {
    let octets = address.octets();
    std::array::from_fn(|i| u32::from_le_bytes(std::array::from_fn(|j| octets[4 * i + j])))
}

impl<const W: usize> Trie<W> {
    fn open(
        name: &'static str,
        open: impl Fn(&'static str) -> Result<MapData, MapError>,
    ) -> Result<Self, DataplaneError> {
        let map = open(name).and_then(|map| LpmTrie::try_from(Map::LpmTrie(map)));
        Ok(Self::Kernel(name, map.map_err(map_failed("open", name))?))
    }

    fn put(&mut self, (length, key): Entry<W>, rule: u32) -> Result<(), DataplaneError> {
        match self {
            Self::Kernel(name, map) => match map.insert(&Key::new(length, key), rule, 0) {
                Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOSPC) => {
                    Err(DataplaneError::AclFull)
                }
                done => done.map_err(map_failed("write", name)),
            },
            Self::InProcess(map) => {
                map.insert((length, key), rule);
                Ok(())
            }
        }
    }

    fn remove(&mut self, (length, key): Entry<W>) -> Result<(), DataplaneError> {
        match self {
            Self::Kernel(name, map) => match map.remove(&Key::new(length, key)) {
                Err(MapError::KeyNotFound) => Ok(()),
                done => done.map_err(map_failed("write", name)),
            },
            Self::InProcess(map) => {
                map.remove(&(length, key));
                Ok(())
            }
        }
    }

    fn entries(&self) -> Result<Vec<(Entry<W>, u32)>, DataplaneError> {
        match self {
            Self::Kernel(name, map) => {
                let read = |entry: Result<(Key<AclKey<W>>, u32), MapError>| {
                    let (key, rule) = entry.map_err(map_failed("read", name))?;
                    Ok(((key.prefix_len(), key.data()), rule))
                };
                map.iter().map(read).collect()
            }
            Self::InProcess(map) => Ok(map.iter().map(|(entry, rule)| (*entry, *rule)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_acl() -> impl Strategy<Value = Acl> {
        // Few addresses, so that prefixes lie in each other.
        let prefix = (0..16u32, 28..=32u8).prop_filter_map("a length of the family", |(bits, length)| {
            Prefix::around(Ipv4Addr::from(0x0A00_0000 | bits).into(), length)
        });
        let set = || proptest::collection::btree_set(prefix.clone(), 0..5);
        (set(), set()).prop_map(|(deny, allow)| Acl { deny, allow })
    }

    fn clients() -> impl Iterator<Item = IpAddr> {
        (0..17u32).map(|bits| Ipv4Addr::from(0x0A00_0000 + bits).into())
    }

    /// What the documentation says, word by word.
    fn is_let_in(acl: &Acl, client: IpAddr) -> bool {
        let mut around = Prefix::from(client).enclosing();
        let mut around_again = Prefix::from(client).enclosing();
        !around.any(|prefix| acl.deny.contains(&prefix))
            && (acl.allow.is_empty() || around_again.any(|prefix| acl.allow.contains(&prefix)))
    }

    proptest! {
        #[test]
        fn the_longest_prefix_says_what_deny_and_allow_say(acl in any_acl()) {
            let view = AclView::from(&acl);
            let rules = Clients::new(&view);
            for client in clients() {
                prop_assert_eq!(rules.lets_in(client), is_let_in(&acl, client), "{}", client);
            }
        }

        #[test]
        fn no_step_from_one_set_to_another_refuses_or_lets_in_who_should_not(from in any_acl(), to in any_acl()) {
            let mut view = AclView::from(&from);
            for step in steps(&view.clone(), &AclView::from(&to)) {
                match step {
                    Step::Put(prefix, rule) => { view.rules.insert(prefix, rule); }
                    Step::Remove(prefix) => { view.rules.remove(&prefix); }
                    Step::Gate(gate) => view.gate = gate,
                    Step::Wait => {}
                }
                let rules = Clients::new(&view);
                for client in clients() {
                    let (before, after) = (is_let_in(&from, client), is_let_in(&to, client));
                    let now = rules.lets_in(client);
                    prop_assert!(now == before || now == after, "{} by {:?}", client, step);
                }
            }
            prop_assert_eq!(view, AclView::from(&to));
        }
    }

    #[test]
    fn clients_are_read_from_the_keys_of_flows() {
        let v4 = lb_common::connection::key_v4(0x0100_0A0A_0763_33C6, 0, 6);
        assert_eq!(client(&v4), IpAddr::from([198, 51, 99, 7]));
        let address: Ipv6Addr = "2001:db8::7".parse().expect("it is an address");
        let words = u128::from_le_bytes(address.octets());
        #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
        let v6 = lb_common::connection::key_v6([words as u64, (words >> 64) as u64, 0, 0], 0, 6);
        assert_eq!(client(&v6), IpAddr::from(address));
    }

    #[test]
    fn what_the_maps_hold_is_read_back() {
        let mut tries = Tries::in_process();
        let prefixes = ["0.0.0.0/0", "198.51.100.0/24", "2001:db8::/32", "2001:db8::7"];
        for prefix in prefixes {
            let prefix = prefix.parse().expect("it is one");
            tries.put(AclScope::All, prefix, Rule::Deny).expect("there is room");
            tries.put(AclScope::Service(7), prefix, Rule::Allow).expect("there is room");
        }
        let read = tries.read().expect("it can be read");
        let shown = |scope, expected| {
            let rules: &BTreeMap<Prefix, Rule> = &read[&scope];
            assert!(rules.values().all(|rule| *rule == expected));
            rules.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown(AclScope::All, Rule::Deny), prefixes);
        assert_eq!(shown(AclScope::Service(7), Rule::Allow), prefixes);
    }
}
