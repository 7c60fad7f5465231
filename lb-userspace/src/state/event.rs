//! What happens, for those who follow it. Most of it is the difference between what was done and what is done, so that
//! nothing which changes that has to say so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use macaddr::MacAddr6;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::published::{Published, PublishedServer, PublishedService, ServerState};
use crate::config::Acl;
use crate::net::mac_text;

/// How many of many things an event names.
const NAMED: usize = 16;

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// How many there were since the daemon began, with this one.
    pub sequence: u64,
    /// As RFC 3339 writes it, in UTC.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub happening: Happening,
}

/// What may happen. More is to come: a program passes over kinds that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// The daemon forwards.
    DaemonStarted {
        /// Of the daemon.
        version: String,
        /// How many virtual servers it has.
        virtual_servers: usize,
    },
    /// The daemon ends; forwarding goes on, unless `on_exit` says otherwise.
    DaemonStopping,
    /// One more virtual server.
    VirtualServerAdded {
        /// Its name.
        service: String,
        /// `tcp` or `udp`.
        protocol: String,
        /// Its first addresses.
        addresses: Vec<String>,
        /// Its scheduler.
        scheduler: String,
        /// How many real servers it has.
        real_servers: usize,
    },
    /// One virtual server less, with its real servers.
    VirtualServerRemoved {
        /// Its name.
        service: String,
    },
    /// Other properties of a virtual server.
    VirtualServerChanged {
        /// Its name.
        service: String,
        /// Keys of the configuration file that are different.
        changed: Vec<String>,
    },
    /// One more real server.
    RealServerAdded {
        /// The virtual server's name.
        service: String,
        /// Its address.
        server: String,
        /// Its weight.
        weight: u32,
        /// What it may get.
        state: ServerState,
    },
    /// One real server less.
    RealServerRemoved {
        /// The virtual server's name.
        service: String,
        /// Its address.
        server: String,
    },
    /// A real server may get something else.
    RealServerState {
        /// The virtual server's name.
        service: String,
        /// Its address.
        server: String,
        /// What it was.
        before: ServerState,
        /// What it is.
        after: ServerState,
        /// Why, in words, if its health check says that it is down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A virtual server has enough usable real servers again.
    QuorumReached {
        /// Its name.
        service: String,
    },
    /// A virtual server has too few usable real servers.
    QuorumLost {
        /// Its name.
        service: String,
    },
    /// A real server has another weight.
    RealServerWeight {
        /// The virtual server's name.
        service: String,
        /// Its address.
        server: String,
        /// What it was.
        before: u32,
        /// What it is.
        after: u32,
    },
    /// It was an administrator at `director.http` who gave a real server another weight.
    AdminChange {
        /// The administrator's address, or that of the proxy in front.
        client: String,
        /// The virtual server's name.
        service: String,
        /// The real server's address.
        server: String,
        /// The weight that it had.
        before: u32,
        /// The weight that it has.
        after: u32,
    },
    /// A real server has another MAC.
    RealServerMac {
        /// The virtual server's name.
        service: String,
        /// Its address.
        server: String,
        /// What it was.
        before: Option<String>,
        /// What it is.
        after: Option<String>,
    },
    /// Other timeouts of connections, in seconds.
    TimeoutsChanged {
        /// An established TCP connection.
        tcp: u64,
        /// A TCP connection after a FIN.
        tcp_fin: u64,
        /// UDP.
        udp: u64,
    },
    /// Other rules for clients.
    AclChanged {
        /// The virtual server's name; null for the rules for all.
        service: Option<String>,
        /// New rules, such as `deny 198.51.100.0/24`; not all, if there are many.
        added: Vec<String>,
        /// Rules that are gone; not all, if there are many.
        removed: Vec<String>,
        /// How many are not named.
        more: usize,
    },
    /// The configuration file was loaded anew.
    Reloaded {
        /// How much is different.
        changes: usize,
        /// Keys of `[director]` that count from the next start on.
        at_restart: Vec<String>,
        /// How many changes made while the daemon ran were forgotten.
        forgotten: usize,
        /// Whether it is undone unless it is confirmed.
        awaits_confirmation: bool,
    },
    /// The configuration file was not loaded anew, and everything is as before.
    ReloadRefused {
        /// Why, in words.
        reason: String,
    },
    /// A reload was not confirmed in time: what was before counts again.
    ReloadUndone,
    /// A reload was confirmed.
    ReloadConfirmed,
    /// Somebody else had written the maps; they are as they should be again.
    MapsMended,
    /// A VRRP instance is something else.
    VrrpState {
        /// Its name.
        instance: String,
        /// What it was: `init`, `backup`, `master`, `fault`, `leaving`, `stopped`.
        before: String,
        /// What it is.
        after: String,
        /// Why, in words.
        reason: String,
        /// The priority that it competes with.
        priority: u8,
    },
    /// Somebody else has the addresses of a VRRP instance, and is not its master; or nobody has any more.
    VrrpSplitBrain {
        /// The instance.
        instance: String,
        /// Who, in words; null: nobody any more.
        found: Option<String>,
    },
    /// All instances of a VRRP sync group are something else.
    VrrpGroupState {
        /// Its name.
        group: String,
        /// What they are.
        state: String,
    },
    /// Whoever reads this was too slow.
    Lost {
        /// How many events that was.
        events: u64,
    },
}

