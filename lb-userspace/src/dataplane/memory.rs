//! The maps' memory: mapped from the kernel, or of this process.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::acl::{AclScope, AclView};
use super::layout::{Capacity, TableBuckets};
use super::occupancy::LastSweep;
use super::stats::Baseline;
use lb_common::Word;
use lb_common::connection::{Bucket, Buckets, Extents, KEY_WORDS_V4, KEY_WORDS_V6, free_abandoned};
use lb_common::destination::Destination;
use lb_common::form::{FORM_SPANS, FORM_WORDS, Span};
use lb_common::limits::{MAX_DESTINATIONS, MAX_SERVICES, SLOT_WORDS};
use lb_common::load::Load;
use lb_common::sample::Watch;
use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, GENERATION_BUCKETS, Service};
use lb_common::settings::Settings;
use lb_common::trace::Trace;
use memmap2::{MmapMut, MmapOptions, MmapRaw};

/// Records that [`Region`] may find in memory that begins as zeroes and that the kernel writes meanwhile.
///
/// # Safety
/// Every byte pattern is a value, and every field that changes while others read is a [`Word`] or a [`lb_common::Setting`].
pub(super) unsafe trait Record {}

// SAFETY: words and settings.
unsafe impl Record for Settings {}
// SAFETY: words.
unsafe impl<const W: usize> Record for AddressBucket<W> {}
// SAFETY: words.
unsafe impl<const W: usize> Record for Span<W> {}
// SAFETY: words.
unsafe impl Record for Service {}
// SAFETY: a word.
unsafe impl Record for Word {}
// SAFETY: words.
unsafe impl Record for Destination {}
// SAFETY: words.
unsafe impl Record for Load {}
// SAFETY: words.
unsafe impl<const K: usize> Record for Bucket<K> {}
// SAFETY: words.
unsafe impl Record for Trace {}
// SAFETY: words.
unsafe impl Record for Watch {}

/// A slice of records.
#[derive(Debug)]
pub(super) struct Region<T> {
    map: MmapRaw,
    len: usize,
    records: PhantomData<T>,
}

impl<T: Record> Region<T> {
    /// Maps a BPF array with `len` elements of type `T`.
    pub(super) fn map(array: BorrowedFd<'_>, len: u32) -> io::Result<Self> {
        let len = len as usize;
        let map = MmapOptions::new().len(len * size_of::<T>()).map_raw(array.as_raw_fd())?;
        Ok(Self { map, len, records: PhantomData })
    }

    fn anonymous(len: u32) -> io::Result<Self> {
        let len = len as usize;
        let map = MmapMut::map_anon(len * size_of::<T>())?.into();
        Ok(Self { map, len, records: PhantomData })
    }
}

impl<T: Record> Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping has room for `len` records, begins on a page, lives as long as `self`, and any
        // bytes in it are records; what changes in them are words.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

/// All maps that the daemon reads and writes directly.
#[derive(Debug)]
pub struct Memory {
    pub(super) settings: Arc<Region<Settings>>,
    pub(super) services_v4: Region<AddressBucket<ADDRESS_WORDS_V4>>,
    pub(super) services_v6: Region<AddressBucket<ADDRESS_WORDS_V6>>,
    pub(super) forms_v4: Region<Span<ADDRESS_WORDS_V4>>,
    pub(super) forms_v6: Region<Span<ADDRESS_WORDS_V6>>,
    pub(super) form_ports_v4: Region<Word>,
    pub(super) form_ports_v6: Region<Word>,
    pub(super) services: Region<Service>,
    pub(super) slots: Region<Word>,
    pub(super) destinations: Region<Destination>,
    pub(super) loads: Region<Load>,
    pub(super) v4: Connections<KEY_WORDS_V4>,
    pub(super) v6: Connections<KEY_WORDS_V6>,
    /// What the maps of prefixes hold, as [`Tables`](super::Tables) last read or wrote them: they cannot be mapped.
    pub(super) acls: Mutex<BTreeMap<AclScope, Arc<AclView>>>,
    /// What destinations had counted when they were zeroed.
    pub(super) baselines: Region<Baseline>,
    /// What the last sweep found.
    pub(super) last_sweep: LastSweep,
    pub(super) moves: Moves,
}

/// Entries that are moved within a table, and threads of this process that must know.
#[derive(Debug, Default)]
pub(super) struct Moves {
    placing: Mutex<()>,
    begun_or_ended: AtomicU64,
}

impl Moves {
    /// What a thread of ours holds from before it looks for a flow until it has recorded it: it has read which part of a
    /// table is in use, and nobody waits for it as for programs.
    pub(super) fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes which part of a table is in use, while no thread of ours records a flow. `word` says so to all.
    pub(super) fn publish(&self, word: &Word, extents: Extents) {
        let _nobody_places = self.placing();
        word.store(extents.word());
    }

