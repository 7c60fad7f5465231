//! Load: how fast, how well shared, and what the director counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lb_common::counter::{Kind, Reason};
use lb_lab::{Director, Load, Report, Result, RunningLoad, try_wait_until};
use serde::Serialize;
use serde_json::Value;

use crate::scene::{PATIENCE, Scene, WEIGHTS};
use crate::screen::{FRAME, Screen, coloured, counted, thousands};

/// Connections at any time.
const AT_ONCE: usize = 32;
/// How far a share may be from its weight's.
const TOLERANCE: f64 = 0.02;
/// Letters of a bar that is the whole.
const BAR: f64 = 60.0;

/// What came of the load.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    connections_at_once: usize,
    seconds: f64,
    requests: u64,
    requests_per_second: f64,
    latency_microseconds: Latency,
    /// Requests that failed, by reason.
    errors: BTreeMap<String, u64>,
    shares: Vec<Share>,
    frames: Frames,
    pub(crate) as_expected: bool,
}

#[derive(Debug, Serialize)]
struct Latency {
    median: u128,
    percentile_99: u128,
}

/// A real server's part.
#[derive(Debug, Serialize)]
struct Share {
    real_server: String,
    requests: u64,
    share: f64,
    expected: f64,
}

/// What the director counted.
#[derive(Debug, Serialize)]
struct Frames {
    forwarded: u64,
    dropped: u64,
    /// Handed to the director's own network stack, by reason.
    passed: BTreeMap<&'static str, u64>,
}

/// Loads the director, showing how it goes.
pub(crate) fn run(scene: &Scene, screen: &Screen, seconds: u64) -> Result<Figures> {
    screen.heading(&format!(
        "Load: {AT_ONCE} connections at once for {seconds} s to {}, wrr with weights 4, 3, 2",
        scene.wrr()
    ));
    let before = Frames::read(scene.director())?;
    let duration = Duration::from_secs(seconds);
    let load = Load::to((scene.wrr(), 80)).at_once(AT_ONCE).duration(duration).timeout(PATIENCE);
    let running = load.start(&scene.lab().client())?;
    watch(&running, screen, duration);
    let report = running.finish()?;
    let frames = Frames::read(scene.director())?.since(&before);
    Ok(Figures::of(&scene.names(), &report, frames))
}

#[expect(clippy::disallowed_methods, reason = "a progress bar shows real time")]
fn watch(running: &RunningLoad, screen: &Screen, duration: Duration) {
    let bar = screen.progress(duration);
    let start = Instant::now();
    // Each wait that is in vain is a frame of the picture.
    while try_wait_until("the load ends", FRAME, || running.is_finished()).is_err() {
        let elapsed = start.elapsed();
        let rate = (running.answered() as f64 / elapsed.as_secs_f64()) as u64;
        let (now, end) = (elapsed.min(duration).as_secs_f64(), duration.as_secs());
        let errors = counted(running.failed(), "error", "errors");
        bar.show(elapsed, format!("{now:4.1} of {end} s  {} requests/s  {errors}", thousands(rate)));
    }
}

impl Figures {
    fn of(names: &[String], report: &Report, frames: Frames) -> Self {
        let weights: u32 = WEIGHTS.iter().sum();
        let share = |(name, weight): (&String, u32)| {
            let requests = report.by_server.get(name).copied().unwrap_or_default();
            Share {
                real_server: name.clone(),
                requests,
                share: requests as f64 / report.answered.max(1) as f64,
                expected: f64::from(weight) / f64::from(weights),
            }
        };
        let shares: Vec<_> = names.iter().zip(WEIGHTS).map(share).collect();
        let as_expected = report.answered > 0
            && report.failed() == 0
            && frames.dropped == 0
            && shares.iter().all(|share| (share.share - share.expected).abs() <= TOLERANCE);
        Self {
            connections_at_once: AT_ONCE,
            seconds: report.elapsed.as_secs_f64(),
            requests: report.answered,
            requests_per_second: report.rate(),
            latency_microseconds: Latency {
                median: report.latency(0.5).as_micros(),
                percentile_99: report.latency(0.99).as_micros(),
            },
            errors: report.errors.clone(),
            shares,
            frames,
            as_expected,
        }
    }

