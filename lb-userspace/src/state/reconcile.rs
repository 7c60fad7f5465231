//! The one place where desired state becomes operations on the maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::fragment::FRAGMENT_SECONDS;
use tokio::sync::{mpsc, oneshot, watch};

use super::change::{Change, ChangeError, Changed, Refused};
use super::configuration::{Configuration, Reloaded};
use super::desired::{Circumstances, Desired, desired};
use super::document::Document;
use super::event::{Happening, happenings};
use super::event_log::EventLog;
use super::journal::Journal;
use super::network::Network;
use super::plan::{PlanError, plan, retired};
use super::published::{Published, PublishedService};
use crate::config::{Config, LoadError, VirtualServer};
use crate::dataplane::{DataplaneError, Operation, SweepOrder, Swept, Tables, View};
use crate::health::{Check, Verdict, Verdicts, checks};
use crate::neighbour::Resolutions;

/// Something that has a say in the desired state, or in what may be forgotten.
#[derive(Debug)]
pub enum Input {
    /// The interfaces' MACs, and where real servers are.
    Network(Network),
    /// The real servers' MACs.
    Resolutions(Resolutions),
    /// What health checks say that is new.
    Verdicts(Vec<(Check, Verdict)>),
    /// Time has passed, while real servers come up slowly.
    Tick,
    /// A sweep of the connection tables has ended.
    Swept {
        /// When it began.
        began: Instant,
        /// What it found.
        swept: Swept,
    },
    /// What is configured is to be changed, by all of these changes or by none.
    Change {
        /// How.
        changes: Vec<Change>,
        /// Gets what became of it.
        done: oneshot::Sender<Result<Changed, Refused>>,
    },
    /// The configuration file has another text.
    Reload {
        /// What it says.
        file: Box<Document>,
        /// How it comes to count.
        kind: ReloadKind,
        /// Gets what became of it.
        done: oneshot::Sender<Result<Reloaded, ReloadError>>,
    },
    /// The text of the last reload stays.
    Confirm {
        /// Gets whether it was not confirmed before.
        done: oneshot::Sender<bool>,
    },
    /// Counters are to begin anew.
    Zero {
        /// The virtual server whose they are, by its name or an address that only it has; none for all.
        service: Option<String>,
        /// Gets the virtual servers whose counters begin anew.
        done: oneshot::Sender<Result<Vec<PublishedService>, ChangeError>>,
    },
    /// Somebody wants to know whether inputs are handled.
    Answer {
        /// Gets the answer.
        done: oneshot::Sender<()>,
    },
    /// Time to look whether the maps are as they were left.
    Inspect,
}

/// What is configured, for those who follow it.
#[derive(Clone, Debug)]
pub struct Followed {
    /// What is done.
    pub configuration: Configuration,
    /// What is done next, once its real servers have been looked for.
    pub coming: Option<Arc<Config>>,
}

impl Followed {
    /// What is done.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        self.configuration.config()
    }

    /// What is done, and what is done next.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<Config>> {
        [self.config()].into_iter().chain(&self.coming)
    }
}

/// How a text of the configuration file comes to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadKind {
    /// It was asked for.
    Stays,
    /// It was asked for, and the text that counts now counts again unless this one is confirmed.
    AwaitsConfirmation,
    /// It counted before one that was not confirmed; if that was confirmed meanwhile, nothing is done.
    Undo,
    /// It is what was changed while the daemon ran, and was written to the file.
    Saved,
}

