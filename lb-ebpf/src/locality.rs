//! lblc and lblcr: a destination address keeps its real server, or its few, while they are not overloaded
//! (`net/netfilter/ipvs/ip_vs_lblc.c`, `ip_vs_lblcr.c`).

use lb_common::clock::age;
use lb_common::locality::{LocalityKey, Members, SET_SECONDS, TOUCH_SECONDS};
use lb_common::selector::{NO_DESTINATION, Selector};
use lb_common::service::SlotTable;

use crate::tables::Tables;

/// The destination for a new flow to `address`; [`NO_DESTINATION`] if no real server takes connections.
#[inline(always)]
pub(crate) fn local<T: Tables>(table: SlotTable, service: u32, address: u64, tables: &T) -> u32 {
    let known = tables.member(service, address, true);
    if known.destination() != NO_DESTINATION && !known.is_full() {
        return known.destination();
    }
    let found = tables.search(table, None);
    if known.destination() != NO_DESTINATION && !found.has_spare() {
        return known.destination();
    }
    if found.destination() != NO_DESTINATION {
        let is_one_of_several = table.selector == Selector::ReplicatedLocality as u8;
        tables.add_member(service, address, found.destination(), is_one_of_several);
    }
    found.destination()
}

/// The least loaded server that an address had, in one word: what a function of a BPF program can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member(u64);

lb_common::one_word!(Member, u64);

impl Member {
    const FULL: u64 = 1 << 32;

    /// Its number, or [`NO_DESTINATION`].
    #[inline(always)]
    pub(crate) const fn destination(self) -> u32 {
        self.0 as u32
    }

    /// Whether it has more active connections than its weight stands for.
    #[inline(always)]
    pub(crate) const fn is_full(self) -> bool {
        self.0 & Self::FULL != 0
    }
}

/// What a server of a set has to do, and can: its overhead (41 bits), its weight (16 bits), and the highest bit if it has
/// more active connections than its weight stands for. In one word, or two of them would not fit on the stack below the
/// callers' parts: before Linux 6.8 each counts in steps of 32 bytes (`check_max_stack_depth` of kernel/bpf/verifier.c; 6.1:
/// "combined stack size of 4 calls is 544. Too large").
#[derive(Clone, Copy)]
struct Burden(u64);

impl Burden {
    const NONE: Self = Self(0);
    const FULL: u64 = 1 << 63;

    #[inline(always)]
    const fn new(active: u32, inactive: u32, weight: u64) -> Self {
        let overhead = ((active as u64) << 8) + inactive as u64;
        let full = if active as u64 > weight { Self::FULL } else { 0 };
        Self(full | overhead << 16 | weight)
    }

    #[inline(always)]
    const fn overhead(self) -> u64 {
        (self.0 & !Self::FULL) >> 16
    }

    #[inline(always)]
    const fn weight(self) -> u64 {
        self.0 & 0xffff
    }

    #[inline(always)]
    const fn is_full(self) -> bool {
        self.0 & Self::FULL != 0
    }

    /// Whether it has more to do than another, for its weight.
    #[inline(always)]
    const fn is_above(self, other: Self) -> bool {
        self.overhead() * other.weight() > other.overhead() * self.weight()
    }
}

/// What the server number `number` of a virtual server has to do; `None` if it takes no connections, or if its number was
/// given to another's since: an address keeps the numbers of servers that were removed.
#[inline(always)]
fn burden<T: Tables>(service: u32, number: u32, tables: &T) -> Option<Burden> {
    let destination = tables.destination(number)?;
    let load = tables.load(number)?;
    let weight = destination.weight.load() & 0xffff;
    let is_its_own = destination.service.load() == u64::from(service);
    if !is_its_own || !destination.is_up() || weight == 0 || load.is_overloaded() {
        return None;
    }
    let counts = load.counts();
    Some(Burden::new(counts.active, counts.inactive, weight))
}

/// The least loaded of the servers that an address had (`ip_vs_dest_set_min`). A set that did not change for a day
/// loses the most loaded (`ip_vs_dest_set_max`), unless it is not to be touched.
#[inline(always)]
pub fn member<T: Tables>(service: u32, address: u64, touch: bool, tables: &T) -> Member {
    let key = LocalityKey::new(service, address);
    let before = tables.now();
    let Some(mut members) = tables.members(&key).filter(|members| !members.is_forgotten(before)) else {
        return Member(NO_DESTINATION.into());
    };
    let (mut least, mut most) = (NO_DESTINATION, 0);
    let (mut lowest, mut highest) = (Burden::NONE, Burden::NONE);
    for i in 0..members.servers.len() {
        let Some(burden) = burden(service, members.servers[i], tables) else { continue };
        if least == NO_DESTINATION || lowest.is_above(burden) {
            least = members.servers[i];
            lowest = burden;
        }
        if highest.weight() == 0 || burden.is_above(highest) {
            most = i;
            highest = burden;
        }
    }
    // Asked for again: what was kept over the loop would lie on the stack, see `Burden`.
    let now = tables.now();
    let is_set = members.servers[1] != NO_DESTINATION;
    let is_stale = is_set && age(now, members.modified) >= SET_SECONDS;
    if is_stale {
        // The others move up.
        for i in 0..members.servers.len() - 1 {
            if i >= most {
                members.servers[i] = members.servers[i + 1];
            }
        }
        members.servers[members.servers.len() - 1] = NO_DESTINATION;
        members.modified = now;
    }
    if touch && (is_stale || age(now, members.used) >= TOUCH_SECONDS) {
        members.used = now;
        tables.remember_members(&key, &members);
    }
    let full = if lowest.is_full() { Member::FULL } else { 0 };
    Member(full | u64::from(least))
}

/// Gives an address a server: one more, or another.
#[inline(always)]
pub fn add_member<T: Tables>(
    service: u32,
    address: u64,
    destination: u32,
    is_one_of_several: bool,
    tables: &T,
) {
    let (key, now) = (LocalityKey::new(service, address), tables.now());
    let one = Members::one(destination, now);
    let members = match tables.members(&key) {
        Some(mut members) if is_one_of_several && !members.is_forgotten(now) => {
            members.add(destination, now);
            members.used = now;
            members
        }
        _ => one,
    };
    tables.remember_members(&key, &members);
}
