//! Programs for labs and benchmarks. None of them is part of the product.
//!
//! | program | for |
//! |---|---|
//! | `pass` | a veth's peer must run XDP, or XDP_TX has nowhere to go |
//! | `empty`, `swap` | what a frame costs when nothing is decided |
//! | `reference` | the same forwarding with a hash map, an LRU map and `ktime_get_ns`, as other balancers do it |
//! | `vary_empty`, `vary_lb`, `vary_reference` | the same with a source address that changes with every run |
//! | `vary_line` | what one cache line of the connection table costs, wherever the source's hash says |
//! | `beside` | the product on frames of established flows and of a flood, turn and turn about: how long each takes |
//! | `generate`, `sink` | live frames: one end sends them, the other counts and drops |
//! | `stream` | live frames of many flows, no more at once than cables hold |
//! | `tally` | counts and drops those by flow and by the host they came to, and passes all others |
//! | `tag_7`, `tag_100`, `untag` | hosts in a VLAN: on the host's port of the switch, and on the host |

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the signature of an XDP program")]

mod beside;
mod reference;
mod vlan;

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use lb_common::Word;
use lb_common::connection::buckets_for;
use lb_ebpf::kernel::{self, maps};

/// One less than the number of sources, a power of two.
#[unsafe(no_mangle)]
static SOURCE_MASK: Global<u32> = Global::new(0);
/// Where the last four bytes of the source address lie in a frame: by default those of IPv4.
#[unsafe(no_mangle)]
static SOURCE_AT: Global<u32> = Global::new(14 + 12);
/// Where a frame says in which order the sources take turns ([`vary`]): by default in the identification of IPv4.
#[unsafe(no_mangle)]
static ORDER_AT: Global<u32> = Global::new(IDENTIFICATION as u32);
/// Where a varied frame's source port lies.
#[unsafe(no_mangle)]
static PORT_AT: Global<u32> = Global::new(14 + 20);
/// The port of the first source; the others differ from it as their addresses do.
#[unsafe(no_mangle)]
static FIRST_PORT: Global<u16> = Global::new(1000);
/// The first of the sources whose frames `tally` counts.
#[unsafe(no_mangle)]
static FIRST_SOURCE: Global<u32> = Global::new(0);
/// The interface `generate` sends to.
#[unsafe(no_mangle)]
static TARGET: Global<u32> = Global::new(0);

/// How many frames `generate` has sent on each CPU.
#[map]
static GENERATED: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
/// Frames `sink` has seen.
#[map]
static SUNK: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// What `stream` and `tally` tell each other and the lab: at [`SENT`], [`ARRIVED`] and [`LIMIT`].
#[map]
static STREAMED: Array<Word> = Array::with_max_entries(3, 0);
/// Frames `tally` has seen: for each of [`TALLY_HOSTS`] hosts, an element for each source. As large as the lab says.
#[map]
static TALLY: Array<Word> = Array::with_max_entries(1, 0);

const MACS: usize = 12;
/// Where the identification of an IPv4 header lies.
const IDENTIFICATION: usize = 14 + 4;
/// Frames that `stream` has sent.
const SENT: u32 = 0;
/// Frames that `tally` has counted.
const ARRIVED: u32 = 1;
/// Frames that `stream` is to send, since the beginning.
const LIMIT: u32 = 2;
/// How many of them are under way at once: fewer than a veth holds (`VETH_RING_SIZE`, 256), so that none is lost there
/// although one CPU sends and another receives.
const WINDOW: u64 = 192;
/// Hosts that `tally` tells apart, by the last bits of their MACs.
const TALLY_HOSTS: u32 = 16;
/// Buckets of CONNECTIONS_V4 where `vary_line` is run.
const BUCKETS: u64 = buckets_for(1 << 20) as u64;

