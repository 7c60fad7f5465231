//! Since when real servers are what they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::health::{Board, State};
use crate::state::{Published, PublishedServer, ServerState};

/// Since when each real server of each virtual server is in its state, and since when the daemon runs.
#[derive(Debug)]
pub(super) struct Since {
    started: SystemTime,
    servers: Mutex<HashMap<(Arc<str>, IpAddr), Lasting>>,
}

#[derive(Clone, Copy, Debug)]
struct Lasting {
    state: ServerState,
    since: SystemTime,
}

impl Default for Since {
    fn default() -> Self {
        Self { started: now(), servers: Mutex::default() }
    }
}

impl Since {
    /// When the daemon began.
    pub(super) fn started(&self) -> SystemTime {
        self.started
    }

    /// Since when this real server is what it is; none before it has been looked at.
    pub(super) fn of(&self, service: &str, server: &PublishedServer) -> Option<SystemTime> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let lasting = servers.get(&(Arc::from(service), server.address))?;
        // What it has become this very moment is seen in the next.
        (lasting.state == server.state).then_some(lasting.since)
    }

    /// Takes in what is done now. What a health check knows from an earlier daemon began then.
    pub(super) fn look(&self, published: &Published, health: &Board, now: SystemTime) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::new();
        for service in &published.services {
            let name: Arc<str> = service.name.as_str().into();
            for server in service.all_servers() {
                let key = (Arc::clone(&name), server.address);
                let state = server.state;
                let lasting = match servers.get(&key) {
                    Some(lasting) if lasting.state == state => *lasting,
                    Some(_) => Lasting { state, since: now },
                    None => Lasting { state, since: checked(server, health).unwrap_or(now) },
                };
                next.insert(key, lasting);
            }
        }
        *servers = next;
    }

    /// Looks whenever something else is done.
    pub(super) async fn follow(&self, mut published: watch::Receiver<Arc<Published>>, health: Board) {
        loop {
            let current = Arc::clone(&published.borrow_and_update());
            self.look(&current, &health, now());
            if published.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Since when a health check says what this state says.
fn checked(server: &PublishedServer, health: &Board) -> Option<SystemTime> {
    let seen = health.get(server.check.as_ref()?)?.seen();
    let is_same =
        matches!((seen.state, server.state), (State::Up, ServerState::Up) | (State::Down, ServerState::Down));
    is_same.then_some(seen.since)
}

#[expect(clippy::disallowed_methods, reason = "what is done now began at some time")]
fn now() -> SystemTime {
    SystemTime::now()
}
