//! Which of many requests the daemon would refuse, by what it lists: so that a file of rules, most of which are there
//! already, takes two questions and not one for each of its lines. What it does not foresee, the daemon says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::changes::{self, NO_SUCH_DESTINATION, NO_SUCH_SERVICE, SERVER_EXISTS, SERVICE_EXISTS, UNDEFINED};
use super::listing::Entry;
use super::request::{Request, Service};
use crate::control::api::VirtualServers;

/// Services, as the daemon is told of them, with their real servers.
pub(super) struct Foresight(BTreeMap<String, BTreeSet<IpAddr>>);

impl Foresight {
    pub(super) fn of(listed: &VirtualServers) -> Self {
        let known = |entry: Entry<'_>| {
            let address = entry.address.map(|address| format!("{address}/{}", entry.service.protocol));
            let key = address.or_else(|| entry.service.fwmark.map(|mark| format!("fwmark:{mark}")))?;
            let servers = entry.service.real_servers.iter().filter_map(|server| server.address.parse().ok());
            Some((key, servers.collect()))
        };
        Self(Entry::all(listed, true).into_iter().filter_map(known).collect())
    }

    /// What IPVS would say against a request, if it would; otherwise it is done from here on.
    pub(super) fn refusal(&mut self, request: &Request) -> Option<&'static str> {
        match request {
            Request::AddService(service, _) => {
                let key = changes::reference(*service);
                if self.0.contains_key(&key) {
                    return Some(SERVICE_EXISTS);
                }
                self.0.insert(key, BTreeSet::new());
                None
            }
            Request::EditService(service, _) => self.servers(*service).is_none().then_some(NO_SUCH_SERVICE),
            Request::RemoveService(service) => {
                self.0.remove(&changes::reference(*service)).is_none().then_some(NO_SUCH_SERVICE)
            }
            Request::Clear => {
                self.0.clear();
                None
            }
            Request::AddServer(service, server) => match self.servers(*service) {
                None => Some(UNDEFINED),
                Some(servers) => (!servers.insert(server.address)).then_some(SERVER_EXISTS),
            },
            Request::EditServer(service, server) => match self.servers(*service) {
                None => Some(UNDEFINED),
                Some(servers) => (!servers.contains(&server.address)).then_some(NO_SUCH_DESTINATION),
            },
            Request::RemoveServer { service, server, .. } => match self.servers(*service) {
                None => Some(UNDEFINED),
                Some(servers) => (!servers.remove(server)).then_some(NO_SUCH_DESTINATION),
            },
            _ => None,
        }
    }

    fn servers(&mut self, service: Service) -> Option<&mut BTreeSet<IpAddr>> {
        self.0.get_mut(&changes::reference(service))
    }
}
