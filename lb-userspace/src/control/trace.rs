//! `/v1/trace`: what becomes of frames, a JSON object on each line as they come.
//!
//! ```text
//!   GET ─> Tracer::begin ─> frames, and counts every second ─> the client goes, or has enough ─> Tracing dropped
//! ```
//!
//! Whoever asks holds the [`Tracing`], and with the answer's stream it goes, however that ends: the ordinary programs are
//! back. A client that was killed is found out by the next line, after a second at most.

mod asked;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use data_encoding::HEXLOWER;
use futures_util::stream::try_unfold;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::api::{TraceCounts, TraceFilter, TraceLine, TraceVerdict, TracedFrame};
use super::connection::ended;
use super::explain::flag_names;
use super::failure::Failure;
use super::server::Shared;
use crate::config::Protocol;
use lb_common::counter::Reason;

use crate::dataplane::{Action, EventWatch, Sampled, Tracing, Wishes};
use crate::state::Published;

/// How many frames are read together.
const TOGETHER: usize = 256;
/// How many bytes of lines go out together, about: the programs may be quicker than whoever reads.
const MOST_BYTES: usize = 1 << 20;
/// How often the program is told that somebody is there, and the client what was counted.
const EVERY: Duration = Duration::from_secs(1);

/// Somebody who reads.
struct Reader {
    shared: Arc<Shared>,
    asked: TraceFilter,
    published: watch::Receiver<Arc<Published>>,
    tracing: Tracing,
    frames: EventWatch,
    ticks: Interval,
    until: Option<Instant>,
    stopping: watch::Receiver<bool>,
    shown: u64,
    /// Whether there are frames left that will wake nobody.
    is_behind: bool,
    is_over: bool,
}

/// Why lines are written.
enum Cause {
    /// Another second.
    Tick,
    /// There may be frames.
    Frames,
    /// It is time, or the daemon ends.
    Over,
}

pub(super) async fn follow(shared: Arc<Shared>, asked: TraceFilter) -> Result<Body, Failure> {
    let mut published = shared.published.clone();
    let wishes = asked::wishes(&asked, &published.borrow_and_update())?;
    let tracer = Arc::clone(&shared.tracer);
    // Whoever asked may be gone when it is done; then it ends at once.
    let tracing = spawn_blocking(move || tracer.begin(&wishes)).await.map_err(|_| Failure::stopping())??;
    let frames = tracing.watch().map_err(|error| Failure::failed(format!("wait for samples: {error}")))?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let until = asked.seconds.map(|seconds| ticks.period().saturating_mul(seconds));
    let until = until.and_then(|period| now().checked_add(period));
    let stopping = shared.stopping.clone();
    let reader = Reader {
        shared,
        asked,
        published,
        tracing,
        frames,
        ticks,
        until,
        stopping,
        shown: 0,
        is_behind: false,
        is_over: false,
    };
    Ok(Body::from_stream(try_unfold(reader, |reader| reader.lines())))
}

#[expect(clippy::disallowed_methods, reason = "it is the clock of a stream")]
fn now() -> Instant {
    Instant::now()
}

impl Reader {
    /// The next lines, if any are to come.
    async fn lines(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.is_over {
            return Ok(None);
        }
        loop {
            let mut lines = Vec::new();
            match self.wait().await? {
                Cause::Tick => {
                    self.renew()?;
                    self.write(&mut lines)?;
                    self.write_counts(&mut lines)?;
                }
                Cause::Frames => self.write(&mut lines)?,
                Cause::Over => {
                    self.is_over = true;
                    self.write(&mut lines)?;
                }
            }
            self.is_over |= self.left() == 0;
            if self.is_over {
                self.write_counts(&mut lines)?;
            }
            if !lines.is_empty() {
                return Ok(Some((lines.into(), self)));
            }
        }
    }

    async fn wait(&mut self) -> io::Result<Cause> {
        let until = async {
            match self.until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended(&mut self.stopping) => Ok(Cause::Over),
            () = until => Ok(Cause::Over),
            _ = self.ticks.tick() => Ok(Cause::Tick),
            () = std::future::ready(()), if self.is_behind => Ok(Cause::Frames),
            waited = self.frames.wait() => waited.map(|()| Cause::Frames),
        }
    }

