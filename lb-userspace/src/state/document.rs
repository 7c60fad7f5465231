//! A configuration as its text and as what that means, and changes of it: every change is an edit of the text, which
//! is then read as the file is. So a change is checked by the rules for the file, and what was changed can be written
//! to it with its comments where they were.

use std::collections::HashSet;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::change::{AclAction, Change, ChangeError, Keys, Refused};
use super::names::{self, Known};
use crate::config::{self, Checked, Config, Diagnostics, Protocol, Severity};
use crate::forms::{Prefix, VirtualAddress};

/// The sections of virtual servers, and of the real servers in each.
pub(super) const SERVICES: &str = "virtual_server";
pub(super) const SERVERS: &str = "real_server";

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
            // Each prefix is checked by itself, before it is written.
            Change::Acl { .. } => Vec::new(),
        }
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

/// Treats a prefix of clients in another way.
fn edit_acl(table: &mut dyn TableLike, action: AclAction, prefix: Prefix) -> Result<bool, ChangeError> {
    let is_it = |value: &Value| value.as_str().and_then(|text| text.parse().ok()) == Some(prefix);
    let wanted = match action {
        AclAction::Deny => Some("deny"),
        AclAction::Allow => Some("allow"),
        AclAction::Remove => None,
    };
    let has_it = |list: &Item| list.as_array().is_some_and(|list| list.iter().any(is_it));
    let found: Vec<&str> =
        ["deny", "allow"].into_iter().filter(|key| table.get(key).is_some_and(has_it)).collect();
    if wanted.is_none() && found.is_empty() {
        return Err(ChangeError::NoSuchPrefix(prefix));
    }
    for key in found.iter().filter(|key| Some(**key) != wanted) {
        if let Some(list) = table.get_mut(key).and_then(Item::as_array_mut) {
            list.retain(|value| !is_it(value));
        }
    }
    let Some(wanted) = wanted else { return Ok(true) };
    if found == [wanted] {
        return Ok(false);
    }
    if !found.contains(&wanted) {
        let list = table.entry(wanted).or_insert(Item::Value(Array::new().into()));
        if let Some(list) = list.as_array_mut() {
            list.push(prefix.to_string());
        }
    }
    Ok(true)
}

/// The address of a real server, as the reader of the file understands it.
pub(super) fn address(server: &Keys) -> Option<IpAddr> {
    config::real_server_address(server.get("address")?.as_str()?)
}

/// What a table has, as a change would say it.
pub(super) fn keys(table: &dyn TableLike) -> Keys {
    table.iter().map(|(key, item)| (key.to_owned(), json(item))).collect()
}

fn json(item: &Item) -> serde_json::Value {
    match item {
        Item::None => serde_json::Value::Null,
        Item::Value(value) => json_of(value),
        Item::Table(table) => keys(table).into(),
        Item::ArrayOfTables(tables) => {
            tables.iter().map(|table| serde_json::Value::from(keys(table))).collect()
        }
    }
}

fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => (*number.value()).into(),
        Value::Boolean(truth) => (*truth.value()).into(),
        Value::Datetime(time) => time.value().to_string().into(),
        Value::Array(elements) => elements.iter().map(json_of).collect(),
        Value::InlineTable(table) => keys(table).into(),
    }
}

/// What the file would have for it; nothing for `null`.
fn value(json: &serde_json::Value) -> Option<Value> {
    Some(match json {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(truth) => (*truth).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or(f64::INFINITY).into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(elements) => Value::Array(elements.iter().filter_map(value).collect()),
        serde_json::Value::Object(keys) => Value::InlineTable(
            keys.iter().filter_map(|(key, json)| Some((key.as_str(), value(json)?))).collect(),
        ),
    })
}

/// Sets keys of a table; whether any of them had another value.
fn set(table: &mut dyn TableLike, keys: &Keys) -> bool {
    let mut differs = false;
    for (key, json) in keys {
        let before = table.get(key).map_or(serde_json::Value::Null, self::json);
        if before == *json {
            continue;
        }
        differs = true;
        match (table.get_mut(key), value(json)) {
            (Some(Item::Value(old)), Some(mut new)) => {
                // The comment behind it stays there.
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            (_, Some(new)) => drop(table.insert(key, Item::Value(new))),
            (_, None) => drop(table.remove(key)),
        }
    }
    differs
}

/// An element of a list of tables, in either form.
fn nth(list: &mut Item, place: usize) -> Option<&mut dyn TableLike> {
    match list {
        Item::ArrayOfTables(tables) => tables.get_mut(place).map(|table| table as &mut dyn TableLike),
        list => list.as_array_mut()?.get_mut(place)?.as_inline_table_mut().map(|table| table as _),
    }
}

fn remove(table: &mut dyn TableLike, list: &str, place: usize) {
    let is_empty = match table.get_mut(list) {
        Some(Item::ArrayOfTables(tables)) => {
            tables.remove(place);
            tables.is_empty()
        }
        Some(item) => item.as_array_mut().is_none_or(|array| {
            array.remove(place);
            array.is_empty()
        }),
        None => false,
    };
    if is_empty {
        table.remove(list);
    }
}

/// Appends to a list of tables, in the form that it has.
fn push(table: &mut dyn TableLike, list: &str, keys: &Keys) {
    let item = table.entry(list).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    match item {
        Item::ArrayOfTables(tables) => {
            let nested = if list == SERVERS { INDENT } else { "" };
            let indent = tables.iter().last().map_or(nested, indent).to_owned();
            tables.push(written(keys, &indent));
        }
        item => {
            if let (Some(array), Some(table)) = (item.as_array_mut(), value(&keys.clone().into())) {
                array.push(table);
            }
        }
    }
}

/// How far sections within sections are moved to the right.
const INDENT: &str = "  ";

/// How far a section is moved to the right.
fn indent(table: &Table) -> &str {
    let before = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
    let last = before.rsplit('\n').next().unwrap_or_default();
    if last.trim().is_empty() { last } else { "" }
}

/// A section as one would write it.
fn written(keys: &Keys, indent: &str) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix(format!("\n{indent}"));
    for (key, json) in keys {
        let rows =
            json.as_array().filter(|_| key == SERVERS).map(|rows| rows.iter().map(|row| row.as_object()));
        if let Some(rows) = rows.and_then(|rows| rows.collect::<Option<Vec<_>>>()) {
            let rows = rows.into_iter().map(|row| written(row, &format!("{indent}{INDENT}")));
            table.insert(key, Item::ArrayOfTables(rows.collect()));
        } else if let Some(value) = value(json) {
            table.insert(key, Item::Value(value));
            if let Some(mut key) = table.key_mut(key) {
                key.leaf_decor_mut().set_prefix(indent);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests;
