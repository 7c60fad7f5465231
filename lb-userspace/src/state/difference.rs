//! What makes one configuration of another, as changes: what a reload does, and what was changed while the daemon ran.

use std::collections::HashMap;
use std::net::IpAddr;

use toml_edit::{Item, TableLike};

use super::change::{Change, Keys};
use super::document::{Document, Identity, SERVERS, SERVICES, keys};

/// Changes that make `to` of `from`, but for the order of what is in both, and for `[director]`.
#[must_use]
pub fn difference(from: &Document, to: &Document) -> Vec<Change> {
    let mut changes = Vec::new();
    let section = |document: &Document, name| document.root().get(name).map(section_keys).unwrap_or_default();
    let changed = |name| changed_keys(&section(from, name), &section(to, name));
    let (timeouts, acl) = (changed("timeouts"), changed("acl"));
    if !timeouts.is_empty() {
        changes.push(Change::SetTimeouts { set: timeouts });
    }
    if !acl.is_empty() {
        changes.push(Change::SetAcl { set: acl });
    }
    let (old, new) = (services(from), services(to));
    let old_by_name: HashMap<&str, &(&Identity, Keys)> =
        old.iter().map(|service| (service.0.name.as_str(), service)).collect();
    let new_names: HashMap<&str, ()> = new.iter().map(|(service, _)| (service.name.as_str(), ())).collect();
    let is_gone = |service: &&(&Identity, Keys)| !new_names.contains_key(service.0.name.as_str());
    // What is removed makes room for what is added.
    changes.extend(
        old.iter()
            .filter(is_gone)
            .map(|(service, _)| Change::RemoveService { service: service.name.clone() }),
    );
    for service in &new {
        match old_by_name.get(service.0.name.as_str()) {
            Some(before) => changes.extend(service_changes(before, service)),
            None => changes.push(Change::AddService { service: named(service) }),
        }
    }
    changes
}

/// The virtual servers of a configuration, with all their keys.
fn services(document: &Document) -> Vec<(&Identity, Keys)> {
    let tables = document.root().get(SERVICES).and_then(Item::as_array_of_tables);
    let tables = tables.into_iter().flat_map(|tables| tables.iter()).map(|table| keys(table));
    document.services().iter().zip(tables).collect()
}

/// All keys of a virtual server, its name among them also where it was made.
fn named((service, keys): &(&Identity, Keys)) -> Keys {
    let name = ("name".to_owned(), service.name.as_str().into());
    std::iter::once(name).chain(keys.clone().into_iter().filter(|(key, _)| key != "name")).collect()
}

fn section_keys(item: &Item) -> Keys {
    item.as_table_like().map(|table: &dyn TableLike| keys(table)).unwrap_or_default()
}

fn service_changes(from: &(&Identity, Keys), to: &(&Identity, Keys)) -> Vec<Change> {
    let name = || to.0.name.clone();
    let mut set = changed_keys(&from.1, &to.1);
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
fn servers<'a>(service: &'a (&Identity, Keys)) -> Vec<(IpAddr, &'a Keys)> {
    let tables = service.1.get(SERVERS).and_then(|list| list.as_array()).into_iter().flatten();
    service.0.servers.iter().copied().zip(tables.filter_map(|table| table.as_object())).collect()
}

/// Keys whose values differ, with those of `to`.
fn changed_keys(from: &Keys, to: &Keys) -> Keys {
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), serde_json::Value::Null));
    let other = to.iter().filter(|(key, value)| from.get(*key) != Some(value));
    gone.chain(other.map(|(key, value)| (key.clone(), value.clone()))).collect()
}
