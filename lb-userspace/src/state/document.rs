//! A configuration as its text and as what that means, and changes of it: every change is an edit of the text, which
//! is then read as the file is. So a change is checked by the rules for the file, and what was changed can be written
//! to it with its comments where they were.

mod section;

use std::collections::HashSet;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike};

use super::change::{Change, ChangeError, Keys, Refused};
use super::names::{self, Known};
use crate::config::{self, Checked, Config, Diagnostics, Protocol, Severity};
use crate::forms::VirtualAddress;
pub(super) use section::keys;
use section::{edit_acl, nth, push, remove, set};

/// The sections of virtual servers, and of the real servers in each.
pub(super) const SERVICES: &str = "virtual_server";
pub(super) const SERVERS: &str = "real_server";
/// The section of mail.
pub(super) const SMTP: &str = "smtp";
/// The section of connection synchronisation.
pub(super) const SYNC: &str = "sync";

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Document {
    /// The text that was read.
    source: Arc<str>,
    toml: DocumentMut,
    config: Arc<Config>,
    /// In the order of the text. Documents of which one was made of the other share those that are the same.
    services: Vec<Arc<Service>>,
}

/// A virtual server: by what it is known, and what its section says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Service {
    pub(super) name: String,
    addresses: Vec<VirtualAddress>,
    protocol: Protocol,
    fwmark: Option<u32>,
    /// Of its real servers, in the order of the text; none where that is no address.
    pub(super) servers: Vec<Option<IpAddr>>,
    /// The whole section.
    pub(super) keys: Keys,
}

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Target {
    Section(&'static str),
    Service(String),
    Server(String, IpAddr),
}

impl Document {
    /// Reads a configuration. `name` is what diagnostics call it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Diagnostics> {
        config::parse(name, text).map(Self::new)
    }

    /// Makes what was read one that can be edited.
    #[must_use]
    pub fn new(checked: Checked) -> Self {
        // What the one reader takes is TOML for the other; if ever it is not, there is nothing to edit.
        let mut toml: DocumentMut = checked.text.parse().unwrap_or_default();
        // Sections, for those who edit them, also where they were written as values.
        if let Some(item) = toml.get_mut(SERVICES) {
            match mem::take(item).into_array_of_tables() {
                Ok(tables) => *item = Item::ArrayOfTables(tables),
                // An empty list.
                Err(_) => drop(toml.remove(SERVICES)),
            }
        }
        let tables = toml.get(SERVICES).and_then(Item::as_array_of_tables);
        let tables = tables.into_iter().flat_map(|tables| tables.iter());
        let services = tables.map(|table| Arc::new(Service::of(keys(table)))).collect();
        Self { toml, services, config: Arc::new(checked.config), source: checked.text }
    }

    /// What it says.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The text that was read, before any change.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// The text, with all changes.
    #[must_use]
    pub fn text(&self) -> String {
        self.toml.to_string()
    }

    pub(super) fn root(&self) -> &dyn TableLike {
        self.toml.as_table()
    }

    pub(super) fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// Makes changes, each group of them as a whole or not at all, and says what became of each group: whether
    /// anything is different because of it. Without a document, none made a difference.
    #[must_use]
    pub fn change(&self, groups: &[&[Change]]) -> (Option<Self>, Vec<Result<bool, Refused>>) {
        let mut edited = self.clone();
        let (mut done, mut touched) = (Vec::new(), HashSet::new());
        for group in groups {
            // Whatever is wrong with one change must not be undone by the next before it is seen.
            let targets: Vec<Target> = group.iter().flat_map(|change| edited.targets(change)).collect();
            if targets.iter().any(|target| touched.contains(target)) {
                break;
            }
            touched.extend(targets);
            done.push(edited.edit_all(group));
        }
        if done.len() < groups.len() {
            let (first, second) = groups.split_at(done.len());
            return self.change_in_turn(first, second);
        }
        if done.iter().all(|done| matches!(done, Ok(false) | Err(_))) {
            return (None, done);
        }
        // One reading for all, which is what takes the time. If it fails, some are to blame, and some are not.
        match edited.read_again() {
            Ok(()) => (Some(edited), done),
            Err(problem) if groups.len() == 1 => (None, vec![Err(Refused { change: None, problem })]),
            Err(_) => {
                let (first, second) = groups.split_at(groups.len() / 2);
                self.change_in_turn(first, second)
            }
        }
    }

    fn change_in_turn(
        &self,
        first: &[&[Change]],
        second: &[&[Change]],
    ) -> (Option<Self>, Vec<Result<bool, Refused>>) {
        let (changed, mut done) = self.change(first);
        let (again, rest) = changed.as_ref().unwrap_or(self).change(second);
        done.extend(rest);
        (again.or(changed), done)
    }

    /// What a change is about. Of two that have any of these in common, one may hide what is wrong with the other.
    fn targets(&self, change: &Change) -> Vec<Target> {
        let name = |service: &str| self.find(service).map(|place| self.services[place].name.clone()).ok();
        let service = |service: &str| name(service).map(Target::Service);
        let server = |service: &str, server: Option<IpAddr>| Some(Target::Server(name(service)?, server?));
        match change {
            Change::AddService { service } => {
                let Service { name, servers, .. } = Service::of(service.clone());
                let servers = servers.into_iter().flatten();
                let servers: Vec<Target> =
                    servers.map(|server| Target::Server(name.clone(), server)).collect();
                servers.into_iter().chain([Target::Service(name)]).collect()
            }
            Change::EditService { service: wanted, .. } => service(wanted).into_iter().collect(),
            Change::AddServer { service, server: keys } => {
                server(service, address(keys)).into_iter().collect()
            }
            Change::EditServer { service, server: address, .. }
            | Change::RemoveServer { service, server: address } => {
                server(service, Some(*address)).into_iter().collect()
            }
            Change::RemoveService { service: wanted } => {
                let servers = self.find(wanted).map(|place| self.services[place].servers.clone());
                let servers = servers.unwrap_or_default().into_iter();
                service(wanted)
                    .into_iter()
                    .chain(servers.filter_map(|address| server(wanted, address)))
                    .collect()
            }
            Change::Clear => {
                let all = self.services.iter();
                let removed = all.map(|service| Change::RemoveService { service: service.name.clone() });
                removed.flat_map(|removed| self.targets(&removed)).collect()
            }
            Change::SetTimeouts { .. } => vec![Target::Section("timeouts")],
            Change::SetAcl { .. } => vec![Target::Section("acl")],
            Change::SetSmtp { .. } => vec![Target::Section(SMTP)],
            Change::SetSync { .. } => vec![Target::Section(SYNC)],
            // Each prefix is checked by itself, before it is written.
            Change::Acl { .. } => Vec::new(),
        }
    }

    /// Sets keys of a section that is not there when it has none.
    fn set_optional(&mut self, section: &str, keys: &Keys) -> bool {
        let differs = set(self.section(section), keys);
        if self.section(section).is_empty() {
            self.toml.remove(section);
        }
        differs
    }

    fn read_again(&mut self) -> Result<(), ChangeError> {
        let config = config::parse("the configuration", &self.text()).map_err(|diagnostics| {
            let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
            let told = errors.map(|error| match error.help.first() {
                Some(help) => format!("{}; {help}", error.message),
                None => error.message.clone(),
            });
            let mut told: Vec<String> = told.collect();
            told.dedup();
            ChangeError::Invalid(told.join("\n"))
        })?;
        self.config = Arc::new(config.config);
        Ok(())
    }

    fn edit_all(&mut self, changes: &[Change]) -> Result<bool, Refused> {
        let before = (changes.len() > 1).then(|| self.clone());
        let mut is_different = false;
        for (number, change) in changes.iter().enumerate() {
            match self.edit(change) {
                Ok(differs) => is_different |= differs,
                Err(problem) => {
                    if let Some(before) = before {
                        *self = before;
                    }
                    return Err(Refused { change: Some(number), problem });
                }
            }
        }
        Ok(is_different)
    }

    /// Edits the text, if it can be; whether it is valid then is for [`read_again`](Self::read_again) to say.
    fn edit(&mut self, change: &Change) -> Result<bool, ChangeError> {
        match change {
            Change::AddService { service } => self.add_service(service),
            Change::EditService { service, set: keys } => {
                let place = self.find(service)?;
                if keys.contains_key(SERVERS) {
                    let problem =
                        "real servers are changed one by one: add_server, edit_server, remove_server";
                    return Err(ChangeError::Invalid(problem.to_owned()));
                }
                self.edit_table(place, |table| Ok(set(table, keys)))
            }
            Change::RemoveService { service } => {
                let place = self.find(service)?;
                remove(self.toml.as_table_mut(), SERVICES, place);
                self.services.remove(place);
                Ok(true)
            }
            Change::AddServer { service, server } => self.add_server(service, server),
            Change::EditServer { service, server, set: keys } => {
                let (place, row) = self.find_server(service, *server)?;
                self.edit_table(place, |table| {
                    let server = table.get_mut(SERVERS).and_then(|item| nth(item, row));
                    Ok(server.is_some_and(|server| set(server, keys)))
                })
            }
            Change::RemoveServer { service, server } => {
                let (place, row) = self.find_server(service, *server)?;
                self.edit_table(place, |table| {
                    remove(table, SERVERS, row);
                    Ok(true)
                })
            }
            Change::Clear => {
                self.services.clear();
                Ok(self.toml.remove(SERVICES).is_some())
            }
            Change::SetTimeouts { set: keys } => Ok(set(self.section("timeouts"), keys)),
            Change::SetAcl { set: keys } => Ok(set(self.section("acl"), keys)),
            Change::SetSmtp { set: keys } => Ok(self.set_optional(SMTP, keys)),
            Change::SetSync { set: keys } => Ok(self.set_optional(SYNC, keys)),
            Change::Acl { action, prefix, service: None } => edit_acl(self.section("acl"), *action, *prefix),
            Change::Acl { action, prefix, service: Some(service) } => {
                let place = self.find(service)?;
                self.edit_table(place, |table| {
                    table.entry("acl").or_insert(Item::Value(InlineTable::new().into()));
                    let acl = table.get_mut("acl").and_then(Item::as_table_like_mut);
                    acl.map_or(Ok(false), |acl| edit_acl(acl, *action, *prefix))
                })
            }
        }
    }

    /// Edits the section of the virtual server at this place.
    fn edit_table(
        &mut self,
        place: usize,
        edit: impl FnOnce(&mut dyn TableLike) -> Result<bool, ChangeError>,
    ) -> Result<bool, ChangeError> {
        let Some(table) = self.toml.get_mut(SERVICES).and_then(|list| nth(list, place)) else {
            return Ok(false);
        };
        let differs = edit(table)?;
        if differs {
            self.services[place] = Arc::new(Service::of(keys(table)));
        }
        Ok(differs)
    }

    fn add_service(&mut self, service: &Keys) -> Result<bool, ChangeError> {
        let new = Service::of(service.clone());
        if self.services.iter().any(|known| known.name == new.name) {
            return Err(ChangeError::ServiceExists(new.name));
        }
        self.services.push(Arc::new(new));
        push(self.toml.as_table_mut(), SERVICES, service);
        Ok(true)
    }

    fn add_server(&mut self, service: &str, server: &Keys) -> Result<bool, ChangeError> {
        let place = self.find(service)?;
        let known = &self.services[place];
        // Whatever else it is instead is told when it is read.
        if let Some(address) = address(server)
            && known.servers.contains(&Some(address))
        {
            return Err(ChangeError::ServerExists { service: known.name.clone(), server: address });
        }
        self.edit_table(place, |table| {
            push(table, SERVERS, server);
            Ok(true)
        })
    }

    /// A section that is there once.
    fn section(&mut self, name: &str) -> &mut dyn TableLike {
        let item = self.toml.entry(name).or_insert(Item::Table(Table::new()));
        if !item.is_table_like() {
            *item = Item::Table(Table::new());
        }
        item.as_table_like_mut().unwrap_or_else(|| unreachable!("it is one"))
    }

    /// The place of the virtual server that is meant.
    fn find(&self, service: &str) -> Result<usize, ChangeError> {
        let known = self.services.iter().map(|known| Known {
            name: &known.name,
            addresses: &known.addresses,
            protocol: known.protocol,
            fwmark: known.fwmark,
        });
        names::find_service(known, service).map_err(ChangeError::NoSuchService)
    }

    fn find_server(&self, service: &str, server: IpAddr) -> Result<(usize, usize), ChangeError> {
        let place = self.find(service)?;
        let Service { name, servers, .. } = &*self.services[place];
        match servers.iter().position(|known| *known == Some(server)) {
            Some(row) => Ok((place, row)),
            None => {
                let known: Vec<String> = servers.iter().flatten().map(ToString::to_string).collect();
                Err(ChangeError::NoSuchServer(names::unknown_server(name, &server.to_string(), &known)))
            }
        }
    }
}

