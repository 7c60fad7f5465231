//! The product's program while somebody traces: the same stages on the same maps, and a sample of what became of a frame
//! for the daemon ([ADR 18](../../../docs/adr/0018-trace.md)).
//!
//! ```text
//!   lb_trace_begin ──> the stages, on Traced<Maps> ──> lb_trace_end ──> SAMPLES
//!   chosen by chance?    what becomes of the frame     is it wanted?
//!   its first bytes      is noted in SAMPLE            within the budget?
//! ```

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use lb_common::sample::{MAX_SNAP, Sample};

use super::maps::Sampled;
use super::{Actions, Maps, XdpFrame, act, detour, maps};
use crate::{Tables as _, Traced, process};

/// The frame is not looked at.
const PASSED_OVER: u64 = 0;
/// There is no budget: it is counted only.
const COUNTED: u64 = 1;
/// Its bytes have been copied.
const COPIED: u64 = 2;
const _: () = assert!(MAX_SNAP.is_power_of_two());

/// [`balance`](super::balance), and a sample.
#[inline(always)]
pub fn trace(context: &XdpContext) -> u32 {
    let Some(place) = maps::SAMPLE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: this CPU's own element; what is written while this holds it are words.
    let sample: &Sample = unsafe { &(*place).sample };
    let tables = Traced::new(&Maps, sample);
    lb_trace_begin(context.ctx);
    let action = act(context.ctx, process(&mut XdpFrame::new(context.ctx), &tables), &tables);
    lb_trace_end(action);
    action
}

impl Actions for Traced<'_, Maps> {
    #[inline(always)]
    fn redirect(&self, place: u32) -> u32 {
        self.note_redirect(place);
        self.tables().redirect(place)
    }

    #[inline(always)]
    fn detour(&self, context: *mut xdp_md, number: u32, length: u32) -> u32 {
        lb_traced_detour(context, number, length)
    }
}

/// [`take_detour`](crate::forward::take_detour).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_traced_detour(context: *mut xdp_md, number: u32, length: u32) -> u32 {
    let Some(place) = maps::SAMPLE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: as in `trace`.
    detour(context, number, length, &Traced::continued(&Maps, unsafe { &(*place).sample }))
}

/// Decides whether a frame is looked at, and copies its first bytes: afterwards it may be another. 1 if it is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_trace_begin(context: *mut xdp_md) -> u32 {
    let Some((place, watch)) = maps::SAMPLE.get_ptr_mut(0).zip(maps::WATCH.get(0)) else { return 0 };
    // SAFETY: this CPU's own element, of which the caller reads words only.
    let Sampled { chosen, sample, frame } = unsafe { &mut *place };
    chosen.store(PASSED_OVER);
    if !watch.is_on(Maps.now()) {
        return 0;
    }
    let one_of = watch.one_of.load();
    if one_of > 1 && (u64::from(Maps.random()) * one_of) >> 32 != 0 {
        return 0;
    }
    chosen.store(COUNTED);
    if !watch.has_budget() {
        return 1;
    }
    // SAFETY: the helpers read the context, and write no more than there is room for.
    let (length, snap) = unsafe {
        let length = bpf_xdp_get_buff_len(context);
        // At least one byte is wanted, and at most MAX_SNAP. The verifier of 6.1 takes no other bounds than those of the very
        // number that the helper is given, and learns nothing from a comparison with 0, which `max(1)` becomes.
        let wanted = length.min(watch.snap.load());
        let snap = (wanted.wrapping_sub(1) & u64::from(MAX_SNAP - 1)) + 1;
        let failed = bpf_xdp_load_bytes(context, 0, frame.as_mut_ptr().cast(), snap as u32);
        (length, if failed == 0 { snap } else { 0 })
    };
    sample.length.store(length << 32 | snap);
    chosen.store(COPIED);
    1
}

/// Tells the daemon of the frame, if that wants to know; 1 if it was told.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_trace_end(action: u32) -> u32 {
    let Some((place, watch)) = maps::SAMPLE.get_ptr_mut(0).zip(maps::WATCH.get(0)) else { return 0 };
    // SAFETY: this CPU's own element.
    let Sampled { chosen, sample, frame: _ } = unsafe { &*place };
    let chosen = chosen.load();
    if chosen == PASSED_OVER || !watch.wants(sample) {
        return 0;
    }
    watch.matched.fetch_add(1);
    if chosen != COPIED || !watch.take() {
        watch.limited.fetch_add(1);
        return 0;
    }
    // SAFETY: the helper takes nothing.
    sample.time.store(unsafe { bpf_ktime_get_ns() });
    sample.action.store(sample.action.load() | u64::from(action));
    let bytes = size_of::<Sample>() as u64 + (sample.length.load() & 0xffff_ffff).min(u64::from(MAX_SNAP));
    // SAFETY: the sample and the frame lie one behind the other, and there are as many bytes.
    let told = unsafe {
        let start = (&raw const (*place).sample).cast::<u8>();
        let bytes = core::slice::from_raw_parts(start, bytes as usize);
        maps::SAMPLES.output::<[u8]>(bytes, 0)
    };
    if told.is_err() {
        watch.lost.fetch_add(1);
        return 0;
    }
    1
}
