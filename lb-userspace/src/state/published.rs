//! What is being done, for those who ask: the API, and through it the command line.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::load::Thresholds;
use lb_common::policy::OnDown;
use macaddr::MacAddr6;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::configuration::{Configuration, Marks};
use super::desired::{Desired, DesiredService};
use super::names::{Known, NameError, find_service};
use super::plan::{destinations, number};
use crate::config::{Acl, Persistence, Protocol, RealServer, Timeouts, VirtualServer};
use crate::dataplane::{View, Way};
use crate::forms::VirtualAddress;
use crate::health::{Check, State, Verdicts};
use crate::scheduler::{Flag, Scheduler};

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
    /// What is done where this is configured and desired.
    pub(super) fn of(
        configuration: &Configuration,
        desired: &Desired,
        view: &View,
        verdicts: &Verdicts,
    ) -> Self {
        let (config, marks) = (configuration.config(), Marks::of(configuration.runtime()));
        let (mut bound, numbers) = (desired.services.iter(), destinations(view));
        let services = config.virtual_servers.iter().map(|config| {
            // A group without addresses is in no map.
            let desired = if config.addresses.is_empty() { None } else { bound.next() };
            PublishedService::of(
                config,
                desired.map(|desired| (desired, number(view, desired))),
                &numbers,
                &marks,
                verdicts,
            )
        });
        Self { services: services.collect(), acl: config.acl.clone(), timeouts: config.timeouts }
    }

    /// The virtual server that somebody means.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn find_service(&self, wanted: &str) -> Result<&PublishedService, NameError> {
        let known = self.services.iter().map(|service| Known {
            name: &service.name,
            addresses: &service.addresses,
            protocol: service.protocol,
            fwmark: service.fwmark,
        });
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
    /// Whether anything of it, besides its real servers, was changed while the daemon ran.
    pub is_runtime: bool,
    /// Whether enough of its real servers are usable.
    pub has_quorum: bool,
}

impl PublishedService {
    /// `numbers` are those of destinations, by that of their virtual server and by their address.
    fn of(
        config: &VirtualServer,
        desired: Option<(&DesiredService, Option<u32>)>,
        numbers: &HashMap<(u32, IpAddr), u32>,
        marks: &Marks<'_>,
        verdicts: &Verdicts,
    ) -> Self {
        let number = desired.and_then(|(_, number)| number);
        let has_quorum = desired.is_none_or(|(desired, _)| desired.has_quorum);
        let unknown = |server: RealServer| PublishedServer {
            check: Check::of(config, &server),
            reason: None,
            address: server.address,
            weight: server.weight,
            thresholds: server.thresholds,
            is_runtime: marks.has_server(&config.name, server.address),
            mac: None,
            state: ServerState::Unknown,
            destination: None,
        };
        let mut servers: Vec<PublishedServer> = config.all_servers().map(unknown).collect();
        let desired = desired.into_iter().flat_map(|(desired, _)| desired.all_servers());
        for (server, desired) in servers.iter_mut().zip(desired) {
            let verdict = server.check.as_ref().map(|check| verdicts.of(check));
            server.mac = desired.way.and_then(Way::mac);
            server.weight = desired.weight;
            server.state = match verdict.as_ref().map(|verdict| verdict.state) {
                Some(State::Down) => ServerState::Down,
                _ if !desired.is_reachable => ServerState::Unresolved,
                Some(State::Unknown) => ServerState::Unknown,
                _ if desired.weight == 0 => ServerState::Draining,
                _ => ServerState::Up,
            };
            server.reason = verdict.and_then(|verdict| verdict.reason);
            server.destination = number.and_then(|number| numbers.get(&(number, server.address)).copied());
        }
        let sorry_server = config.sorry_server.and_then(|_| servers.pop());
        Self {
            name: config.name.clone(),
            number,
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
            is_runtime: marks.has_service(&config.name),
            has_quorum,
        }
    }

    /// Everybody who may have its connections: its real servers, then the sorry server.
    pub fn all_servers(&self) -> impl Iterator<Item = &PublishedServer> {
        self.servers.iter().chain(&self.sorry_server)
    }
}

/// A real server of a virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedServer {
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u32,
    /// How many connections it gets at most.
    pub thresholds: Thresholds,
    /// Whether it, or anything of it, was changed while the daemon ran.
    pub is_runtime: bool,
    /// Its MAC, or the one it had when it last answered. If it never did, or is the director itself, none.
    pub mac: Option<MacAddr6>,
    /// What it may get.
    pub state: ServerState,
    /// Its number in the maps.
    pub destination: Option<u32>,
    /// How it is checked, if it is.
    pub check: Option<Check>,
    /// Why its check says that it is down, if it does.
    pub reason: Option<Arc<str>>,
}

/// What a real server may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// New connections.
    Up,
    /// Nothing: its health check failed.
    Down,
    /// Its old connections only: its weight is 0.
    Draining,
    /// Nothing new: nobody answers for its address.
    Unresolved,
    /// What it gets before its health check has said anything.
    Unknown,
}

impl ServerState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Up, Self::Down, Self::Draining, Self::Unresolved, Self::Unknown];

    /// As it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Unresolved => "unresolved",
            Self::Unknown => "unknown",
        }
    }
}
