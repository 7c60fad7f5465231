//! `/v1/health`, `/v1/check_now`: what health checks found, and what they find now.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use super::api;
use super::director::reading;
use super::failure::Failure;
use super::server::Shared;
use crate::health::{Check, Seen, State};

/// What a check found so far.
pub(super) fn shown(shared: &Shared, check: &Check) -> api::Health {
    let what = check.to_string();
    let Some(entry) = shared.health.get(check) else {
        let state = api::HealthState::Suspended;
        return api::Health { check: what, state, since: None, held_until: None, in_a_row: 0, last: None };
    };
    let Seen { state, since, held_until, in_a_row, last } = entry.seen();
    api::Health {
        check: what,
        state: match state {
            State::Unknown => api::HealthState::Unknown,
            State::Up => api::HealthState::Up,
            State::Down => api::HealthState::Down,
        },
        since: Some(time(since)),
        held_until: held_until.map(time),
        in_a_row,
        last: last.map(|probed| api::Probed {
            time: time(probed.began),
            latency_ms: milliseconds(probed.took),
            late_ms: milliseconds(probed.late),
            error: probed.result.as_ref().err().map(ToString::to_string),
            weight: probed.result.ok().and_then(|answer| answer.advice).map(|advice| advice.to_string()),
        }),
    }
}

pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// With three digits behind the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The checks of a real server, or all: each once, with the virtual servers that it counts for.
fn checks(shared: &Shared, server: Option<IpAddr>) -> Vec<(Check, Vec<String>)> {
    let published = Arc::clone(&shared.published.borrow());
    let mut found: Vec<(Check, Vec<String>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for service in &published.services {
        let of_server =
            service.servers.iter().filter(|found| server.is_none_or(|wanted| wanted == found.address));
        for check in of_server.filter_map(|server| server.check.clone()) {
            let place = *places.entry(check.clone()).or_insert(found.len());
            match found.get_mut(place) {
                Some((_, services)) => services.push(service.name.clone()),
                None => found.push((check, vec![service.name.clone()])),
            }
        }
    }
    found
}

fn listed(shared: &Shared, server: Option<IpAddr>) -> api::HealthChecks {
    let checks = checks(shared, server).into_iter().map(|(check, virtual_servers)| api::HealthCheck {
        server: check.server.to_string(),
        virtual_servers,
        health: shown(shared, &check),
    });
    api::HealthChecks { checks: checks.collect() }
}

/// `GET /v1/health`.
pub(super) async fn health(shared: Arc<Shared>) -> Result<api::HealthChecks, Failure> {
    reading(&shared, |shared| Ok(listed(shared, None))).await
}

/// `POST /v1/check_now`.
pub(super) async fn check_now(
    shared: Arc<Shared>,
    asked: api::CheckNow,
) -> Result<api::HealthChecks, Failure> {
    let Ok(server) = asked.server.parse::<IpAddr>() else {
        let wanted = asked.server.chars().take(80).collect::<String>();
        return Err(Failure::bad_request(format!(
            "{wanted:?} is not an address: name a real server by its own, as `lb list -n` shows it"
        )));
    };
    let published = Arc::clone(&shared.published.borrow());
    if !published.services.iter().flat_map(|service| &service.servers).any(|found| found.address == server) {
        return Err(Failure::no_such_server(server));
    }
    drop(published);
    let entries =
        checks(&shared, Some(server)).into_iter().filter_map(|(check, _)| shared.health.get(&check));
    let entries: Vec<_> = entries.collect();
    join_all(entries.iter().map(|entry| entry.check_now())).await;
    Ok(listed(&shared, Some(server)))
}
