//! Slow start: a real server that has come up gets its share of new connections little by little. Pure.

use std::time::{Duration, Instant};

use lb_common::limits::MAX_WEIGHT;

use super::desired::DesiredServer;

/// In how many steps a real server gets to its whole share.
pub(super) const STEPS: u32 = 10;

/// The sum of shares, of all virtual servers, up to which they are written as multiples of a step: a scheduler may need
/// a slot for each, and there is no room for any number of them.
pub(super) const ROOM: u32 = 1 << 18;

/// How many steps a real server has come that is up since then; at least one.
pub(super) fn step(up_since: Option<Instant>, slow_start: Duration, now: Instant) -> u32 {
    let Some(since) = up_since else { return STEPS };
    let elapsed = now.saturating_duration_since(since);
    if elapsed >= slow_start {
        return STEPS;
    }
    let part = elapsed.as_secs_f64() / slow_start.as_secs_f64();
    ((part * f64::from(STEPS)) as u32 + 1).min(STEPS)
}

/// Gives servers that have not come all steps a share that is less than their weight. Whether there is any.
pub(super) fn share_out(servers: &mut [DesiredServer], steps: &[u32], room: &mut u32) -> bool {
    if steps.iter().all(|step| *step == STEPS) {
        return false;
    }
    let sum: u64 = servers.iter().map(|server| u64::from(server.weight) * u64::from(STEPS)).sum();
    let largest = servers.iter().map(|server| server.weight).max().unwrap_or(0);
    let is_exact = sum <= u64::from(*room) && largest <= MAX_WEIGHT / STEPS;
    if is_exact {
        *room -= u32::try_from(sum).unwrap_or(*room);
    }
    for (server, step) in servers.iter_mut().zip(steps) {
        let share = server.weight * step;
        server.share = if is_exact { share } else { (share / STEPS).max(server.weight.min(1)) };
    }
    true
}
