//! Who is told of what happens to real servers: the log, the commands that virtual servers name, and mail.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::config::{Config, VirtualServer};
use crate::notify::{Commands, Mailer};
use crate::state::{Event, EventLog, Followed, Happening, Published, ServerState};
use crate::vrrp::Handle as VrrpHandle;

/// The state of an instance that has ended.
const STOPPED: &str = "stopped";
/// How long the daemon's end waits for commands that are told of it.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Has a [`Notifier`] tell all that has happened, when all of it is `reported`.
pub(super) async fn finish(reported: impl Future<Output = ()>, notifier: &mpsc::Sender<oneshot::Sender<()>>) {
    let told = async {
        reported.await;
        let (finished, told) = oneshot::channel();
        // One that has ended tells nothing.
        let _ = (notifier.send(finished).await, told.await);
    };
    if tokio::time::timeout(LAST_WORDS, told).await.is_err() {
        tracing::warn!("killed: commands that are told of the end run for more than {LAST_WORDS:?}");
    }
}

/// Whoever tells.
pub(super) struct Notifier {
    configs: watch::Receiver<Followed>,
    published: watch::Receiver<Arc<Published>>,
    next: broadcast::Receiver<Arc<Event>>,
    /// Whether each virtual server had a quorum when that was last told.
    told: HashMap<String, bool>,
    routers: VrrpHandle,
    /// What was told of each VRRP instance last.
    instances: HashMap<String, ToldOfInstance>,
    commands: Commands,
    mailer: Mailer,
}

/// What was told of a VRRP instance last.
struct ToldOfInstance {
    state: String,
    /// By which command.
    notify: Vec<String>,
}

impl Notifier {
    /// One that does what the configuration says at the time.
    pub(super) fn new(
        configs: watch::Receiver<Followed>,
        published: watch::Receiver<Arc<Published>>,
        routers: VrrpHandle,
        events: &EventLog,
    ) -> Self {
        let (_, next) = events.follow(0);
        let mailer = Mailer::start(dns_lookup::get_hostname().unwrap_or_else(|_| "lb".to_owned()));
        let (told, instances, commands) = (HashMap::new(), HashMap::new(), Commands::default());
        Self { configs, published, next, told, routers, instances, commands, mailer }
    }

