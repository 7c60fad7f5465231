//! The maps' memory: mapped from the kernel, or of this process.

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use lb_common::Word;
use lb_common::connection::{Bucket, Buckets, KEY_WORDS_V4, buckets_for, half_open_buckets};
use lb_common::destination::Destination;
use lb_common::limits::{MAX_DESTINATIONS, MAX_SERVICES, SLOT_WORDS};
use lb_common::service::{AddressBucket, GENERATION_BUCKETS, Service};
use lb_common::settings::Settings;
use memmap2::{MmapMut, MmapOptions, MmapRaw};

/// Records that [`Region`] may find in memory that begins as zeroes and that the kernel writes meanwhile.
///
/// # Safety
/// Every byte pattern is a value, and every field that changes while others read is a [`Word`] or a [`lb_common::Setting`].
pub(super) unsafe trait Record {}

// SAFETY: words and settings.
unsafe impl Record for Settings {}
// SAFETY: words.
unsafe impl Record for AddressBucket {}
// SAFETY: words.
unsafe impl Record for Service {}
// SAFETY: a word.
unsafe impl Record for Word {}
// SAFETY: words.
unsafe impl Record for Destination {}
// SAFETY: words.
unsafe impl<const K: usize> Record for Bucket<K> {}

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
    pub(super) settings: Region<Settings>,
    pub(super) services_v4: Region<AddressBucket>,
    pub(super) services: Region<Service>,
    pub(super) slots: Region<Word>,
    pub(super) destinations: Region<Destination>,
    pub(super) connections_v4: ConnectionTable,
    pub(super) half_open_v4: ConnectionTable,
}

/// One of the connection tables.
#[derive(Debug)]
pub struct ConnectionTable(pub(super) Region<Bucket<KEY_WORDS_V4>>);

impl Buckets<KEY_WORDS_V4> for ConnectionTable {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len).unwrap_or(u32::MAX)
    }

    fn bucket(&self, index: u32) -> Option<&Bucket<KEY_WORDS_V4>> {
        self.0.get(index as usize)
    }
}

impl Memory {
    /// Empty tables in this process, which no program sees.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn in_process(max_connections: u32) -> io::Result<Self> {
        let buckets = buckets_for(max_connections);
        Ok(Self {
            settings: Region::anonymous(1)?,
            services_v4: Region::anonymous(2 * GENERATION_BUCKETS)?,
            services: Region::anonymous(MAX_SERVICES)?,
            slots: Region::anonymous(SLOT_WORDS)?,
            destinations: Region::anonymous(MAX_DESTINATIONS)?,
            connections_v4: ConnectionTable(Region::anonymous(buckets)?),
            half_open_v4: ConnectionTable(Region::anonymous(half_open_buckets(buckets))?),
        })
    }

    /// The one element of the settings map.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings[0]
    }

    /// Connections of which at least two packets were seen.
    #[must_use]
    pub fn connections_v4(&self) -> &ConnectionTable {
        &self.connections_v4
    }

    /// Flows of which one packet was seen.
    #[must_use]
    pub fn half_open_v4(&self) -> &ConnectionTable {
        &self.half_open_v4
    }
}
