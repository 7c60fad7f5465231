//! Virtual routers in the daemon: threads of their own for them, which a busy daemon does not delay, and whoever tells them
//! what is configured and what scripts say.
//!
//! ```text
//!   configs ──> keep ──Configure, Script──> thread: Driver ──> thread: Holder ──Change──> tell ──> events: log,
//!                                                                                            commands, mail
//! ```

use std::time::Duration;

use futures_util::FutureExt as _;
use nix::sys::mman::{MlockAllFlags, mlockall};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::RunError;
use super::thread::on_own_thread;
use crate::config::{TrackScript, VrrpInstance, VrrpSyncGroup};
use crate::net::Netlink;
use crate::state::{EventLog, Followed, Happening};
use crate::sync::SyncPhase;
use crate::vrrp::{Change, Driver, Handle, Holder, Order, Runner, between, look_out};

/// How long the daemon waits for a successor at most, whatever the interval of adverts.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to learn the other directors' connections.
const JOINING: Duration = Duration::from_secs(10);
/// The least of the priorities of SCHED_FIFO: above all ordinary threads, below the kernel's.
const PRIORITY: u8 = 1;

/// The virtual routers.
pub(super) struct Vrrp {
    handle: Handle,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Vrrp {
    pub(super) fn new() -> Self {
        let (handle, orders) = Handle::new();
        Self { handle, orders }
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts the threads and the tasks. What is returned is ready when the threads have ended, and all changes are reported.
    pub(super) fn start(
        self,
        netlink: Netlink,
        (configs, joining): (watch::Receiver<Followed>, watch::Receiver<SyncPhase>),
        events: EventLog,
        tasks: &mut JoinSet<&'static str>,
    ) -> Result<impl Future<Output = ()> + use<>, RunError> {
        if *joining.borrow() == SyncPhase::Joining {
            // Before it is told what is configured.
            self.handle.order(Order::Hold(true));
        }
        let (changes, changed) = mpsc::unbounded_channel();
        let (reporting, reported) = oneshot::channel::<()>();
        let (to_holder, to_driver) = between();
        let driving = on_own_thread("vrrp", || {
            let begin = || {
                be_prompt();
                stay_in_memory();
            };
            let driver = Driver::new(self.orders, to_holder, Box::new(begin))?;
            Ok(|| driver.run())
        })?;
        let holding = on_own_thread("vrrp-addresses", || {
            let holder = Holder::new(to_driver, changes, Box::new(be_prompt))?;
            Ok(|| holder.run())
        })?;
        tasks.spawn(driving.map(|()| "VRRP"));
        tasks.spawn(holding.map(|()| "VRRP"));
        tasks.spawn(look_out(netlink, self.handle.clone()).map(|()| "VRRP"));
        tasks.spawn(hold(joining, self.handle.clone()).map(|()| "VRRP"));
        tasks.spawn(keep(configs, self.handle).map(|()| "VRRP"));
        tasks.spawn(tell(changed, events, reporting).map(|()| "VRRP"));
        Ok(reported.map(drop))
    }
}

/// Has this thread run before all others, if that is permitted.
fn be_prompt() {
    // Nothing that it starts has the same: it starts nothing.
    let priority = ThreadPriorityValue::try_from(PRIORITY).map(ThreadPriority::Crossplatform);
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let urgent = priority.and_then(|priority| {
        set_thread_priority_and_policy(thread_native_id(), priority, policy)
            .map_err(|error| format!("{error:?}"))
    });
    if let Err(error) = urgent {
        tracing::warn!(
            "VRRP runs without real-time priority ({error}): a busy machine may lose mastership; allow CAP_SYS_NICE"
        );
    }
}

/// Has the daemon's memory never be away, if that is permitted.
fn stay_in_memory() {
    if !may_lock() {
        tracing::warn!("memory is not locked: a machine that swaps may lose mastership; allow CAP_IPC_LOCK");
        return;
    }
    // What is used, when it is used: not all that is reserved.
    let when_used = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | when_used) {
        tracing::warn!("lock memory: {error}: a machine that swaps may lose mastership");
    }
}

/// Whether locked memory is without limit for this process: one with a limit would run out of memory.
fn may_lock() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    effective >> CAP_IPC_LOCK & 1 == 1
}

/// Holds the priority down until this director knows the connections of the others: who becomes master before would
/// break them. Not for longer than that takes if all is well, and only when the daemon begins.
async fn hold(mut joining: watch::Receiver<SyncPhase>, handle: Handle) {
    let knows = joining.wait_for(|phase| *phase != SyncPhase::Joining);
    if tokio::time::timeout(JOINING, knows).await.is_err() {
        tracing::warn!(
            "the other directors' connections are not all known after {JOINING:?}: taking part nevertheless"
        );
    }
    handle.order(Order::Hold(false));
    std::future::pending::<()>().await;
}

/// Tells what is configured, and has scripts run.
async fn keep(mut configs: watch::Receiver<Followed>, handle: Handle) {
    let (results, mut ended) = mpsc::unbounded_channel::<((String, TrackScript), bool)>();
    let mut runners: Vec<((String, TrackScript), Runner)> = Vec::new();
    let mut told: (Vec<VrrpInstance>, Vec<VrrpSyncGroup>) = Default::default();
    loop {
        {
            let config = configs.borrow_and_update();
            let config = config.config();
            let new = (config.vrrp_instances.clone(), config.vrrp_sync_groups.clone());
            if told != new {
                handle.order(Order::Configure { instances: new.0.clone(), groups: new.1.clone() });
                told = new;
            }
        }
        let (instances, _) = &told;
        let scripts = |instance: &VrrpInstance| {
            let name = instance.name.clone();
            instance.track_scripts.clone().into_iter().map(move |script| (name.clone(), script))
        };
        let wanted: Vec<(String, TrackScript)> = instances.iter().flat_map(scripts).collect();
        runners.retain(|(key, _)| wanted.contains(key));
        for key in wanted {
            if !runners.iter().any(|(known, _)| *known == key) {
                let runner = Runner::start(key.1.clone(), key.clone(), results.clone());
                runners.push((key, runner));
            }
        }
        loop {
            tokio::select! {
                changed = configs.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(((instance, script), has_succeeded)) = ended.recv() => {
                    let configured = instances.iter().find(|known| known.name == instance);
                    let scripts = configured.map(|instance| instance.track_scripts.as_slice()).unwrap_or_default();
                    // One that is configured twice has two places.
                    for (place, _) in scripts.iter().enumerate().filter(|(_, known)| **known == script) {
                        handle.order(Order::Script { instance: instance.clone(), place, has_succeeded });
                    }
                }
            }
        }
    }
}

/// Reports what changes; when there will be nothing more, drops `reporting`.
async fn tell(
    mut changed: mpsc::UnboundedReceiver<Change>,
    events: EventLog,
    reporting: oneshot::Sender<()>,
) {
    while let Some(change) = changed.recv().await {
        events.report(match change {
            Change::Instance { instance, before, after, reason, priority } => Happening::VrrpState {
                instance,
                before: before.name().to_owned(),
                after: after.name().to_owned(),
                reason: reason.to_string(),
                priority,
            },
            Change::Split { instance, found } => Happening::VrrpSplitBrain { instance, found },
            Change::Group { group, state } => {
                Happening::VrrpGroupState { group, state: state.name().to_owned() }
            }
        });
    }
    drop(reporting);
    std::future::pending::<()>().await;
}
