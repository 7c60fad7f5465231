//! Which maps there are, and whether pinned ones are the same.

use std::ops::RangeInclusive;

use aya::maps::MapType;
use aya::maps::lpm_trie::Key;
use lb_common::acl::{AclKey, SOURCE_WORDS_V4, SOURCE_WORDS_V6};
use lb_common::connection::{Bucket, KEY_WORDS_V4, KEY_WORDS_V6, buckets_for, half_open_buckets};
use lb_common::counter::{REASONS, RealServerStats};
use lb_common::destination::Destination;
use lb_common::form::{FORM_SPANS, FORM_WORDS, Span};
use lb_common::fragment::{FragmentKey, FragmentRoute, HELD_RING_BYTES, MAX_FRAGMENTED};
use lb_common::limits::{MAX_ACL_PREFIXES, MAX_DESTINATIONS, MAX_INTERFACES, MAX_SERVICES, SLOT_WORDS};
use lb_common::load::Load;
use lb_common::locality::{LocalityKey, MAX_LOCALITIES, Members};
use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, GENERATION_BUCKETS, Service};
use lb_common::settings::Settings;
use lb_common::sync::EVENT_RING_BYTES;

use super::acl::Tries;
use super::stats::Baseline;

/// Changes whenever the meaning or the size of a map's values does. Part of the pins' path, so that a daemon
/// never misreads what another version wrote. And whenever the kernel would not let the programs have a map that others
/// had: DEVICES is for programs that take frames in several buffers, or for others (`bpf_prog_map_compatible`).
const VERSION: u32 = 9;

/// The layouts whose pinned maps this version reads as its own: from the oldest to the one it writes. A version that only
/// has more maps, or fewer, leaves the first number as it is.
pub(super) const READABLE: RangeInclusive<u32> = 7..=VERSION;

pub(super) const CONNECTIONS_V4: &str = "CONNECTIONS_V4";
pub(super) const HALF_OPEN_V4: &str = "HALF_OPEN_V4";
pub(super) const CONNECTIONS_V6: &str = "CONNECTIONS_V6";
pub(super) const HALF_OPEN_V6: &str = "HALF_OPEN_V6";

pub(super) const SERVICES_V6: &str = "SERVICES_V6";

/// The maps whose size the configuration decides.
pub(super) const RESIZED: [&str; 5] =
    [CONNECTIONS_V4, HALF_OPEN_V4, CONNECTIONS_V6, HALF_OPEN_V6, SERVICES_V6];

/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

/// What a map must be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapLayout {
    pub(super) name: &'static str,
    pub(super) kind: MapType,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    /// The flags it is created with.
    pub(super) flags: u32,
}

impl MapLayout {
    /// An array that the daemon maps into its memory.
    const fn array<T>(name: &'static str, max_entries: u32) -> Self {
        Self { flags: MMAPABLE, ..Self::of::<u32, T>(name, MapType::Array, max_entries) }
    }

    /// Prefixes of keys that begin with their length.
    const fn prefixes<const W: usize>(name: &'static str, max_entries: u32) -> Self {
        // The kernel makes them without `BPF_F_NO_PREALLOC` not at all.
        Self { flags: 1, ..Self::of::<Key<AclKey<W>>, u32>(name, MapType::LpmTrie, max_entries) }
    }

    const fn per_cpu<T>(name: &'static str, max_entries: u32) -> Self {
        Self::of::<u32, T>(name, MapType::PerCpuArray, max_entries)
    }

    /// An interface's index, and the descriptor of a program, of which there is none.
    const fn devices(name: &'static str, max_entries: u32) -> Self {
        // The kernel sets `BPF_F_RDONLY_PROG` itself (`dev_map_alloc_check`).
        Self { flags: 1 << 7, ..Self::of::<u32, [u32; 2]>(name, MapType::DevMap, max_entries) }
    }

    const fn of<K, V>(name: &'static str, kind: MapType, max_entries: u32) -> Self {
        let (key_size, value_size) = (size_of::<K>() as u32, size_of::<V>() as u32);
        Self { name, kind, key_size, value_size, max_entries, flags: 0 }
    }
}

/// How many connections there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// In each family (`director.max_connections`).
    pub max_connections: u32,
    /// Whether there are IPv6 virtual servers. Without, their tables are as small as can be.
    pub has_ipv6: bool,
}

