//! Health checks in the daemon: which are wanted, who does them, and how what they say gets to the reconciler.
//!
//! ```text
//!   configs, VIPs ──> want ──checks──> prober ──verdicts──> forward ──Input──> reconciler
//!                                                              └──> remember: a file, for the next daemon
//! ```

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::RunError;
use super::thread::on_own_thread;
use crate::config::Config;
use crate::health::{Board, Check, FindPath, Memory, MemoryFile, Prober, Verdict, checks, checks_of};
use crate::net::{Events, Netlink, Route};
use crate::state::{Followed, Input};

/// How long changes of addresses are collected.
const SETTLE: Duration = Duration::from_millis(100);
/// How long verdicts are collected before they are written down.
const REMEMBER: Duration = Duration::from_millis(200);
/// How often time is told while real servers come up slowly.
const TICK: Duration = Duration::from_millis(200);
/// How many verdicts wait at most, and are taken together.
const VERDICTS: usize = 1024;

/// Has as many files open at once as the system allows this process: a check that waits has a socket, and there may be
/// thousands. Few are allowed at first, for programs that use select(2).
fn allow_sockets() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!("have more files open at once: {error}; thousands of health checks may fail");
    }
}

/// What health checks need.
pub(super) struct Health {
    pub(super) netlink: Netlink,
    pub(super) configs: watch::Receiver<Followed>,
    pub(super) inputs: mpsc::Sender<Input>,
    /// What an earlier daemon knew, and where this one writes.
    pub(super) memory: (Memory, MemoryFile),
    pub(super) find_path: FindPath,
    /// Whether real servers come up slowly.
    pub(super) ramping: watch::Receiver<bool>,
}

impl Health {
    /// Starts the tasks. What checks find is on the board.
    pub(super) fn start(self, tasks: &mut JoinSet<&'static str>) -> Result<Board, RunError> {
        allow_sockets();
        let Self { netlink, configs, inputs, memory: (memory, file), find_path, ramping } = self;
        let (board, changed) = (Board::default(), Arc::new(Notify::new()));
        let (wanted, wanted_receiver) = watch::channel(Arc::default());
        let (verdicts, said) = mpsc::channel(VERDICTS);
        let prober = Prober::new(wanted_receiver, find_path, board.clone(), verdicts, memory);
        let events = Events::of_topology()?;
        tasks.spawn(want(netlink, events, configs, wanted).map(|()| "choice of health checks"));
        // Thousands of checks delay nobody else in the daemon, and none of them moves from one CPU to another, which costs
        // more than most probes take.
        let probing = on_own_thread("health", || Ok(|| prober.run()))?;
        tasks.spawn(probing.map(|()| "health checks"));
        tasks.spawn(forward(said, inputs.clone(), Arc::clone(&changed)).map(|()| "health checks"));
        tasks.spawn(remember(board.clone(), file, changed).map(|()| "memory of health checks"));
        tasks.spawn(tick(ramping, inputs).map(|()| "clock"));
        Ok(board)
    }
}

/// Keeps `wanted` what is configured, and what comes, but for virtual servers that are not this director's now.
async fn want(
    netlink: Netlink,
    mut events: Events,
    mut configs: watch::Receiver<Followed>,
    wanted: watch::Sender<Arc<HashSet<Check>>>,
) {
    loop {
        let configured: Vec<Arc<Config>> = configs.borrow_and_update().configs().map(Arc::clone).collect();
        let mut all = HashSet::new();
        for config in &configured {
            all.extend(choose(config, &netlink).await);
        }
        wanted.send_if_modified(|before| {
            let is_new = **before != all;
            *before = Arc::new(all);
            is_new
        });
        tokio::select! {
            changed = configs.changed() => if changed.is_err() { return },
            event = events.next() => {
                if event.is_none() || !events.settle(SETTLE).await {
                    return;
                }
            }
        }
    }
}

async fn choose(config: &Config, netlink: &Netlink) -> HashSet<Check> {
    if !config.virtual_servers.iter().any(|service| service.ha_suspend) {
        return checks(config);
    }
    let mut chosen = HashSet::new();
    for service in &config.virtual_servers {
        let vip = service.addresses.iter().find_map(|address| address.vips.host());
        if !service.ha_suspend || is_here(vip, netlink).await {
            chosen.extend(checks_of(service));
        }
    }
    chosen
}

/// Whether this machine has a VIP. Who cannot be asked is taken to say yes: a check too many does no harm.
async fn is_here(vip: Option<IpAddr>, netlink: &Netlink) -> bool {
    let Some(vip) = vip else { return true };
    !matches!(netlink.route(vip).await, Ok(found) if found != Some(Route::Local))
}

async fn forward(
    mut said: mpsc::Receiver<(Check, Verdict)>,
    inputs: mpsc::Sender<Input>,
    changed: Arc<Notify>,
) {
    loop {
        let mut verdicts = Vec::new();
        if said.recv_many(&mut verdicts, VERDICTS).await == 0
            || inputs.send(Input::Verdicts(verdicts)).await.is_err()
        {
            return;
        }
        changed.notify_one();
    }
}

async fn remember(board: Board, file: MemoryFile, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        tokio::time::sleep(REMEMBER).await;
        let (board, file) = (board.clone(), file.clone());
        let written = tokio::task::spawn_blocking(move || {
            file.write(&board).map_err(|error| {
                tracing::warn!("{file}: {error}; the next daemon does not know which real servers are down until it has checked them");
            })
        });
        let _ = written.await;
    }
}

async fn tick(mut ramping: watch::Receiver<bool>, inputs: mpsc::Sender<Input>) {
    while ramping.wait_for(|is_ramping| *is_ramping).await.is_ok() {
        tokio::time::sleep(TICK).await;
        if inputs.send(Input::Tick).await.is_err() {
            return;
        }
    }
}
