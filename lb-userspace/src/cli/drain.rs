//! `lb drain`.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::duration;
use super::output::{complain, print, print_json};
use super::weight::ServerArguments;
use super::{ControlSocket, Failure, answered, runtime};
use crate::control::api::{VirtualServers, WeightChanged};
use crate::control::client;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Without a terminal, a line of progress is printed so often.
const REPORT: Duration = Duration::from_secs(10);

/// Give a real server no new connections, and wait until its old ones have ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb drain web 192.168.2.212
  sudo lb drain web 192.168.2.212 --timeout 5m && ssh 192.168.2.212 systemctl restart nginx
  sudo lb weight web 192.168.2.212 3               afterwards: back into service

A connection has ended when it has been forgotten, some time after its last frame: `lb timeouts --all`
says when. Ctrl-C ends the waiting, not the draining. The weight counts on when
the daemon is restarted; `lb save` writes it to the configuration file.

Exit codes: 0 it has no connections any more, 1 it still had some when the waiting ended.")]
pub(super) struct Drain {
    #[command(flatten)]
    server: ServerArguments,
    /// How long to wait; without it, as long as it takes
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// JSON instead of text, when it is over
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

/// How the waiting ended; what `--json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Drained {
    service: String,
    server: String,
    outcome: Outcome,
    /// Those that there were.
    active_connections: u64,
    inactive_connections: u64,
    waited_seconds: u64,
    /// What `lb weight` takes to undo it.
    weight_before: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// No connections any more.
    Drained,
    /// The time was up.
    TimedOut,
    /// Somebody ended the waiting.
    Interrupted,
}

/// What a look at the real server finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    active: u64,
    inactive: u64,
}

impl Drain {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let drained = runtime()?.block_on(self.drain())?;
        if self.json {
            print_json(&drained)?;
        } else if drained.outcome == Outcome::Drained {
            print(&told(&drained))?;
        } else {
            complain(&format_args!("lb: {}", told(&drained).trim_end()));
        }
        if drained.outcome == Outcome::Drained { Ok(()) } else { Err(Failure::silent()) }
    }

    async fn drain(&self) -> Result<Drained, Failure> {
        let start = now();
        let changed = self.server.set_weight(&self.socket, 0).await?;
        let mut progress = Progress::new(&changed);
        let mut left = Left::default();
        let wait = async {
            loop {
                left = self.look(&changed).await?;
                progress.show(left);
                if left == Left::default() {
                    return Ok::<_, Failure>(Outcome::Drained);
                }
                let until_limit = self.timeout.map(|limit| limit.saturating_sub(start.elapsed()));
                if until_limit == Some(Duration::ZERO) {
                    return Ok(Outcome::TimedOut);
                }
                tokio::time::sleep(until_limit.unwrap_or(LOOK).min(LOOK)).await;
            }
        };
        let outcome = tokio::select! {
            outcome = wait => outcome?,
            // Where signals cannot be caught, Ctrl-C ends the process, and the draining goes on as well.
            Ok(()) = tokio::signal::ctrl_c() => Outcome::Interrupted,
        };
        progress.end();
        Ok(Drained {
            outcome,
            active_connections: left.active,
            inactive_connections: left.inactive,
            waited_seconds: start.elapsed().as_secs(),
            weight_before: changed.before,
            service: changed.service,
            server: changed.server,
        })
    }

    async fn look(&self, drained: &WeightChanged) -> Result<Left, Failure> {
        let listed = client::get(&self.socket.control_socket, "/v1/virtual_servers").await;
        found(&answered(listed)?, drained).map_err(Failure::because)
    }
}

/// The connections that are left, if it is still being drained.
fn found(listed: &VirtualServers, drained: &WeightChanged) -> Result<Left, String> {
    let WeightChanged { service, server, .. } = drained;
    let services = listed.virtual_servers.iter().filter(|listed| listed.name == *service);
    let mut servers = services.flat_map(|service| &service.real_servers);
    let found = servers.find(|listed| listed.address == *server);
    let found = found.ok_or_else(|| format!("{server} is not a real server of {service:?} any more"))?;
    if found.weight > 0 {
        return Err(format!(
            "{server} of {service:?} is not being drained any more: somebody gave it weight {}",
            found.weight
        ));
    }
    Ok(Left { active: found.active_connections, inactive: found.inactive_connections })
}

