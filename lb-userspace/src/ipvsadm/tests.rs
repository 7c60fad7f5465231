//! The front with a daemon that is not there: what it prints, and what it asks for.

mod golden;
mod grammar;
mod listing;
mod restore;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;

use serde_json::Value;

use super::Complaint;
use super::daemon::{Daemon, NotDone};
use super::session::Session;
use crate::control::api::{
    Acl, Change, Connection, Problem, Rate, RealServer, State, Stats, Timeouts, VirtualServer, VirtualServers,
};
use crate::names::Resolver;
use crate::sync::SyncStatus;

/// Knows few names, and those always; or of addresses none.
struct Few {
    has_names: bool,
}

impl Resolver for Few {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        match host {
            "www.example.net" => Some(Ipv4Addr::new(192, 0, 2, 1)),
            "rs1" => Some(Ipv4Addr::new(10, 0, 0, 1)),
            _ => None,
        }
    }

    fn port(&self, service: &str, protocol: &str) -> Option<u16> {
        match (service, protocol) {
            ("http", "tcp") => Some(80),
            ("domain", "tcp" | "udp") => Some(53),
            _ => None,
        }
    }

    fn names(&self, socket: SocketAddr, protocol: &str) -> Option<(String, String)> {
        if !self.has_names {
            return None;
        }
        let host = match socket.ip().to_string().as_str() {
            "192.0.2.1" => "www.example.net".to_owned(),
            number => number.to_owned(),
        };
        let port = match (socket.port(), protocol) {
            (80, "tcp") => "http".to_owned(),
            (number, _) => number.to_string(),
        };
        Some((host, port))
    }
}

/// A daemon that notes what it is asked for.
#[derive(Default)]
struct Noting {
    listed: Vec<VirtualServer>,
    connections: Vec<Connection>,
    /// Batches of changes that were made.
    made: Vec<Vec<Value>>,
    /// What is refused, by the text of a change, with a kind.
    refused: BTreeMap<String, &'static str>,
    zeroed: Vec<Option<String>>,
    sync: SyncStatus,
    has_sync_key: bool,
    /// Whether nothing has a name where it is asked.
    is_nameless: bool,
    /// How often it was asked for anything.
    asked: usize,
}

impl Noting {
    fn with(listed: Vec<VirtualServer>) -> Self {
        Self { listed, ..Self::default() }
    }

    /// All changes that were made.
    fn changes(&self) -> Vec<String> {
        self.made.iter().flatten().map(ToString::to_string).collect()
    }

    /// Runs `ipvsadm` with these words, and this standard input.
    fn run_with(&mut self, words: &str, input: &str) -> Outcome {
        let words: Vec<String> = words.split(' ').filter(|word| !word.is_empty()).map(unquoted).collect();
        self.call(|session| session.run(&words, &mut input.as_bytes()))
    }

    fn run(&mut self, words: &str) -> Outcome {
        self.run_with(words, "")
    }

    fn call(&mut self, call: impl FnOnce(&mut Session<'_>) -> u8) -> Outcome {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let few = Few { has_names: !self.is_nameless };
        let code = call(&mut Session::new("ipvsadm", self, &few, &mut out, &mut err));
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        Outcome { code, out: text(out), err: text(err) }
    }
}

/// `''` stands for an empty word.
fn unquoted(word: &str) -> String {
    word.trim_matches('\'').to_owned()
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: u8,
    out: String,
    err: String,
}

impl Outcome {
    fn is_silent_success(&self) -> bool {
        self.code == 0 && self.out.is_empty() && self.err.is_empty()
    }
}

impl Daemon for Noting {
    fn change(&mut self, changes: Vec<Change>) -> Result<(), NotDone> {
        self.asked += 1;
        let changes: Vec<Value> =
            changes.iter().map(|change| serde_json::to_value(change).expect("it is JSON")).collect();
        for (place, change) in changes.iter().enumerate() {
            if let Some(kind) = self.refused.get(&change.to_string()) {
                return Err(NotDone::Refused(Problem {
                    error: format!("refused as {kind}"),
                    kind: (*kind).to_owned(),
                    change: Some(place),
                }));
            }
        }
        self.made.push(changes);
        Ok(())
    }

    fn services(&mut self, with_persistent_connections: bool) -> Result<VirtualServers, Complaint> {
        self.asked += 1;
        let mut virtual_servers = self.listed.clone();
        for server in virtual_servers.iter_mut().flat_map(|service| &mut service.real_servers) {
            server.persistent_connections = with_persistent_connections.then_some(0);
        }
        Ok(VirtualServers { virtual_servers })
    }

    fn timeouts(&mut self) -> Result<Timeouts, Complaint> {
        self.asked += 1;
        Ok(Timeouts { tcp: 900, tcp_fin: 120, udp: 300, states: Vec::new() })
    }

    fn sync(&mut self) -> Result<SyncStatus, Complaint> {
        self.asked += 1;
        Ok(self.sync.clone())
    }

    fn has_sync_key(&self) -> bool {
        self.has_sync_key
    }

    fn zero(&mut self, service: Option<String>) -> Result<(), Complaint> {
        self.asked += 1;
        self.zeroed.push(service);
        Ok(())
    }

    fn connections(
        &mut self,
        take: &mut dyn FnMut(&Connection) -> ControlFlow<Option<Complaint>>,
    ) -> Result<(), Complaint> {
        self.asked += 1;
        match self.connections.iter().try_for_each(take) {
            ControlFlow::Break(Some(complaint)) => Err(complaint),
            _ => Ok(()),
        }
    }
}

/// A virtual server over real servers with weights.
fn service(addresses: &[&str], scheduler: &str, servers: &[(&str, u32)]) -> VirtualServer {
    VirtualServer {
        quorum: true,
        name: format!("of {}", addresses.first().unwrap_or(&"nothing")),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        fwmark: None,
        protocol: "tcp".to_owned(),
        scheduler: scheduler.to_owned(),
        scheduler_flags: Vec::new(),
        real_servers: servers.iter().map(|(address, weight)| server(address, *weight)).collect(),
        sorry_server: None,
        on_down: String::new(),
        one_packet: false,
        runtime: false,
        stats: Stats::default(),
        rate: Rate::default(),
        acl: Acl::default(),
        persistence: None,
    }
}

fn server(address: &str, weight: u32) -> RealServer {
    RealServer {
        health: None,
        address: address.to_owned(),
        weight,
        runtime: false,
        upper_threshold: 0,
        lower_threshold: 0,
        persistent_connections: None,
        state: State::Up,
        since: None,
        mac: Some("02:00:00:00:00:01".to_owned()),
        active_connections: 0,
        inactive_connections: 0,
        stats: Stats::default(),
        rate: Rate::default(),
    }
}
