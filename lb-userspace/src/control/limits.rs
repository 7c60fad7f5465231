//! How much of the daemon a client may take. Everything that a client can make longer or more is bounded here.

use std::time::Duration;

/// The bounds of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time. Where there is no room, the one that has kept the daemon waiting longest gives way to a
    /// new one, so that no number of idle or stuck clients keeps an operator out.
    pub(super) connections: usize,
    /// For how long a client may keep the daemon waiting even if others have no room.
    pub(super) grace: Duration,
    /// From a connection's begin to the end of the request's header.
    pub(super) header: Duration,
    /// From there to the end of its body.
    pub(super) body: Duration,
    /// For how long a client may take nothing of an answer: somebody may read `lb connections | less`.
    pub(super) write: Duration,
    /// Bytes of a body.
    pub(super) small_body: usize,
    /// The same where many changes may come at once.
    pub(super) large_body: usize,
    /// Bodies of more than [`small_body`](Self::small_body) at a time: in memory they are some times as large.
    pub(super) large_bodies: usize,
    /// Requests that change something at a time. The reconciler's queue has room for more, so what links, neighbours
    /// and sweeps tell it never waits behind clients.
    pub(super) changes: usize,
    /// Changes in one request: while they are made, links, neighbours and sweeps wait.
    pub(super) changes_at_once: usize,
    /// Answers at a time for which many records are read.
    pub(super) readings: usize,
    /// Streams of events at a time.
    pub(super) followers: usize,
    /// Status pages at a time that are kept up to date.
    pub(super) listeners: usize,
    /// How long a request waits for its turn where there are as many at a time.
    pub(super) turn: Duration,
    /// How often a stream of events says that it is there.
    pub(super) heartbeat: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            grace: Duration::from_millis(100),
            header: Duration::from_secs(10),
            body: Duration::from_secs(20),
            write: Duration::from_secs(600),
            small_body: 64 << 10,
            large_body: 16 << 20,
            large_bodies: 2,
            changes: 48,
            changes_at_once: 10_000,
            readings: 2,
            followers: 64,
            listeners: 8,
            turn: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Of `director.http`, where anybody may ask who reaches it: a part of what root has, and nothing large.
    pub(super) fn for_anybody() -> Self {
        Self {
            connections: 64,
            header: Duration::from_secs(5),
            body: Duration::from_secs(5),
            write: Duration::from_secs(30),
            small_body: 4 << 10,
            large_body: 4 << 10,
            large_bodies: 1,
            changes: 4,
            changes_at_once: 1,
            readings: 1,
            followers: 8,
            listeners: 32,
            ..Self::default()
        }
    }
}
