//! The stages' traits on XDP frames and BPF maps.

mod classifier;
mod explain;
pub mod maps;
mod traced;

pub use classifier::drop_probe_replies;
pub use explain::explain;
pub use traced::trace;

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_ANY, xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_jiffies64, bpf_loop, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
    bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::macro_support::{Level, level_enabled};
use lb_common::acl::{AclKey, NO_RULE, SOURCE_WORDS_V4, SOURCE_WORDS_V6};
use lb_common::connection::{
    Bucket, Buckets, Entry, Extent, Extents, KEY_WORDS_V4, KEY_WORDS_V6, Location, Meta, locate,
};
use lb_common::counter::Reason;
use lb_common::destination::Destination;
use lb_common::fragment::{FragmentKey, FragmentRoute, HeldFragment, MAX_HELD_FRAME};
use lb_common::hash::{FlowHash, FlowSeed};
use lb_common::load::{Load, account};
use lb_common::locality::{LocalityKey, Members};
use lb_common::selector::{Found, NO_DESTINATION, Search};
use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, AddressBucket, Index, Service, SlotTable};
use lb_common::settings::Settings;
use lb_common::sync::Event;
use lb_common::{Word, clock, form};
use network_types::eth::EthHdr;

use crate::acl::{Admission, admit};
use crate::first::first;
use crate::forward::take_detour;
use crate::frame::LONGEST_HEADER;
use crate::locality::{Member, add_member, member};
use crate::network::{Extensions, VLAN_TAG, walk_extensions};
use crate::parse::{Parsed, parse};
use crate::persist::{persist, place, template};
use crate::reset::answer_with_reset;
use crate::select::{Fallback, by_hash, search, step, stride};
use crate::tell::event;
use crate::track::{Decision, Record, decide, schedule, try_record};
use crate::{Family, Frame, Outcome, Packet, PacketV4, PacketV6, Tables, Verdict, process};

// Constants of one load of the program. The verifier knows their values and removes what they rule out.

/// The interface this program is attached to: an index into the settings' interfaces.
#[unsafe(no_mangle)]
static INTERFACE: Global<u32> = Global::new(0);
/// [`clock::reciprocal`] of the kernel's HZ.
#[unsafe(no_mangle)]
static TICK_RECIPROCAL: Global<u64> = Global::new(0);
/// The secret of the connection tables' hash.
#[unsafe(no_mangle)]
static FLOW_SEED: Global<[u64; 2]> = Global::new([0, 0]);
/// Buckets in CONNECTIONS_V4.
#[unsafe(no_mangle)]
static CONNECTION_BUCKETS_V4: Global<u32> = Global::new(2);
/// Buckets in HALF_OPEN_V4.
#[unsafe(no_mangle)]
static HALF_OPEN_BUCKETS_V4: Global<u32> = Global::new(2);
/// Buckets in CONNECTIONS_V6.
#[unsafe(no_mangle)]
static CONNECTION_BUCKETS_V6: Global<u32> = Global::new(2);
/// Buckets in HALF_OPEN_V6.
#[unsafe(no_mangle)]
static HALF_OPEN_BUCKETS_V6: Global<u32> = Global::new(2);

/// The product's program on one frame: all stages, and the verdict counted.
#[inline(always)]
pub fn balance(context: &XdpContext) -> u32 {
    act(context.ctx, process(&mut XdpFrame::new(context.ctx), &Maps), &Maps)
}

/// What happens to a frame after the stages.
trait Actions: Tables {
    /// Sends it out of the interface at `place`.
    fn redirect(&self, place: u32) -> u32;
    /// [`take_detour`], out of line.
    fn detour(&self, context: *mut xdp_md, number: u32, length: u32) -> u32;
}

impl Actions for Maps {
    #[inline(always)]
    fn redirect(&self, place: u32) -> u32 {
        maps::DEVICES.redirect(place, 0).unwrap_or(xdp_action::XDP_ABORTED)
    }

    #[inline(always)]
    fn detour(&self, context: *mut xdp_md, number: u32, length: u32) -> u32 {
        lb_detour(context, number, length)
    }
}

