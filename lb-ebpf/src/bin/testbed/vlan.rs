//! Hosts in a VLAN, on kernels that have no VLANs: what a host sends is tagged at its port of the switch, and tags are
//! removed before its own stack sees them.
//!
//! ARP and ICMPv6 (neighbour discovery) stay as they are, as in the trunk's native VLAN: without a VLAN interface, the
//! director's stack could not answer tagged ones.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::programs::XdpContext;

/// Both MACs, as words.
type Macs = [u32; 3];

const TAG: usize = 4;
const ETHER_TYPE: usize = size_of::<Macs>();
const ETHERNET: usize = ETHER_TYPE + 2;
/// IPv6's next header, in a frame without tags.
const NEXT_HEADER: usize = ETHERNET + 6;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const DOT1Q: u16 = 0x8100;
const ICMPV6: u8 = 58;

/// Tags an IP packet with this control information, and hands it on.
#[inline(always)]
pub(crate) fn tag(context: &XdpContext, control: u16) -> u32 {
    let Some(ether_type) = read::<u16>(context, ETHER_TYPE) else { return xdp_action::XDP_PASS };
    let is_tagged = match u16::from_be(ether_type) {
        IPV4 => true,
        IPV6 => read::<u8>(context, NEXT_HEADER) != Some(ICMPV6),
        _ => false,
    };
    if !is_tagged {
        return xdp_action::XDP_PASS;
    }
    let moved = move_macs(context, -(TAG as i32));
    if moved && write(context, ETHER_TYPE, [DOT1Q.to_be(), control.to_be()]) {
        return xdp_action::XDP_PASS;
    }
    xdp_action::XDP_ABORTED
}

/// Removes a tag, if there is one, and hands the frame on.
#[inline(always)]
pub(crate) fn untag(context: &XdpContext) -> u32 {
    if read::<u16>(context, ETHER_TYPE) != Some(DOT1Q.to_be()) || move_macs(context, TAG as i32) {
        return xdp_action::XDP_PASS;
    }
    xdp_action::XDP_ABORTED
}

/// Has the frame start so many bytes later, or earlier, with the same MACs.
#[inline(always)]
fn move_macs(context: &XdpContext, by: i32) -> bool {
    let Some(macs) = read::<Macs>(context, 0) else { return false };
    // SAFETY: the context is the one that the program was called with.
    unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), by) == 0 && write(context, 0, macs) }
}

#[inline(always)]
fn read<T: Copy>(context: &XdpContext, offset: usize) -> Option<T> {
    let start = context.data() + offset;
    if start + size_of::<T>() > context.data_end() {
        return None;
    }
    // SAFETY: the verifier has just seen that the bytes lie in the frame.
    Some(unsafe { (start as *const T).read_unaligned() })
}

#[inline(always)]
fn write<T>(context: &XdpContext, offset: usize, value: T) -> bool {
    let start = context.data() + offset;
    if start + size_of::<T>() > context.data_end() {
        return false;
    }
    // SAFETY: the verifier has just seen that the bytes lie in the frame.
    unsafe { (start as *mut T).write_unaligned(value) };
    true
}
