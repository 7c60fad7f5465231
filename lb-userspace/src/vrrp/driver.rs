//! All virtual routers of this director, the network, and the clock: one task, on a thread of its own.
//!
//! ```text
//!   sockets, netlink, clock, orders ──> Router (Machine) ... ──> Group ──> adverts
//!         ^                                                        └──Task──> Holder: addresses, announcements
//!         └───────────────────────────Seen───────────────────────────────────────┘  └──Change──> scripts, log, mail
//! ```
//!
//! Nothing here waits for anybody, but where sockets are opened and closed, which takes a lock of the kernel
//! (`ip_mc_join_group` of net/ipv4/igmp.c): what else takes it is done by the [`Holder`](super::Holder), on another thread;
//! programs are run, and files written, by others.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::clock::{now, sleep_until};
use super::group::Group;
use super::holder::{RouterId, Seen, Task, ToHolder};
use super::machine::{Machine, State};
use super::router::{Change, Heard, Router};
use super::status::RouterStatus;
use crate::config::{VrrpInstance, VrrpSyncGroup};
use crate::net::{Event, Events, Link, NetError};

/// How long changes of addresses are collected before they are looked at.
const SETTLE: Duration = Duration::from_millis(20);

/// How long bogus messages are collected: a tenth of the shortest interval of adverts.
const BATCH: Duration = Duration::from_millis(1);
/// When sockets that could not be opened are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the rest of the daemon tells.
#[derive(Debug)]
pub enum Order {
    /// What is configured.
    Configure {
        /// The virtual routers.
        instances: Vec<VrrpInstance>,
        /// Those that are kept alike.
        groups: Vec<VrrpSyncGroup>,
    },
    /// A run of an instance's script has ended.
    Script {
        /// The instance.
        instance: String,
        /// Which of its scripts.
        place: usize,
        /// How.
        has_succeeded: bool,
    },
    /// Whether somebody else has an instance's addresses, as a sentence.
    Split {
        /// The instance.
        instance: String,
        /// Who.
        found: Option<String>,
    },
    /// Whether the priority is held down: this director does not know the connections yet.
    Hold(bool),
    /// What there is to know.
    Ask(oneshot::Sender<Vec<RouterStatus>>),
    /// The daemon ends. Answered when all virtual routers have; told again, they end at once.
    ShutDown(oneshot::Sender<()>),
}

/// Whoever drives virtual routers.
pub struct Driver {
    events: Events,
    orders: mpsc::UnboundedReceiver<Order>,
    holder: ToHolder,
    routers: Vec<Router>,
    next_id: RouterId,
    groups: Vec<(VrrpSyncGroup, Group)>,
    links: Vec<Link>,
    is_held: bool,
    /// Whether whoever gives orders is there.
    has_orders: bool,
    has_events: bool,
    begin: Option<Box<dyn FnOnce() + Send>>,
    /// When interfaces and their addresses are looked at again, because some have changed.
    look_at: Option<Instant>,
    /// Whether they are being looked at.
    is_looking: bool,
    /// The first router that is too new to be seen by that.
    unseen: RouterId,
    leaving: Option<oneshot::Sender<()>>,
}

impl Driver {
    /// A driver that does what it is told; needs a runtime. Before its first virtual router, its thread does `begin`.
    ///
    /// # Errors
    /// [`NetError::Open`].
    pub fn new(
        orders: mpsc::UnboundedReceiver<Order>,
        holder: ToHolder,
        begin: Box<dyn FnOnce() + Send>,
    ) -> Result<Self, NetError> {
        Ok(Self {
            // Before interfaces are looked at, so that nothing that changes meanwhile is missed.
            events: Events::of_interfaces()?,
            orders,
            holder,
            routers: Vec::new(),
            next_id: 0,
            groups: Vec::new(),
            links: Vec::new(),
            is_held: false,
            has_orders: true,
            has_events: true,
            begin: Some(begin),
            look_at: None,
            is_looking: false,
            unseen: 0,
            leaving: None,
        })
    }

