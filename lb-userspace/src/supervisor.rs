//! The daemon: starts its tasks, owns their channels, and ends them in order.
//!
//! ```text
//!   neighbour driver ──Resolutions──┐
//!   link events ──────Mac───────────┤
//!   sweeper (thread) ──Swept────────┼─> reconciler (thread) ──> maps
//!   clock ─────────────Inspect──────┘         │
//!                                             └─Published─> control server <── lb list
//! ```
//!
//! Whatever ends the daemon, forwarding goes on: programs, maps and the attachment are pinned. Only an orderly
//! end with `on_exit = "detach"` takes the director out of service.

mod vips;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use macaddr::MacAddr6;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::{Config, OnExit, VirtualServer};
use crate::control::{ControlError, Facts, Server};
use crate::dataplane::{Attached, Capacity, Dataplane, DataplaneError, FlowLog, Options, Sweeper};
use crate::neighbour::{Driver, Resolution, Resolutions};
use crate::net::{Event, Events, Link, NetError, Netlink, XdpAttachment, mac_text, question};
use crate::state::{Input, ReconcileError, Reconciler, addresses_to_resolve};
use vips::Vips;

/// How long the first answers of real servers are waited for before the director goes into service.
const FIRST_ANSWERS: Duration = Duration::from_millis(400);
/// How often expired connections are freed.
const SWEEP: Duration = Duration::from_secs(10);
/// How often the maps are looked at for what somebody else wrote.
const INSPECT: Duration = Duration::from_secs(10);

/// What kept the daemon from running, or ended it.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configured interface does not exist.
    #[error(
        "there is no interface {name:?}; this machine has {existing}: set director.interfaces to one of them"
    )]
    NoInterface {
        /// The configured name.
        name: String,
        /// Those that there are.
        existing: String,
    },
    /// The configured interface has no MAC.
    #[error("{name} is not an Ethernet interface; direct routing rewrites MACs and needs one that has")]
    NotEthernet {
        /// The configured name.
        name: String,
    },
    /// The interface is gone.
    #[error("interface {name} is gone, and with it the XDP program; start lb again when it is back")]
    InterfaceGone {
        /// Its name.
        name: String,
    },
    /// A thread of the daemon ended.
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
    let is_ipv6 = |server: &VirtualServer| server.addresses.iter().any(SocketAddr::is_ipv6);
    Capacity {
        max_connections: config.director.max_connections,
        has_ipv6: config.virtual_servers.iter().any(is_ipv6),
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`RunError`]: it could not start, or cannot go on.
pub async fn run(config: Config, log_flows: bool) -> Result<(), RunError> {
    let mut signals = Signals::new()?;
    let netlink = Netlink::open()?;
    let (link, mac) = find_link(&netlink, &config).await?;
    let mut dataplane = Dataplane::open(&Options {
        bpffs: config.director.bpffs.clone(),
        capacity: capacity(&config),
        log_flows,
    })?;
    let tables = dataplane.tables()?;

    // Real servers that an earlier daemon had resolved are taken to be where they were until asked.
    let (wanted, wanted_receiver) = watch::channel(addresses_to_resolve(&config));
    let remembered = tables.view().destinations.into_values();
    let remembered: BTreeMap<IpAddr, MacAddr6> = remembered
        .filter_map(|destination| Some((destination.address, destination.mac?)))
        .filter(|(address, _)| wanted.borrow().contains(address))
        .collect();
    let (resolutions, mut resolved) = watch::channel(Resolutions::new());
    let driver = Driver::new(netlink.clone(), link.index, wanted_receiver, resolutions, &remembered)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    let first = first_answers(&mut resolved, wanted.borrow().len()).await;
    for address in
        wanted.borrow().iter().filter(|address| !first.get(address).is_some_and(|found| found.is_reachable))
    {
        tracing::warn!(
            "{address} does not answer {} on {}: it gets no connections until it does; is it up, and on this network?",
            question(*address),
            link.name
        );
    }

    let mut reconciler = Reconciler::new(tables, config.clone(), mac, first);
    reconciler.reconcile(now())?;
    let published = reconciler.subscribe();
    let attached = dataplane.attach(&link, config.director.xdp_mode)?;
    let xdp_mode = report_attachment(&netlink, &link, &attached).await;
    let vips = Vips::new(netlink.clone(), link.clone(), &config);
    vips.bring_up().await?;

    let facts =
        Facts { interface: link.name.clone(), xdp_mode, max_connections: config.director.max_connections };
    let observer = dataplane.observer();
    let explainer = dataplane.explainer();
    let server = Server::bind(&config.director.control_socket, facts, published, observer, explainer)?;
    let (stop_server, server_stopped) = oneshot::channel::<()>();
    let control = tokio::spawn(server.run(async move {
        let _ = server_stopped.await;
    }));
    if log_flows {
        tasks.spawn(follow_flow_log(dataplane.flow_log()?));
    }

    let (inputs, received) = mpsc::channel(64);
    let mut reconciling = tokio::task::spawn_blocking(move || reconciler.run(received)).fuse();
    let (stop_sweeping, sweeper_stopped) = std::sync::mpsc::channel::<()>();
    let mut sweeping = tokio::task::spawn_blocking({
        let (sweeper, inputs) = (dataplane.sweeper(), inputs.clone());
        move || sweep(&sweeper, &inputs, &sweeper_stopped)
    })
    .fuse();
    tasks.spawn(forward_resolutions(resolved, inputs.clone()));
    tasks.spawn(inspect(inputs.clone()));
    let mut links =
        tokio::spawn(follow_link(Events::of_links()?, netlink, link.clone(), vips.clone(), inputs));

    tracing::info!(
        virtual_servers = config.virtual_servers.len(),
        interface = %link.name,
        xdp = xdp_mode,
        took_over = dataplane.has_taken_over(),
        "ready"
    );
    let ended = tokio::select! {
        name = signals.next() => {
            tracing::info!("{name}: stopping");
            Ok(())
        }
        ended = &mut links => Err(ended.unwrap_or(RunError::Ended("link watcher"))),
        _ = &mut reconciling => Err(RunError::Ended("reconciler")),
        _ = &mut sweeping => Err(RunError::Ended("sweeper")),
    };

    // Whoever sends goes first, then those who receive end by themselves.
    links.abort();
    tasks.shutdown().await;
    let _ = (stop_server.send(()), drop(stop_sweeping));
    let all = async { tokio::join!(control, reconciling, sweeping) };
    if tokio::time::timeout(Duration::from_secs(2), all).await.is_err() {
        tracing::debug!("a client was still being answered, or a table swept");
    }
    if ended.is_ok() {
        leave(&config, dataplane, &vips, &link).await?;
    }
    ended
}

