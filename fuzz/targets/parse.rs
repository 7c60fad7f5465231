//! A frame's headers.

#![no_main]

use lb_ebpf::host::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| parse(frame));