    /// Runs until it is told to end, or whoever tells is gone.
    pub async fn run(mut self) {
        let mut has_backlog = false;
        // While what comes is bogus, it is read in batches: a flood of it is to take little of a core.
        let mut pause: Option<Instant> = None;
        loop {
            let due = self.routers.iter().filter_map(|router| router.machine.poll_timeout());
            let look_at = self.look_at.filter(|_| !self.is_looking);
            let deadline = due.chain(look_at).chain(pause).min();
            tokio::select! {
                biased;
                order = self.orders.recv(), if self.has_orders => match order {
                    Some(order) => self.obey(order),
                    None => {
                        self.has_orders = false;
                        // Twice: nobody waits for a successor.
                        self.shut_down();
                        self.shut_down();
                    }
                },
                event = self.events.next(), if self.has_events => self.handle_event(event),
                Some(seen) = self.holder.seen.recv() => self.handle_seen(seen),
                () = readable(&self.routers), if !has_backlog && pause.is_none() => {}
                () = sleep_until(deadline), if !has_backlog => {}
                () = std::future::ready(()), if has_backlog => {}
            }
            if !self.is_looking && self.look_at.is_some_and(|at| at <= now()) {
                self.look();
            }
            pause = pause.filter(|until| now() < *until);
            let heard = self.turn();
            has_backlog = heard.has_more;
            if heard.is_bogus {
                pause = Some(now() + BATCH);
            }
            if self.is_done() {
                if let Some(leaving) = self.leaving.take() {
                    // When what was told the holder before is done.
                    self.holder.give(Task::Finish(leaving));
                }
                return;
            }
        }
    }

    fn handle_event(&mut self, event: Option<Event>) {
        let now = now();
        match event {
            Some(Event::Link(link)) => {
                match self.links.iter_mut().find(|known| known.index == link.index) {
                    Some(known) => *known = link,
                    None => self.links.push(link),
                }
                // Addresses come and go with links.
                self.look_at.get_or_insert(now + SETTLE);
                self.follow(now);
            }
            Some(Event::LinkGone { index }) => {
                self.links.retain(|link| link.index != index);
                self.follow(now);
            }
            Some(_) => {
                self.look_at.get_or_insert(now + SETTLE);
            }
            None => {
                tracing::error!(
                    "the netlink socket failed: how interfaces are is not followed any more; restart lb"
                );
                self.has_events = false;
            }
        }
    }

    /// Has the holder look how the interfaces are, and which addresses they have.
    fn look(&mut self) {
        (self.look_at, self.is_looking, self.unseen) = (None, true, self.next_id);
        let interfaces = self.routers.iter().map(|router| router.config.interface.value.clone());
        self.holder.give(Task::Look(interfaces.collect()));
    }

    fn handle_seen(&mut self, seen: Option<Seen>) {
        let now = now();
        self.is_looking = false;
        let Some(Seen { links, addresses }) = seen else {
            self.look_at.get_or_insert(now + AGAIN);
            return;
        };
        self.links = links;
        for router in self.routers.iter_mut().filter(|router| router.id < self.unseen) {
            let index = router.interface(&self.links).map(|link| link.index);
            router.see(index.and_then(|index| addresses.get(&index)));
        }
        self.follow(now);
        if self.routers.iter().any(Router::lacks_sockets) {
            self.look_at.get_or_insert(now + AGAIN);
        }
    }

    fn follow(&mut self, now: Instant) {
        self.routers.iter_mut().for_each(|router| router.follow(&self.links, now));
    }

    fn is_ending(&self) -> bool {
        self.leaving.is_some() || !self.has_orders
    }

    fn is_done(&self) -> bool {
        self.is_ending() && self.routers.iter().all(|router| router.machine.state() == State::Stopped)
    }

    /// Hands over what has come, then the time; does what follows. What was heard.
    fn turn(&mut self) -> Heard {
        let now = now();
        let mut heard = Heard::default();
        for router in &mut self.routers {
            let Heard { has_more, is_bogus } = router.read(now);
            heard.has_more |= has_more;
            heard.is_bogus |= is_bogus;
        }
        for router in &mut self.routers {
            if router.machine.poll_timeout().is_some_and(|at| at <= now) {
                router.machine.handle_timeout(now);
            }
        }
        self.settle(now);
        for router in &mut self.routers {
            router.act(&self.holder, now);
        }
        if !self.is_ending() {
            self.routers.retain(|router| router.machine.state() != State::Stopped);
        }
        heard
    }

