//! Another capacity: moving connections from the pinned tables to larger or smaller ones.
//!
//! A pinned table of another size is set aside under another name, where the next start finds it if this one
//! is killed; also beside one that was set aside before, for either may be the one that the attached program writes.
//! Their connections are copied before the program that uses the new table is attached, and once more after, for those
//! that the old program recorded meanwhile.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapInfo};
use lb_common::connection::{
    Buckets as _, Inserted, KEY_WORDS_V4, KEY_WORDS_V6, Terms, Timeouts, entries, insert, is_expired, lookup,
};
use lb_common::hash::{FlowHash, FlowSeed};

use super::error::DataplaneError;
use super::layout::{CONNECTIONS_V4, CONNECTIONS_V6, HALF_OPEN_V4, HALF_OPEN_V6, MapLayout, RESIZED};
use super::memory::{ConnectionTable, Connections, Memory, Region};
use super::open::difference;

/// Tables that were set aside.
#[derive(Debug, Default)]
pub(super) struct Previous {
    pub(super) v4: PreviousFamily<KEY_WORDS_V4>,
    pub(super) v6: PreviousFamily<KEY_WORDS_V6>,
}

/// Tables of one family that were set aside.
#[derive(Debug, Default)]
pub(super) struct PreviousFamily<const K: usize> {
    pub(super) main: Vec<ConnectionTable<K>>,
    pub(super) half_open: Vec<ConnectionTable<K>>,
}

/// Where tables are pinned that were set aside, those that were first. bpffs takes no dots in names.
fn asides(directory: &Path, name: &str) -> Vec<PathBuf> {
    numbered(directory, name).take_while(|pin| pin.exists()).collect()
}

fn numbered(directory: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    (1..).map(move |number: u32| directory.join(format!("{name}-previous-{number}")))
}

/// Renames pinned maps that differ in size only (addresses are published anew, connections copied), and opens what was set aside now or before.
pub(super) fn set_aside(directory: &Path, layouts: &[MapLayout]) -> Result<Previous, DataplaneError> {
    for layout in layouts.iter().filter(|layout| RESIZED.contains(&layout.name)) {
        let pin = directory.join(layout.name);
        let Ok(info) = MapInfo::from_pin(&pin) else { continue };
        let resized = MapLayout { max_entries: info.max_entries(), ..*layout };
        if info.max_entries() != layout.max_entries && difference(&pin, &resized).is_none() {
            let failed = |source| DataplaneError::Map { operation: "set aside", map: layout.name, source };
            if let Some(aside) = numbered(directory, layout.name).find(|aside| !aside.exists()) {
                fs::rename(&pin, aside).map_err(failed)?;
            }
        }
    }
    Ok(Previous {
        v4: PreviousFamily {
            main: open(directory, CONNECTIONS_V4)?,
            half_open: open(directory, HALF_OPEN_V4)?,
        },
        v6: PreviousFamily {
            main: open(directory, CONNECTIONS_V6)?,
            half_open: open(directory, HALF_OPEN_V6)?,
        },
    })
}

fn open<const K: usize>(
    directory: &Path,
    name: &'static str,
) -> Result<Vec<ConnectionTable<K>>, DataplaneError> {
    let failed = |source| DataplaneError::Map { operation: "open the previous", map: name, source };
    let open = |pin: PathBuf| {
        let map = MapData::from_pin(&pin).map_err(|error| failed(io::Error::other(error)))?;
        let entries = map.info().map_err(|error| failed(io::Error::other(error)))?.max_entries();
        Ok(ConnectionTable::whole(Region::map(map.fd().as_fd(), entries).map_err(failed)?))
    };
    asides(directory, name).into_iter().map(open).collect()
}

/// Forgets what was set aside.
pub(super) fn remove(directory: &Path) {
    // The last one first: while one is there, so are those before it.
    for pin in RESIZED.iter().flat_map(|name| asides(directory, name).into_iter().rev()) {
        if let Err(error) = fs::remove_file(&pin)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("remove {}: {error}", pin.display());
        }
    }
}

impl Previous {
    /// Copies every connection that lives and that the new tables do not know, or know from longer ago. Returns
    /// how many there were.
    pub(super) fn copy_into(&self, memory: &Memory, seed: FlowSeed, timeouts: &Timeouts, now: u32) -> u64 {
        let _placing = memory.moves.placing();
        self.v4.copy_into(&memory.v4, seed, timeouts, now)
            + self.v6.copy_into(&memory.v6, seed, timeouts, now)
    }
}

impl<const K: usize> PreviousFamily<K> {
    fn copy_into(&self, new: &Connections<K>, seed: FlowSeed, timeouts: &Timeouts, now: u32) -> u64 {
        let main = self.main.iter().map(|old| copy(old, &new.main, seed, timeouts, now));
        let half_open = self.half_open.iter().map(|old| copy(old, &new.half_open, seed, timeouts, now));
        main.chain(half_open).sum()
    }
}

fn copy<const K: usize>(
    old: &ConnectionTable<K>,
    new: &ConnectionTable<K>,
    seed: FlowSeed,
    timeouts: &Timeouts,
    now: u32,
) -> u64 {
    let mut copied = 0;
    let buckets = (0..old.len()).filter_map(|i| old.bucket(i));
    for (key, entry) in buckets.flat_map(entries).filter(|(_, entry)| !is_expired(entry.meta, timeouts, now))
    {
        let hash = FlowHash::new(&key, seed);
        let meta = entry.meta;
        let stored = match lookup(new, &key, hash) {
            Some(known) if known.meta.age(now) <= meta.age(now) => false,
            Some(known) => known.change(known.meta.moved(meta.destination(), meta.state(), meta.seen())),
            None => {
                let terms = Terms { now, timeouts, ranks: timeouts };
                // It was accounted for when it was opened. Whoever finds no room is the sweeper's to account for.
                let attempt = || insert(new, &key, hash, meta, terms, |_, _| {});
                let inserted =
                    Some(attempt()).filter(|inserted| *inserted != Inserted::Lost).unwrap_or_else(attempt);
                matches!(inserted, Inserted::Stored | Inserted::EvictedLive)
            }
        };
        copied += u64::from(stored);
    }
    copied
}