#[xdp(frags)]
fn pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[xdp(frags)]
fn empty(_context: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

#[xdp(frags)]
fn swap(context: XdpContext) -> u32 {
    swap_macs(&context)
}

#[xdp]
fn vary_empty(context: XdpContext) -> u32 {
    vary(&context);
    xdp_action::XDP_TX
}

#[xdp]
fn vary_line(context: XdpContext) -> u32 {
    let mut verdict = xdp_action::XDP_TX;
    set_source(&context, |address| {
        let hash = u64::from(address).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let Some(bucket) = maps::CONNECTIONS_V4.get_ptr(((hash * BUCKETS) >> 32) as u32) else {
            verdict = xdp_action::XDP_PASS;
            return address;
        };
        // SAFETY: the verifier has just seen that it is an element of the map, which begins with a word.
        let word = unsafe { bucket.cast::<u64>().read_volatile() };
        // 1 for no entry. The next run waits for the line, as it does where the MACs come from what was looked up.
        let never = word >> 63 & word >> 62;
        address.wrapping_add(1 + never as u32)
    });
    verdict
}

/// The product's program, as it is.
#[xdp(frags)]
fn lb(context: XdpContext) -> u32 {
    kernel::balance(&context)
}

#[xdp(frags)]
fn vary_lb(context: XdpContext) -> u32 {
    vary(&context);
    kernel::balance(&context)
}

#[xdp(frags)]
fn beside(context: XdpContext) -> u32 {
    beside::balance(&context)
}

#[xdp]
fn reference(context: XdpContext) -> u32 {
    reference::balance(&context)
}

#[xdp]
fn vary_reference(context: XdpContext) -> u32 {
    vary(&context);
    reference::balance(&context)
}

#[xdp]
fn generate(context: XdpContext) -> u32 {
    vary_from_counter(&context);
    send()
}

/// Of at most 65,536 sources. The frame's identification is to be 0xffff, the last 16 bits of its source 0.
#[xdp]
fn stream(context: XdpContext) -> u32 {
    let (Some(sent), Some(arrived), Some(limit)) =
        (STREAMED.get(SENT), STREAMED.get(ARRIVED), STREAMED.get(LIMIT))
    else {
        return xdp_action::XDP_ABORTED;
    };
    let number = sent.load();
    if number >= limit.load() || number.wrapping_sub(arrived.load()) >= WINDOW {
        return xdp_action::XDP_DROP;
    }
    set_source(&context, |_| number as u32);
    let (source, identification) =
        (context.data() + SOURCE_AT.load() as usize, context.data() + IDENTIFICATION);
    if source + 4 <= context.data_end() && identification + 2 <= context.data_end() {
        // SAFETY: the verifier has just seen that the bytes lie in the frame.
        unsafe {
            let low = ((source + 2) as *const u16).read_unaligned();
            // What is added to one is taken from the other, and the header's sum stays right (RFC 1071): a bridge with
            // `br_netfilter` drops others.
            (identification as *mut u16).write_unaligned(!low);
        }
    }
    sent.fetch_add(1);
    send()
}

#[xdp]
fn sink(_context: XdpContext) -> u32 {
    if let Some(sunk) = SUNK.get_ptr_mut(0) {
        // SAFETY: this CPU's own element.
        unsafe { *sunk += 1 };
    }
    xdp_action::XDP_DROP
}

#[xdp]
fn tally(context: XdpContext) -> u32 {
    let (frame, source) = (context.data(), context.data() + SOURCE_AT.load() as usize);
    if source + 4 > context.data_end() || frame + MACS > context.data_end() {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: the verifier has just seen that the bytes lie in the frame.
    let (host, source) =
        unsafe { (*((frame + 5) as *const u8), u32::from_be((source as *const u32).read_unaligned())) };
    let mask = SOURCE_MASK.load();
    if source & !mask != FIRST_SOURCE.load() {
        return xdp_action::XDP_PASS;
    }
    let flows = mask.wrapping_add(1);
    let place = (u32::from(host) % TALLY_HOSTS).wrapping_mul(flows).wrapping_add(source & mask);
    for counter in [TALLY.get(place), STREAMED.get(ARRIVED)].into_iter().flatten() {
        counter.fetch_add(1);
    }
    xdp_action::XDP_DROP
}

/// VLAN 7, with priority 5 and eligible to be dropped.
#[xdp]
fn tag_7(context: XdpContext) -> u32 {
    vlan::tag(&context, 0xb007)
}

/// The same in VLAN 100.
#[xdp]
fn tag_100(context: XdpContext) -> u32 {
    vlan::tag(&context, 0xb064)
}

#[xdp]
fn untag(context: XdpContext) -> u32 {
    vlan::untag(&context)
}

/// Steps the source to the next of `SOURCE_MASK + 1`: for a frame that is fed back as it became. The next address is the
/// last times a factor, which the frame says, plus one: each comes once, if the factor is one more than a multiple of
/// four (a linear congruential generator's full period, by Hull and Dobell). The port follows from it: two clients as a
/// rule have two ports as well.
#[inline(always)]
fn vary(context: &XdpContext) {
    let order = context.data() + ORDER_AT.load() as usize;
    if order + 2 <= context.data_end() {
        // SAFETY: the verifier has just seen that the bytes lie in the frame.
        let factor = u32::from(unsafe { (order as *const u16).read_unaligned() });
        set_source(context, |address| address.wrapping_mul(factor).wrapping_add(1));
    }
    set_port(context);
}

/// Sets the source address to the next of `SOURCE_MASK + 1`: for many frames that take turns.
#[inline(always)]
fn vary_from_counter(context: &XdpContext) {
    if let Some(generated) = GENERATED.get_ptr_mut(0) {
        // SAFETY: this CPU's own element.
        let number = unsafe {
            *generated += 1;
            *generated
        };
        set_source(context, |_| number);
        set_port(context);
    }
}

/// Sets the source port to what belongs to the source address.
#[inline(always)]
fn set_port(context: &XdpContext) {
    let (address, port) =
        (context.data() + SOURCE_AT.load() as usize, context.data() + PORT_AT.load() as usize);
    if address + 4 <= context.data_end() && port + 2 <= context.data_end() {
        // SAFETY: the verifier has just seen that the bytes lie in the frame.
        unsafe {
            let low = ((address + 2) as *const u16).read_unaligned();
            (port as *mut u16).write_unaligned(low ^ FIRST_PORT.load().to_be());
        }
    }
}

#[inline(always)]
fn set_source(context: &XdpContext, next: impl FnOnce(u32) -> u32) {
    let source = context.data() + SOURCE_AT.load() as usize;
    if source + 4 <= context.data_end() {
        let mask = SOURCE_MASK.load();
        // SAFETY: the verifier has just seen that the bytes lie in the frame.
        unsafe {
            let source = source as *mut u32;
            let address = u32::from_be(source.read_unaligned());
            let varied = address & !mask | next(address) & mask;
            source.write_unaligned(varied.to_be());
        }
    }
}

/// Sends the frame to `TARGET`.
#[inline(always)]
fn send() -> u32 {
    // SAFETY: no pointers are passed.
    unsafe { bpf_redirect(TARGET.load(), 0) as u32 }
}

#[inline(always)]
fn swap_macs(context: &XdpContext) -> u32 {
    let start = context.data();
    if start + MACS > context.data_end() {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: the verifier has just seen that the bytes lie in the frame.
    unsafe {
        let (first, second) = ((start as *mut u64), ((start + 4) as *mut u64));
        let (head, tail) = (first.read_unaligned(), second.read_unaligned());
        // Bytes 0 to 5 are the destination, 6 to 11 the source.
        first.write_unaligned(tail >> 16 | head << 48);
        ((start + 8) as *mut u32).write_unaligned((head >> 16) as u32);
    }
    xdp_action::XDP_TX
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would reject a program that can come here.
    loop {}
}
