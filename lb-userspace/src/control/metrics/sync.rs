//! Connections shared with other directors.

use std::fmt;

use super::families::{Families, Name};
use crate::sync::{SyncPeer, SyncStatus};

/// What `phase` may be.
const PHASES: [&str; 4] = ["off", "joining", "joined", "failed"];

pub(super) fn encode(families: &mut Families<'_>, sync: &SyncStatus) -> fmt::Result {
    let phase = if sync.phase.is_empty() { PHASES[0] } else { &sync.phase };
    families.states(
        "sync_state".into(),
        "Whether connections are shared with other directors: 1 for the state that it is in.",
        &PHASES,
        [([], phase)],
    )?;
    for (name, help, count) in [
        ("sync_datagrams_sent", "Datagrams sent, each to all peers.", sync.sent_datagrams),
        (
            "sync_connections_sent",
            "Connections and templates that others were told of.",
            sync.sent_connections,
        ),
        (
            "sync_connections_refreshed",
            "Those of them that are told of now and then because they last.",
            sync.refreshed,
        ),
        ("sync_send_errors", "Datagrams that the kernel did not take.", sync.send_errors),
        (
            "sync_events_lost",
            "Events that the data plane had no room for: nobody was told of these.",
            sync.lost_events,
        ),
        ("sync_datagrams_received", "Datagrams that were believed.", sync.received_datagrams),
        ("sync_snapshots_sent", "Snapshots that other directors got from this one.", sync.snapshots_sent),
        ("sync_snapshots_received", "Snapshots that this one got.", sync.snapshots_received),
    ] {
        families.counter(name.into(), help, [([], count)])?;
    }
    let outcomes = [
        ("inserted", sync.inserted),
        ("updated", sync.updated),
        ("kept", sync.kept),
        ("expired", sync.expired),
        ("unknown_service", sync.unknown_service),
        ("unknown_server", sync.unknown_server),
        ("no_room", sync.no_room),
    ];
    families.counter(
        "sync_connections_received".into(),
        "Connections and templates that other directors told of, by what became of them.",
        outcomes.map(|(outcome, count)| ([("outcome", outcome)], count)),
    )?;
    let refused = &sync.refused;
    let refused = [
        ("malformed", refused.malformed),
        ("version", refused.version),
        ("key", refused.key),
        ("replayed", refused.replayed),
        ("stranger", refused.stranger),
    ];
    families.counter(
        "sync_datagrams_refused".into(),
        "Datagrams and introductions that were not believed, by reason.",
        refused.map(|(reason, count)| ([("reason", reason)], count)),
    )?;
    peers(families, &sync.peers)
}

fn peers(families: &mut Families<'_>, peers: &[SyncPeer]) -> fmt::Result {
    let each = || peers.iter().map(|peer| ([("peer", peer.address.as_str())], peer));
    families.gauge(
        "sync_peer_introduced".into(),
        "Whether another director has proved who it is: 1 if so.",
        each().map(|(labels, peer)| (labels, u32::from(peer.introduced))),
    )?;
    families.gauge(
        Name::seconds("sync_peer_silence"),
        "How long nothing was heard of it; one that is well is heard every second.",
        each().filter_map(|(labels, peer)| Some((labels, peer.heard_ms? as f64 / 1e3))),
    )?;
    families.gauge(
        "sync_peer_missing_datagrams".into(),
        "Datagrams of its present run that have not come.",
        each().map(|(labels, peer)| (labels, peer.missing)),
    )?;
    families.gauge(
        "sync_peer_snapshot_connections".into(),
        "Connections in its last snapshot.",
        each().filter_map(|(labels, peer)| Some((labels, peer.snapshot_connections?))),
    )?;
    families.gauge(
        Name::seconds("sync_peer_snapshot_duration"),
        "How long its last snapshot took.",
        each().filter_map(|(labels, peer)| Some((labels, peer.snapshot_ms? as f64 / 1e3))),
    )
}