/// A verdict as the kernel knows it; counts what has not been counted.
#[inline(always)]
fn act<T: Actions>(context: *mut xdp_md, verdict: Verdict, tables: &T) -> u32 {
    match verdict.outcome() {
        Outcome::Transmit => xdp_action::XDP_TX,
        Outcome::Deliver => xdp_action::XDP_PASS,
        Outcome::Redirect(place) => tables.redirect(place),
        Outcome::Detour { number, length } => tables.detour(context, number, length),
        Outcome::Reset if lb_reset(context, tables.interface() as u32) != 0 => {
            tables.count(Reason::ResetSent);
            xdp_action::XDP_TX
        }
        // What cannot be answered here, the local stack answers.
        Outcome::Reset => {
            tables.count(Reason::PassNoConnection);
            xdp_action::XDP_PASS
        }
        Outcome::Pass(reason) => {
            tables.count(reason);
            xdp_action::XDP_PASS
        }
        Outcome::Drop(reason) => {
            tables.count(reason);
            xdp_action::XDP_DROP
        }
    }
}

// Functions with a symbol of their own are verified once, for any arguments, and not again for every path that calls
// them ("global functions", kernel 5.6; with pointers to structures, 5.12).

/// [`take_detour`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_detour(context: *mut xdp_md, number: u32, length: u32) -> u32 {
    detour(context, number, length, &Maps)
}

#[inline(always)]
fn detour<T: Actions>(context: *mut xdp_md, number: u32, length: u32, tables: &T) -> u32 {
    let verdict = take_detour(&mut XdpFrame::new(context), number, length, tables);
    match verdict.outcome() {
        // It has been taken, and where it leads nothing is reset.
        Outcome::Detour { .. } | Outcome::Reset => xdp_action::XDP_ABORTED,
        _ => act(context, verdict, tables),
    }
}

/// [`answer_with_reset`]: 1 if the frame is an answer now.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_reset(context: *mut xdp_md, place: u32) -> u32 {
    u32::from(answer_with_reset(&mut XdpFrame::new(context), place as usize, &Maps))
}

/// What `bpf_loop` calls: 0 to go on.
type Step = extern "C" fn(u32, *mut *mut Search) -> i64;

/// [`step`].
#[inline(never)]
extern "C" fn walk_step(i: u32, search: *mut *mut Search) -> i64 {
    // SAFETY: what `walk` hands over.
    let search = unsafe { (*search).as_mut() };
    i64::from(!search.is_some_and(|search| step(i, search, &Maps)))
}

/// [`stride`].
#[inline(never)]
extern "C" fn walk_stride(i: u32, _search: *mut *mut Search) -> i64 {
    i64::from(lb_stride(i) == 0)
}

/// [`stride`] of this CPU's search: how many slots there are, if it goes on, or else 0. Not whether it does: the compiler
/// would know that number's range where the verifier does not, and leave `walk_stride` to return it as it is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_stride(i: u32) -> u32 {
    // SAFETY: as in `lb_search`, which waits.
    let search = maps::SEARCH.get_ptr_mut(0).map(|place| unsafe { &mut *place });
    search.map_or(0, |search| if stride(i, search, &Maps) { search.length } else { 0 })
}

/// [`search`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_search(table: u64, start: u32) -> u64 {
    // Of numbers on the stack the verifier would follow every value that they may take from step to step (6.18: "the
    // sequence of 8193 jumps is too complex"); of those in a map it knows nothing.
    let Some(place) = maps::SEARCH.get_ptr_mut(0) else { return Found::NOTHING.word() };
    // SAFETY: this CPU's own element, and nobody else has it before this returns.
    let place = unsafe { &mut *place };
    search(SlotTable::from_word(table), (start != u32::MAX).then_some(start), place, &Maps).word()
}

/// [`member`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_member(service: u32, address: u64, touch: u32) -> u64 {
    member(service, address, touch != 0, &Maps).word()
}

/// [`add_member`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_add_member(service: u32, address: u64, destination: u32, is_one_of_several: u32) -> u32 {
    add_member(service, address, destination, is_one_of_several != 0, &Maps);
    0
}

/// [`account`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_account(before: u64, after: u64) -> u32 {
    account(|number| Maps.load(number), Meta::from_word(before), Meta::from_word(after));
    0
}

/// [`walk_extensions`]: its loop would multiply the paths of whoever called it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_extensions(context: *mut xdp_md, offset: u32, next: u32) -> u64 {
    // The verifier knows nothing of the arguments.
    walk_extensions(&mut XdpFrame::new(context), (offset & 0x3fff) as usize, next as u8).word()
}

/// [`Frame::set_macs`] where the MACs do not lie in the first buffer; 1 if the frame is long enough.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_store_macs(context: *mut xdp_md, head: u64, tail: u32) -> u32 {
    let mut macs = [head as u32, (head >> 32) as u32, tail];
    // SAFETY: the helper reads the context and the MACs, and writes the frame.
    let failed = unsafe { bpf_xdp_store_bytes(context, 0, macs.as_mut_ptr().cast(), 12) };
    u32::from(failed == 0)
}

