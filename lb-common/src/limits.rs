//! Sizes that are fixed when the program is loaded.

/// Virtual servers (`[[virtual_server]]` sections).
pub const MAX_SERVICES: u32 = 4096;

/// Exact addresses (VIP, port, protocol) over all virtual servers of one family.
pub const MAX_SERVICE_ADDRESSES: u32 = 16_384;

/// Real servers, counted once for each virtual server that lists them.
pub const MAX_DESTINATIONS: u32 = 65_536;

/// Prefixes of one family that are allowed or denied, over all virtual servers and none in particular.
pub const MAX_ACL_PREFIXES: u32 = 65_536;

/// Network interfaces of one director.
pub const MAX_INTERFACES: usize = 16;

/// Peer directors whose frames are never scheduled again, for each interface.
pub const MAX_PEERS: usize = 8;

/// Words in the slot map, shared by the slot tables of all virtual servers: current and previous ones.
pub const SLOT_WORDS: u32 = 1 << 20;

/// Slots in the table of one virtual server.
pub const MAX_SLOTS: u32 = 1 << 17;

/// `max_connections` may be configured within these.
pub const MIN_CONNECTIONS: u32 = 1 << 10;
/// `max_connections` may be configured within these.
pub const MAX_CONNECTIONS: u32 = 1 << 26;

/// The largest weight of a real server, as in `ipvsadm -w`.
pub const MAX_WEIGHT: u32 = 65_535;