    pub(crate) fn show(&self, screen: &Screen) {
        let row = |what: &str, value: String| screen.line(format!("    {what:<17} {value}"));
        let rate = thousands(self.requests_per_second.round() as u64);
        let (requests, seconds) = (thousands(self.requests), self.seconds);
        row("requests", format!("{requests} in {seconds:.1} s, {rate} per second"));
        let Latency { median, percentile_99 } = self.latency_microseconds;
        row("latency", format!("{} median, {} for 99 %", short(median), short(percentile_99)));
        row("errors", thousands(self.errors.values().sum()));
        for (reason, count) in &self.errors {
            let line = format!("{:22}{} × {reason}", "", thousands(*count));
            screen.line(console::truncate_str(&line, 80, "…"));
        }
        for share in &self.shares {
            share.show(screen);
        }
        let per_request = self.frames.forwarded as f64 / self.requests.max(1) as f64;
        row(
            "frames forwarded",
            format!("{}, {per_request:.1} per request", thousands(self.frames.forwarded)),
        );
        row("frames dropped", thousands(self.frames.dropped));
        row("passed to Linux", thousands(self.frames.passed.values().sum()));
        for (reason, count) in &self.frames.passed {
            screen.line(format!("{:22}{} × {reason}", "", thousands(*count)));
        }
        screen.verdict(self.as_expected, "no error, nothing dropped, shares as the weights say");
        screen.line(
            screen.dim("    Everything shares this machine; `cargo xtask bench` is what measures speed."),
        );
    }
}

impl Share {
    fn show(&self, screen: &Screen) {
        let bar = "█".repeat((self.share * BAR).round() as usize);
        let (percent, expected) = (self.share * 100.0, self.expected * 100.0);
        let requests = thousands(self.requests);
        let name = &self.real_server;
        let bar = coloured(name, format!("{bar:<28}"));
        screen.line(format!("    {name:<4} {requests:>9} {percent:>5.1} %  {bar} expected {expected:.1} %"));
    }
}

impl Frames {
    /// What the director has counted until now.
    fn read(director: &Director) -> Result<Self> {
        let listed = director.json(["list"])?;
        let counters = director.json(["counters"])?;
        let of_kind = |kind: Kind| {
            let reasons = Reason::ALL.iter().filter(move |reason| reason.kind() == kind);
            let counters = &counters["counters"];
            reasons.map(move |reason| (reason.name(), counters[reason.name()].as_u64().unwrap_or_default()))
        };
        Ok(Self {
            forwarded: real_servers(&listed).filter_map(|server| server["stats"]["packets"].as_u64()).sum(),
            dropped: of_kind(Kind::Drop).map(|(_, count)| count).sum(),
            passed: of_kind(Kind::Pass).collect(),
        })
    }

    fn since(mut self, before: &Self) -> Self {
        self.forwarded -= before.forwarded;
        self.dropped -= before.dropped;
        for (reason, count) in &mut self.passed {
            *count -= before.passed.get(reason).copied().unwrap_or_default();
        }
        self.passed.retain(|_, count| *count > 0);
        self
    }
}

fn real_servers(listed: &Value) -> impl Iterator<Item = &Value> {
    let services = listed["virtual_servers"].as_array().into_iter().flatten();
    services.flat_map(|service| service["real_servers"].as_array().into_iter().flatten())
}

/// Microseconds in a unit that suits them.
fn short(microseconds: u128) -> String {
    if microseconds < 1000 {
        return format!("{microseconds} µs");
    }
    format!("{:.1} ms", microseconds as f64 / 1000.0)
}
