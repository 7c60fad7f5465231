//! The product's programs: `lb` on every interface, `traced` in its place while somebody traces, `explain` and `clock`
//! for the daemon, and `probe_replies` where it sends
//! probes to VIPs.

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the signature of an XDP program")]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_ebpf::kernel;

/// Balances one frame, which may lie in several buffers.
#[xdp(frags)]
fn lb(context: XdpContext) -> u32 {
    kernel::balance(&context)
}

/// Does what `lb` does, and tells the daemon what became of the frame, if that wants to know. Attached in the place of `lb`
/// while somebody traces.
#[xdp(frags)]
fn traced(context: XdpContext) -> u32 {
    kernel::trace(&context)
}

/// What `lb` would do with a frame, without doing it: rewrites the frame, notes what decided, and leaves every other map
/// as it is. Run by the daemon, never attached.
#[xdp(frags)]
fn explain(context: XdpContext) -> u32 {
    kernel::explain(&context)
}

/// Writes the kernel's jiffies into the first 8 bytes of the frame; run by the daemon, never attached.
#[xdp]
fn clock(context: XdpContext) -> u32 {
    let start = context.data();
    if start + 8 <= context.data_end() {
        // SAFETY: the verifier has just seen that the bytes lie in the frame.
        unsafe { (start as *mut u64).write_unaligned(kernel::jiffies()) };
    }
    xdp_action::XDP_DROP
}

/// Drops answers to the daemon's probes of VIPs, which it has seen by then. Attached to ingress while there are probes.
#[classifier]
fn probe_replies(context: TcContext) -> i32 {
    kernel::drop_probe_replies(&context)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would reject a program that can come here.
    loop {}
}