async fn find_link(netlink: &Netlink, config: &Config) -> Result<(Link, MacAddr6), RunError> {
    let links = netlink.links().await?;
    let name = config.director.interfaces.first().map(|name| name.to_string()).unwrap_or_default();
    let existing = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(link) = links.into_iter().find(|link| link.name == name) else {
        return Err(RunError::NoInterface { name, existing });
    };
    if !link.is_up {
        tracing::warn!("{name} is down: nothing is forwarded until it is up (`ip link set {name} up`)");
    }
    match link.mac {
        Some(mac) => Ok((link, mac)),
        None => Err(RunError::NotEthernet { name }),
    }
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

/// Says how the program is attached, and why not natively if it is not.
async fn report_attachment(netlink: &Netlink, link: &Link, attached: &Attached) -> &'static str {
    let name = &link.name;
    match attached {
        Attached::Native => tracing::info!("attached to {name}: native XDP"),
        Attached::Generic { because: None } => {
            tracing::info!("attached to {name}: generic XDP, as configured")
        }
        Attached::Generic { because: Some(reason) } => tracing::warn!(
            "attached to {name}: generic XDP, which is several times slower than native, because the driver refused: {reason}"
        ),
        Attached::Replaced => tracing::info!("took over the program attached to {name}; no frame was lost"),
    }
    let found = netlink.links().await.unwrap_or_default();
    match found.iter().find(|found| found.index == link.index).and_then(|found| found.xdp) {
        Some(XdpAttachment::Generic) => "generic",
        Some(XdpAttachment::Other) => "other",
        Some(XdpAttachment::Native) | None => "native",
    }
}

/// What `on_exit` says.
async fn leave(config: &Config, dataplane: Dataplane, vips: &Vips, link: &Link) -> Result<(), RunError> {
    match config.director.on_exit {
        OnExit::Keep => {
            tracing::info!(
                "forwarding goes on without the daemon (on_exit = \"keep\"); `lb run` takes over again"
            );
        }
        OnExit::Detach => {
            vips.take_down().await;
            dataplane.remove()?;
            tracing::info!(
                "detached from {}; nothing is forwarded any more (on_exit = \"detach\")",
                link.name
            );
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

    /// The name of the next signal that ends the daemon.
    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP: reloading is not available in this version; restart lb to apply a changed file, connections survive that");
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

/// Sweeps now and then, until `stopped` has no sender any more. Blocks: for a thread of its own.
fn sweep(sweeper: &Sweeper, inputs: &mpsc::Sender<Input>, stopped: &std::sync::mpsc::Receiver<()>) {
    while stopped.recv_timeout(SWEEP) == Err(RecvTimeoutError::Timeout) {
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

/// Follows the interface; returns when the interface is gone.
async fn follow_link(
    mut events: Events,
    netlink: Netlink,
    mut link: Link,
    vips: Vips,
    inputs: mpsc::Sender<Input>,
) -> RunError {
    loop {
        let changed = match events.next().await {
            Some(Event::Link(changed)) if changed.index == link.index => Some(changed),
            Some(Event::LinkGone { index }) if index == link.index => None,
            Some(Event::Lost) => match netlink.links().await {
                Ok(links) => links.into_iter().find(|found| found.index == link.index),
                Err(error) => return error.into(),
            },
            Some(_) => continue,
            None => return RunError::Ended("netlink socket"),
        };
        let Some(changed) = changed else { return RunError::InterfaceGone { name: link.name } };
        if changed.is_up != link.is_up {
            tracing::warn!("{} is {}", link.name, if changed.is_up { "up" } else { "down" });
        }
        if changed.mac != link.mac
            && let Some(mac) = changed.mac
        {
            tracing::info!("{} has a new MAC, {}", link.name, mac_text(mac));
            if inputs.send(Input::Mac(mac)).await.is_err() {
                return RunError::Ended("reconciler");
            }
        }
        vips.follow(&changed).await;
        link = changed;
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
