//! Frames through all stages of a director.

#![no_main]

use lb_ebpf::host::process_all;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| process_all(input));
