//! `lb events`.

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use clap::Args;

use super::{ControlSocket, Failure, NOT_RUNNING, answered, runtime};
use crate::control::api::{Event, EventFilter, Happening};
use crate::control::client;

/// Say what happens, as it happens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb events                          from now on, until Ctrl-C
  sudo lb events --last 20                the last 20 first
  sudo lb events --last 20 --no-follow    these only
  sudo lb events --json | jq -c 'select(.kind == \"real_server_state\")'

States, weights and MACs of real servers, virtual servers that come, change and go, reloads, rules for clients,
timeouts, states of VRRP, and what somebody else wrote to the maps. The daemon remembers the last 256. Whoever reads too slowly
is told how many were lost.")]
pub(super) struct Events {
    /// Begin with this many that were before
    #[arg(long, value_name = "NUMBER")]
    last: Option<usize>,
    /// Do not wait for more
    #[arg(long)]
    no_follow: bool,
    /// JSON instead of text: an object on each line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Events {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let filter = EventFilter { last: self.last, follow: self.no_follow.then_some(false) };
        let path = format!("/v1/events?{}", serde_urlencoded::to_string(filter)?);
        let followed = runtime()?.block_on(async {
            let lines = client::lines(&self.socket.control_socket, &path, |line| show(line, self.json));
            tokio::select! {
                followed = lines => followed.map(Some),
                _ = tokio::signal::ctrl_c() => Ok(None),
            }
        });
        match answered(followed)? {
            Some(ControlFlow::Break(shown)) => shown,
            Some(ControlFlow::Continue(())) if !self.no_follow => {
                Err(Failure { code: NOT_RUNNING, message: "the daemon has ended".to_owned() })
            }
            Some(ControlFlow::Continue(())) | None => Ok(()),
        }
    }
}

/// Prints a line of the answer. A reader that has gone away ends it.
fn show(line: &[u8], json: bool) -> ControlFlow<Result<(), Failure>> {
    // The daemon says that it is there.
    if line.is_empty() {
        return ControlFlow::Continue(());
    }
    let text = if json { line.to_vec() } else { told(line).into_bytes() };
    let mut stdout = io::stdout().lock();
    let printed =
        stdout.write_all(&text).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    match printed {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ControlFlow::Break(Ok(())),
        Err(error) => ControlFlow::Break(Err(error.into())),
    }
}

/// An event in words; one that a newer daemon reports and this program does not know, as it came.
fn told(line: &[u8]) -> String {
    match serde_json::from_slice::<Event>(line) {
        Ok(Event { time, happening, .. }) => format!("{time}  {}", words(&happening)),
        Err(_) => String::from_utf8_lossy(line).into_owned(),
    }
}