    /// Does what moves entries.
    pub(super) fn during<T>(&self, moves: impl FnOnce() -> T) -> T {
        self.begun_or_ended.fetch_add(1, Ordering::SeqCst);
        let done = moves();
        self.begun_or_ended.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// Another number than before, if entries have been moved meanwhile: whoever goes from bucket to bucket may have missed
    /// some.
    pub(super) fn count(&self) -> u64 {
        self.begun_or_ended.load(Ordering::SeqCst)
    }
}

/// The connection tables of one family.
#[derive(Debug)]
pub(super) struct Connections<const K: usize> {
    pub(super) main: ConnectionTable<K>,
    pub(super) half_open: ConnectionTable<K>,
}

impl<const K: usize> Connections<K> {
    /// Of the main table's buckets, the part is in use that the settings say.
    pub(super) fn new(
        main: Region<Bucket<K>>,
        half_open: Region<Bucket<K>>,
        settings: &Arc<Region<Settings>>,
        extents: fn(&Settings) -> &Word,
    ) -> Self {
        let in_use = InUse { settings: Arc::clone(settings), extents };
        Self {
            main: ConnectionTable { buckets: main, in_use: Some(in_use) },
            half_open: ConnectionTable::whole(half_open),
        }
    }

    fn in_process(
        buckets: TableBuckets,
        settings: &Arc<Region<Settings>>,
        extents: fn(&Settings) -> &Word,
    ) -> io::Result<Self> {
        let (main, half_open) = (Region::anonymous(buckets.main)?, Region::anonymous(buckets.half_open)?);
        Ok(Self::new(main, half_open, settings, extents))
    }

    /// Both.
    pub(super) fn tables(&self) -> [&ConnectionTable<K>; 2] {
        [&self.main, &self.half_open]
    }
}

/// One of the connection tables.
#[derive(Debug)]
pub struct ConnectionTable<const K: usize> {
    buckets: Region<Bucket<K>>,
    in_use: Option<InUse>,
}

/// Where it says which part of a table is in use.
#[derive(Debug)]
struct InUse {
    settings: Arc<Region<Settings>>,
    extents: fn(&Settings) -> &Word,
}

impl<const K: usize> ConnectionTable<K> {
    /// A table all of which is in use.
    pub(super) fn whole(buckets: Region<Bucket<K>>) -> Self {
        Self { buckets, in_use: None }
    }
}

impl<const K: usize> Buckets<K> for ConnectionTable<K> {
    fn len(&self) -> u32 {
        u32::try_from(self.buckets.len).unwrap_or(u32::MAX)
    }

    fn extents(&self) -> Extents {
        let extents = |in_use: &InUse| Extents::from_word((in_use.extents)(&in_use.settings[0]).load());
        self.in_use.as_ref().map_or(Extents::WHOLE, extents)
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<K>> {
        self.buckets.get(index as usize)
    }
}

impl Memory {
    /// Empty tables in this process, which no program sees.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn in_process(capacity: Capacity) -> io::Result<Self> {
        let settings = Arc::new(Region::anonymous(1)?);
        Ok(Self {
            v4: Connections::in_process(capacity.v4(), &settings, |settings| &settings.extents_v4)?,
            v6: Connections::in_process(capacity.v6(), &settings, |settings| &settings.extents_v6)?,
            settings,
            services_v4: Region::anonymous(2 * GENERATION_BUCKETS)?,
            services_v6: Region::anonymous(capacity.service_buckets_v6())?,
            forms_v4: Region::anonymous(2 * FORM_SPANS)?,
            forms_v6: Region::anonymous(2 * FORM_SPANS)?,
            form_ports_v4: Region::anonymous(2 * FORM_WORDS)?,
            form_ports_v6: Region::anonymous(2 * FORM_WORDS)?,
            services: Region::anonymous(MAX_SERVICES)?,
            slots: Region::anonymous(SLOT_WORDS)?,
            destinations: Region::anonymous(MAX_DESTINATIONS)?,
            loads: Region::anonymous(MAX_DESTINATIONS)?,
            acls: Mutex::default(),
            baselines: Region::anonymous(MAX_DESTINATIONS)?,
            last_sweep: LastSweep::default(),
            moves: Moves::default(),
        })
    }

    /// The one element of the settings map.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings[0]
    }

    /// Frees entries that a daemon was writing when it was killed. Nobody else writes any yet.
    pub(super) fn free_abandoned(&self, now: u32) {
        let v4 = self.v4.tables().map(|table| free_abandoned(table, now));
        let v6 = self.v6.tables().map(|table| free_abandoned(table, now));
        let freed: u64 = v4.iter().chain(&v6).sum();
        if freed > 0 {
            tracing::debug!("freed {freed} entries that a daemon was writing when it was killed");
        }
    }

    /// The rules for clients.
    pub(super) fn acls(&self) -> MutexGuard<'_, BTreeMap<AclScope, Arc<AclView>>> {
        self.acls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// IPv4 connections of which at least two packets were seen.
    #[must_use]
    pub fn connections_v4(&self) -> &ConnectionTable<KEY_WORDS_V4> {
        &self.v4.main
    }

    /// IPv4 flows of which one packet was seen.
    #[must_use]
    pub fn half_open_v4(&self) -> &ConnectionTable<KEY_WORDS_V4> {
        &self.v4.half_open
    }

    /// IPv6 connections of which at least two packets were seen.
    #[must_use]
    pub fn connections_v6(&self) -> &ConnectionTable<KEY_WORDS_V6> {
        &self.v6.main
    }

    /// IPv6 flows of which one packet was seen.
    #[must_use]
    pub fn half_open_v6(&self) -> &ConnectionTable<KEY_WORDS_V6> {
        &self.v6.half_open
    }
}