/// [`by_hash`]: a hash may be long, and a search is a loop.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_by_hash(table: u64, client: u32) -> u64 {
    by_hash(SlotTable::from_word(table), client, &Maps, |fallback| {
        // SAFETY: the helper calls the function with the pointer, as often as there are slots at most.
        unsafe { bpf_loop(fallback.tries(), try_slot as *mut c_void, (&raw mut *fallback).cast(), 0) };
    })
}

/// What `bpf_loop` (kernel 5.17) calls. Without a symbol of its own: the verifier wants a callback to be static.
#[inline(never)]
extern "C" fn try_slot(nth: u64, fallback: *mut Fallback) -> i64 {
    // SAFETY: the caller's, for as long as it waits.
    let fallback = unsafe { &mut *fallback };
    i64::from(fallback.is_over(nth as u32, &Maps))
}

/// The kernel's jiffies, for the daemon that wants to know how they relate to its own clock.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: the helper takes nothing and reads a counter.
    unsafe { bpf_jiffies64() }
}

/// A frame between the two pointers the kernel gives.
pub struct XdpFrame {
    context: *mut xdp_md,
    start: usize,
    end: usize,
}

impl XdpFrame {
    #[inline(always)]
    fn new(context: *mut xdp_md) -> Self {
        // SAFETY: the kernel's own.
        let (start, end) = unsafe { ((*context).data as usize, (*context).data_end as usize) };
        Self { context, start, end }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn fetch<const N: usize>(&mut self, offset: usize) -> Option<&[u8; N]> {
        const { assert!(N <= LONGEST_HEADER, "a copy has a place") };
        if self.start + offset + N <= self.end {
            return self.bytes(offset);
        }
        // On the stack the verifier would not let words be read that lie anywhere (6.18: "misaligned stack access").
        let copy = maps::HEADER.get_ptr_mut(0)?;
        // SAFETY: the helper reads the context and writes all `N` bytes or fails. The place is this CPU's, and who holds
        // what was fetched before holds this frame.
        unsafe {
            let failed = bpf_xdp_load_bytes(self.context, offset as u32, copy.cast(), N as u32);
            if failed == 0 { Some(&*copy.cast()) } else { None }
        }
    }

    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        // The helper is called for no frame that lies in one buffer and is as long as it says. Lengths are compared: the
        // verifier of 6.1 knows no bounds of a number whose bytes were swapped, and refuses its sum with a pointer.
        // SAFETY: it reads the context.
        self.end.wrapping_sub(self.start) >= length
            || unsafe { bpf_xdp_get_buff_len(self.context) } >= length as u64
    }

    #[inline(always)]
    fn parse<const K: usize>(&mut self, offset: usize, packet: &mut Packet<K>) -> Parsed {
        let packet = &raw mut *packet;
        // The casts are from the type to itself: there is one for each `K`.
        let word = if K == KEY_WORDS_V4 {
            lb_parse_v4(self.context, offset as u32, packet.cast())
        } else {
            lb_parse_v6(self.context, offset as u32, packet.cast())
        };
        Parsed::from_word(word)
    }

    #[inline(always)]
    fn hold<const K: usize>(&self, packet: &Packet<K>, id: u32) -> bool {
        let packet = &raw const *packet;
        // As above.
        let held = if K == KEY_WORDS_V4 {
            lb_hold_v4(self.context, packet.cast(), id)
        } else {
            lb_hold_v6(self.context, packet.cast(), id)
        };
        held != 0
    }

    #[inline(always)]
    fn extensions(&mut self, offset: usize, next: u8) -> Extensions {
        Extensions::from_word(lb_extensions(self.context, offset as u32, u32::from(next)))
    }

    #[inline(always)]
    fn set_u16(&mut self, offset: usize, value: [u8; 2]) -> bool {
        if self.start + offset + 2 > self.end {
            let value = (&raw const value).cast_mut().cast();
            // SAFETY: the helper reads the context and the value, and writes the frame.
            return unsafe { bpf_xdp_store_bytes(self.context, offset as u32, value, 2) == 0 };
        }
        // SAFETY: the verifier has just seen that the bytes lie in the frame.
        unsafe { ((self.start + offset) as *mut u16).write_unaligned(u16::from_le_bytes(value)) };
        true
    }

