//! What makes one configuration of another, as changes: what a reload does, and what was changed while the daemon ran.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use toml_edit::{Item, TableLike};

use super::change::{Change, Keys};
use super::document::{Document, SERVERS, Service, keys};

/// Changes that make `to` of `from`, but for the order of what is in both, and for `[director]`.
#[must_use]
pub fn difference(from: &Document, to: &Document) -> Vec<Change> {
    Differences::default().between(from, to)
}

/// Differences that are asked for again and again while little changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Differences {
    /// What the difference of two virtual servers was, by the name of both.
    known: HashMap<String, (Arc<Service>, Arc<Service>, Vec<Change>)>,
}

impl Differences {
    pub(super) fn between(&mut self, from: &Document, to: &Document) -> Vec<Change> {
        let mut changes = Vec::new();
        let section =
            |document: &Document, name| document.root().get(name).map(section_keys).unwrap_or_default();
        let changed = |name| changed_keys(&section(from, name), &section(to, name));
        let (timeouts, acl) = (changed("timeouts"), changed("acl"));
        if !timeouts.is_empty() {
            changes.push(Change::SetTimeouts { set: timeouts });
        }
        if !acl.is_empty() {
            changes.push(Change::SetAcl { set: acl });
        }
        let (old, new) = (from.services(), to.services());
        let old_by_name: HashMap<&str, &Arc<Service>> =
            old.iter().map(|service| (service.name.as_str(), service)).collect();
        let new_names: HashSet<&str> = new.iter().map(|service| service.name.as_str()).collect();
        // What is removed makes room for what is added.
        let gone = old.iter().filter(|service| !new_names.contains(service.name.as_str()));
        changes.extend(gone.map(|service| Change::RemoveService { service: service.name.clone() }));
        let mut known = HashMap::new();
        for service in new {
            match old_by_name.get(service.name.as_str()) {
                Some(before) if Arc::ptr_eq(before, service) => {}
                Some(before) => {
                    let is_it = |known: &(Arc<Service>, Arc<Service>, Vec<Change>)| {
                        Arc::ptr_eq(&known.0, before) && Arc::ptr_eq(&known.1, service)
                    };
                    let of_service = match self.known.remove(&service.name).filter(is_it) {
                        Some((_, _, of_service)) => of_service,
                        None => service_changes(before, service),
                    };
                    changes.extend_from_slice(&of_service);
                    let entry = (Arc::clone(before), Arc::clone(service), of_service);
                    known.insert(service.name.clone(), entry);
                }
                None => changes.push(Change::AddService { service: named(service) }),
            }
        }
        self.known = known;
        changes
    }
}

/// The section of a virtual server, with its name also where that was made.
fn named(service: &Service) -> Keys {
    let name = ("name".to_owned(), service.name.as_str().into());
    std::iter::once(name).chain(service.keys.clone().into_iter().filter(|(key, _)| key != "name")).collect()
}

fn section_keys(item: &Item) -> Keys {
    item.as_table_like().map(|table: &dyn TableLike| keys(table)).unwrap_or_default()
}

fn service_changes(from: &Service, to: &Service) -> Vec<Change> {
    let name = || to.name.clone();
    let mut set = changed_keys(&from.keys, &to.keys);
    set.remove(SERVERS);
    // It is known by its name, written or made.
    set.remove("name");
    let mut changes = Vec::new();
    let (old, new) = (servers(from), servers(to));
    let old_by_address: HashMap<IpAddr, &Keys> = old.iter().copied().collect();
    let is_gone = |(address, _): &&(IpAddr, &Keys)| !new.iter().any(|(known, _)| known == address);
    let gone = old.iter().filter(is_gone);
    changes.extend(gone.map(|(server, _)| Change::RemoveServer { service: name(), server: *server }));
    if !set.is_empty() {
        changes.push(Change::EditService { service: name(), set });
    }
    for (server, keys) in &new {
        match old_by_address.get(server) {
            None => changes.push(Change::AddServer { service: name(), server: (*keys).clone() }),
            Some(before) => {
                let mut set = changed_keys(before, keys);
                set.remove("address");
                if !set.is_empty() {
                    changes.push(Change::EditServer { service: name(), server: *server, set });
                }
            }
        }
    }
    changes
}

/// The real servers of a virtual server, with all their keys.
fn servers(service: &Service) -> Vec<(IpAddr, &Keys)> {
    let tables = service.keys.get(SERVERS).and_then(|list| list.as_array()).into_iter().flatten();
    service.servers.iter().copied().zip(tables.filter_map(|table| table.as_object())).collect()
}

/// Keys whose values differ, with those of `to`.
fn changed_keys(from: &Keys, to: &Keys) -> Keys {
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), serde_json::Value::Null));
    let other = to.iter().filter(|(key, value)| from.get(*key) != Some(value));
    gone.chain(other.map(|(key, value)| (key.clone(), value.clone()))).collect()
}
