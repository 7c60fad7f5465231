//! The program behind XDP: on socket buffers, at an interface's ingress.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;

use super::maps;
use crate::probe_replies::{Bytes, Words, is_probe_reply};

/// [`is_probe_reply`]: the verdict. Whatever else is attached there decides about all other frames.
#[inline(always)]
pub fn drop_probe_replies(context: &TcContext) -> i32 {
    let frame = SocketBuffer(context.skb.skb);
    // SAFETY: the kernel's own; 16 bits in network byte order.
    let ether_type = unsafe { (*frame.0).protocol } as u16;
    if is_probe_reply(&frame, ether_type, |vip| maps::PROBED_VIPS.get_ptr(vip).is_some()) {
        TC_ACT_SHOT
    } else {
        TC_ACT_UNSPEC
    }
}

struct SocketBuffer(*mut __sk_buff);

impl Bytes for SocketBuffer {
    #[inline(always)]
    fn copy<T: Words>(&self, offset: usize) -> Option<T> {
        let mut copy = MaybeUninit::<T>::uninit();
        let (place, length) = (copy.as_mut_ptr().cast(), size_of::<T>() as u32);
        // SAFETY: the helper reads the context, and writes all bytes or fails; any bytes are a value.
        unsafe {
            let failed = bpf_skb_load_bytes(self.0.cast(), offset as u32, place, length);
            if failed == 0 { Some(copy.assume_init()) } else { None }
        }
    }
}
