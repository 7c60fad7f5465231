//! Connections as `ipvsadm -L -c` prints them (`print_conn`).

use std::collections::HashMap;
use std::net::SocketAddr;

use super::listing::Names;
use crate::control::api::{Connection, ConnectionKind};

/// The headings.
pub(super) fn title(with_engines: bool) -> String {
    let columns = format!("pro expire {:<11} {:<18} {:<18} ", "state", "source", "virtual");
    // Of persistence engines lb has none, so their columns stay empty.
    let last = if with_engines {
        format!("{:<18} {:<16} pe_data", "destination", "pe name")
    } else {
        "destination".to_owned()
    };
    format!("IPVS connection entries\n{columns}{last}\n")
}

/// Connections to lines.
pub(super) struct Lines<'a> {
    names: Names<'a>,
    /// The marks of virtual servers by their names.
    marks: HashMap<String, u32>,
    /// What was looked up: there may be a million lines, but few real servers.
    known: HashMap<(SocketAddr, bool), String>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(names: Names<'a>, marks: HashMap<String, u32>) -> Self {
        Self { names, marks, known: HashMap::new() }
    }

    /// A line. A template of a group is for all protocols, and has the mark for an address (`ip_vs_sched_persist`).
    pub(super) fn line(&mut self, connection: &Connection) -> String {
        let Connection { expires_in, state, client, virtual_address, .. } = connection;
        let is_template = connection.kind == ConnectionKind::Template;
        let mark = connection.service.as_ref().and_then(|service| self.marks.get(service)).copied();
        let mark = mark.filter(|_| is_template);
        let protocol = if mark.is_some() { "ip" } else { &connection.protocol };
        let state = if is_template { "NONE" } else { state };
        let target = match mark {
            Some(mark) => SocketAddr::from((mark.to_be_bytes(), 0)).to_string(),
            None => virtual_address.clone(),
        };
        let port = target.parse().map_or(0, |target: SocketAddr| target.port());
        let server = connection.real_server.as_ref().and_then(|address| address.parse().ok());
        let server = server.map_or_else(String::new, |address| SocketAddr::new(address, port).to_string());
        let expire = format!("{:02}:{:02}", expires_in / 60, expires_in % 60);
        let [client, target, server] = [client, &target, &server].map(|address| self.name(address, protocol));
        format!("{:<3} {expire:<6} {state:<11} {client:<18} {target:<18} {server}\n", protocol.to_uppercase())
    }

    fn name(&mut self, address: &str, protocol: &str) -> String {
        let Ok(socket) = address.parse::<SocketAddr>() else { return address.to_owned() };
        if self.names.numeric {
            return socket.to_string();
        }
        // A client's ports are as many as its connections.
        if self.known.len() > 10_000 {
            self.known.clear();
        }
        let known = self.known.entry((socket, protocol == "udp"));
        known.or_insert_with(|| self.names.socket(socket, protocol)).clone()
    }
}
