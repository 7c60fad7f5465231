//! `lb sync`.

use std::fmt::Write as _;

use clap::Args;

use super::output::{print, print_json};
use super::{ControlSocket, Failure, ask};
use crate::sync::{SyncPeer, SyncStatus};

/// Show how connections are shared with other directors.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb sync                          who the other directors are, and what went to and fro
  sudo lb sync --json | jq '.peers[] | select(.introduced | not)'
                                        who is configured, and does not answer
  sudo lb sync --json | jq '.missing + .lost_events + .send_errors'
                                        what others, or this one, were not told of

What is refused was made with another key or by another version, or came a second time; a stranger is a director
that has just started, or a recording. Off: the configuration has no section [sync].")]
pub(super) struct Sync {
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Sync {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let status: SyncStatus = ask(&self.socket.control_socket, "/v1/sync")?;
        if self.json { print_json(&status) } else { print(&shown(&status)) }
    }
}

fn shown(status: &SyncStatus) -> String {
    let SyncStatus { phase, refused, .. } = status;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    match (&status.error, &status.interface) {
        (Some(error), _) => line("State", format!("{phase}: {error}")),
        (None, Some(interface)) => {
            let group = status.group.as_ref().map(|group| format!(", group {group}")).unwrap_or_default();
            line("State", format!("{phase}, on {interface}{group}"));
        }
        (None, None) => line("State", phase.clone()),
    }
    let Some(session) = &status.session else { return text };
    let since = status.since.as_deref().unwrap_or("-");
    line("Session", format!("{session}, since {since}, datagram {}", status.number));
    line(
        "Sent",
        format!(
            "{} connections in {} datagrams, {} of them again because they last; {} snapshots",
            status.sent_connections, status.sent_datagrams, status.refreshed, status.snapshots_sent
        ),
    );
    line(
        "Received",
        format!(
            "{} connections, {} datagrams, {} snapshots",
            status.received_connections, status.received_datagrams, status.snapshots_received
        ),
    );
    line(
        "",
        format!(
            "{} inserted, {} updated, {} known better, {} expired, {} without room",
            status.inserted, status.updated, status.kept, status.expired, status.no_room
        ),
    );
    line(
        "Unknown",
        format!("virtual server {}, real server {}", status.unknown_service, status.unknown_server),
    );
    line(
        "Lost",
        format!(
            "events {}, not sent {}, datagrams of peers {}",
            status.lost_events, status.send_errors, status.missing
        ),
    );
    line(
        "Refused",
        format!(
            "key {}, version {}, replayed {}, stranger {}, malformed {}",
            refused.key, refused.version, refused.replayed, refused.stranger, refused.malformed
        ),
    );
    if status.peers.is_empty() {
        line("Peers", "none has been heard".to_owned());
    }
    for (place, peer) in status.peers.iter().enumerate() {
        line(if place == 0 { "Peers" } else { "" }, of_peer(peer));
    }
    text
}

fn of_peer(peer: &SyncPeer) -> String {
    let mut text = peer.address.clone();
    match (&peer.session, peer.heard_ms) {
        (Some(session), Some(heard)) => {
            let _ = write!(text, ": session {session}, heard {} s ago", heard / 1000);
        }
        _ => text += ": has not proved who it is",
    }
    if let Some((connections, milliseconds)) = peer.snapshot_connections.zip(peer.snapshot_ms) {
        let _ = write!(text, ", told of {connections} connections in {milliseconds} ms");
    }
    if peer.missing > 0 {
        let _ = write!(text, ", {} datagrams are missing", peer.missing);
    }
    if let Some(error) = &peer.error {
        let _ = write!(text, "; asked last: {error}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_said_to_be() {
        let status = SyncStatus { phase: "off".to_owned(), ..SyncStatus::default() };
        assert_eq!(shown(&status), "State      off\n");
        let error = Some("no key".to_owned());
        let status = SyncStatus { phase: "failed".to_owned(), error, ..SyncStatus::default() };
        assert_eq!(shown(&status), "State      failed: no key\n");
    }

    #[test]
    fn what_went_to_and_fro_is_shown_with_the_peers() {
        let text = |text: &str| Some(text.to_owned());
        let peers = vec![
            SyncPeer {
                address: "192.168.2.211:8848".to_owned(),
                introduced: true,
                session: text("0badcafe"),
                heard_ms: Some(700),
                number: 90,
                missing: 2,
                snapshot_connections: Some(12),
                snapshot_ms: Some(3),
                error: None,
            },
            SyncPeer {
                address: "192.168.2.212:8848".to_owned(),
                error: text("it does not answer in time"),
                ..SyncPeer::default()
            },
        ];
        let status = SyncStatus {
            phase: "joined".to_owned(),
            interface: text("eth0"),
            group: text("224.0.0.81:8848"),
            session: text("12345678"),
            since: text("2026-11-22T00:00:00Z"),
            number: 7,
            sent_connections: 100,
            sent_datagrams: 7,
            received_connections: 50,
            inserted: 40,
            kept: 10,
            peers,
            ..SyncStatus::default()
        };
        let expected = "\
State      joined, on eth0, group 224.0.0.81:8848
Session    12345678, since 2026-11-22T00:00:00Z, datagram 7
Sent       100 connections in 7 datagrams, 0 of them again because they last; 0 snapshots
Received   50 connections, 0 datagrams, 0 snapshots
           40 inserted, 0 updated, 10 known better, 0 expired, 0 without room
Unknown    virtual server 0, real server 0
Lost       events 0, not sent 0, datagrams of peers 0
Refused    key 0, version 0, replayed 0, stranger 0, malformed 0
Peers      192.168.2.211:8848: session 0badcafe, heard 0 s ago, told of 12 connections in 3 ms, 2 datagrams are missing
           192.168.2.212:8848: has not proved who it is; asked last: it does not answer in time
";
        assert_eq!(shown(&status), expected);
    }
}
