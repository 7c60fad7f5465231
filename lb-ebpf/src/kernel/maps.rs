//! The maps. The daemon pins them, and they outlive it; all but HEADER, SEARCH, TEMPLATE, TRACE, WATCH, SAMPLE,
//! SAMPLES and PROBED_VIPS, which are its own.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMap, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use lb_common::Word;
use lb_common::acl::{AclKey, SOURCE_WORDS_V4, SOURCE_WORDS_V6};
use lb_common::connection::{Bucket, KEY_WORDS_V4, KEY_WORDS_V6};
use lb_common::counter::{REASONS, RealServerStats};
use lb_common::destination::Destination;
use lb_common::form::{FORM_SPANS, FORM_WORDS, Span};
use lb_common::fragment::{FragmentKey, FragmentRoute, HELD_RING_BYTES, MAX_FRAGMENTED};
use lb_common::limits::{MAX_ACL_PREFIXES, MAX_DESTINATIONS, MAX_INTERFACES, MAX_SERVICES, SLOT_WORDS};
use lb_common::load::Load;
use lb_common::locality::{LocalityKey, MAX_LOCALITIES, Members};
use lb_common::probe::{MAX_PROBED_VIPS, VipKey};
use lb_common::sample::{MAX_SNAP, SAMPLE_RING_BYTES, Sample, Watch};
use lb_common::selector::Search;
use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, GENERATION_BUCKETS, Service};
use lb_common::settings::Settings;
use lb_common::sync::EVENT_RING_BYTES;
use lb_common::trace::Trace;

use crate::PacketV6;
use crate::frame::LONGEST_HEADER;

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
/// IPv4 service addresses that are not exact, by VIP: two generations.
#[map]
pub static FORMS_V4: Array<Span<ADDRESS_WORDS_V4>> = Array::with_max_entries(2 * FORM_SPANS, MMAPABLE);
/// IPv6 service addresses that are not exact.
#[map]
pub static FORMS_V6: Array<Span<ADDRESS_WORDS_V6>> = Array::with_max_entries(2 * FORM_SPANS, MMAPABLE);
/// Their ports; and, for the daemon that takes over, what they were made from.
#[map]
pub static FORM_PORTS_V4: Array<Word> = Array::with_max_entries(2 * FORM_WORDS, MMAPABLE);
/// The ports of those of IPv6.
#[map]
pub static FORM_PORTS_V6: Array<Word> = Array::with_max_entries(2 * FORM_WORDS, MMAPABLE);
/// Virtual servers by number.
#[map]
pub static SERVICES: Array<Service> = Array::with_max_entries(MAX_SERVICES, MMAPABLE);
/// Slot tables: windows that services own.
#[map]
pub static SLOTS: Array<Word> = Array::with_max_entries(SLOT_WORDS, MMAPABLE);
/// Real servers, one record for each virtual server they serve.
#[map]
pub static DESTINATIONS: Array<Destination> = Array::with_max_entries(MAX_DESTINATIONS, MMAPABLE);
/// How many connections each destination has.
#[map]
pub static LOADS: Array<Load> = Array::with_max_entries(MAX_DESTINATIONS, MMAPABLE);
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
/// IPv4 clients that are allowed or denied. There is room for the old ones while new ones take their place.
#[map]
pub static ACL_V4: LpmTrie<AclKey<SOURCE_WORDS_V4>, u32> = LpmTrie::with_max_entries(2 * MAX_ACL_PREFIXES, 0);
/// IPv6 clients that are allowed or denied.
#[map]
pub static ACL_V6: LpmTrie<AclKey<SOURCE_WORDS_V6>, u32> = LpmTrie::with_max_entries(2 * MAX_ACL_PREFIXES, 0);
/// Where the fragments of a datagram go.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentRoute> =
    LruHashMap::with_max_entries(MAX_FRAGMENTED, 0);
/// Which real servers destination addresses had of late.
#[map]
pub static LOCALITIES: LruHashMap<LocalityKey, Members> = LruHashMap::with_max_entries(MAX_LOCALITIES, 0);
/// Fragments for the daemon to hold.
#[map]
pub static HELD: RingBuf = RingBuf::with_byte_size(HELD_RING_BYTES, 0);
/// Connections for the daemon to tell other directors of.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);
/// The interfaces, by their place in the settings.
#[map]
pub static DEVICES: DevMap = DevMap::with_max_entries(MAX_INTERFACES as u32, 0);
/// Where a walk over a slot table notes what it found so far.
#[map]
pub static SEARCH: PerCpuArray<Search> = PerCpuArray::with_max_entries(1, 0);
/// One counter for each [`Reason`](lb_common::counter::Reason).
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASONS, 0);
/// Frames, bytes and connections of each destination.
#[map]
pub static REAL_STATS: PerCpuArray<RealServerStats> = PerCpuArray::with_max_entries(MAX_DESTINATIONS, 0);
/// A header that does not lie in the first buffer of its frame.
#[map]
pub static HEADER: PerCpuArray<[u8; LONGEST_HEADER]> = PerCpuArray::with_max_entries(1, 0);
/// The key of a template that is about to be recorded: a packet of either family.
#[map]
pub static TEMPLATE: PerCpuArray<PacketV6> = PerCpuArray::with_max_entries(1, 0);
/// What a dry run noted.
#[map]
pub static TRACE: Array<Trace> = Array::with_max_entries(1, MMAPABLE);
/// Which frames somebody wants to be told of.
#[map]
pub static WATCH: Array<Watch> = Array::with_max_entries(1, MMAPABLE);
/// What becomes of the frame that is being balanced, and its first bytes as they came.
#[map]
pub static SAMPLE: PerCpuArray<Sampled> = PerCpuArray::with_max_entries(1, 0);
/// Samples for the daemon.
#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(SAMPLE_RING_BYTES, 0);
/// The VIPs that the daemon sends probes to.
#[map]
pub static PROBED_VIPS: HashMap<VipKey, u8> = HashMap::with_max_entries(MAX_PROBED_VIPS, BPF_F_NO_PREALLOC);

/// A sample as it goes to the daemon, and what is known of it before.
#[repr(C)]
pub struct Sampled {
    /// Whether the daemon is to be told of the frame if it is as wanted: not at all, or counted only, or told.
    pub chosen: Word,
    /// What became of it.
    pub sample: Sample,
    /// Its first bytes.
    pub frame: [u8; MAX_SNAP as usize],
}
