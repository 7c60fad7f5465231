//! The daemon: starts its tasks, owns their channels, and ends them in order.
//!
//! ```text
//!   neighbour driver ──Resolutions──┐
//!   topology ───────Network─────────┤
//!   sweeper (thread) ──Swept────────┼─> reconciler (thread) ──> maps
//!   clock ─────────────Inspect──────┘         │
//!                                             └─Published─> control server <── lb list
//! ```
//!
//! Whatever ends the daemon, forwarding goes on: programs, maps and the attachment are pinned. Only an orderly
//! end with `on_exit = "detach"` takes the director out of service.

mod health;
mod hold;
mod notify;
mod reload;
mod service;
mod sync;
mod thread;
mod topology;
mod vips;
mod vrrp;
mod ways;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use macaddr::MacAddr6;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::{self, Checked, Config, OnExit, VirtualServer};
use crate::control::explain::Interfaces;
use crate::control::{ControlError, Facts, Parts, ReloadOrder, Server};
use crate::dataplane::{
    Attached, Capacity, Dataplane, DataplaneError, FlowLog, Options, SweepOrder, Sweeper,
};
use crate::health::path::Path as ProbePath;
use crate::health::vip::Stack;
use crate::health::{Check, MemoryFile, checks};
use crate::neighbour::{Driver, FIRST_ANSWERS, Resolution, Resolutions};
use crate::net::{Events, Link, NetError, Netlink, XdpAttachment, question};
use crate::state::{
    Configuration, Document, Followed, Input, Journal, ReconcileError, Reconciler, Remembered, Unconfirmed,
    fingerprint,
};
use crate::sync::Board;
use health::Health;
use notify::Notifier;
use reload::Reloader;
use service::{Service, Watchdog};
use topology::{Followers, Topology};
use vips::Vips;
use vrrp::Vrrp;
use ways::WayKeeper;

/// How long expired connections may be remembered, and counted as their real server's.
const SWEEPS: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(10);
/// A sweep is followed by a pause of this many times its length: it takes at most 4 % of one CPU.
const PAUSE: u32 = 24;
/// How often the maps are looked at for what somebody else wrote.
const INSPECT: Duration = Duration::from_secs(10);