    /// Says that somebody is there, and what is meant where numbers have changed.
    fn renew(&mut self) -> io::Result<()> {
        self.tracing.renew().map_err(io::Error::other)?;
        if self.published.has_changed().unwrap_or(false) {
            // What is gone has no frames any more, and its numbers may be another's soon; it may come back.
            let wishes = asked::wishes(&self.asked, &self.published.borrow_and_update());
            self.tracing.wish(&wishes.unwrap_or_else(|_| Wishes::nothing()));
        }
        Ok(())
    }

    /// How many frames are still wanted.
    fn left(&self) -> u64 {
        self.asked.count.unwrap_or(u64::MAX).saturating_sub(self.shown)
    }

    fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let published = Arc::clone(&self.shared.published.borrow());
        let mut samples = Vec::new();
        self.is_behind = false;
        loop {
            if lines.len() >= MOST_BYTES {
                self.is_behind = true;
                return Ok(());
            }
            let most = usize::try_from(self.left()).unwrap_or(usize::MAX).min(TOGETHER);
            self.tracing.take(&mut samples, most).map_err(io::Error::other)?;
            if samples.is_empty() {
                return Ok(());
            }
            for sampled in samples.drain(..) {
                self.shown += 1;
                let frame = self.frame(&sampled, &published);
                write_line(lines, &TraceLine::Frame(Box::new(frame)))?;
            }
        }
    }

    fn write_counts(&self, lines: &mut Vec<u8>) -> io::Result<()> {
        let counts = self.tracing.counts();
        let (seen, shown) = (counts.matched, self.shown);
        let counts = TraceCounts { seen, shown, limited: counts.limited, lost: counts.lost };
        write_line(lines, &TraceLine::Counts(counts))
    }

    fn frame(&self, sampled: &Sampled, published: &Published) -> TracedFrame {
        let interface = |place| self.shared.facts.interfaces.at(place);
        let service = sampled.service;
        let service =
            published.services.iter().find(|known| known.number.is_some() && known.number == service);
        let (flow, has_bytes) = (sampled.flow, self.asked.bytes.is_some());
        let protocol = flow.filter(|flow| flow.protocol != 0).map(|flow| {
            Protocol::from_number(flow.protocol)
                .map_or_else(|| flow.protocol.to_string(), |protocol| protocol.to_string())
        });
        let time = std::time::SystemTime::UNIX_EPOCH + sampled.time;
        TracedFrame {
            time: humantime::format_rfc3339_nanos(time).to_string(),
            interface: interface(sampled.arrival.into()).unwrap_or_default(),
            protocol,
            source: flow.map(|flow| flow.source.to_string()),
            destination: flow.map(|flow| flow.destination.to_string()),
            flags: flow.map_or_else(Vec::new, |flow| flag_names(flow.tcp_flags)),
            icmp_error: flow.is_some_and(|flow| flow.is_error),
            verdict: verdict(sampled),
            reason: sampled.reason.map(|reason| reason.name().to_owned()),
            service: service.map(|service| service.name.clone()),
            state: sampled.known.map(|state| state.name().to_owned()),
            real_server: sampled.server.map(|address| address.to_string()),
            left_by: match sampled.action {
                Action::Redirect(place) => interface(place),
                _ => None,
            },
            length: sampled.length,
            bytes: has_bytes.then(|| HEXLOWER.encode(&sampled.frame)),
        }
    }
}

fn verdict(sampled: &Sampled) -> TraceVerdict {
    match (sampled.action, sampled.reason) {
        (Action::Transmit, Some(Reason::ResetSent)) => TraceVerdict::Reset,
        (Action::Transmit | Action::Redirect(_), _) => TraceVerdict::Forward,
        (Action::Pass, None) => TraceVerdict::Deliver,
        (Action::Pass, Some(_)) => TraceVerdict::Pass,
        (Action::Drop, _) => TraceVerdict::Drop,
        (Action::Abort, _) => TraceVerdict::Abort,
    }
}

fn write_line(lines: &mut Vec<u8>, line: &TraceLine) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, line)?;
    lines.push(b'\n');
    Ok(())
}
