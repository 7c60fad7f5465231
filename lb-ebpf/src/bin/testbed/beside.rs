//! What a flood costs those who are not part of it.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use lb_common::Word;
use lb_ebpf::kernel;

use crate::set_port;

/// What the benchmark says: [`Order`]s by their places.
#[map]
static BESIDE: Array<Word> = Array::with_max_entries(3, 0);

/// Places in `BESIDE`.
enum Order {
    /// One less than the number of established flows, a power of two.
    Established,
    /// The first of them.
    FirstSource,
    /// A frame of the flood: from the lowest byte on the IP protocol, the TCP flags, and the port in two bytes. 0: there is
    /// none, and its turns are empty.
    Flood,
}

/// What frames of one kind took.
#[repr(C)]
#[derive(Clone, Copy)]
struct Took {
    nanoseconds: u64,
    frames: u64,
    /// Frames that were not forwarded.
    others: u64,
}

/// Of established flows, and of the flood.
#[map]
static TOOK: PerCpuArray<[Took; 2]> = PerCpuArray::with_max_entries(1, 0);

/// Where the flood comes from: 16,777,216 sources.
const FLOODING: u32 = 20 << 24;

// Where it lies in a frame without tags or options.
const PROTOCOL: usize = 14 + 9;
const SOURCE: usize = 14 + 12;
const PORT: usize = 14 + 20 + 2;
const FLAGS: usize = 14 + 20 + 13;

const TCP: u64 = 6;
const ACK: u64 = 0x10;
const WEB: u64 = 80;

/// Has the product decide, and notes how long that took.
#[inline(always)]
pub(crate) fn balance(context: &XdpContext) -> u32 {
    let order = |order: Order| BESIDE.get(order as u32).map(Word::load);
    let (Some(mask), Some(first), Some(flood), Some(took)) =
        (order(Order::Established), order(Order::FirstSource), order(Order::Flood), TOOK.get_ptr_mut(0))
    else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: this CPU's own element.
    let [established, flooding] = unsafe { &mut *took };
    let is_flood = established.frames > flooding.frames;
    let (source, kind) = if is_flood {
        // In an order as good as random, in which none comes again before all others have: who does is no flood.
        (FLOODING | (flooding.frames as u32).wrapping_mul(0x9e37_79b1) & !(u32::MAX << 24), flood)
    } else {
        ((first + (established.frames & mask)) as u32, TCP | ACK << 8 | WEB << 16)
    };
    if kind != 0 && !write(context, source, kind) {
        return xdp_action::XDP_ABORTED;
    }
    let took = if is_flood { flooding } else { established };
    // SAFETY: no pointers are passed.
    let begin = unsafe { bpf_ktime_get_ns() };
    let verdict = if kind == 0 { xdp_action::XDP_TX } else { kernel::balance(context) };
    // SAFETY: no pointers are passed.
    took.nanoseconds += unsafe { bpf_ktime_get_ns() } - begin;
    took.frames += 1;
    took.others += u64::from(verdict != xdp_action::XDP_TX);
    verdict
}

/// Makes the frame one of this kind.
#[inline(always)]
fn write(context: &XdpContext, source: u32, kind: u64) -> bool {
    let start = context.data();
    if start + FLAGS + 1 > context.data_end() {
        return false;
    }
    // SAFETY: the verifier has just seen that the bytes lie in the frame.
    unsafe {
        *((start + PROTOCOL) as *mut u8) = kind as u8;
        ((start + SOURCE) as *mut u32).write_unaligned(source.to_be());
        ((start + PORT) as *mut u16).write_unaligned(((kind >> 16) as u16).to_be());
        *((start + FLAGS) as *mut u8) = (kind >> 8) as u8;
    }
    set_port(context);
    true
}
