//! A command line to what it asks for, or what is wrong with it, in ipvsadm's words and order.

use std::net::{IpAddr, SocketAddr};

use super::Complaint;
use super::arguments::{Arguments, seconds};
use super::grammar::Command;
use super::options::{Switch, Words};
use crate::names::Resolver;
use crate::scheduler::Flag;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    AddService(Service, Terms),
    EditService(Service, Terms),
    RemoveService(Service),
    Clear,
    AddServer(Service, Server),
    EditServer(Service, Server),
    RemoveServer {
        service: Service,
        server: IpAddr,
        port: Option<u16>,
    },
    List {
        what: Listed,
        layout: Layout,
    },
    Save {
        numeric: bool,
    },
    Restore,
    Zero(Option<Service>),
    /// Of established TCP, of TCP after a FIN, of UDP, in seconds; 0 stays as it is.
    SetTimeouts([u32; 3]),
    /// By this interface, to this group and port.
    StartDaemon {
        interface: Option<String>,
        group: IpAddr,
        port: u32,
    },
    StopDaemon,
    Help,
    Version,
}

/// A virtual server by what ipvsadm knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// `-t`, `-u`.
    Address { is_udp: bool, address: SocketAddr },
    /// `-f`, and `-6`.
    Mark { mark: u32, is_ipv6: bool },
}

/// How a virtual server treats its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) scheduler: String,
    pub(crate) flags: Vec<Flag>,
    /// Seconds, and bits of a client's address that count.
    pub(crate) persistence: Option<(u32, u8)>,
    pub(crate) one_packet: bool,
    /// Another way of telling clients apart, of which lb has none.
    pub(crate) persistence_engine: Option<String>,
}

/// A real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: IpAddr,
    /// As it is written; it is not looked at in direct routing.
    pub(crate) port: Option<u16>,
    pub(crate) weight: u32,
    pub(crate) upper_threshold: u32,
    pub(crate) lower_threshold: u32,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    All,
    One(Service),
    Connections,
    Timeouts,
    Daemons,
}

/// How it is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) numeric: bool,
    pub(crate) stats: bool,
    pub(crate) rate: bool,
    pub(crate) thresholds: bool,
    pub(crate) persistent_connections: bool,
    pub(crate) tunnels: bool,
    pub(crate) unsorted: bool,
    pub(crate) exact: bool,
}

/// Who gets connections unless `-s` says so.
pub(super) const DEFAULT_SCHEDULER: &str = "wlc";
/// The timeout of `-p` without a number: what ipvsadm(8) says. 1.31 itself takes 360 (`IPVS_SVC_PERSISTENT_TIMEOUT`).
pub(super) const DEFAULT_PERSISTENCE: u32 = 300;

/// Reads the words behind the program's name.
///
/// # Errors
/// What is wrong with the first that is.
pub(super) fn parse(program: &str, words: &[String], resolver: &dyn Resolver) -> Result<Request, Complaint> {
    let mut words = Words::new(words);
    let (command, state) = match words.next() {
        Ok(Some((Switch::Command(command), argument))) => (command, argument),
        Ok(Some((Switch::Help, _))) => return Ok(Request::Help),
        Ok(Some((Switch::Version, _))) => return Ok(Request::Version),
        _ => return Err(Complaint::try_help(program)),
    };
    match (command, state.as_deref()) {
        (_, None) | (Command::StartDaemon | Command::StopDaemon, Some("master" | "backup")) => {}
        (Command::StartDaemon, _) => {
            return Err(Complaint::usage("illegal start-daemon parameter specified"));
        }
        _ => return Err(Complaint::usage("illegal start_daemon specified")),
    }
    let mut arguments = Arguments::new(resolver);
    loop {
        match words.next() {
            Ok(None) => break,
            Ok(Some((switch, argument))) => arguments.take(switch, argument.as_deref(), words.last())?,
            Err(problem) => {
                return Err(Complaint::failed(format!("{}: {}", words.last(), problem.text())));
            }
        }
    }
    let mut timeouts = [0; 3];
    if command == Command::Set {
        let [Some(first), Some(second), Some(third)] = [words.rest(), words.rest(), words.rest()] else {
            return Err(Complaint::usage("--set option requires 3 timeout values"));
        };
        for (timeout, text) in timeouts.iter_mut().zip([first, second, third]) {
            *timeout = seconds(text, 0)?;
        }
    }
    if let Some(word) = words.rest() {
        return Err(Complaint::usage(format!("unexpected argument {word}")));
    }
    arguments.into_request(command, timeouts)
}
