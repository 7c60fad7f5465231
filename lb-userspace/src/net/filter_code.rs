//! Operations of classic BPF, for filters of sockets: classes, sizes, modes and comparisons of
//! `include/uapi/linux/bpf_common.h`, added up.

/// `BPF_LD | BPF_B | BPF_ABS`
pub const LOAD_BYTE: u16 = 0x30;
/// `BPF_LD | BPF_H | BPF_ABS`
pub const LOAD_HALF: u16 = 0x28;
/// `BPF_LD | BPF_B | BPF_IND`: behind the index register.
pub const LOAD_BYTE_INDIRECT: u16 = 0x50;
/// `BPF_LD | BPF_H | BPF_IND`
pub const LOAD_HALF_INDIRECT: u16 = 0x48;
/// `BPF_LDX | BPF_IMM`
pub const INDEX: u16 = 0x01;
/// `BPF_LDX | BPF_B | BPF_MSH`: four times the low half of a byte, the length of an IPv4 header.
pub const INDEX_IPV4_HEADER: u16 = 0xb1;
/// `BPF_JMP | BPF_JEQ | BPF_K`
pub const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`
pub const JUMP_AT_LEAST: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`
pub const JUMP_ANY_BIT: u16 = 0x45;
/// `BPF_JMP | BPF_JA`
pub const JUMP: u16 = 0x05;
/// `BPF_RET | BPF_K`
pub const RETURN: u16 = 0x06;
