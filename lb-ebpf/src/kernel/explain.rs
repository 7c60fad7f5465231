//! The product's program as a dry run: the same stages on the same maps, and nothing written but what they decided.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::programs::XdpContext;
use lb_common::connection::{KEY_WORDS_V4, KEY_WORDS_V6};
use lb_common::counter::Reason;
use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6};
use lb_common::trace::Note;

use super::{Actions, Maps, XdpFrame, act, detour, maps};
use crate::track::{Decision, decide, schedule};
use crate::{DryRun, Packet, PacketV4, PacketV6, Rehearsal, Tables as _, process};

/// What [`balance`](super::balance) would make of a frame.
#[inline(always)]
pub fn explain(context: &XdpContext) -> u32 {
    let Some(trace) = maps::TRACE.get(0) else { return xdp_action::XDP_ABORTED };
    let tables = DryRun::new(&Maps, trace);
    act(context.ctx, process(&mut XdpFrame::new(context.ctx), &tables), &tables)
}

impl Actions for DryRun<'_, Maps> {
    #[inline(always)]
    fn redirect(&self, place: u32) -> u32 {
        self.note(Note::Redirect, u64::from(place));
        xdp_action::XDP_REDIRECT
    }

    #[inline(always)]
    fn detour(&self, context: *mut xdp_md, number: u32, length: u32) -> u32 {
        lb_explain_detour(context, number, length)
    }
}

/// [`take_detour`](crate::forward::take_detour).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_explain_detour(context: *mut xdp_md, number: u32, length: u32) -> u32 {
    let Some(trace) = maps::TRACE.get(0) else { return xdp_action::XDP_ABORTED };
    detour(context, number, length, &DryRun::new(&Maps, trace))
}

macro_rules! family {
    ($key_words:ident, $address_words:ident, $packet:ident, $decide:ident, $schedule:ident) => {
        impl Rehearsal<$key_words, $address_words> for Maps {
            #[inline(always)]
            fn rehearse(
                _rehearsed: &DryRun<'_, Self>,
                packet: &Packet<$key_words>,
                service: u32,
                is_known: bool,
                chosen: u32,
            ) -> Decision {
                Decision::from_word($decide(&raw const *packet, service, u32::from(is_known), chosen))
            }

            #[inline(always)]
            fn rehearse_schedule(
                _rehearsed: &DryRun<'_, Self>,
                packet: &Packet<$key_words>,
                service: u32,
                moves: bool,
                chosen: u32,
            ) -> Decision {
                Decision::from_word($schedule(&raw const *packet, service, u32::from(moves), chosen))
            }
        }

        /// [`schedule`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $schedule(packet: *const $packet, service: u32, moves: u32, chosen: u32) -> u64 {
            // SAFETY: null, or a packet: the verifier checks the callers.
            let Some((packet, trace)) = (unsafe { packet.as_ref() }).zip(maps::TRACE.get(0)) else {
                return Decision::drop(Reason::DropInternal).word();
            };
            schedule(packet, service, moves != 0, chosen, &DryRun::new(&Maps, trace)).word()
        }

        /// [`decide`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $decide(packet: *const $packet, service: u32, is_known: u32, chosen: u32) -> u64 {
            // SAFETY: null, or a packet: the verifier checks the callers.
            let Some((packet, trace)) = (unsafe { packet.as_ref() }).zip(maps::TRACE.get(0)) else {
                return Decision::drop(Reason::DropInternal).word();
            };
            decide(packet, service, is_known != 0, chosen, &DryRun::new(&Maps, trace)).word()
        }
    };
}

family!(KEY_WORDS_V4, ADDRESS_WORDS_V4, PacketV4, lb_explain_decide_v4, lb_explain_schedule_v4);
family!(KEY_WORDS_V6, ADDRESS_WORDS_V6, PacketV6, lb_explain_decide_v6, lb_explain_schedule_v6);
