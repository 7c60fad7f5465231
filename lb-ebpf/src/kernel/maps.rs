//! The maps. The daemon pins them, and they outlive it; all but TRACE, which is its own.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMap, LruHashMap, PerCpuArray};
use lb_common::Word;
use lb_common::connection::{Bucket, KEY_WORDS_V4, KEY_WORDS_V6};
use lb_common::counter::{REASONS, RealServerStats};
use lb_common::destination::Destination;
use lb_common::fragment::{FragmentKey, FragmentRoute, MAX_FRAGMENTED};
use lb_common::limits::{MAX_DESTINATIONS, MAX_INTERFACES, MAX_SERVICES, SLOT_WORDS};
use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, GENERATION_BUCKETS, Service};
use lb_common::settings::Settings;
use lb_common::trace::Trace;

/// `BPF_F_MMAPABLE`: the daemon reads and writes the array through a mapping.
const MMAPABLE: u32 = 1 << 10;

/// What the daemon tells the program while it runs.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, MMAPABLE);
/// Exact IPv4 service addresses: two generations of a perfect hash.
#[map]
pub static SERVICES_V4: Array<AddressBucket<ADDRESS_WORDS_V4>> =
    Array::with_max_entries(2 * GENERATION_BUCKETS, MMAPABLE);
/// Exact IPv6 service addresses.
#[map]
pub static SERVICES_V6: Array<AddressBucket<ADDRESS_WORDS_V6>> =
    Array::with_max_entries(2 * GENERATION_BUCKETS, MMAPABLE);
/// Virtual servers by number.
#[map]
pub static SERVICES: Array<Service> = Array::with_max_entries(MAX_SERVICES, MMAPABLE);
/// Slot tables: windows that services own.
#[map]
pub static SLOTS: Array<Word> = Array::with_max_entries(SLOT_WORDS, MMAPABLE);
/// Real servers, one record for each virtual server they serve.
#[map]
pub static DESTINATIONS: Array<Destination> = Array::with_max_entries(MAX_DESTINATIONS, MMAPABLE);
/// IPv4 connections of which at least two packets were seen. Sized by the daemon from `max_connections`.
#[map]
pub static CONNECTIONS_V4: Array<Bucket<KEY_WORDS_V4>> = Array::with_max_entries(2, MMAPABLE);
/// IPv4 flows of which one packet was seen. Sized by the daemon from `max_connections`.
#[map]
pub static HALF_OPEN_V4: Array<Bucket<KEY_WORDS_V4>> = Array::with_max_entries(2, MMAPABLE);
/// IPv6 connections of which at least two packets were seen. Sized by the daemon.
#[map]
pub static CONNECTIONS_V6: Array<Bucket<KEY_WORDS_V6>> = Array::with_max_entries(2, MMAPABLE);
/// IPv6 flows of which one packet was seen. Sized by the daemon.
#[map]
pub static HALF_OPEN_V6: Array<Bucket<KEY_WORDS_V6>> = Array::with_max_entries(2, MMAPABLE);
/// Where the fragments of a datagram go.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentRoute> =
    LruHashMap::with_max_entries(MAX_FRAGMENTED, 0);
/// The interfaces, by their place in the settings.
#[map]
pub static DEVICES: DevMap = DevMap::with_max_entries(MAX_INTERFACES as u32, 0);
/// One counter for each [`Reason`](lb_common::counter::Reason).
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASONS, 0);
/// Frames, bytes and connections of each destination.
#[map]
pub static REAL_STATS: PerCpuArray<RealServerStats> = PerCpuArray::with_max_entries(MAX_DESTINATIONS, 0);
/// What a dry run noted.
#[map]
pub static TRACE: Array<Trace> = Array::with_max_entries(1, MMAPABLE);
