//! What makes one configuration of another, as changes: what a reload does, and what was changed while the daemon ran.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use toml_edit::{Item, TableLike};

use super::change::{AclAction, Change, Keys};
use super::document::{Document, SERVERS, SMTP, SYNC, Service, address, keys};
use crate::forms::Prefix;

/// Changes that make `to` of `from`, but for the order of what is in both, and for `[director]`.
#[must_use]
pub fn difference(from: &Document, to: &Document) -> Vec<Change> {
    Differences::default().between(from, to)
}

/// What else differs, by name: VRRP's sections, and keys of `[director]`.
pub(super) fn others(from: &Document, to: &Document) -> Vec<String> {
    let mut others = Vec::new();
    for header in ["vrrp_instance", "vrrp_sync_group"] {
        let (old, new) = (sections(from, header), sections(to, header));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
        others.extend(differing.map(|name| format!("[[{header}]] {name}")));
    }
    let director =
        |document: &Document| document.root().get("director").map(section_keys).unwrap_or_default();
    let keys = changed_keys(&director(from), &director(to));
    others.extend(keys.keys().map(|key| format!("director.{key}")));
    others
}

/// The sections of an array, by their names.
fn sections(document: &Document, header: &str) -> BTreeMap<String, Keys> {
    let item = document.root().get(header);
    let tables = item.and_then(Item::as_array_of_tables).into_iter().flatten().map(|table| keys(table));
    let array = item.and_then(Item::as_array).into_iter().flatten();
    let inline = array.filter_map(|value| value.as_inline_table()).map(|table| keys(table));
    let name = |keys: &Keys| keys.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
    tables.chain(inline).map(|keys| (name(&keys), keys)).collect()
}

/// Differences that are asked for again and again while little changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Differences {
    /// By the name of both.
    known: HashMap<String, Known>,
}

/// What the difference of two virtual servers was.
#[derive(Clone, Debug)]
struct Known {
    from: Arc<Service>,
    to: Arc<Service>,
    changes: Arc<[Change]>,
}

impl Differences {
    pub(super) fn between(&mut self, from: &Document, to: &Document) -> Vec<Change> {
        let mut changes = Vec::new();
        let section =
            |document: &Document, name| document.root().get(name).map(section_keys).unwrap_or_default();
        let changed = |name| changed_keys(&section(from, name), &section(to, name));
        let timeouts = changed("timeouts");
        if !timeouts.is_empty() {
            changes.push(Change::SetTimeouts { set: timeouts });
        }
        let smtp = changed(SMTP);
        if !smtp.is_empty() {
            changes.push(Change::SetSmtp { set: smtp });
        }
        let sync = changed(SYNC);
        if !sync.is_empty() {
            changes.push(Change::SetSync { set: sync });
        }
        changes.extend(acl_changes(&section(from, ACL), &section(to, ACL), None));
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
                    let is_it =
                        |known: &Known| Arc::ptr_eq(&known.from, before) && Arc::ptr_eq(&known.to, service);
                    let of_service =
                        self.known.remove(&service.name).filter(is_it).unwrap_or_else(|| Known {
                            from: Arc::clone(before),
                            to: Arc::clone(service),
                            changes: service_changes(before, service).into(),
                        });
                    changes.extend_from_slice(&of_service.changes);
                    known.insert(service.name.clone(), of_service);
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
    set.remove(ACL);
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
    let acl = |service: &Service| {
        service.keys.get(ACL).and_then(|acl| acl.as_object()).cloned().unwrap_or_default()
    };
    changes.extend(acl_changes(&acl(from), &acl(to), Some(&to.name)));
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
    let rows = service.servers.iter().zip(tables);
    rows.filter_map(|(address, table)| Some(((*address)?, table.as_object()?))).collect()
}

const ACL: &str = "acl";

/// Prefix by prefix: what was denied by command is denied beside what a new file denies, and not instead of it.
fn acl_changes(from: &Keys, to: &Keys, service: Option<&str>) -> Vec<Change> {
    let rules = |acl: &Keys| -> BTreeMap<Prefix, AclAction> {
        let list = |key, action| {
            let texts = acl.get(key).and_then(|list| list.as_array()).into_iter().flatten();
            texts.filter_map(|text| text.as_str()?.parse().ok()).map(move |prefix| (prefix, action))
        };
        list("allow", AclAction::Allow).chain(list("deny", AclAction::Deny)).collect()
    };
    let (from, to) = (rules(from), rules(to));
    let gone =
        from.keys().filter(|prefix| !to.contains_key(prefix)).map(|prefix| (prefix, AclAction::Remove));
    let new = to.iter().filter(|(prefix, action)| from.get(prefix) != Some(action));
    let all = gone.chain(new.map(|(prefix, action)| (prefix, *action)));
    all.map(|(prefix, action)| Change::Acl { action, prefix: *prefix, service: service.map(str::to_owned) })
        .collect()
}

/// Changes that make a virtual server of `keys` of one that is there already, but for real servers that only that has.
pub(super) fn completed(there: &Service, keys: &Keys) -> Vec<Change> {
    let changes = service_changes(there, &Service::of(keys.clone()));
    changes.into_iter().filter(|change| !matches!(change, Change::RemoveServer { .. })).collect()
}

/// Changes that make a real server of `keys` of one of this address that is there already; none if it is not.
pub(super) fn completed_server(there: &Service, keys: &Keys) -> Option<Vec<Change>> {
    let server = address(keys)?;
    let (_, before) = servers(there).into_iter().find(|(known, _)| *known == server)?;
    let mut set = changed_keys(before, keys);
    set.remove("address");
    let change = Change::EditServer { service: there.name.clone(), server, set };
    Some(if matches!(&change, Change::EditServer { set, .. } if set.is_empty()) {
        Vec::new()
    } else {
        vec![change]
    })
}

/// Keys whose values differ, with those of `to`.
fn changed_keys(from: &Keys, to: &Keys) -> Keys {
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), serde_json::Value::Null));
    let other = to.iter().filter(|(key, value)| from.get(*key) != Some(value));
    gone.chain(other.map(|(key, value)| (key.clone(), value.clone()))).collect()
}