/// Why a configuration file was not loaded anew; everything is as before.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It could not be read, or is not valid.
    #[error(transparent)]
    Invalid(#[from] LoadError),
    /// The last reload is neither confirmed nor undone yet.
    #[error("the last reload awaits its confirmation: `lb confirm` keeps it, or wait until it is undone")]
    Unconfirmed,
    /// There is nothing to undo.
    #[error("the last reload was confirmed at the last moment, and stays")]
    Confirmed,
    /// The maps could not be changed.
    #[error("{0}")]
    Failed(String),
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

/// How many inputs are handled together.
const BATCH: usize = 64;

/// Tables for IPv6 are as large as those for IPv4, so they are made only where they are needed.
const NO_IPV6: &str = "lb made no room for IPv6 when it started, for no virtual server had an IPv6 address then; write it to the configuration file and restart lb, connections survive that";

/// Changes, and who asked for them.
type Asked = (Vec<Change>, oneshot::Sender<Result<Changed, Refused>>);

/// Turns inputs into operations. Whoever owns it is the only one to change services, slots and destinations.
pub struct Reconciler {
    tables: Tables,
    configuration: Configuration,
    /// What is done, for those who follow it. Whoever prepares a reload says there what comes.
    configs: watch::Sender<Followed>,
    journal: Journal,
    /// Changes that came together.
    pending: Vec<Asked>,
    /// Whether the maps are to be looked through for what is not as it should be.
    is_stale: bool,
    network: Network,
    resolutions: Resolutions,
    /// What health checks say.
    verdicts: Verdicts,
    /// The names of virtual servers with too few usable real servers.
    without_quorum: BTreeSet<String>,
    /// Whether real servers come up slowly.
    ramping: watch::Sender<bool>,
    /// What the maps hold, as we left them.
    view: View,
    /// What they hold instead, if somebody else wrote them.
    found: Option<View>,
    /// When destinations were retired, or first seen to be.
    retired: BTreeMap<u32, Instant>,
    published: watch::Sender<Arc<Published>>,
    /// Whether anything was published.
    has_begun: bool,
    events: EventLog,
    /// Why the maps could not be changed the last time; empty if they could.
    failed: String,
    /// What happened that nobody was told yet.
    happened: Vec<Happening>,
    /// Whoever frees the connections of clients that are refused.
    sweeper: std::sync::mpsc::Sender<SweepOrder>,
}

impl Reconciler {
    /// A reconciler that has looked at the maps and not changed anything yet. It does what `configs` says, changes that
    /// when it is told to, and writes to `journal` what differs from the file.
    #[must_use]
    pub fn new(
        tables: Tables,
        configs: watch::Sender<Followed>,
        journal: Journal,
        network: Network,
        resolutions: Resolutions,
        verdicts: Verdicts,
        sweeper: std::sync::mpsc::Sender<SweepOrder>,
    ) -> Self {
        let view = tables.view();
        let published = watch::Sender::new(Arc::default());
        let retired = BTreeMap::new();
        let configuration = configs.borrow().configuration.clone();
        let mut new = Self {
            tables,
            configuration,
            configs,
            journal,
            pending: Vec::new(),
            is_stale: false,
            network,
            resolutions,
            verdicts,
            without_quorum: BTreeSet::new(),
            ramping: watch::Sender::new(false),
            view,
            found: None,
            retired,
            published,
            has_begun: false,
            events: EventLog::default(),
            failed: String::new(),
            happened: Vec::new(),
            sweeper,
        };
        new.remember();
        new
    }

    /// Follows what is being done.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// Follows whether real servers come up slowly, and so time has to be told.
    #[must_use]
    pub fn ramping(&self) -> watch::Receiver<bool> {
        self.ramping.subscribe()
    }

    /// What happens.
    #[must_use]
    pub fn events(&self) -> EventLog {
        self.events.clone()
    }

    /// Handles inputs until there are no more senders. Blocks: for a thread of its own.
    pub fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.blocking_recv() {
            self.handle(input);
            // What came meanwhile is handled together, but whatever goes on coming does not put off what it asks for.
            for _ in 1..BATCH {
                let Ok(input) = inputs.try_recv() else { break };
                self.handle(input);
            }
            self.change();
            if std::mem::take(&mut self.is_stale)
                && let Err(error) = self.reconcile(now())
            {
                // What it takes may be there when the next sweep has ended, at the latest ten seconds from now.
                self.is_stale = true;
                self.complain(&error);
            }
            self.tell();
        }
    }

    /// Says why the maps are not as they should be; once, however often it is tried again.
    fn complain(&mut self, error: &ReconcileError) {
        let error = error.to_string();
        if self.failed != error {
            tracing::error!("{error}; it is tried again");
            self.failed = error;
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Network(network) => {
                self.network = network;
                self.is_stale = true;
            }
            Input::Resolutions(resolutions) => {
                self.resolutions = resolutions;
                self.is_stale = true;
            }
            Input::Verdicts(verdicts) => {
                verdicts.into_iter().for_each(|(check, verdict)| self.verdicts.put(check, verdict));
                self.is_stale = true;
            }
            Input::Tick => self.is_stale = true,
            Input::Swept { began, swept } => self.release(began, &swept),
            Input::Change { changes, done } => self.pending.push((changes, done)),
            Input::Reload { file, kind, done } => {
                self.change();
                let reloaded = self.reload(*file, kind);
                // What was to come has come, or does not.
                self.configs.send_if_modified(|followed| followed.coming.take().is_some());
                // Whoever asked may have gone away.
                let _ = done.send(reloaded);
            }
            Input::Confirm { done } => {
                let is_confirmed = self.configuration.unconfirmed().is_some();
                if is_confirmed {
                    self.configuration.confirm();
                    self.remember();
                    self.configs.send_modify(|followed| followed.configuration.confirm());
                    self.events.report(Happening::ReloadConfirmed);
                }
                let _ = done.send(is_confirmed);
            }
            Input::Zero { service, done } => {
                self.change();
                let _ = done.send(self.zero(service.as_deref()));
            }
            Input::Answer { done } => {
                let _ = done.send(());
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
        if done.is_ok() {
            self.failed.clear();
        }
        if is_refusing {
            // Without a sweeper the daemon ends anyway.
            let _ = self.sweeper.send(SweepOrder::Now);
        }
        done
    }

    fn carry_out(&mut self, now: Instant, is_refusing: &mut bool) -> Result<(), ReconcileError> {
        let desired = desired(self.configuration.config(), &self.circumstances(now));
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
            self.events.report(Happening::MapsMended);
        }
        let without_quorum = self.configuration.config().virtual_servers.iter();
        let without_quorum = without_quorum.filter(|service| !service.addresses.is_empty());
        let without_quorum = without_quorum.zip(&desired.services).filter(|(_, desired)| !desired.has_quorum);
        self.without_quorum = without_quorum.map(|(service, _)| service.name.clone()).collect();
        self.publish(&desired);
        let is_ramping = desired.services.iter().any(|service| service.is_ramping);
        self.ramping.send_if_modified(|before| std::mem::replace(before, is_ramping) != is_ramping);
        Ok(())
    }

    fn circumstances(&self, now: Instant) -> Circumstances<'_> {
        let Self { network, resolutions, verdicts, without_quorum, view, .. } = self;
        Circumstances { network, resolutions, verdicts, without_quorum, view, now }
    }

    /// Makes the changes that came together, and answers those who asked for them.
    fn change(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        let (configuration, before) = (self.configuration.clone(), Arc::clone(&self.published.borrow()));
        let groups: Vec<&[Change]> = pending.iter().map(|(changes, _)| &changes[..]).collect();
        let mut done = self.configuration.change(&groups);
        if let Err(failed) = self.carry_on(configuration) {
            let refused = Refused { change: None, problem: ChangeError::Failed(failed) };
            done.iter_mut().filter(|done| **done == Ok(true)).for_each(|done| *done = Err(refused.clone()));
        }
        let after = Arc::clone(&self.published.borrow());
        for ((_, asked), done) in pending.into_iter().zip(done) {
            let changed = |is_different| Changed {
                is_different,
                before: Arc::clone(&before),
                after: Arc::clone(&after),
            };
            // Whoever asked may have gone away.
            let _ = asked.send(done.map(changed));
        }
    }

    fn reload(&mut self, file: Document, kind: ReloadKind) -> Result<Reloaded, ReloadError> {
        let before = self.configuration.clone();
        if kind == ReloadKind::Undo && before.unconfirmed().is_none() {
            return Err(ReloadError::Confirmed);
        }
        if kind == ReloadKind::Saved {
            self.configuration = before.rebased(file);
            self.carry_on(before).map_err(ReloadError::Failed)?;
            return Ok(Reloaded::default());
        }
        let (mut new, reloaded) = before.reload(file);
        match kind {
            ReloadKind::AwaitsConfirmation => new.await_confirmation(&before),
            ReloadKind::Undo => new.insist(before.remembered().unconfirmed),
            ReloadKind::Stays | ReloadKind::Saved => {}
        }
        self.configuration = new;
        self.carry_on(before).map_err(ReloadError::Failed)?;
        Ok(reloaded)
    }

    /// Does what is configured now; if that cannot be done, what was configured `before`.
    fn carry_on(&mut self, before: Configuration) -> Result<(), String> {
        let known = self.verdicts.clone();
        self.verdicts.keep(&checks(self.configuration.config()));
        let has_ipv6 = self.configuration.config().virtual_servers.iter().any(VirtualServer::is_ipv6);
        let done = if has_ipv6 && !self.tables.has_ipv6() {
            Err(NO_IPV6.to_owned())
        } else {
            self.reconcile(now()).map_err(|error| error.to_string())
        };
        if done.is_err() {
            self.configuration = before;
            self.verdicts = known;
            if let Err(error) = self.reconcile(now()) {
                self.is_stale = true;
                self.complain(&error);
            }
        }
        self.remember();
        self.configs.send_modify(|followed| followed.configuration = self.configuration.clone());
        self.tell();
        done
    }

    /// Writes down what the next start has to know.
    fn remember(&mut self) {
        if let Err(error) = self.journal.write(self.configuration.remembered()) {
            tracing::error!(
                "{}: {error}; what was changed while lb runs is lost when it ends, unless `lb save` writes it to the configuration file",
                self.journal.path().display()
            );
        }
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
        let desired = desired(self.configuration.config(), &self.circumstances(began));
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
            self.is_stale = true;
        }
    }

    /// Tells what happened: not before those who follow what is configured know it, for they tell others.
    fn tell(&mut self) {
        self.happened.drain(..).for_each(|happening| self.events.report(happening));
    }

    fn publish(&mut self, desired: &Desired) {
        let now = Published::of(&self.configuration, desired, &self.view, &self.verdicts);
        if std::mem::replace(&mut self.has_begun, true) {
            let happened = happenings(&self.published.borrow(), &now);
            self.happened.extend(happened);
        } else {
            let (version, virtual_servers) = (env!("CARGO_PKG_VERSION").to_owned(), now.services.len());
            self.events.report(Happening::DaemonStarted { version, virtual_servers });
        }
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