    #[inline(always)]
    fn overwrite<const N: usize>(&mut self, offset: usize, words: &[u64; N], length: usize) -> bool {
        let words = words.as_ptr().cast_mut().cast();
        // SAFETY: the helper reads the context and the words, and writes the frame.
        unsafe { bpf_xdp_store_bytes(self.context, offset as u32, words, length as u32) == 0 }
    }

    #[inline(always)]
    fn cut(&mut self, length: usize) -> bool {
        // SAFETY: the helpers read the context, and move the end of the frame or say that they cannot.
        let cut = unsafe {
            let excess = bpf_xdp_get_buff_len(self.context).wrapping_sub(length as u64) as i32;
            excess >= 0 && bpf_xdp_adjust_tail(self.context, excess.wrapping_neg()) == 0
        };
        *self = Self::new(self.context);
        cut
    }

    #[inline(always)]
    fn make_room_for_tag(&mut self) -> bool {
        // SAFETY: the helper moves the beginning of the frame, or says that it cannot.
        let moved = unsafe { bpf_xdp_adjust_head(self.context, -(VLAN_TAG as i32)) };
        *self = Self::new(self.context);
        moved == 0
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        if self.start + offset + N > self.end {
            return None;
        }
        // SAFETY: the verifier has just seen that the bytes lie in the frame, and no frame lies at address 0.
        unsafe {
            core::hint::assert_unchecked(self.start + offset != 0);
            Some(&*((self.start + offset) as *const [u8; N]))
        }
    }

    #[inline(always)]
    fn set_macs(&mut self, head: u64, tail: u32) -> bool {
        if self.start + 12 > self.end {
            return lb_store_macs(self.context, head, tail) != 0;
        }
        // SAFETY: as above.
        unsafe {
            (self.start as *mut u64).write_unaligned(head);
            ((self.start + 8) as *mut u32).write_unaligned(tail);
        }
        true
    }
}

