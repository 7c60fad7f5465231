//! The one place where desired state becomes operations on the maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::fragment::FRAGMENT_SECONDS;
use lb_common::load::Thresholds;
use lb_common::policy::OnDown;
use macaddr::MacAddr6;
use tokio::sync::{mpsc, oneshot, watch};

use super::change::{Change, ChangeError, Changed};
use super::desired::{Desired, desired};
use super::names::{NameError, find_service};
use super::network::Network;
use super::plan::{PlanError, number, numbers, plan, retired};
use crate::config::{Acl, Config, Persistence, Protocol, Timeouts};
use crate::dataplane::{DataplaneError, Operation, SweepOrder, Swept, Tables, View, Way};
use crate::forms::VirtualAddress;
use crate::neighbour::Resolutions;
use crate::scheduler::{Flag, Scheduler};

/// Something that has a say in the desired state, or in what may be forgotten.
#[derive(Debug)]
pub enum Input {
    /// The interfaces' MACs, and where real servers are.
    Network(Network),
    /// The real servers' MACs.
    Resolutions(Resolutions),
    /// A sweep of the connection tables has ended.
    Swept {
        /// When it began.
        began: Instant,
        /// What it found.
        swept: Swept,
    },
    /// What is configured is to be changed.
    Change {
        /// How.
        change: Change,
        /// Gets what became of it.
        done: oneshot::Sender<Result<Changed, ChangeError>>,
    },
    /// Counters are to begin anew.
    Zero {
        /// The virtual server whose they are, by its name or an address that only it has; none for all.
        service: Option<String>,
        /// Gets the virtual servers whose counters begin anew.
        done: oneshot::Sender<Result<Vec<PublishedService>, ChangeError>>,
    },
    /// Time to look whether the maps are as they were left.
    Inspect,
}

/// What is being done, for those who list it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Virtual servers, in the order of the configuration.
    pub services: Vec<PublishedService>,
    /// Whose clients are let in, by all of them.
    pub acl: Acl,
    /// How long connections are remembered.
    pub timeouts: Timeouts,
}

impl Published {
    /// The virtual server that somebody means.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn find_service(&self, wanted: &str) -> Result<&PublishedService, NameError> {
        let known = self.services.iter().map(|service| (service.name.as_str(), &service.addresses[..]));
        Ok(&self.services[find_service(known, wanted)?])
    }
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedService {
    /// Its name.
    pub name: String,
    /// Its number in the maps.
    pub number: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<VirtualAddress>,
    /// The number of its group, if it has one.
    pub fwmark: Option<u32>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its scheduler.
    pub scheduler: Scheduler,
    /// What is asked of it besides.
    pub scheduler_flags: BTreeSet<Flag>,
    /// Its real servers, in the order of addition.
    pub servers: Vec<PublishedServer>,
    /// Who gets new connections when none of those is usable.
    pub sorry_server: Option<PublishedServer>,
    /// What becomes of the connections of one that is down.
    pub on_down: OnDown,
    /// Whether every datagram is scheduled by itself.
    pub one_packet: bool,
    /// Whose clients are let in.
    pub acl: Acl,
    /// How long clients keep their real server, if they do.
    pub persistence: Option<Persistence>,
}

impl PublishedService {
    /// Everybody who may have its connections: its real servers, then the sorry server.
    pub fn all_servers(&self) -> impl Iterator<Item = &PublishedServer> {
        self.servers.iter().chain(&self.sorry_server)
    }
}

/// A real server of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedServer {
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u32,
    /// How many connections it gets at most.
    pub thresholds: Thresholds,
    /// Its MAC, or the one it had when it last answered. If it never did, or is the director itself, none.
    pub mac: Option<MacAddr6>,
    /// What it may get.
    pub state: ServerState,
    /// Its number in the maps.
    pub destination: Option<u32>,
}

/// What a real server may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// New connections.
    Up,
    /// Its old connections only: its weight is 0.
    Draining,
    /// Nothing new: nobody answers for its address.
    Unresolved,
}

/// Why the maps are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// There are more of something than there is room for.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A map could not be changed.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
}

/// After its first, a datagram's other fragments are sent where that went.
const FRAGMENTS_FOLLOW: Duration = Duration::from_secs(FRAGMENT_SECONDS as u64);

/// Turns inputs into operations. Whoever owns it is the only one to change services, slots and destinations.
pub struct Reconciler {
    tables: Tables,
    /// What the file says, and what was changed since.
    config: Config,
    network: Network,
    resolutions: Resolutions,
    /// What the maps hold, as we left them.
    view: View,
    /// What they hold instead, if somebody else wrote them.
    found: Option<View>,
    /// When destinations were retired, or first seen to be.
    retired: BTreeMap<u32, Instant>,
    published: watch::Sender<Arc<Published>>,
    /// Whoever frees the connections of clients that are refused.
    sweeper: std::sync::mpsc::Sender<SweepOrder>,
}

impl Reconciler {
    /// A reconciler that has looked at the maps and not changed anything yet.
    #[must_use]
    pub fn new(
        tables: Tables,
        config: Config,
        network: Network,
        resolutions: Resolutions,
        sweeper: std::sync::mpsc::Sender<SweepOrder>,
    ) -> Self {
        let view = tables.view();
        let published = watch::Sender::new(Arc::default());
        let retired = BTreeMap::new();
        Self { tables, config, network, resolutions, view, found: None, retired, published, sweeper }
    }