/// What kept the daemon from running, or ended it.
#[derive(Debug, Error)]
pub enum RunError {
    /// A configured interface does not exist.
    #[error(
        "there is no interface {name:?}; this machine has {existing}: set director.interfaces to one of them"
    )]
    NoInterface {
        /// The configured name.
        name: String,
        /// Those that there are.
        existing: String,
    },
    /// A configured interface has no MAC.
    #[error("{name} is not an Ethernet interface; direct routing rewrites MACs and needs one that has")]
    NotEthernet {
        /// The configured name.
        name: String,
    },
    /// An interface is gone.
    #[error("interface {name} is gone, and with it the XDP program; start lb again when it is back")]
    InterfaceGone {
        /// Its name.
        name: String,
    },
    /// A task or thread of the daemon ended.
    #[error("the {0} ended unexpectedly; this is a bug in lb")]
    Ended(&'static str),
    /// See [`NetError`].
    #[error(transparent)]
    Net(#[from] NetError),
    /// See [`DataplaneError`].
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// See [`ReconcileError`].
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// See [`ControlError`].
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The operating system refused something every process may do.
    #[error("{0}: {1}")]
    Os(&'static str, #[source] std::io::Error),
}

fn capacity(config: &Config) -> Capacity {
    Capacity {
        max_connections: config.director.max_connections,
        has_ipv6: config.virtual_servers.iter().any(VirtualServer::is_ipv6),
    }
}

/// Runs the daemon until it is told to stop. `file` is the configuration file, `checked` what it says.
///
/// # Errors
/// [`RunError`]: it could not start, or cannot go on.
pub async fn run(file: &Path, checked: Checked, log_flows: bool) -> Result<(), RunError> {
    let mut signals = Signals::new()?;
    let file =
        &std::path::absolute(file).map_err(|error| RunError::Os("find the working directory", error))?;
    let mut journal = Journal::beside(&checked.config.director.control_socket);
    let configuration = remembered(file, checked, &mut journal);
    let config = Arc::clone(configuration.config());
    let netlink = Netlink::open()?;
    // From here on, so that nothing that changes meanwhile is missed.
    let events = Events::of_topology()?;
    let all = netlink.links().await?;
    let links = find_links(&all, &config)?;
    let mut dataplane = Dataplane::open(&Options {
        bpffs: config.director.bpffs.clone(),
        capacity: capacity(&config),
        log_flows,
    })?;
    // Before anything is attached: a daemon that cannot start leaves traffic as it found it.
    let server = Server::bind(&config.director.control_socket)?;
    let tables = dataplane.tables()?;
    let links = dataplane.places(&links)?.into_iter().zip(links).collect();
    let (configs, followed) = watch::channel(Followed { configuration, coming: None });
    let topology = Topology::new(netlink.clone(), links, followed.clone()).await?;

    // Real servers that an earlier daemon had resolved are taken to be where they were until asked.
    let (wanted, wanted_receiver) = watch::channel(topology.wanted());
    let remembered = tables.view().destinations.into_values();
    let remembered: BTreeMap<IpAddr, MacAddr6> = remembered
        .filter_map(|destination| Some((destination.address, destination.way?.mac()?)))
        .filter(|(address, _)| wanted.borrow().contains_key(address))
        .collect();
    let (resolutions, mut resolved) = watch::channel(Resolutions::new());
    let driver = Driver::new(netlink.clone(), wanted_receiver, resolutions, &remembered)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run().map(|()| "neighbour driver"));
    let first = first_answers(&mut resolved, wanted.borrow().len()).await;
    for address in
        wanted.borrow().keys().filter(|address| !first.get(address).is_some_and(|found| found.is_reachable))
    {
        tracing::warn!(
            "{address} does not answer {} on {}: it gets no connections until it does; is it up, and on this network?",
            question(*address),
            topology.names()
        );
    }

    let (sweep_orders, orders) = std::sync::mpsc::channel();
    let memory_file = MemoryFile::beside(&config.director.control_socket);
    let memory = memory_file.read();
    let verdicts = memory.verdicts(checks(&config));
    let network = topology.network.clone();
    let (networks, network_receiver) = watch::channel(network.clone());
    let mut reconciler =
        Reconciler::new(tables, configs.clone(), journal, network, first, verdicts, sweep_orders.clone());
    reconciler.reconcile(now())?;
    let (published, happening) = (reconciler.subscribe(), reconciler.events());
    let ramping = reconciler.ramping();
    let offload = dataplane.vlan_offload();
    let links = topology.links.clone();
    let dropped = dataplane.dropped(&all, &links)?;
    offload.restore(&dropped);
    topology.keep_vlan_tags(&offload)?;
    let attached = dataplane.attach(&links, config.director.xdp_mode)?;
    let xdp_mode = report_attachments(&netlink, &links, &attached).await;
    let [health_netlink, sync_netlink, vrrp_netlink] = std::array::from_fn(|_| netlink.clone());
    let vips = Vips::new(netlink, &links, &config);
    vips.bring_up().await?;
    for (_, link) in &dropped {
        vips.leave(link).await;
    }

    let interfaces = topology.names();
    let named = links.iter().map(|(place, link)| (*place, link.name.clone()));
    let facts = Facts {
        interfaces: Interfaces(named.collect()),
        xdp_mode: xdp_mode.clone(),
        max_connections: config.director.max_connections,
    };
    let observer = dataplane.observer();
    let explainer = dataplane.explainer();
    let tracer = dataplane.tracer(&links)?;
    let (inputs, received) = mpsc::channel(64);
    let (reloads, reload_orders) = mpsc::channel(4);
    let service = Service::default();
    let reloader = Reloader {
        path: file.to_owned(),
        configs,
        resolved: resolved.clone(),
        inputs: inputs.clone(),
        events: happening.clone(),
        service: service.clone(),
    };
    tasks.spawn(reloader.run(reload_orders).map(|()| "reloader"));
    let (ways, way_receiver) = watch::channel(Arc::default());
    let stack = Stack::new(way_receiver);
    if let Some(replies) = dataplane.take_probe_replies() {
        let keeper = WayKeeper {
            netlink: health_netlink.clone(),
            configs: followed.clone(),
            networks: network_receiver,
            resolutions: resolved.clone(),
            replies,
            ways,
        };
        tasks.spawn(keeper.run().map(|()| "health checks of VIPs"));
    }
    let health = Health {
        netlink: health_netlink,
        configs: followed.clone(),
        inputs: inputs.clone(),
        memory: (memory, memory_file),
        find_path: Arc::new(move |check: &Check| match check.vip {
            Some(vip) => ProbePath::Vip(stack.path(check.server, vip, check.definition.bind)),
            None => ProbePath::Direct { server: check.server, bind: check.definition.bind },
        }),
        ramping,
    };
    let health = health.start(&mut tasks)?;
    let happening_of_vrrp = happening.clone();
    let sync = sync::Sync {
        netlink: sync_netlink,
        configs: followed.clone(),
        events: dataplane.flow_events()?,
        table: dataplane.flow_table(),
        board: Board::default(),
    };
    let sync_board = sync.board.clone();
    let joining = sync.start(&mut tasks)?;
    let vrrp = Vrrp::new();
    let routers = vrrp.handle();
    let notifier = Notifier::new(followed.clone(), published.clone(), routers.clone(), &happening);
    let (finish, finishing) = mpsc::channel(1);
    tasks.spawn(notifier.run(finishing).map(|()| "notifier"));
    let (stop_server, server_stopped) = oneshot::channel::<()>();
    let parts = Parts {
        facts,
        published: published.clone(),
        configs: followed.clone(),
        observer,
        inputs: inputs.clone(),
        reloads: reloads.clone(),
        explainer,
        tracer: Arc::clone(&tracer),
        events: happening,
        health,
        vrrp: routers.clone(),
        sync: sync_board,
    };
    let control = tokio::spawn(server.run(parts, async move {
        let _ = server_stopped.await;
    }));
    let fragments = dataplane.fragments()?;
    let (stop_holding, holding_stopped) = std::sync::mpsc::channel::<()>();
    let holding = tokio::task::spawn_blocking(move || hold::hold_fragments(fragments, &holding_stopped));
    if log_flows {
        for log in dataplane.flow_logs()? {
            tasks.spawn(follow_flow_log(log).map(|()| "flow log"));
        }
    }

    let mut reconciling = tokio::task::spawn_blocking(move || reconciler.run(received)).fuse();
    let mut sweeping = tokio::task::spawn_blocking({
        let (sweeper, inputs) = (dataplane.sweeper(), inputs.clone());
        move || sweep(&sweeper, &inputs, &orders)
    })
    .fuse();
    tasks.spawn(forward_resolutions(resolved, inputs.clone()).map(|()| "neighbour driver"));
    tasks.spawn(inspect(inputs.clone()).map(|()| "clock"));
    if let Some(watchdog) = Watchdog::if_wanted(inputs.clone(), config.director.control_socket.clone()) {
        tasks.spawn(watchdog.run().map(|()| "watchdog"));
    }
    let followers = Followers { vips: vips.clone(), offload: offload.clone(), wanted, inputs, networks };
    // With the error comes what others wait for: who saw it gone before would end, and be blamed.
    let mut following = tokio::spawn(async move { (topology.follow(events, &followers).await, followers) });

    tracing::info!(
        virtual_servers = config.virtual_servers.len(),
        interface = %interfaces,
        xdp = xdp_mode,
        took_over = dataplane.has_taken_over(),
        "ready"
    );
    // When all is ready: whoever becomes master has to forward.
    let all_reported =
        vrrp.start(vrrp_netlink, (followed.clone(), joining), happening_of_vrrp, &mut tasks)?;
    service.ready(&published.borrow());
    tasks.spawn(service.clone().follow(published).map(|()| "status"));
    let ended = tokio::select! {
        name = signals.next(&reloads) => {
            tracing::info!("{name}: stopping");
            Ok(())
        }
        ended = &mut following => Err(ended.map_or(RunError::Ended("link watcher"), |(error, _)| error)),
        Some(name) = tasks.join_next() => Err(RunError::Ended(name.unwrap_or("task that panicked"))),
        _ = &mut reconciling => Err(RunError::Ended("reconciler")),
        _ = &mut sweeping => Err(RunError::Ended("sweeper")),
    };

    service.stopping();
    let is_over = match &ended {
        // Forwarding goes on, and so does all else, until somebody has taken over.
        Ok(()) => tokio::select! {
            () = routers.shut_down() => {
                notify::finish(all_reported, &finish).await;
                true
            }
            () = tokio::time::sleep(vrrp::PATIENCE) => {
                tracing::warn!("nobody has taken over in {:?}", vrrp::PATIENCE);
                false
            }
            name = signals.next(&reloads) => {
                tracing::warn!("{name} again: not waiting for a successor");
                false
            }
        },
        Err(_) => false,
    };
    if !is_over {
        // The others are told; told again, it removes its addresses at once.
        for _ in 0..2 {
            let _ = tokio::time::timeout(Duration::from_secs(1), routers.shut_down()).await;
        }
    }
    drop(routers);
    // Whoever sends goes first, then those who receive end by themselves.
    following.abort();
    // Should it have ended by itself meanwhile, what it followed with ends here.
    drop(following);
    tasks.shutdown().await;
    let _ = (stop_server.send(()), sweep_orders.send(SweepOrder::Stop), drop(stop_holding));
    let all = async { tokio::join!(control, reconciling, sweeping, holding) };
    if tokio::time::timeout(Duration::from_secs(2), all).await.is_err() {
        tracing::debug!("a client was still being answered, or a table swept");
    }
    // Whoever traced, and was still being answered, would leave the program that tells of it.
    tracer.end();
    if ended.is_ok() {
        let on_exit = followed.borrow().config().director.on_exit;
        leave(on_exit, dataplane, &vips, &links).await?;
    }
    ended
}

/// What is configured: what the file says, and what was changed while an earlier daemon ran.
fn remembered(file: &Path, checked: Checked, journal: &mut Journal) -> Configuration {
    let Remembered { changes, unconfirmed } = journal.read();
    // Unless somebody has written another one since.
    let is_refused =
        |text: &Unconfirmed| text.refused == fingerprint(&checked.text) && *text.before != *checked.text;
    let unconfirmed = unconfirmed.filter(is_refused);
    let before = unconfirmed.as_ref().map(|text| config::parse(&file.display().to_string(), &text.before));
    let before = before.and_then(Result::ok);
    if before.is_some() {
        tracing::warn!(
            "nobody has confirmed what {} says: what it said before counts; `lb reload` loads it anew",
            file.display()
        );
    }
    let insisted = unconfirmed.filter(|_| before.is_some());
    let document = Document::new(before.unwrap_or(checked));
    let (mut configuration, forgotten) = Configuration::new(file, document, &changes);
    configuration.insist(insisted);
    for (_, refused) in forgotten {
        tracing::warn!("a change that was made while lb ran is forgotten: {refused}");
    }
    if !configuration.runtime().is_empty() {
        tracing::info!(
            changes = configuration.runtime().len(),
            "changes that were made while lb ran count on; `lb save` writes them to {}",
            file.display()
        );
    }
    configuration
}

/// The configured interfaces, in their order.
fn find_links(links: &[Link], config: &Config) -> Result<Vec<Link>, RunError> {
    let find = |name: &str| {
        let Some(link) = links.iter().find(|link| link.name == name).cloned() else {
            let existing = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(RunError::NoInterface { name: name.to_owned(), existing });
        };
        if !link.is_up {
            tracing::warn!(
                "{name} is down: nothing is forwarded there until it is up (`ip link set {name} up`)"
            );
        }
        // `lo` has one too, of zeroes.
        if link.mac.is_none_or(|mac| mac.is_nil()) {
            return Err(RunError::NotEthernet { name: link.name });
        }
        Ok(link)
    };
    config.director.interfaces.iter().map(|name| find(&name.value)).collect()
}

/// Waits until every address has answered, but not for long: what does not answer now is unresolved for now.
async fn first_answers(resolved: &mut watch::Receiver<Resolutions>, wanted: usize) -> Resolutions {
    let all_answer = |resolutions: &Resolutions| {
        resolutions.values().filter(|resolution: &&Resolution| resolution.is_reachable).count() == wanted
    };
    // Not in time, or the driver has ended: what there is then.
    let _ = tokio::time::timeout(FIRST_ANSWERS, resolved.wait_for(all_answer)).await;
    resolved.borrow_and_update().clone()
}

/// Says how programs are attached, and why not natively where they are not.
async fn report_attachments(netlink: &Netlink, links: &[(u8, Link)], attached: &[Attached]) -> String {
    let found = netlink.links().await.unwrap_or_default();
    let mut modes: Vec<&str> = Vec::new();
    for ((_, link), attached) in links.iter().zip(attached) {
        let name = &link.name;
        match attached {
            Attached::Native => tracing::info!("attached to {name}: native XDP"),
            Attached::Generic { because: None } => {
                tracing::info!("attached to {name}: generic XDP, as configured")
            }
            Attached::Generic { because: Some(reason) } => tracing::warn!(
                "attached to {name}: generic XDP, which is several times slower than native, because the driver refused: {reason}"
            ),
            Attached::Replaced => {
                tracing::info!("took over the program attached to {name}; no frame was lost")
            }
        }
        modes.push(match found.iter().find(|found| found.index == link.index).and_then(|found| found.xdp) {
            Some(XdpAttachment::Generic) => "generic",
            Some(XdpAttachment::Other) => "other",
            Some(XdpAttachment::Native) | None => "native",
        });
    }
    if modes.contains(&"native") && modes.contains(&"generic") {
        tracing::warn!(
            "some interfaces have native XDP and some have not: frames that come in on one that has cannot leave through one that has not; set director.xdp_mode = \"generic\" if there are real servers behind those"
        );
    }
    // As many as there are interfaces, unless they are all the same.
    if modes.iter().all(|mode| Some(mode) == modes.first()) {
        modes.truncate(1);
    }
    modes.join(", ")
}

/// What `on_exit` says.
async fn leave(
    on_exit: OnExit,
    dataplane: Dataplane,
    vips: &Vips,
    links: &[(u8, Link)],
) -> Result<(), RunError> {
    match on_exit {
        OnExit::Keep => {
            tracing::info!(
                "forwarding goes on without the daemon (on_exit = \"keep\"); `lb run` takes over again"
            );
        }
        OnExit::Detach => {
            vips.take_down().await;
            dataplane.vlan_offload().restore(links);
            dataplane.remove()?;
            let names = links.iter().map(|(_, link)| link.name.as_str()).collect::<Vec<_>>().join(", ");
            tracing::info!("detached from {names}; nothing is forwarded any more (on_exit = \"detach\")");
        }
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let on = |kind| signal(kind).map_err(|error| RunError::Os("handle signals", error));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// The name of the next signal that ends the daemon. SIGHUP has the file loaded anew.
    async fn next(&mut self, reloads: &mpsc::Sender<ReloadOrder>) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    let (done, _) = oneshot::channel();
                    // Full: it is about to be loaded anew.
                    let _ = reloads.try_send(ReloadOrder { confirm_within: None, saved: None, done });
                }
            }
        }
    }
}

