//! What the data plane can be told while it runs: the one element of the settings map.

use crate::Word;
use crate::connection::Timeouts;
use crate::interface::Interface;
use crate::limits::MAX_INTERFACES;

/// The settings map's element. One look-up for each frame finds all of it.
#[repr(C, align(128))]
#[cfg_attr(not(target_arch = "bpf"), derive(Debug))]
pub struct Settings {
    /// The IPv4 addresses in use: a [`service::Index`](crate::service::Index) as its word.
    pub services_v4: Word,
    /// The IPv6 addresses in use.
    pub services_v6: Word,
    /// The secret of the connection tables' hash: it must outlive the daemon, as the tables do.
    pub flow_seed: [Word; 2],
    /// Whether clients are refused: an [`acl::Gate`](crate::acl::Gate) as its word.
    pub acl: Word,
    /// Timeouts of connections by state.
    pub timeouts: Timeouts,
    /// [`Timeouts::half_open_ranks`].
    pub half_open_ranks: Timeouts,
    /// Whether the daemon is to be told of connections ([`sync`](crate::sync)): 0 if not. Read for flows that are
    /// confirmed or change their state; no other frame looks at it.
    pub sync: Word,
    /// Events that the daemon was not told of, for there was no room.
    pub sync_lost: Word,
    /// Which part of CONNECTIONS_V4 is in use: [`Extents`](crate::connection::Extents) as their word.
    pub extents_v4: Word,
    /// The same of CONNECTIONS_V6.
    pub extents_v6: Word,
    /// The interfaces; each has a program of its own that knows its place here.
    pub interfaces: [Interface; MAX_INTERFACES],
}

const _: () = assert!(size_of::<Settings>() == 128 * (2 + MAX_INTERFACES), "whole cache lines");
