//! Probes that go to a VIP at a real server's MAC: what tells their answers from everything else.
//!
//! The daemon sends them by itself, past the kernel's stack, and listens past it too. The stack must not see the answers:
//! it would answer them with resets, for it knows no such connections. So the program `probe_replies` drops what
//! comes from a VIP that is being probed ([`vip_key`]) and is for one of our ports.

/// The first of the ports, and of the identifiers of ICMP echo requests, that probes are sent from. Up to the last,
/// 65535, they are above those that the kernel gives to sockets by itself (`net.ipv4.ip_local_port_range`, 32768 to 60999
/// by default), and above the last that IANA lists as registered (49151; RFC 6335, section 6).
pub const FIRST_PORT: u16 = 61_000;

/// What the data of an echo request begins with, and so that of its reply: somebody's ping may have one of our
/// identifiers.
pub const ECHO_DATA: [u8; 8] = *b"lb probe";

/// VIPs that can be probed at a time: as many as there can be virtual servers.
pub const MAX_PROBED_VIPS: u32 = crate::limits::MAX_SERVICES;

/// The key of a VIP in the map of those that are probed: its address as it lies in a frame, in little-endian words.
pub type VipKey = [u64; 2];

/// The key of a VIP of IPv4, as it lies in a frame in a little-endian word: its mapped address (RFC 4291, section
/// 2.5.5.2).
#[inline(always)]
#[must_use]
pub const fn vip_key(vip: u32) -> VipKey {
    [0, 0xffff_0000 | (vip as u64) << 32]
}

/// The key of a VIP of IPv6.
#[inline(always)]
#[must_use]
pub const fn vip_key_v6(vip: [u8; 16]) -> VipKey {
    let address = u128::from_le_bytes(vip);
    [address as u64, (address >> 64) as u64]
}