/// Buckets of the two connection tables of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableBuckets {
    pub(super) main: u32,
    pub(super) half_open: u32,
}

impl TableBuckets {
    /// A flow has three buckets to choose from.
    const LEAST: u32 = 3;

    fn new(main: u32) -> Self {
        let half_open = half_open_buckets(main);
        Self { main: main.max(Self::LEAST), half_open: half_open.max(Self::LEAST) }
    }
}

impl Capacity {
    pub(super) fn v4(self) -> TableBuckets {
        TableBuckets::new(buckets_for(self.max_connections))
    }

    /// Buckets of IPv6 service addresses. All of a map that is mapped counts as the daemon's memory.
    pub(super) fn service_buckets_v6(self) -> u32 {
        if self.has_ipv6 { 2 * GENERATION_BUCKETS } else { 1 }
    }

    pub(super) fn v6(self) -> TableBuckets {
        TableBuckets::new(if self.has_ipv6 { buckets_for(self.max_connections) } else { 0 })
    }
}

/// What the programs do not know: what destinations had counted when they were zeroed.
pub(super) fn baselines() -> MapLayout {
    MapLayout::array::<Baseline>("STATS_BASELINE", MAX_DESTINATIONS)
}

/// How many maps the programs have.
pub(super) const MAPS: usize = 24;

/// Every one of them, for this many connections.
pub(super) fn maps(capacity: Capacity) -> [MapLayout; MAPS] {
    let (v4, v6) = (capacity.v4(), capacity.v6());
    [
        MapLayout::array::<Settings>("SETTINGS", 1),
        MapLayout::array::<AddressBucket<ADDRESS_WORDS_V4>>("SERVICES_V4", 2 * GENERATION_BUCKETS),
        MapLayout::array::<AddressBucket<ADDRESS_WORDS_V6>>(SERVICES_V6, capacity.service_buckets_v6()),
        MapLayout::array::<Span<ADDRESS_WORDS_V4>>("FORMS_V4", 2 * FORM_SPANS),
        MapLayout::array::<Span<ADDRESS_WORDS_V6>>("FORMS_V6", 2 * FORM_SPANS),
        MapLayout::array::<u64>("FORM_PORTS_V4", 2 * FORM_WORDS),
        MapLayout::array::<u64>("FORM_PORTS_V6", 2 * FORM_WORDS),
        MapLayout::array::<Service>("SERVICES", MAX_SERVICES),
        MapLayout::array::<u64>("SLOTS", SLOT_WORDS),
        MapLayout::array::<Destination>("DESTINATIONS", MAX_DESTINATIONS),
        MapLayout::array::<Load>("LOADS", MAX_DESTINATIONS),
        MapLayout::array::<Bucket<KEY_WORDS_V4>>(CONNECTIONS_V4, v4.main),
        MapLayout::array::<Bucket<KEY_WORDS_V4>>(HALF_OPEN_V4, v4.half_open),
        MapLayout::array::<Bucket<KEY_WORDS_V6>>(CONNECTIONS_V6, v6.main),
        MapLayout::array::<Bucket<KEY_WORDS_V6>>(HALF_OPEN_V6, v6.half_open),
        MapLayout::prefixes::<SOURCE_WORDS_V4>(Tries::V4, 2 * MAX_ACL_PREFIXES),
        MapLayout::prefixes::<SOURCE_WORDS_V6>(Tries::V6, 2 * MAX_ACL_PREFIXES),
        MapLayout::of::<FragmentKey, FragmentRoute>("FRAGMENTS", MapType::LruHash, MAX_FRAGMENTED),
        MapLayout::of::<LocalityKey, Members>("LOCALITIES", MapType::LruHash, MAX_LOCALITIES),
        MapLayout::of::<(), ()>("HELD", MapType::RingBuf, HELD_RING_BYTES),
        MapLayout::of::<(), ()>("EVENTS", MapType::RingBuf, EVENT_RING_BYTES),
        MapLayout::devices("DEVICES", MAX_INTERFACES as u32),
        MapLayout::per_cpu::<u64>("COUNTERS", REASONS),
        MapLayout::per_cpu::<RealServerStats>("REAL_STATS", MAX_DESTINATIONS),
    ]
}
