//! Clients of a VIP that ask all the time: short requests, connections that are kept open and asked on, and slow downloads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lb_lab::{Download, Lab, OpenConnection, Result, wait_until};

use crate::site::PATIENCE;

/// Clients that send short requests, one after the other.
pub(crate) const AT_ONCE: usize = 2;
/// From an answer to the next request: an emulated processor has other things to do.
const EVERY: Duration = Duration::from_millis(50);
/// Connections that are kept open.
const OPEN: usize = 4;
/// From an answer on such a connection to the next question: nginx ends one after 1,000.
const PAUSE: Duration = Duration::from_millis(500);
/// What is downloaded, in bytes.
const LENGTH: u64 = 1 << 20;

/// Short requests to a VIP, each on a new connection.
pub(crate) struct Requests {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Report>>>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// By real server.
    pub(crate) answers: BTreeMap<String, u64>,
    pub(crate) errors: Vec<String>,
    pub(crate) slowest: Duration,
}

impl Requests {
    pub(crate) fn start(lab: &Lab, vip: Ipv4Addr) -> Result<Self> {
        let (answered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let start = |_| {
            let (client, count, stopped) = (lab.client(), Arc::clone(&answered), Arc::clone(&stop));
            lab.client().start_thread(move || {
                let mut report = Report::default();
                while !stopped.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match client.http_get((vip, 80), PATIENCE) {
                        Ok(response) => {
                            *report.answers.entry(response.server).or_default() += 1;
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => report.errors.push(error.to_string()),
                    }
                    report.slowest = report.slowest.max(began.elapsed());
                    thread::sleep(EVERY);
                }
                report
            })
        };
        let threads = (0..AT_ONCE).map(start).collect::<Result<_>>()?;
        Ok(Self { answered, stop, threads })
    }

    /// Waits until so many more were answered.
    pub(crate) fn wait_for_more(&self, count: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + count;
        wait_until("requests are answered", PATIENCE, || {
            let answered = self.answered.load(Ordering::Relaxed);
            if answered >= enough { Ok(()) } else { Err(format!("{answered} of {enough}")) }
        });
    }

    pub(crate) fn finish(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Report::default();
        for thread in self.threads {
            let report = thread.join().expect("it does not panic")?;
            for (server, count) in report.answers {
                *all.answers.entry(server).or_default() += count;
            }
            all.errors.extend(report.errors);
            all.slowest = all.slowest.max(report.slowest);
        }
        Ok(all)
    }
}

/// Connections to a VIP that are kept open, and a question on each again and again.
pub(crate) struct Talks(Vec<Talk>);

struct Talk {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<io::Result<BTreeSet<String>>>>,
}

impl Talks {
    pub(crate) fn start(lab: &Lab, vip: Ipv4Addr) -> Result<Self> {
        let start = |_| {
            let mut connection = OpenConnection::open(&lab.client(), vip)?;
            let (answered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
            let (count, stopped) = (Arc::clone(&answered), Arc::clone(&stop));
            let ask = move || {
                let mut servers = BTreeSet::new();
                while !stopped.load(Ordering::Relaxed) {
                    servers.insert(connection.ask()?);
                    count.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
                Ok(servers)
            };
            Ok(Talk { answered, stop, thread: lab.client().start_thread(ask)? })
        };
        Ok(Self((0..OPEN).map(start).collect::<Result<_>>()?))
    }

    /// Waits until each got so many more answers.
    pub(crate) fn wait_for_more(&self, count: u64) {
        for talk in &self.0 {
            let enough = talk.answered.load(Ordering::Relaxed) + count;
            wait_until("a connection that is open is answered on", PATIENCE, || {
                let answered = talk.answered.load(Ordering::Relaxed);
                assert!(answered >= enough || !talk.thread.is_finished(), "it has ended after {answered}");
                if answered >= enough { Ok(()) } else { Err(format!("{answered} of {enough}")) }
            });
        }
    }

    /// Waits until each has failed: reset, in the middle of a connection.
    pub(crate) fn wait_until_reset(self) -> Result<()> {
        for talk in self.0 {
            wait_until("a connection is reset", PATIENCE, || talk.thread.is_finished());
            let error = talk.thread.join().expect("it does not panic")?.expect_err("it was reset");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        }
        Ok(())
    }

    /// Closes all of them; how many answers there were. Each was from one and the same real server.
    pub(crate) fn finish(self) -> Result<u64> {
        self.0.iter().for_each(|talk| talk.stop.store(true, Ordering::Relaxed));
        let mut all = 0;
        for talk in self.0 {
            let servers = talk.thread.join().expect("it does not panic")?.expect("no answer failed");
            assert_eq!(servers.len(), 1, "one connection, one real server: {servers:?}");
            all += talk.answered.load(Ordering::Relaxed);
        }
        Ok(all)
    }
}

/// A download that takes this long.
pub(crate) fn download(lab: &Lab, vip: Ipv4Addr, time: Duration) -> Result<Download> {
    for server in lab.real_servers() {
        let file = lab.directory().join(format!("{}-nginx/files/large", server.name()));
        fs::File::create(&file).and_then(|file| file.set_len(LENGTH)).expect("there is room");
    }
    let rate = u32::try_from(LENGTH / time.as_secs()).expect("a megabyte");
    Download::start(&lab.client(), vip, "/files/large", rate)
}

/// Waits for a download's end; all of it came.
pub(crate) fn finish(download: Download) -> Result<()> {
    assert_eq!(download.finish()?, LENGTH);
    Ok(())
}