/// The pinned maps.
pub struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        maps::SETTINGS.get(0)
    }

    #[inline(always)]
    fn interface(&self) -> usize {
        INTERFACE.load() as usize
    }

    #[inline(always)]
    fn flow_seed(&self) -> FlowSeed {
        let [first, second] = FLOW_SEED.load();
        FlowSeed { first, second }
    }

    #[inline(always)]
    fn service(&self, number: u32) -> Option<&Service> {
        maps::SERVICES.get(number)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Word> {
        maps::SLOTS.get(index)
    }

    #[inline(always)]
    fn destination(&self, number: u32) -> Option<&Destination> {
        maps::DESTINATIONS.get(number)
    }

    #[inline(always)]
    fn load(&self, destination: u32) -> Option<&Load> {
        maps::LOADS.get(destination)
    }

    #[inline(always)]
    fn members(&self, key: &LocalityKey) -> Option<Members> {
        // SAFETY: the value is copied. Another CPU may be writing it: whichever servers are read were an address's.
        unsafe { maps::LOCALITIES.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_members(&self, key: &LocalityKey, members: &Members) {
        // Failing that, the next connection chooses again.
        let _ = maps::LOCALITIES.insert(key, members, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn walk(&self, search: &mut Search) {
        let (steps, are_strides) = search.steps();
        if are_strides && steps == 1 {
            lb_stride(0);
            return;
        }
        let mut place = &raw mut *search;
        let step: Step = if are_strides { walk_stride } else { walk_step };
        // SAFETY: the callback gets the pointer that it takes.
        unsafe { bpf_loop(steps, step as *mut c_void, (&raw mut place).cast(), 0) };
    }

    #[inline(always)]
    fn search(&self, table: SlotTable, start: Option<u32>) -> Found {
        Found::from_word(lb_search(table.word(), start.unwrap_or(u32::MAX)))
    }

    #[inline(always)]
    fn member(&self, service: u32, address: u64, touch: bool) -> Member {
        Member::from_word(lb_member(service, address, u32::from(touch)))
    }

    #[inline(always)]
    fn add_member(&self, service: u32, address: u64, destination: u32, is_one_of_several: bool) {
        lb_add_member(service, address, destination, u32::from(is_one_of_several));
    }

    #[inline(always)]
    fn account(&self, before: Meta, after: Meta) {
        lb_account(before.word(), after.word());
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        clock::seconds(jiffies(), TICK_RECIPROCAL.load())
    }

    #[inline(always)]
    fn is_logged(&self) -> bool {
        level_enabled(Level::Debug)
    }

    #[inline(always)]
    fn by_hash(&self, table: SlotTable, client: u32) -> u64 {
        lb_by_hash(table.word(), client)
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        if let Some(counter) = maps::COUNTERS.get_ptr_mut(reason as u32) {
            // SAFETY: this CPU's own element.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn count_forwarded(&self, destination: u32, bytes: u32) {
        if let Some(stats) = maps::REAL_STATS.get_ptr_mut(destination) {
            // SAFETY: this CPU's own element.
            unsafe {
                (*stats).packets += 1;
                (*stats).bytes += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn count_connection(&self, destination: u32) {
        if let Some(stats) = maps::REAL_STATS.get_ptr_mut(destination) {
            // SAFETY: this CPU's own element.
            unsafe { (*stats).connections += 1 };
        }
    }
}

/// A key is packed, so it would lie anywhere on the stack: the verifier refuses to write eight bytes there (6.18:
/// "misaligned stack access").
#[repr(C, align(8))]
struct Aligned<T>(T);

#[inline(always)]
fn fragment(key: &FragmentKey) -> u32 {
    // SAFETY: the value is copied; its parts belong together whenever they are read, being written as one.
    let route = unsafe { maps::FRAGMENTS.get(key) }.copied();
    match route.filter(|route| route.is_fresh(Maps.now())) {
        Some(route) if Maps.destination(route.destination).is_some_and(Destination::is_usable) => {
            route.destination
        }
        _ => NO_DESTINATION,
    }
}

#[inline(always)]
fn remember_fragment(key: &FragmentKey, destination: u32) -> u32 {
    // Whoever sends a second first fragment does not get to send the others elsewhere.
    let known = fragment(key);
    if known == NO_DESTINATION {
        let route = FragmentRoute { destination, seen: Maps.now() };
        // Failing that, the other fragments are passed, and counted.
        let _ = maps::FRAGMENTS.insert(key, route, u64::from(BPF_ANY));
    }
    known
}

#[inline(always)]
fn hold(context: *mut xdp_md, key: FragmentKey) -> u32 {
    let Some(mut held) = maps::HELD.reserve::<HeldFragment>(0) else { return 0 };
    let place = held.as_mut_ptr();
    // SAFETY: the helpers read the context; the frame is written within the space that was reserved for it.
    let copied = unsafe {
        let length = bpf_xdp_get_buff_len(context);
        // The verifier of 6.1 takes no other bounds than those of the very number that the helper is given.
        let copied = length.clamp(EthHdr::LEN as u64, MAX_HELD_FRAME as u64);
        (*place).key = key;
        (*place).interface = (*context).ingress_ifindex;
        (*place).length = length as u32;
        let start = (&raw mut (*place).frame).cast();
        bpf_xdp_load_bytes(context, 0, start, copied as u32) == 0 && copied == length
    };
    if copied {
        held.submit(0);
    } else {
        held.discard(0);
    }
    u32::from(copied)
}

/// Has the daemon told of an event; 1 if there was no room, which is counted.
#[inline(always)]
fn submit(event: Event) -> u32 {
    match maps::EVENTS.reserve::<Event>(0) {
        Some(mut place) => {
            place.write(event);
            place.submit(0);
            0
        }
        None => {
            if let Some(settings) = Maps.settings() {
                settings.sync_lost.fetch_add(1);
            }
            1
        }
    }
}

/// Where [`locate`] is to look, as a number: in the table of half-open flows.
const HALF_OPEN: u32 = 0;

/// The same: in a part of the main table.
#[inline(always)]
const fn main_table(extent: Extent) -> u32 {
    HALF_OPEN + 1 + extent.shift()
}

/// The maps of one family, and the functions that are verified for it.
macro_rules! family {
    (
        $key_words:ident, $address_words:ident, $packet:ident, $connections:ident,
        $parse:ident, $find:ident, $first:ident, $decide:ident, $schedule:ident, $record:ident, $tell:ident, $template:ident, $place:ident, $persist:ident, $fragment:ident, $remember:ident, $hold:ident,
        $admit:ident, $acl:ident[$source_words:ident], $source:expr,
        $main:ident[$main_len:ident], $half_open:ident[$half_open_len:ident], $services:ident, $index:ident, $extents:ident,
        $form:ident($($word:ident),+), $spans:ident, $ports:ident, $log:literal, $address:expr
    ) => {
        impl Family<$key_words, $address_words> for Maps {
            type Connections = $connections;

            #[inline(always)]
            fn connections(&self) -> &$connections {
                &$connections::Main
            }

            #[inline(always)]
            fn half_open(&self) -> &$connections {
                &$connections::HalfOpen
            }

            #[inline(always)]
            fn index(&self, settings: &Settings) -> Index {
                Index::from_word(settings.$index.load())
            }

            #[inline(always)]
            fn addresses(&self, position: u32) -> Option<&AddressBucket<$address_words>> {
                maps::$services.get(position)
            }

            #[inline(always)]
            fn find_form(&self, index: Index, key: &[u64; $address_words]) -> u32 {
                let [$($word),+] = *key;
                $form(index.word(), $($word),+)
            }

            #[inline(always)]
            fn log_scheduled(&self, packet: &$packet, destination: u32) {
                let [source, target] = $address(packet);
                aya_log_ebpf::debug!(
                    (),
                    $log,
                    source,
                    (packet.ports() as u16).swap_bytes(),
                    target,
                    packet.destination_port().swap_bytes(),
                    packet.protocol(),
                    destination
                );
            }

            #[inline(always)]
            fn fragment(&self, packet: &$packet, id: u32) -> Option<u32> {
                match $fragment(&raw const *packet, id) {
                    NO_DESTINATION => None,
                    number => Some(number),
                }
            }

            #[inline(always)]
            fn remember_fragment(&self, packet: &$packet, id: u32, destination: u32) {
                $remember(&raw const *packet, id, destination);
            }

            #[inline(always)]
            fn rule(&self, scope: u32, packet: &$packet) -> u32 {
                let mut place = MaybeUninit::<Aligned<Key<AclKey<$source_words>>>>::uninit();
                let key = place.as_mut_ptr();
                // One by one, whatever the compiler thinks: of scope and source it would make one store, where it may not.
                // SAFETY: all fields of a key, which begins at a multiple of eight.
                let key = unsafe {
                    (&raw mut (*key).0.prefix_len).write_volatile(AclKey::<$source_words>::BITS);
                    (&raw mut (*key).0.data.scope).write_volatile(scope);
                    let source = (&raw mut (*key).0.data.source).cast::<u32>();
                    for (i, word) in $source(packet).into_iter().enumerate() {
                        source.add(i).write_volatile(word);
                    }
                    place.assume_init_ref()
                };
                maps::$acl.get(&key.0).copied().unwrap_or(NO_RULE)
            }

            #[inline(always)]
            fn admit(&self, packet: &$packet, service: u32) -> Admission {
                Admission::from_word($admit(&raw const *packet, service))
            }

            #[inline(always)]
            fn find(&self, which: Record, packet: &$packet) -> Option<Entry<'_>> {
                let mut found = Location::default();
                let (packet, place) = (&raw const *packet, &raw mut found);
                // Read once: if the part in use changed between two looks, neither might be where the flow is.
                let (first, last) = match which {
                    Record::First => (HALF_OPEN, HALF_OPEN),
                    Record::Confirmed => {
                        let Extents { now, before } = $connections::Main.extents();
                        (main_table(before), main_table(now))
                    }
                };
                if $find(packet, first, place) == 0 && (first == last || $find(packet, last, place) == 0) {
                    return None;
                }
                match which {
                    Record::First => found.entry(&$connections::HalfOpen),
                    Record::Confirmed => found.entry(&$connections::Main),
                }
            }

            #[inline(always)]
            fn template(&self, packet: &$packet, service: u32, touch: bool) -> u64 {
                $template(&raw const *packet, service, u32::from(touch))
            }

            #[inline(always)]
            fn persist(&self, packet: &$packet, service: u32, decision: Decision) -> u32 {
                $persist(&raw const *packet, service, decision.word())
            }

            #[inline(always)]
            fn first(&self, packet: &$packet, service: u32) -> Decision {
                Decision::from_word($first(&raw const *packet, service))
            }

            #[inline(always)]
            fn decide(&self, packet: &$packet, service: u32, is_known: bool, chosen: u32) -> Decision {
                Decision::from_word($decide(&raw const *packet, service, u32::from(is_known), chosen))
            }

            #[inline(always)]
            fn schedule(&self, packet: &$packet, service: u32, moves: bool, chosen: u32) -> Decision {
                Decision::from_word($schedule(&raw const *packet, service, u32::from(moves), chosen))
            }

            #[inline(always)]
            fn try_record(&self, packet: &$packet, decision: Decision) -> Decision {
                Decision::from_word($record(&raw const *packet, decision.word()))
            }

            #[inline(always)]
            fn tell(&self, packet: &$packet) {
                $tell(&raw const *packet);
            }
        }

        /// [`parse`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $parse(context: *mut xdp_md, offset: u32, packet: *mut $packet) -> u64 {
            // SAFETY: null, or a packet: the verifier checks the callers.
            let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
            parse(&mut XdpFrame::new(context), (offset & 0xff) as usize, packet).word()
        }

        /// [`form::find`]. A key's words are few enough to need no place on the caller's stack.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $form(index: u64, $($word: u64),+) -> u32 {
            let spans = |place| maps::$spans.get(place);
            form::find(Index::from_word(index), &[$($word),+], spans, |place| maps::$ports.get(place))
        }

        /// Where the fragments of a datagram go, or [`NO_DESTINATION`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $fragment(packet: *const $packet, id: u32) -> u32 {
            // SAFETY: as above.
            let packet = unsafe { packet.as_ref() };
            packet.map_or(NO_DESTINATION, |packet| fragment(&FragmentKey::new(&packet.key, id)))
        }

        /// Gives a fragment to the daemon; 1 if there was room.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $hold(context: *mut xdp_md, packet: *const $packet, id: u32) -> u32 {
            // SAFETY: as above.
            let packet = unsafe { packet.as_ref() };
            packet.map_or(0, |packet| hold(context, FragmentKey::new(&packet.key, id)))
        }

        /// Remembers where the fragments of a datagram go; returns where they went before, if they did.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $remember(packet: *const $packet, id: u32, destination: u32) -> u32 {
            // SAFETY: as above.
            let packet = unsafe { packet.as_ref() };
            packet.map_or(NO_DESTINATION, |packet| {
                remember_fragment(&FragmentKey::new(&packet.key, id), destination)
            })
        }

        /// [`admit`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $admit(packet: *const $packet, service: u32) -> u32 {
            // SAFETY: as above.
            let packet = unsafe { packet.as_ref() };
            packet.map_or(Admission::ADMITTED, |packet| admit(packet, service, &Maps)).word()
        }

        /// [`locate`]: 1 if it found an entry.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $find(packet: *const $packet, table: u32, found: *mut Location) -> u32 {
            // SAFETY: null, or what the types say: the verifier checks the callers.
            let (packet, found) = unsafe { (packet.as_ref(), found.as_mut()) };
            let Some((packet, found)) = packet.zip(found) else { return 0 };
            let hash = FlowHash::new(&packet.key, Maps.flow_seed());
            let location = match table.checked_sub(main_table(Extent::WHOLE)) {
                None => locate(&$connections::HalfOpen, &packet.key, hash, Extent::WHOLE),
                Some(shift) => locate(&$connections::Main, &packet.key, hash, Extent::of_shift(shift)),
            };
            let Some(location) = location else { return 0 };
            *found = location;
            1
        }

        /// [`first`]: nearly all new flows.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $first(packet: *const $packet, service: u32) -> u64 {
            // SAFETY: null, or a packet: the verifier checks the callers.
            let Some(packet) = (unsafe { packet.as_ref() }) else { return Decision::NONE.word() };
            first(packet, service, &Maps).word()
        }

        /// [`decide`]: all that an established flow does not need.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $decide(packet: *const $packet, service: u32, is_known: u32, chosen: u32) -> u64 {
            // SAFETY: null, or a packet: the verifier checks the callers.
            let Some(packet) = (unsafe { packet.as_ref() }) else {
                return Decision::drop(Reason::DropInternal).word();
            };
            decide(packet, service, is_known != 0, chosen, &Maps).word()
        }

        /// [`template`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $template(packet: *const $packet, service: u32, touch: u32) -> u64 {
            // SAFETY: as above.
            let packet = unsafe { packet.as_ref() };
            packet.map_or(0, |packet| template(packet, service, touch != 0, &Maps))
        }

        /// [`place`]: with the key in a map, where [`try_record`] finds it, for there is no room on the stack.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $place(packet: *const $packet, service: u32, decision: u64) -> u64 {
            // SAFETY: as above; and this CPU's own element, which nobody else has before the template is recorded.
            let template = maps::TEMPLATE.get_ptr_mut(0).map(|place| unsafe { &mut *place.cast::<$packet>() });
            // SAFETY: null, or a packet: the verifier checks the callers.
            let packet = unsafe { packet.as_ref() };
            let Some((packet, template)) = packet.zip(template) else {
                return Decision::from_word(decision).word();
            };
            place(packet, service, Decision::from_word(decision), template, &Maps).word()
        }

        /// [`persist`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $persist(packet: *const $packet, service: u32, decision: u64) -> u32 {
            let placed = Decision::from_word($place(packet, service, decision));
            // SAFETY: this CPU's own element, which was written as a packet of this family.
            let template = maps::TEMPLATE.get_ptr(0).map(|place| unsafe { &*place.cast::<$packet>() });
            template.map_or(placed.number(), |template| persist(placed, template, &Maps))
        }

        /// [`schedule`]: it is come to in many ways.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $schedule(packet: *const $packet, service: u32, moves: u32, chosen: u32) -> u64 {
            // SAFETY: as above.
            let Some(packet) = (unsafe { packet.as_ref() }) else {
                return Decision::drop(Reason::DropInternal).word();
            };
            schedule(packet, service, moves != 0, chosen, &Maps).word()
        }

        /// [`try_record`]: an insert into one of the connection tables.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $record(packet: *const $packet, decision: u64) -> u64 {
            // SAFETY: as above.
            let Some(packet) = (unsafe { packet.as_ref() }) else {
                return Decision::drop(Reason::DropInternal).word();
            };
            try_record(packet, Decision::from_word(decision), &Maps).word()
        }

        /// [`event`], into the ring; 1 if there was one and no room for it.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $tell(packet: *const $packet) -> u32 {
            // SAFETY: as above.
            let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
            event(packet, &Maps).map_or(0, submit)
        }

        /// One of the family's two connection maps.
        pub enum $connections {
            /// Flows of which at least two packets were seen.
            Main,
            /// Flows of which one packet was seen.
            HalfOpen,
        }

        impl Buckets<$key_words> for $connections {
            #[inline(always)]
            fn len(&self) -> u32 {
                match self {
                    Self::Main => $main_len.load(),
                    Self::HalfOpen => $half_open_len.load(),
                }
            }

            #[inline(always)]
            fn extents(&self) -> Extents {
                match self {
                    Self::Main => Maps.settings().map_or(Extents::WHOLE, |settings| {
                        Extents::from_word(settings.$extents.load())
                    }),
                    Self::HalfOpen => Extents::WHOLE,
                }
            }

            #[inline(always)]
            fn bucket(&self, index: u32) -> Option<&Bucket<$key_words>> {
                match self {
                    Self::Main => maps::$main.get(index),
                    Self::HalfOpen => maps::$half_open.get(index),
                }
            }
        }
    };
}