fn told(drained: &Drained) -> String {
    let Drained { service, server, active_connections, inactive_connections, waited_seconds, .. } = drained;
    let (place, waited) = (format!("{server} of {service:?}"), duration::shown(*waited_seconds));
    let rest = format!("{active_connections} active and {inactive_connections} inactive connections");
    let back = match drained.weight_before {
        0 => "lb weight".to_owned(),
        before => format!("lb weight {service} {server} {before}"),
    };
    match drained.outcome {
        Outcome::Drained => format!("{place} has no connections any more, after {waited}\n"),
        Outcome::TimedOut => format!(
            "after {waited} {place} still has {rest}; it gets no new ones, and `{back}` has it get some again\n"
        ),
        Outcome::Interrupted => format!(
            "{place} still has {rest}, and goes on draining without being waited for; `{back}` has it get new ones again\n"
        ),
    }
}

/// A line that moves on a terminal, and lines now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    /// How many there were at first, as far as is known.
    most: u64,
    place: String,
    reported: Option<Instant>,
}

impl Progress {
    fn new(changed: &WeightChanged) -> Self {
        let place = format!("{} of {:?}", changed.server, changed.service);
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            // A template that is a constant; were it refused, the default would do.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {msg} {elapsed}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(format!("draining {place}"));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar, most: 0, place, reported: None }
    }

    fn show(&mut self, left: Left) {
        let Left { active, inactive } = left;
        let all = active + inactive;
        self.most = self.most.max(all);
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.most);
                bar.set_position(self.most - all);
                bar.set_message(format!("{active} active, {inactive} inactive"));
            }
            None if self.reported.is_none_or(|last| last.elapsed() >= REPORT) && all > 0 => {
                complain(&format_args!("draining {}: {active} active, {inactive} inactive", self.place));
                self.reported = Some(now());
            }
            None => {}
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "somebody waits")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed() -> WeightChanged {
        WeightChanged {
            service: "web".to_owned(),
            server: "192.0.2.10".to_owned(),
            changed: true,
            before: 3,
            weight: 0,
        }
    }

    fn listed(address: &str, weight: u32) -> VirtualServers {
        let server = serde_json::json!({
            "address": address, "weight": weight, "state": "draining", "mac": null,
            "active_connections": 4, "inactive_connections": 5,
            "stats": { "connections": 0, "packets": 0, "bytes": 0 },
            "rate": { "connections": 0.0, "packets": 0.0, "bytes": 0.0 },
        });
        let listed = serde_json::json!({ "virtual_servers": [{
            "name": "web", "addresses": [], "protocol": "tcp", "scheduler": "rr", "real_servers": [server],
        }] });
        serde_json::from_value(listed).expect("it is what the daemon answers")
    }

    #[test]
    fn only_what_is_still_being_drained_is_waited_for() {
        assert_eq!(found(&listed("192.0.2.10", 0), &changed()), Ok(Left { active: 4, inactive: 5 }));
        let raised = found(&listed("192.0.2.10", 2), &changed()).expect_err("it is not being drained");
        assert!(raised.contains("weight 2"), "{raised}");
        let removed = found(&listed("192.0.2.11", 0), &changed()).expect_err("it is not there");
        assert!(removed.contains("is not a real server of \"web\" any more"), "{removed}");
    }

    #[test]
    fn whoever_stops_waiting_is_told_how_to_undo_it() {
        let drained = |outcome| Drained {
            service: "web".to_owned(),
            server: "192.0.2.10".to_owned(),
            outcome,
            active_connections: 4,
            inactive_connections: 0,
            waited_seconds: 300,
            weight_before: 3,
        };
        let timed_out = told(&drained(Outcome::TimedOut));
        assert!(
            timed_out.contains("after 5m 192.0.2.10 of \"web\" still has 4 active and 0 inactive"),
            "{timed_out}"
        );
        let interrupted = told(&drained(Outcome::Interrupted));
        assert!(interrupted.contains("goes on draining"), "{interrupted}");
        for text in [timed_out, interrupted] {
            assert!(text.contains("`lb weight web 192.0.2.10 3`"), "{text}");
        }
    }
}