fn words(happening: &Happening) -> String {
    let or_none = |mac: &Option<String>| mac.clone().unwrap_or_else(|| "none".to_owned());
    match happening {
        Happening::DaemonStarted { version, virtual_servers } => {
            format!("lb {version} began, virtual servers: {virtual_servers}")
        }
        Happening::DaemonStopping => "the daemon ends".to_owned(),
        Happening::VirtualServerAdded { service, protocol, addresses, scheduler, real_servers } => {
            let addresses = addresses.join(" ");
            format!(
                "{service:?}: new virtual server, {protocol} {addresses} {scheduler}, real servers: {real_servers}"
            )
        }
        Happening::VirtualServerRemoved { service } => format!("{service:?}: virtual server removed"),
        Happening::VirtualServerChanged { service, changed } => {
            format!("{service:?}: changed: {}", changed.join(", "))
        }
        Happening::RealServerAdded { service, server, weight, state } => {
            format!("{service:?}: new real server {server}, weight {weight}, {}", state.name())
        }
        Happening::RealServerRemoved { service, server } => {
            format!("{service:?}: real server {server} removed")
        }
        Happening::RealServerState { service, server, before, after, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{service:?}: {server} is {} (was {}){reason}", after.name(), before.name())
        }
        Happening::QuorumReached { service } => format!("{service:?}: enough real servers are usable again"),
        Happening::QuorumLost { service } => format!("{service:?}: too few real servers are usable"),
        Happening::RealServerWeight { service, server, before, after } => {
            format!("{service:?}: {server} has weight {after} (had {before})")
        }
        Happening::AdminChange { client, service, server, after, .. } => {
            format!("{service:?}: {client} gave {server} weight {after} at director.http")
        }
        Happening::RealServerMac { service, server, before, after } => {
            format!("{service:?}: {server} has MAC {} (had {})", or_none(after), or_none(before))
        }
        Happening::TimeoutsChanged { tcp, tcp_fin, udp } => {
            format!("timeouts: tcp {tcp} s, tcp_fin {tcp_fin} s, udp {udp} s")
        }
        Happening::AclChanged { service, added, removed, more } => {
            let of = service.as_ref().map_or_else(|| "acl".to_owned(), |service| format!("{service:?}: acl"));
            let added = added.iter().map(|rule| format!(" +{rule}"));
            let removed = removed.iter().map(|rule| format!(" -{rule}"));
            let rules: String = added.chain(removed).collect();
            if *more == 0 { format!("{of}:{rules}") } else { format!("{of}:{rules} and {more} more") }
        }
        Happening::Reloaded { changes, at_restart, forgotten, awaits_confirmation } => {
            let mut text = format!("reloaded, changes: {changes}");
            if !at_restart.is_empty() {
                text += &format!(", at the next start: director.{}", at_restart.join(", director."));
            }
            if *forgotten > 0 {
                text += &format!(", runtime changes forgotten: {forgotten}");
            }
            text + if *awaits_confirmation { ", awaits `lb confirm`" } else { "" }
        }
        Happening::ReloadRefused { reason } => {
            // The first line; `lb check` has it all.
            format!("not reloaded: {}", reason.lines().next().unwrap_or_default())
        }
        Happening::ReloadUndone => "the reload was not confirmed and is undone".to_owned(),
        Happening::ReloadConfirmed => "the reload is confirmed".to_owned(),
        Happening::MapsMended => "somebody else had changed the maps; they are mended".to_owned(),
        Happening::VrrpState { instance, before, after, reason, .. } => {
            format!("{instance}: {after} (was {before}): {reason}")
        }
        Happening::VrrpSplitBrain { instance, found: Some(found) } => {
            format!("{instance}: SPLIT BRAIN: {found}")
        }
        Happening::VrrpSplitBrain { instance, found: None } => {
            format!("{instance}: nobody else has its addresses any more")
        }
        Happening::VrrpGroupState { group, state } => format!("sync group {group}: {state}"),
        Happening::Lost { events } => format!("too slow to read: {events} events were lost"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn an_event_is_a_line() {
        for (event, line) in [
            (
                json!({ "kind": "real_server_state", "service": "web", "server": "192.0.2.10",
                    "before": "up", "after": "draining" }),
                "now  \"web\": 192.0.2.10 is draining (was up)",
            ),
            (
                json!({ "kind": "real_server_mac", "service": "web", "server": "192.0.2.10",
                    "before": null, "after": "02:00:00:00:00:01" }),
                "now  \"web\": 192.0.2.10 has MAC 02:00:00:00:00:01 (had none)",
            ),
            (
                json!({ "kind": "acl_changed", "service": null, "added": ["deny 198.51.100.0/24"],
                    "removed": ["allow 203.0.113.0/24"], "more": 0 }),
                "now  acl: +deny 198.51.100.0/24 -allow 203.0.113.0/24",
            ),
            (
                json!({ "kind": "reloaded", "changes": 2, "at_restart": ["bpffs"], "forgotten": 0,
                    "awaits_confirmation": true }),
                "now  reloaded, changes: 2, at the next start: director.bpffs, awaits `lb confirm`",
            ),
            (
                json!({ "kind": "reload_refused", "reason": "error: no\n  and why" }),
                "now  not reloaded: error: no",
            ),
        ] {
            let mut event = event;
            event["sequence"] = json!(1);
            event["time"] = json!("now");
            assert_eq!(super::told(event.to_string().as_bytes()), line);
        }
        let unknown = r#"{"sequence":1,"time":"now","kind":"vrrp_master"}"#;
        assert_eq!(super::told(unknown.as_bytes()), unknown);
    }
}