    fn settle(&mut self, now: Instant) {
        for (config, group) in &mut self.groups {
            let members =
                self.routers.iter_mut().map(|Router { config, machine, .. }| (&config.name, machine));
            let members = members.filter(|(name, _)| config.instances.contains(name));
            let mut members: Vec<(&str, &mut Machine)> =
                members.map(|(name, machine)| (name.as_str(), machine)).collect();
            if let Some(state) = group.settle(&mut members, now) {
                tracing::info!("the sync group {} is {state}", config.name);
                self.holder.give(Task::Tell(Change::Group { group: config.name.clone(), state }));
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Configure { .. } if self.is_ending() => {}
            Order::Configure { instances, groups } => self.configure(instances, groups),
            Order::Script { instance, place, has_succeeded } => {
                let now = now();
                if let Some(router) = named(&mut self.routers, &instance) {
                    router.script(place, has_succeeded, &self.links, now);
                }
            }
            Order::Hold(is_held) => {
                self.is_held = is_held;
                let now = now();
                self.routers.iter_mut().for_each(|router| router.machine.handle_hold(is_held, now));
            }
            Order::Split { instance, found } => {
                let meant = named(&mut self.routers, &instance);
                if let Some(change) = meant.and_then(|router| router.set_split(found)) {
                    self.holder.give(Task::Tell(change));
                }
            }
            Order::Ask(answer) => {
                // Whoever asked is gone.
                let _ = answer.send(self.statuses());
            }
            Order::ShutDown(done) => {
                self.leaving = Some(done);
                self.shut_down();
            }
        }
    }

    fn shut_down(&mut self) {
        let now = now();
        self.routers.iter_mut().for_each(|router| router.machine.handle_shutdown(now));
    }

    fn configure(&mut self, instances: Vec<VrrpInstance>, groups: Vec<VrrpSyncGroup>) {
        if !instances.is_empty()
            && let Some(begin) = self.begin.take()
        {
            begin();
        }
        let now = now();
        let is_grouped = |name: &String| groups.iter().any(|group| group.instances.contains(name));
        for router in &mut self.routers {
            if !instances.iter().any(|instance| router.is_same(instance)) {
                router.machine.handle_shutdown(now);
            }
        }
        for instance in instances {
            let grouped = is_grouped(&instance.name);
            let same = self.routers.iter_mut().find(|router| router.is_same(&instance));
            if let Some(router) = same {
                if router.machine.state() != State::Leaving {
                    router.reconfigure(instance, grouped, now);
                    continue;
                }
                // It was configured no more, and is again.
                router.machine.handle_shutdown(now);
            }
            let mut router = Router::new(self.next_id, instance, grouped, now);
            self.next_id += 1;
            router.machine.handle_hold(self.is_held, now);
            self.routers.push(router);
        }
        let known = std::mem::take(&mut self.groups).into_iter();
        let mut known: BTreeMap<String, Group> = known.map(|(config, group)| (config.name, group)).collect();
        let group = |config: VrrpSyncGroup| {
            let group = known.remove(&config.name).unwrap_or_default();
            (config, group)
        };
        self.groups = groups.into_iter().map(group).collect();
        // At once, or when those that are being looked at are known.
        self.look_at = Some(now);
    }

    fn statuses(&self) -> Vec<RouterStatus> {
        let group = |name: &String| {
            let group = self.groups.iter().find(|(group, _)| group.instances.contains(name));
            group.map(|(group, _)| group.name.as_str())
        };
        self.routers.iter().map(|router| router.status(group(&router.config.name))).collect()
    }
}

/// The instance of a name, and not one that was configured before and is leaving.
fn named<'a>(routers: &'a mut [Router], name: &str) -> Option<&'a mut Router> {
    let is_over = |router: &Router| matches!(router.machine.state(), State::Leaving | State::Stopped);
    routers.iter_mut().find(|router| router.config.name == name && !is_over(router))
}

/// Until something has come on any of the sockets.
async fn readable(routers: &[Router]) {
    poll_fn(|context| {
        let mut ready = Poll::Pending;
        for sockets in routers.iter().filter_map(Router::sockets) {
            // All of them are asked: each that is not ready is to wake this task.
            if sockets.poll_readable(context).is_ready() {
                ready = Poll::Ready(());
            }
        }
        ready
    })
    .await;
}
