//! `lb health` and `lb check-now`.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::duration::shown;
use super::output::{columns, print, print_json};
use super::{ControlSocket, FAILED, Failure, answered, ask, runtime};
use crate::control::api::{CheckNow as Asked, Health as Found, HealthCheck, HealthChecks, HealthState};
use crate::control::client;

/// List health checks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb health                        all of them, each once
  sudo lb health --failing              those whose last probe failed
  sudo lb health --json | jq '.checks[] | select(.state == \"down\") | .server'

A check that several virtual servers have in common is done once. Since says how long its state lasts; Latency is
that of the last probe. A check is suspended while the director does not have its VIP (ha_suspend).")]
pub(super) struct Health {
    /// Only those whose last probe failed, or that are not up
    #[arg(long)]
    failing: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

/// Do all health checks of a real server at once, and say what they find.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb check-now 192.168.2.212       is it well again?
  sudo lb check-now 2001:db8::212 --json

Exits with 1 if a probe failed. What it finds counts as what is found otherwise: it takes as many probes in a row as
rise or retries say before a state changes.")]
pub(super) struct CheckNow {
    /// The real server's own address
    server: IpAddr,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Health {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let mut listed: HealthChecks = ask(&self.socket.control_socket, "/v1/health")?;
        if self.failing {
            listed.checks.retain(|check| is_failing(&check.health));
        }
        if self.json { print_json(&listed) } else { print(&table(&listed, now())) }
    }
}

impl CheckNow {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let asked = Asked { server: self.server.to_string() };
        let answer = runtime()?.block_on(client::post(&self.socket.control_socket, "/v1/check_now", &asked));
        let found: HealthChecks = answered(answer)?;
        if found.checks.is_empty() {
            return Err(Failure::because(format!(
                "{} has no health check: write [virtual_server.health_check] and below it, for one, tcp = {{}}",
                self.server
            )));
        }
        if self.json {
            print_json(&found)?
        } else {
            print(&table(&found, now()))?
        }
        let failed = found.checks.iter().any(|check| error(&check.health).is_some());
        if failed { Err(Failure { code: FAILED, message: String::new() }) } else { Ok(()) }
    }
}

fn error(health: &Found) -> Option<&str> {
    health.last.as_ref()?.error.as_deref()
}

fn is_failing(health: &Found) -> bool {
    error(health).is_some() || health.state != HealthState::Up
}

/// How long something lasts that began then, as RFC 3339 has it.
pub(super) fn age(since: &str, now: SystemTime) -> Option<String> {
    let since = humantime::parse_rfc3339(since).ok()?;
    Some(shown(now.duration_since(since).unwrap_or_default().as_secs()))
}

fn latency(health: &Found) -> String {
    let Some(last) = &health.last else { return "-".to_owned() };
    let (milliseconds, digits) = match last.latency_ms {
        short if short < 10.0 => (short, 2),
        long if long < 100.0 => (long, 1),
        long => (long, 0),
    };
    format!("{milliseconds:.digits$} ms")
}

/// What a check found, beside the state of its real server: "for 2m, 0.41 ms", "for 12s: connection refused".
pub(super) fn brief(health: &Found, now: SystemTime) -> String {
    if health.state == HealthState::Suspended {
        return "not checked: the VIP is not here".to_owned();
    }
    let age = health.since.as_deref().and_then(|since| age(since, now));
    let age = age.map(|age| format!("for {age}")).unwrap_or_default();
    match (&health.last, error(health)) {
        (_, Some(error)) if health.state == HealthState::Up => {
            match health.in_a_row {
                // It says nothing of the real server.
                0 => format!("{age}, not checked: {error}"),
                times => format!("{age}, failing {}: {error}", self::times(times)),
            }
        }
        (_, Some(error)) => format!("{age}: {error}"),
        (Some(_), None) => format!("{age}, {}", latency(health)),
        (None, None) => age,
    }
}

fn times(number: u32) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

fn table(listed: &HealthChecks, now: SystemTime) -> String {
    let mut rows =
        vec![["Server", "Check", "State", "Since", "Latency", "Virtual servers", ""].map(str::to_owned)];
    rows.extend(listed.checks.iter().map(|check| row(check, now)));
    columns(&rows)
}

fn row(check: &HealthCheck, now: SystemTime) -> [String; 7] {
    let HealthCheck { server, virtual_servers, health } = check;
    let since = health.since.as_deref().and_then(|since| age(since, now));
    let held = health.held_until.as_deref().and_then(|until| {
        let left = humantime::parse_rfc3339(until).ok()?.duration_since(now).ok()?;
        Some(format!("flips too often, held for {}", shown(left.max(Duration::from_secs(1)).as_secs())))
    });
    let remark = [held, error(health).map(str::to_owned)];
    [
        server.clone(),
        health.check.clone(),
        health.state.name().to_owned(),
        since.unwrap_or_else(|| "-".to_owned()),
        latency(health),
        virtual_servers.join(", "),
        remark.into_iter().flatten().collect::<Vec<_>>().join("; "),
    ]
}

#[expect(clippy::disallowed_methods, reason = "what is shown is told from now")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use crate::control::api::Probed;

    use super::*;

    fn found(state: HealthState, error: Option<&str>) -> Found {
        Found {
            check: "http 80 /healthz".to_owned(),
            state,
            since: Some("1970-01-01T00:00:00Z".to_owned()),
            held_until: None,
            in_a_row: 2,
            last: Some(Probed {
                time: "1970-01-01T00:02:00Z".to_owned(),
                latency_ms: 0.413,
                late_ms: 0.1,
                error: error.map(str::to_owned),
                weight: None,
            }),
        }
    }

    #[test]
    fn a_table_says_what_is_wrong() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(125);
        let check = |server: &str, health| HealthCheck {
            server: server.to_owned(),
            virtual_servers: vec!["web".to_owned(), "api".to_owned()],
            health,
        };
        let held = Found {
            held_until: Some("1970-01-01T00:03:00Z".to_owned()),
            ..found(HealthState::Down, Some("connection refused"))
        };
        let checks = vec![check("192.0.2.10", found(HealthState::Up, None)), check("2001:db8::11", held)];
        let expected = "\
Server        Check             State  Since  Latency  Virtual servers
192.0.2.10    http 80 /healthz  up     2m 5s  0.41 ms  web, api
2001:db8::11  http 80 /healthz  down   2m 5s  0.41 ms  web, api         flips too often, held for 55s; connection refused
";
        assert_eq!(table(&HealthChecks { checks }, at), expected);
    }

    #[test]
    fn the_list_has_it_in_few_words() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(125);
        let brief = |state, error| brief(&found(state, error), at);
        assert_eq!(brief(HealthState::Up, None), "for 2m 5s, 0.41 ms");
        assert_eq!(brief(HealthState::Up, Some("no answer")), "for 2m 5s, failing 2 times: no answer");
        assert_eq!(brief(HealthState::Down, Some("no answer")), "for 2m 5s: no answer");
    }
}
