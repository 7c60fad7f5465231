//! Which maps there are, and whether pinned ones are the same.

use lb_common::connection::{Bucket, KEY_WORDS_V4, buckets_for, half_open_buckets};
use lb_common::counter::{REASONS, RealServerStats};
use lb_common::destination::Destination;
use lb_common::limits::{MAX_DESTINATIONS, MAX_SERVICES, SLOT_WORDS};
use lb_common::service::{AddressBucket, GENERATION_BUCKETS, Service};
use lb_common::settings::Settings;

/// Changes whenever the meaning or the size of a map's values does. Part of the pins' path, so that a daemon
/// never misreads what another version wrote.
pub(super) const VERSION: u32 = 1;

pub(super) const CONNECTIONS_V4: &str = "CONNECTIONS_V4";
pub(super) const HALF_OPEN_V4: &str = "HALF_OPEN_V4";

/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

/// What a map must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapLayout {
    pub(super) name: &'static str,
    pub(super) per_cpu: bool,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
}

impl MapLayout {
    const fn array<T>(name: &'static str, max_entries: u32) -> Self {
        Self { name, per_cpu: false, value_size: size_of::<T>() as u32, max_entries }
    }

    const fn per_cpu<T>(name: &'static str, max_entries: u32) -> Self {
        Self { name, per_cpu: true, value_size: size_of::<T>() as u32, max_entries }
    }

    /// The flags it is created with.
    pub(super) const fn flags(self) -> u32 {
        if self.per_cpu { 0 } else { MMAPABLE }
    }
}

/// Every map, for this many connections.
pub(super) fn maps(max_connections: u32) -> [MapLayout; 9] {
    let buckets = buckets_for(max_connections);
    [
        MapLayout::array::<Settings>("SETTINGS", 1),
        MapLayout::array::<AddressBucket>("SERVICES_V4", 2 * GENERATION_BUCKETS),
        MapLayout::array::<Service>("SERVICES", MAX_SERVICES),
        MapLayout::array::<u64>("SLOTS", SLOT_WORDS),
        MapLayout::array::<Destination>("DESTINATIONS", MAX_DESTINATIONS),
        MapLayout::array::<Bucket<KEY_WORDS_V4>>(CONNECTIONS_V4, buckets),
        MapLayout::array::<Bucket<KEY_WORDS_V4>>(HALF_OPEN_V4, half_open_buckets(buckets)),
        MapLayout::per_cpu::<u64>("COUNTERS", REASONS),
        MapLayout::per_cpu::<RealServerStats>("REAL_STATS", MAX_DESTINATIONS),
    ]
}