async fn forward_resolutions(mut resolved: watch::Receiver<Resolutions>, inputs: mpsc::Sender<Input>) {
    while resolved.changed().await.is_ok() {
        let resolutions = resolved.borrow_and_update().clone();
        if inputs.send(Input::Resolutions(resolutions)).await.is_err() {
            return;
        }
    }
}

/// Sweeps now and then, and when it is told to, until it is to stop. Blocks: for a thread of its own.
fn sweep(sweeper: &Sweeper, inputs: &mpsc::Sender<Input>, orders: &std::sync::mpsc::Receiver<SweepOrder>) {
    let mut pause = *SWEEPS.start();
    while let Ok(SweepOrder::Now) | Err(RecvTimeoutError::Timeout) = orders.recv_timeout(pause) {
        let began = now();
        match sweeper.sweep() {
            Ok(swept) => {
                tracing::debug!(live = swept.total.live, freed = swept.total.freed, "swept");
                if inputs.blocking_send(Input::Swept { began, swept }).is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!("sweep the connection table: {error}"),
        }
        pause = (now().saturating_duration_since(began) * PAUSE).clamp(*SWEEPS.start(), *SWEEPS.end());
    }
}

async fn inspect(inputs: mpsc::Sender<Input>) {
    loop {
        tokio::time::sleep(INSPECT).await;
        if inputs.send(Input::Inspect).await.is_err() {
            return;
        }
    }
}

/// Hands lines that the programs wrote to `tracing`, by way of `log`.
async fn follow_flow_log(mut log: FlowLog) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        log.flush();
    }
}

#[expect(clippy::disallowed_methods, reason = "the supervisor reads the clock for those it drives")]
fn now() -> Instant {
    Instant::now()
}