/// What happened between two moments.
#[must_use]
pub fn happenings(before: &Published, after: &Published) -> Vec<Happening> {
    let mut found = Vec::new();
    let (old, new) = (by_name(before), by_name(after));
    let gone = before.services.iter().filter(|service| !new.contains_key(service.name.as_str()));
    found.extend(gone.map(|service| Happening::VirtualServerRemoved { service: service.name.clone() }));
    for service in &after.services {
        match old.get(service.name.as_str()) {
            None => found.push(added(service)),
            Some(old) if *old == service => {}
            Some(old) => of_service(old, service, &mut found),
        }
    }
    if before.timeouts != after.timeouts {
        let [tcp, tcp_fin, udp] = [after.timeouts.tcp, after.timeouts.tcp_fin, after.timeouts.udp];
        let [tcp, tcp_fin, udp] = [tcp.as_secs(), tcp_fin.as_secs(), udp.as_secs()];
        found.push(Happening::TimeoutsChanged { tcp, tcp_fin, udp });
    }
    found.extend(of_acl(None, &before.acl, &after.acl));
    found
}

fn by_name(published: &Published) -> BTreeMap<&str, &PublishedService> {
    published.services.iter().map(|service| (service.name.as_str(), service)).collect()
}

fn added(service: &PublishedService) -> Happening {
    Happening::VirtualServerAdded {
        service: service.name.clone(),
        protocol: service.protocol.to_string(),
        addresses: service.addresses.iter().take(NAMED).map(ToString::to_string).collect(),
        scheduler: service.scheduler.name().to_owned(),
        real_servers: service.servers.len(),
    }
}

fn of_service(before: &PublishedService, after: &PublishedService, found: &mut Vec<Happening>) {
    let service = &after.name;
    let sorry = |service: &PublishedService| service.sorry_server.as_ref().map(|server| server.address);
    let differs = [
        ("addresses", before.addresses != after.addresses),
        ("protocol", before.protocol != after.protocol),
        ("fwmark", before.fwmark != after.fwmark),
        ("scheduler", before.scheduler.name() != after.scheduler.name()),
        ("scheduler_flags", before.scheduler_flags != after.scheduler_flags),
        ("persistence", before.persistence != after.persistence),
        ("on_down", before.on_down != after.on_down),
        ("one_packet", before.one_packet != after.one_packet),
        ("sorry_server", sorry(before) != sorry(after)),
    ];
    let changed: Vec<String> =
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect();
    if !changed.is_empty() {
        found.push(Happening::VirtualServerChanged { service: service.clone(), changed });
    }
    found.extend(of_acl(Some(service), &before.acl, &after.acl));
    let (old, new) = (by_address(&before.servers), by_address(&after.servers));
    let gone = before.servers.iter().filter(|server| !new.contains_key(&server.address));
    found.extend(gone.map(|server| Happening::RealServerRemoved {
        service: service.clone(),
        server: server.address.to_string(),
    }));
    for server in &after.servers {
        match old.get(&server.address) {
            None => found.push(Happening::RealServerAdded {
                service: service.clone(),
                server: server.address.to_string(),
                weight: server.weight,
                state: server.state,
            }),
            Some(old) => found.extend(of_server(service, old, server)),
        }
    }
    if let (Some(old), Some(new)) = (&before.sorry_server, &after.sorry_server)
        && old.address == new.address
    {
        found.extend(of_server(service, old, new));
    }
    if before.has_quorum != after.has_quorum {
        let service = service.clone();
        found.push(match after.has_quorum {
            true => Happening::QuorumReached { service },
            false => Happening::QuorumLost { service },
        });
    }
}

fn by_address(servers: &[PublishedServer]) -> BTreeMap<IpAddr, &PublishedServer> {
    servers.iter().map(|server| (server.address, server)).collect()
}

fn of_server(
    service: &str,
    before: &PublishedServer,
    after: &PublishedServer,
) -> impl Iterator<Item = Happening> {
    let (service, server) = (service.to_owned(), after.address.to_string());
    let weight = (before.weight != after.weight).then(|| Happening::RealServerWeight {
        service: service.clone(),
        server: server.clone(),
        before: before.weight,
        after: after.weight,
    });
    let mac = (before.mac != after.mac).then(|| {
        let text = |mac: Option<MacAddr6>| mac.map(mac_text);
        let (service, server) = (service.clone(), server.clone());
        Happening::RealServerMac { service, server, before: text(before.mac), after: text(after.mac) }
    });
    // One that was down before may be held down from now on.
    let is_told = before.state != after.state || after.reason.is_some() && before.reason != after.reason;
    let state = is_told.then_some(Happening::RealServerState {
        service,
        server,
        before: before.state,
        after: after.state,
        reason: after.reason.as_ref().filter(|_| after.state == ServerState::Down).map(ToString::to_string),
    });
    [weight, mac, state].into_iter().flatten()
}

fn of_acl(service: Option<&str>, before: &Acl, after: &Acl) -> Option<Happening> {
    if before == after {
        return None;
    }
    let new = |before: &Acl, after: &Acl| -> Vec<String> {
        let denied = after.deny.difference(&before.deny).map(|prefix| format!("deny {prefix}"));
        denied.chain(after.allow.difference(&before.allow).map(|prefix| format!("allow {prefix}"))).collect()
    };
    let (mut added, mut removed) = (new(before, after), new(after, before));
    let more = added.len().saturating_sub(NAMED) + removed.len().saturating_sub(NAMED);
    added.truncate(NAMED);
    removed.truncate(NAMED);
    Some(Happening::AclChanged { service: service.map(str::to_owned), added, removed, more })
}

#[cfg(test)]
mod tests;
