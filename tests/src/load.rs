//! Load: many HTTP requests at once, each on a new connection, bounded in number or time.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime;
use tokio::task::JoinSet;

use crate::error::{Doing, Result};
use crate::host::Host;
use crate::http::{TIME_TO_ANSWER, parse, request};

/// Longest load without a bound.
const LONGEST: Duration = Duration::from_secs(60);

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Load {
    server: SocketAddr,
    at_once: usize,
    requests: u64,
    duration: Duration,
    timeout: Duration,
    reset: bool,
}

impl Load {
    /// Requests to a server: 32 at once, for 60 s at most.
    pub fn to(server: impl Into<SocketAddr>) -> Self {
        let server = server.into();
        let (requests, duration) = (u64::MAX, LONGEST);
        Self { server, at_once: 32, requests, duration, timeout: TIME_TO_ANSWER, reset: false }
    }

    /// How many requests are under way at any time.
    pub fn at_once(mut self, count: usize) -> Self {
        self.at_once = count;
        self
    }

    /// How many requests there are in all.
    pub fn requests(mut self, count: u64) -> Self {
        self.requests = count;
        self
    }

    /// After how long no request is sent any more.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// How long one request may take; 2 s if not given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Ends connections with RST, as soon as the answer is complete.
    pub fn reset_connections(mut self) -> Self {
        self.reset = true;
        self
    }

    /// Sends it all from the host.
    pub fn run(&self, host: &Host) -> Result<Report> {
        self.start(host)?.finish()
    }

    /// Starts to send from the host.
    pub fn start(&self, host: &Host) -> Result<RunningLoad> {
        let shared = Arc::new(Shared::default());
        let (load, here) = (self.clone(), Arc::clone(&shared));
        let send = move || -> Result<Report> {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            Ok(runtime.doing(|| "start the load".into())?.block_on(load.send_all(&here)))
        };
        Ok(RunningLoad { shared, thread: Some(host.start_thread(send)?) })
    }

    async fn send_all(self, shared: &Arc<Shared>) -> Report {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..self.at_once {
            tasks.spawn(self.clone().send_some(start, Arc::clone(shared)));
        }
        let mut total = Report::default();
        for part in tasks.join_all().await {
            total.add(part);
        }
        total.elapsed = start.elapsed();
        total.latencies.sort_unstable();
        total
    }

    async fn send_some(self, start: Instant, shared: Arc<Shared>) -> Report {
        let mut report = Report::default();
        let bytes = request(self.server, "/");
        loop {
            let now = Instant::now();
            let over = now - start >= self.duration || shared.stop.load(Ordering::Relaxed);
            if over || shared.begun.fetch_add(1, Ordering::Relaxed) >= self.requests {
                return report;
            }
            match tokio::time::timeout(self.timeout, self.send_one(&bytes)).await {
                Ok(Ok(server)) => {
                    report.count(server, now.elapsed());
                    shared.answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Err(error)) => report.fail(shared.as_ref(), error.to_string()),
                Err(_) => report.fail(shared.as_ref(), "no answer in time".into()),
            }
        }
    }

    /// Returns the real server that answered.
    async fn send_one(&self, request: &[u8]) -> Result<String> {
        let doing = || format!("get http://{}/", self.server);
        let socket = if self.server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.doing(doing)?;
        if self.reset {
            socket.set_zero_linger().doing(doing)?;
        }
        let mut connection = socket.connect(self.server).await.doing(|| "connect".into())?;
        connection.write_all(request).await.doing(|| "send the request".into())?;
        let mut answer = Vec::with_capacity(512);
        loop {
            let end = connection.read_buf(&mut answer).await.doing(|| "read the answer".into())? == 0;
            if end || self.reset {
                match parse(&answer) {
                    Ok(response) => return Ok(response.server),
                    Err(error) if end => return Err(error),
                    // More is to come.
                    Err(_) => {}
                }
            }
        }
    }
}

/// What the sender and its watcher share.
#[derive(Default)]
struct Shared {
    begun: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

/// A load that is running. It begins no more requests once this is dropped.
pub struct RunningLoad {
    shared: Arc<Shared>,
    /// `None` once it has been waited for.
    thread: Option<JoinHandle<Result<Result<Report>>>>,
}

impl RunningLoad {
    /// Requests that were answered until now.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Requests that failed until now.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Begins no more requests.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Whether all requests have ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Result<Report> {
        let Some(thread) = self.thread.take() else { return Ok(Report::default()) };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What came of a load.
#[derive(Clone, Default)]
pub struct Report {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that failed, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Answers by real server.
    pub by_server: BTreeMap<String, u64>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of each answered request, ascending.
    latencies: Vec<Duration>,
}

/// Latencies by percentile: tests print a report, and there are ten thousand of them.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, errors, by_server, elapsed, latencies: _ } = self;
        let latencies = [0.0, 0.5, 0.99, 1.0].map(|share| self.latency(share));
        f.debug_struct("Report")
            .field("answered", answered)
            .field("errors", errors)
            .field("by_server", by_server)
            .field("elapsed", elapsed)
            .field("latencies (least, median, p99, most)", &latencies)
            .finish()
    }
}

impl Report {
    /// Answered requests per second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The time in which this share of the answers came: 0.5 is the median, 0.99 all but the slowest of 100.
    pub fn latency(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }

    fn count(&mut self, server: String, latency: Duration) {
        self.answered += 1;
        *self.by_server.entry(server).or_default() += 1;
        self.latencies.push(latency);
    }

    fn fail(&mut self, shared: &Shared, reason: String) {
        shared.failed.fetch_add(1, Ordering::Relaxed);
        *self.errors.entry(reason).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        for (reason, count) in other.errors {
            *self.errors.entry(reason).or_default() += count;
        }
        for (server, count) in other.by_server {
            *self.by_server.entry(server).or_default() += count;
        }
        self.latencies.extend(other.latencies);
    }
}
