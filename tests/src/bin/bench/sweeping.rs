//! What a sweep over a full connection table takes, and what it costs frames that are forwarded meanwhile.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lb_common::connection::{Buckets as _, entries};
use lb_lab::Lab;
use lb_lab::frame::ACK;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::plane::Plane;
use crate::setting::{CONNECTIONS, Setting, TRUNK, VIP, WEB};
use crate::testbed::run;
use crate::{Arguments, Result, frames};

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sweeping {
    pub(crate) id: String,
    pub(crate) label: String,
    /// Entries that the sweep freed.
    pub(crate) freed: u64,
    /// Time of a CPU, in milliseconds: the least of the rounds.
    pub(crate) milliseconds: f64,
    /// Of one core, if the table is so at every sweep of the daemon's.
    pub(crate) share: f64,
    /// Nanoseconds for an established frame meanwhile, on another core, one flow: the most of all runs of 10,000.
    pub(crate) forwarding: u64,
    /// The same when nothing is swept: the median.
    pub(crate) undisturbed: u64,
}

/// The rows that there are.
pub(crate) const IDS: [&str; 2] = ["sweep/live", "sweep/expired"];

/// How long the daemon waits after a sweep: so many times what that took, within bounds (`supervisor.rs`).
const PAUSE: f64 = 24.0;
const PAUSES: RangeInclusive<f64> = 2.0..=10.0;
/// So few that a stall shows.
const FRAMES: u32 = 10_000;
/// Longer than any connection of this table is remembered.
const LONG_AGO: u32 = 2000;

/// Sweeps a table in which all lives, and one in which all but one connection has expired.
pub(crate) fn measure(lab: &Lab, arguments: &Arguments) -> Result<Vec<Sweeping>> {
    let plane = Plane::open_as(lab, Setting::Flows(CONNECTIONS), "sweeping")?;
    let mut rows = Vec::new();
    for (id, label) in IDS.into_iter().zip(["all live", "all expired"]) {
        let is_expired = label == "all expired";
        let mut best: Option<Sweeping> = None;
        for _ in 0..arguments.rounds {
            if is_expired {
                plane.establish(CONNECTIONS)?;
                age(&plane);
            }
            let (freed, time, forwarding, undisturbed) = sweep(&plane)?;
            let best = best.get_or_insert_with(|| Sweeping {
                id: id.to_owned(),
                label: label.to_owned(),
                freed,
                milliseconds: f64::INFINITY,
                share: 0.0,
                forwarding: 0,
                undisturbed,
            });
            best.milliseconds = best.milliseconds.min(time.as_secs_f64() * 1e3);
            best.forwarding = best.forwarding.max(forwarding);
            best.undisturbed = best.undisturbed.min(undisturbed);
            best.freed = best.freed.max(freed);
        }
        rows.extend(best.map(|row| {
            let seconds = row.milliseconds / 1e3;
            let pause = (seconds * PAUSE).clamp(*PAUSES.start(), *PAUSES.end());
            Sweeping { share: seconds / (seconds + pause), ..row }
        }));
    }
    Ok(rows)
}

/// Sweeps once while another thread forwards: how many entries were freed, the CPU's time, and what a frame took
/// meanwhile and before.
fn sweep(plane: &Plane) -> Result<(u64, Duration, u64, u64)> {
    let program = plane.dataplane().program()?;
    let frame = frames::tcp(TRUNK, ACK);
    let one = || -> Result<u64> { Ok(run(program, &frame, FRAMES)?.nanoseconds) };
    let mut before = (0..9).map(|_| one()).collect::<Result<Vec<_>>>()?;
    before.sort_unstable();
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        let sweeping = threads.spawn(|| -> Result<(u64, Duration)> {
            let begin = time_of_thread()?;
            let swept = plane.dataplane().sweeper().sweep();
            let time = time_of_thread()?.saturating_sub(begin);
            is_over.store(true, Ordering::Relaxed);
            Ok((swept?.total.freed, time))
        });
        let mut most = 0;
        while !is_over.load(Ordering::Relaxed) {
            most = most.max(one()?);
        }
        let (freed, time) = sweeping.join().map_err(|_| "the sweeper panicked")??;
        Ok((freed, time, most, before[before.len() / 2]))
    })
}

/// What a CPU has spent on this thread.
fn time_of_thread() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Lets all connections but that of the frames have been seen long ago.
fn age(plane: &Plane) {
    let aged = plane.first_real_server(SocketAddr::from((VIP, WEB)));
    let memory = plane.dataplane().memory();
    let table = memory.connections_v4();
    for (_, entry) in (0..table.len()).filter_map(|index| table.bucket(index)).flat_map(entries) {
        if Some(entry.meta.destination()) != aged {
            continue;
        }
        let old = entry.meta.touched(entry.meta.state(), entry.meta.seen().wrapping_sub(LONG_AGO));
        entry.change(old);
    }
}