family!(
    KEY_WORDS_V4,
    ADDRESS_WORDS_V4,
    PacketV4,
    ConnectionsV4,
    lb_parse_v4,
    lb_find_v4,
    lb_first_v4,
    lb_decide_v4,
    lb_schedule_v4,
    lb_record_v4,
    lb_tell_v4,
    lb_template_v4,
    lb_place_v4,
    lb_persist_v4,
    lb_fragment_v4,
    lb_remember_v4,
    lb_hold_v4,
    lb_admit_v4,
    ACL_V4[SOURCE_WORDS_V4],
    |packet: &PacketV4| [packet.key[0] as u32],
    CONNECTIONS_V4[CONNECTION_BUCKETS_V4],
    HALF_OPEN_V4[HALF_OPEN_BUCKETS_V4],
    SERVICES_V4,
    services_v4,
    extents_v4,
    lb_form_v4(address),
    FORMS_V4,
    FORM_PORTS_V4,
    "{:i}:{} -> {:i}:{} protocol {} scheduled to destination {}",
    |packet: &PacketV4| [packet.source().swap_bytes(), packet.destination().swap_bytes()]
);
family!(
    KEY_WORDS_V6,
    ADDRESS_WORDS_V6,
    PacketV6,
    ConnectionsV6,
    lb_parse_v6,
    lb_find_v6,
    lb_first_v6,
    lb_decide_v6,
    lb_schedule_v6,
    lb_record_v6,
    lb_tell_v6,
    lb_template_v6,
    lb_place_v6,
    lb_persist_v6,
    lb_fragment_v6,
    lb_remember_v6,
    lb_hold_v6,
    lb_admit_v6,
    ACL_V6[SOURCE_WORDS_V6],
    |packet: &PacketV6| {
        let [high, low, ..] = packet.key;
        [high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32]
    },
    CONNECTIONS_V6[CONNECTION_BUCKETS_V6],
    HALF_OPEN_V6[HALF_OPEN_BUCKETS_V6],
    SERVICES_V6,
    services_v6,
    extents_v6,
    lb_form_v6(high, low, last),
    FORMS_V6,
    FORM_PORTS_V6,
    "[{:i}]:{} -> [{:i}]:{} protocol {} scheduled to destination {}",
    |packet: &PacketV6| {
        let address = |low: u64, high: u64| (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        let [a, b, c, d, _] = packet.key;
        [address(a, b), address(c, d)]
    }
);