impl Service {
    /// Of a section that may say anything.
    pub(super) fn of(keys: Keys) -> Self {
        let table = &keys;
        let texts = |key: &str| table.get(key).and_then(|value| value.as_array()).into_iter().flatten();
        let addresses: Vec<VirtualAddress> = texts("addresses")
            .filter_map(|address| address.as_str().and_then(config::virtual_address))
            .collect();
        let protocol = table.get("protocol").and_then(|protocol| Protocol::by_name(protocol.as_str()?));
        let protocol = protocol.unwrap_or(Protocol::Tcp);
        let fwmark =
            table.get("fwmark").and_then(|fwmark| fwmark.as_u64()).and_then(|mark| mark.try_into().ok());
        let given = table.get("name").and_then(|name| name.as_str()).map(str::to_owned);
        let made = || config::default_name(protocol, addresses.first().copied(), fwmark);
        let name = given.or_else(made).unwrap_or_default();
        let servers = texts(SERVERS).map(|server| address(server.as_object()?)).collect();
        Self { name, addresses, protocol, fwmark, servers, keys }
    }
}

/// The address of a real server, as the reader of the file understands it.
pub(super) fn address(server: &Keys) -> Option<IpAddr> {
    config::real_server_address(server.get("address")?.as_str()?)
}

#[cfg(test)]
mod tests;