    /// Follows what is being done.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// Handles inputs until there are no more senders. Blocks: for a thread of its own.
    pub fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.blocking_recv() {
            self.handle(input);
            // What came meanwhile is handled together.
            while let Ok(input) = inputs.try_recv() {
                self.handle(input);
            }
            if let Err(error) = self.reconcile(now()) {
                tracing::error!("{error}");
            }
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Network(network) => self.network = network,
            Input::Resolutions(resolutions) => self.resolutions = resolutions,
            Input::Swept { began, swept } => self.release(began, &swept),
            Input::Change { change, done } => {
                // Whoever asked may have gone away.
                let _ = done.send(self.change(&change));
            }
            Input::Zero { service, done } => {
                let _ = done.send(self.zero(service.as_deref()));
            }
            Input::Inspect => self.inspect(),
        }
    }

    /// Makes the maps what they should be.
    ///
    /// # Errors
    /// [`ReconcileError`]; the operations before the one that failed have been carried out, and none leaves
    /// the maps in a state in which a frame goes wrong.
    pub fn reconcile(&mut self, now: Instant) -> Result<(), ReconcileError> {
        let mut is_refusing = false;
        let done = self.carry_out(now, &mut is_refusing);
        if is_refusing {
            // Without a sweeper the daemon ends anyway.
            let _ = self.sweeper.send(SweepOrder::Now);
        }
        done
    }

    fn carry_out(&mut self, now: Instant, is_refusing: &mut bool) -> Result<(), ReconcileError> {
        let desired = desired(&self.config, &self.network, &self.resolutions, &self.view);
        let found = self.found.take();
        let is_mending = found.is_some();
        let operations = plan(found.as_ref().unwrap_or(&self.view), &self.view, &desired)?;
        for operation in &operations {
            tracing::debug!(?operation, "apply");
            self.tables.apply(operation)?;
            self.view.apply(operation);
            match operation {
                Operation::PutDestination { number, .. } => {
                    self.retired.remove(number);
                }
                Operation::Retire { destinations, .. } => {
                    self.retired.extend(destinations.iter().map(|number| (*number, now)));
                }
                Operation::SetAcl { .. } => *is_refusing = true,
                _ => {}
            }
        }
        if is_mending {
            self.view = self.tables.view();
        }
        self.publish(&desired);
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<Changed, ChangeError> {
        let (config, before) = (self.config.clone(), Arc::clone(&self.published.borrow()));
        let is_different = change.apply(&mut self.config)?;
        if let Err(error) = self.reconcile(now()) {
            self.config = config;
            return Err(ChangeError::Failed(error.to_string()));
        }
        Ok(Changed { is_different, before, after: Arc::clone(&self.published.borrow()) })
    }

    fn zero(&mut self, service: Option<&str>) -> Result<Vec<PublishedService>, ChangeError> {
        let published = Arc::clone(&self.published.borrow());
        let services = match service {
            Some(wanted) => vec![published.find_service(wanted)?.clone()],
            None => published.services.clone(),
        };
        let servers = services.iter().flat_map(PublishedService::all_servers);
        let zeroed = self.tables.zero(servers.filter_map(|server| server.destination));
        zeroed.map_err(|error| ChangeError::Failed(error.to_string()))?;
        Ok(services)
    }

    /// Gives back numbers of retired destinations that no connection refers to, nor the fragments of any datagram.
    fn release(&mut self, began: Instant, swept: &Swept) {
        let desired = desired(&self.config, &self.network, &self.resolutions, &self.view);
        let is_forgotten = |number: &u32| {
            // An earlier daemon's: retired at some time before.
            let retired = *self.retired.entry(*number).or_insert(began);
            // Until it was retired, a connection may have been recorded for it, and a datagram.
            began.saturating_duration_since(retired) > FRAGMENTS_FOLLOW && !swept.refers_to(*number)
        };
        let numbers: Vec<u32> = retired(&self.view, &desired).into_iter().filter(is_forgotten).collect();
        if numbers.is_empty() {
            return;
        }
        let operation = Operation::ReleaseDestinations(numbers);
        match self.tables.apply(&operation) {
            Ok(()) => self.view.apply(&operation),
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// Looks whether somebody else wrote the maps. What differs is mended by the next [`reconcile`](Self::reconcile).
    fn inspect(&mut self) {
        let found = self.tables.view();
        if found != self.view {
            tracing::warn!("the pinned maps were changed by somebody else; mending them");
            self.found = Some(found);
        }
    }

    fn publish(&self, desired: &Desired) {
        let services = self.config.virtual_servers.iter().zip(&desired.services).map(|(config, desired)| {
            let servers = desired.all_servers().zip(numbers(&self.view, desired));
            let mut servers: Vec<PublishedServer> = servers
                .map(|(server, destination)| PublishedServer {
                    address: server.address,
                    weight: server.weight,
                    thresholds: server.thresholds,
                    mac: server.way.and_then(Way::mac),
                    state: match server.is_reachable {
                        false => ServerState::Unresolved,
                        true if server.weight == 0 => ServerState::Draining,
                        true => ServerState::Up,
                    },
                    destination,
                })
                .collect();
            let sorry_server = desired.sorry_server.and_then(|_| servers.pop());
            PublishedService {
                name: config.name.clone(),
                number: number(&self.view, desired),
                addresses: config.addresses.clone(),
                fwmark: config.fwmark,
                protocol: config.protocol,
                scheduler: config.scheduler,
                scheduler_flags: config.scheduler_flags.clone(),
                acl: config.acl.clone(),
                persistence: config.persistence,
                servers,
                sorry_server,
                on_down: config.on_down,
                one_packet: config.one_packet,
            }
        });
        let now = Published {
            services: services.collect(),
            acl: self.config.acl.clone(),
            timeouts: self.config.timeouts,
        };
        self.published.send_if_modified(|published| {
            if **published == now {
                return false;
            }
            *published = Arc::new(now);
            true
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "the reconciler's thread reads the clock for those it drives")]
fn now() -> Instant {
    Instant::now()
}