    /// Tells what happens from now on; first, to whoever waits for a quorum, whether there is one.
    ///
    /// Whoever has it finish is answered when all commands have run that are told of what happened until then.
    pub(super) async fn run(mut self, mut finish: mpsc::Receiver<oneshot::Sender<()>>) {
        self.look_at_quorums();
        loop {
            let event = tokio::select! {
                // What has happened comes first.
                biased;
                event = self.next.recv() => event,
                Some(finished) = finish.recv() => {
                    self.commands.finish().await;
                    // Whoever asked waits no more.
                    let _ = finished.send(());
                    continue;
                }
            };
            match event {
                Ok(event) => self.tell(&event),
                Err(RecvError::Lagged(lost)) => {
                    tracing::error!("{lost} events came too fast: nobody was notified of them");
                    self.look_at_quorums();
                    self.look_at_instances().await;
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Has the commands run of virtual servers whose quorum is not what was told.
    fn look_at_quorums(&mut self) {
        let published = Arc::clone(&self.published.borrow());
        for service in published.services.iter().filter(|service| service.number.is_some()) {
            self.quorum(&service.name, service.has_quorum);
        }
    }

    /// Tells of instances whose state is not what was told. What is told of them next ends with that state.
    async fn look_at_instances(&mut self) {
        let mut there = HashSet::new();
        for router in self.routers.statuses().await {
            let (name, status) = (router.config.name, router.status);
            let state = status.state.name();
            if self.instances.get(&name).map(|told| told.state.as_str()) != Some(state) {
                self.instance(&name, state, &status.reason.to_string(), status.priority);
            }
            there.insert(name);
        }
        let is_gone = |name: &&String| !there.contains(*name);
        let gone: Vec<String> = self.instances.keys().filter(is_gone).cloned().collect();
        for name in gone {
            self.instance(&name, STOPPED, "a reload removed it", 0);
        }
    }

    /// Whoever is told next of an instance is told as the file says now; of one that it no longer has, as it said.
    fn follow_instances(&mut self) {
        let config = self.config();
        for instance in &config.vrrp_instances {
            if let Some(told) = self.instances.get_mut(&instance.name) {
                told.notify.clone_from(&instance.notify);
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        match &event.happening {
            Happening::RealServerState { service, server, before, after, reason } => {
                self.state(service, server, (*before, *after), reason.as_deref());
            }
            Happening::VirtualServerAdded { .. } => self.look_at_quorums(),
            Happening::VirtualServerRemoved { service } => drop(self.told.remove(service)),
            Happening::QuorumReached { service } => self.quorum_changed(service, true),
            Happening::QuorumLost { service } => self.quorum_changed(service, false),
            Happening::VrrpState { instance, after, reason, priority, .. } => {
                self.instance(instance, after, reason, *priority);
            }
            Happening::VrrpSplitBrain { instance, found: Some(found) } => {
                if let Some(mail) = &self.config().mail {
                    self.mailer.send(mail, format!("VRRP instance {instance} - SPLIT BRAIN"), found.clone());
                }
            }
            Happening::Reloaded { .. } => self.follow_instances(),
            Happening::VrrpGroupState { group, state } => self.group(group, state),
            _ => {}
        }
    }

    /// As keepalived tells its scripts (`notify_instance_exec` of keepalived/vrrp/vrrp_notify.c): `INSTANCE VI_1 MASTER 100`.
    fn instance(&mut self, name: &str, state: &str, reason: &str, priority: u8) {
        let config = self.config();
        let before = self.instances.remove(name);
        let instance = config.vrrp_instances.iter().find(|instance| instance.name == name);
        // One that a reload removed still tells of its end.
        let notify = instance.map(|instance| instance.notify.clone()).or(before.map(|told| told.notify));
        let Some(notify) = notify else { return };
        if instance.is_some() || state != STOPPED {
            let told = ToldOfInstance { state: state.to_owned(), notify: notify.clone() };
            self.instances.insert(name.to_owned(), told);
        }
        let Some(state) = as_keepalived(state) else { return };
        let arguments = ["INSTANCE", name, state, &priority.to_string()].map(str::to_owned);
        let command = with(&notify, arguments);
        self.commands.run(&format!("instance {name}"), command, vec![("LB_REASON", reason.to_owned())]);
        if let Some(mail) = &config.mail {
            let subject = format!("VRRP instance {name} - Entering {state} state");
            self.mailer.send(mail, subject, format!("{reason}; its priority is {priority}."));
        }
    }

    fn group(&mut self, name: &str, state: &str) {
        let config = self.config();
        let Some(group) = config.vrrp_sync_groups.iter().find(|group| group.name == name) else { return };
        let Some(state) = as_keepalived(state) else { return };
        let command = with(&group.notify, ["GROUP", name, state, "0"].map(str::to_owned));
        self.commands.run(&format!("group {name}"), command, Vec::new());
    }

    fn state(
        &mut self,
        service: &str,
        server: &str,
        (before, after): (ServerState, ServerState),
        reason: Option<&str>,
    ) {
        // Who notices that nobody answers for an address says so.
        let is_told = before != ServerState::Unresolved && after != ServerState::Unresolved;
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        if is_told && is_usable(after) {
            tracing::info!(service, "{server} is {} (was {})", after.name(), before.name());
        } else if is_told {
            tracing::warn!(service, "{server} is {} (was {}){why}", after.name(), before.name());
        }
        if is_usable(after) == is_usable(before) {
            return;
        }
        let config = self.config();
        let state = if is_usable(after) { "UP" } else { "DOWN" };
        let reason = reason.unwrap_or(after.name());
        if let Some(told) = find(&config, service) {
            let command = with(&told.notify, ["real_server", service, server, state].map(str::to_owned));
            self.commands.run(service, command, vec![("LB_REASON", reason.to_owned())]);
        }
        if let Some(mail) = &config.mail {
            let subject = format!("Realserver {server} of virtual server {service} - {state}");
            self.mailer.send(
                mail,
                subject,
                format!("It is {} (was {}): {reason}", after.name(), before.name()),
            );
        }
    }

    fn quorum_changed(&mut self, service: &str, has_quorum: bool) {
        let state = if has_quorum { "gained" } else { "lost" };
        if has_quorum {
            tracing::info!(service, "quorum gained: enough real servers are usable");
        } else {
            tracing::warn!(service, "quorum lost: too few real servers are usable");
        }
        self.quorum(service, has_quorum);
        if let Some(mail) = &self.config().mail {
            let subject = format!("Virtual server {service} - Quorum {state}");
            self.mailer.send(
                mail,
                subject,
                "The sum of the weights of its usable real servers says so.".to_owned(),
            );
        }
    }

    fn quorum(&mut self, service: &str, has_quorum: bool) {
        if self.told.insert(service.to_owned(), has_quorum) == Some(has_quorum) {
            return;
        }
        let config = self.config();
        let Some(quorum) = find(&config, service).map(|service| &service.quorum) else { return };
        let command = if has_quorum { &quorum.up } else { &quorum.down };
        // Not behind those that are told of each of many real servers.
        self.commands.run(&format!("quorum of {service}"), command.clone(), Vec::new());
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(self.configs.borrow().config())
    }
}

/// What keepalived's scripts call a state; none: they are told of no such state.
fn as_keepalived(state: &str) -> Option<&'static str> {
    match state {
        "master" => Some("MASTER"),
        "backup" => Some("BACKUP"),
        "fault" => Some("FAULT"),
        STOPPED => Some("STOP"),
        _ => None,
    }
}

/// A command with more arguments, if there is one.
fn with(command: &[String], arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut whole = command.to_vec();
    if !whole.is_empty() {
        whole.extend(arguments);
    }
    whole
}

fn find<'a>(config: &'a Config, name: &str) -> Option<&'a VirtualServer> {
    config.virtual_servers.iter().find(|service| service.name == name)
}

/// Whether a real server may get connections, if its weight says so.
fn is_usable(state: ServerState) -> bool {
    matches!(state, ServerState::Up | ServerState::Draining | ServerState::Unknown)
}
