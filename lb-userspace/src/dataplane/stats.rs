//! What is counted for destinations, and from where on.
//!
//! Programs count on every CPU, so their counters cannot be set to zero at one moment: what there was is remembered,
//! and subtracted, as IPVS does (`ip_vs_zero_stats`). That lies in a pinned map which only daemons know, so it
//! outlives them as the counters do.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{MapData, PerCpuArray};
use lb_common::Word;
use lb_common::counter::RealServerStats;

use super::error::{DataplaneError, map_failed};
use super::layout::{self, MapLayout};
use super::memory::{Record, Region};
use super::open::check_pinned;

/// What a destination had when it was zeroed.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Baseline {
    packets: Word,
    bytes: Word,
    connections: Word,
}

// SAFETY: words.
unsafe impl Record for Baseline {}

impl Baseline {
    /// Begins anew from what has been counted.
    pub(super) fn set(&self, counted: RealServerStats) {
        self.packets.store(counted.packets);
        self.bytes.store(counted.bytes);
        self.connections.store(counted.connections);
    }

    /// What has been counted since.
    pub(super) fn since(&self, counted: RealServerStats) -> RealServerStats {
        // Another destination's number, given anew: its counters are zeroed before this is.
        RealServerStats {
            packets: counted.packets.saturating_sub(self.packets.load()),
            bytes: counted.bytes.saturating_sub(self.bytes.load()),
            connections: counted.connections.saturating_sub(self.connections.load()),
        }
    }
}

/// What was counted for a destination since the maps were made, summed over CPUs.
pub(super) fn counted(
    stats: &PerCpuArray<MapData, RealServerStats>,
    destination: u32,
) -> Result<RealServerStats, DataplaneError> {
    let values = stats.get(&destination, 0).map_err(map_failed("read", "REAL_STATS"))?;
    Ok(values.iter().fold(RealServerStats::default(), |sum, cpu| RealServerStats {
        packets: sum.packets + cpu.packets,
        bytes: sum.bytes + cpu.bytes,
        connections: sum.connections + cpu.connections,
    }))
}

/// Opens the pinned map, or makes it.
pub(super) fn open_baselines(directory: &Path) -> Result<Region<Baseline>, DataplaneError> {
    let layout = layout::baselines();
    check_pinned(directory, &layout)?;
    let MapLayout { name, kind, key_size, value_size, max_entries, flags } = layout;
    let pin = directory.join(name);
    let map = if pin.exists() {
        MapData::from_pin(&pin).map_err(map_failed("open", name))?
    } else {
        let map = aya_obj::Map::new_from_params(kind as u32, key_size, value_size, max_entries, flags);
        let map = MapData::create(map, name, None).map_err(map_failed("create", name))?;
        let failed =
            |error| DataplaneError::Map { operation: "pin", map: name, source: io::Error::other(error) };
        map.pin(&pin).map_err(failed)?;
        map
    };
    let failed = |source| DataplaneError::Map { operation: "map", map: name, source };
    Region::map(map.fd().as_fd(), max_entries).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_before_is_subtracted_and_never_more_than_there_is() {
        let stats = |n| RealServerStats { packets: n, bytes: 100 * n, connections: n / 2 };
        let baseline = Baseline { packets: Word::new(0), bytes: Word::new(0), connections: Word::new(0) };
        assert_eq!(baseline.since(stats(10)), stats(10));
        baseline.set(stats(10));
        assert_eq!(baseline.since(stats(10)), RealServerStats::default());
        assert_eq!(baseline.since(stats(16)), stats(6));
        assert_eq!(baseline.since(stats(2)), RealServerStats::default(), "the number is another's now");
    }
}
