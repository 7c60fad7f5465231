//! What is configured: what the file says, and what was changed while the daemon runs. Pure.
//!
//! ```text
//!   file ──> Document ── changes ──> Document ──> Config: what is done
//!               └──────difference───────┘
//!                          └──> what is "runtime", and remembered for the next start
//! ```

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::change::{Change, ChangeError, Keys, Refused};
use super::difference::{Differences, completed, completed_server, difference, others};
use super::document::{Document, SERVERS, address};
use crate::config::{Config, Director};

/// What is configured.
#[derive(Clone, Debug)]
pub struct Configuration {
    path: PathBuf,
    /// What it says.
    file: Arc<Document>,
    /// What is done.
    current: Arc<Document>,
    /// What makes the one of the other.
    runtime: Arc<[Change]>,
    differences: Differences,
    /// What the file was told that nobody has confirmed.
    unconfirmed: Option<Unconfirmed>,
}

/// A text of the file that nobody has confirmed, and what counts instead of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unconfirmed {
    /// The text that counted before.
    pub before: String,
    /// The [`fingerprint`] of the one that was not confirmed.
    pub refused: u64,
}

/// By what one knows that two texts are the same.
#[must_use]
pub fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What the next start has to know of what was done while the daemon ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// What was changed, beside the file.
    pub changes: Vec<Change>,
    /// A text of the file that nobody has confirmed, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<Unconfirmed>,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reloaded {
    /// What is different now.
    pub changes: Vec<Change>,
    /// What else is, by name: sections of VRRP, and keys of `[director]` that count at once.
    pub others: Vec<String>,
    /// Keys of `[director]` that are different in the file, and count from the next start on.
    pub at_restart: Vec<&'static str>,
    /// Changes made while the daemon ran that make no sense any more, and were forgotten.
    pub forgotten: Vec<(Change, Refused)>,
}

impl Reloaded {
    /// How much is different now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.changes.len() + self.others.len()
    }
}

impl Configuration {
    /// What the file of this name says, and what was changed since. What of that makes no sense with the file is
    /// forgotten, and returned.
    #[must_use]
    pub fn new(path: &Path, file: Document, changes: &[Change]) -> (Self, Vec<(Change, Refused)>) {
        let file = Arc::new(file);
        let mut configuration = Self {
            path: path.to_owned(),
            current: Arc::clone(&file),
            file,
            runtime: [].into(),
            differences: Differences::default(),
            unconfirmed: None,
        };
        let replayed: Vec<Vec<Change>> =
            changes.iter().map(|change| configuration.replayed(change)).collect();
        let groups: Vec<&[Change]> = replayed.iter().map(Vec::as_slice).collect();
        let done = configuration.change(&groups);
        let forgotten = changes.iter().zip(done);
        let forgotten = forgotten.filter_map(|(change, done)| Some((change.clone(), done.err()?)));
        // Nothing is said of a prefix of which nothing was to be said.
        let is_lost = |(_, refused): &(_, Refused)| !matches!(refused.problem, ChangeError::NoSuchPrefix(_));
        let forgotten = forgotten.filter(is_lost).collect();
        (configuration, forgotten)
    }

    /// What is done.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        self.current.config()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's text as it was read.
    #[must_use]
    pub fn file_text(&self) -> &Arc<str> {
        self.file.source()
    }

    /// The text that says what is done, with the file's comments.
    #[must_use]
    pub fn text(&self) -> String {
        self.current.text()
    }

    /// What was changed since the file was read.
    #[must_use]
    pub fn runtime(&self) -> &Arc<[Change]> {
        &self.runtime
    }

    /// What the next start has to know.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        Remembered { changes: self.runtime.to_vec(), unconfirmed: self.unconfirmed.clone() }
    }

    /// Makes changes, each group as a whole or not at all; says for each whether anything is different.
    pub fn change(&mut self, groups: &[&[Change]]) -> Vec<Result<bool, Refused>> {
        let bound: Vec<Cow<'_, [Change]>> = groups.iter().map(|group| self.bind_marks(group)).collect();
        let groups: Vec<&[Change]> = bound.iter().map(|group| &group[..]).collect();
        let (changed, done) = self.current.change(&groups);
        if let Some(changed) = changed {
            self.current = Arc::new(changed);
            self.runtime = self.differences.between(&self.file, &self.current).into();
        }
        done
    }

    /// A change that was made to an earlier text of the file, for this one: what was added may be there now, and is to be
    /// as it was added.
    fn replayed(&self, change: &Change) -> Vec<Change> {
        let named = |name: &str| self.file.services().iter().find(|known| known.name == name);
        let instead = match change {
            Change::AddService { service } => {
                let name = service.get("name").and_then(|name| name.as_str());
                name.and_then(named).map(|there| completed(there, service))
            }
            Change::AddServer { service, server } => {
                named(service).and_then(|there| completed_server(there, server))
            }
            // What was removed is gone.
            Change::RemoveService { service } if named(service).is_none() => Some(Vec::new()),
            Change::RemoveServer { service, server }
                if named(service).is_none_or(|there| !there.servers.contains(&Some(*server))) =>
            {
                Some(Vec::new())
            }
            _ => None,
        };
        instead.unwrap_or_else(|| vec![change.clone()])
    }

    /// The same with a text of the file that was made of this one: what is done stays, whatever the text says.
    #[must_use]
    pub fn rebased(&self, file: Document) -> Self {
        let mut new = Self { file: Arc::new(file), unconfirmed: None, ..self.clone() };
        new.runtime = new.differences.between(&new.file, &new.current).into();
        new
    }

    /// A group that is added with its number only has the addresses that the file gives that number, as those that
    /// iptables marks outlive `ipvsadm -C`.
    fn bind_marks<'a>(&self, changes: &'a [Change]) -> Cow<'a, [Change]> {
        let is_unbound =
            |service: &Keys| service.contains_key("fwmark") && !service.contains_key("addresses");
        let bind = |change: &Change| match change {
            Change::AddService { service } if is_unbound(service) => {
                let mark = service.get("fwmark");
                let file = self.file.services().iter().find(|known| known.keys.get("fwmark") == mark);
                let addressed = file.into_iter().flat_map(|file| &file.keys);
                let addressed =
                    addressed.filter(|(key, _)| ["addresses", "protocol", "name"].contains(&key.as_str()));
                let keys = addressed.chain(service).map(|(key, value)| (key.clone(), value.clone()));
                Change::AddService { service: keys.collect() }
            }
            change => change.clone(),
        };
        let has_unbound =
            |change: &Change| matches!(change, Change::AddService { service } if is_unbound(service));
        if changes.iter().any(has_unbound) {
            changes.iter().map(bind).collect()
        } else {
            Cow::Borrowed(changes)
        }
    }

    /// The configuration with another text of the file; what was changed while the daemon ran counts on.
    #[must_use]
    pub fn reload(&self, file: Document) -> (Self, Reloaded) {
        let (new, forgotten) = Self::new(&self.path, file, &self.runtime);
        let at_restart = at_restart(&self.config().director, &new.config().director);
        let mut others = others(&self.current, &new.current);
        others.retain(|other| other.strip_prefix("director.").is_none_or(|key| !at_restart.contains(&key)));
        let changes = difference(&self.current, &new.current);
        let reloaded = Reloaded { changes, others, at_restart, forgotten };
        (new, reloaded)
    }

    /// Has the file's text of `before` count again unless this one is [confirmed](Self::confirm).
    pub fn await_confirmation(&mut self, before: &Self) {
        let (before, refused) = (before.file_text().to_string(), fingerprint(self.file_text()));
        self.unconfirmed = Some(Unconfirmed { before, refused });
    }

    /// The text that counts again if this one is not confirmed.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<&str> {
        let unconfirmed = self.unconfirmed.as_ref()?;
        (unconfirmed.refused == fingerprint(self.file_text())).then_some(unconfirmed.before.as_str())
    }

    /// Has this text count, and count for the next start too, as long as the file has the one that was not confirmed.
    pub fn insist(&mut self, unconfirmed: Option<Unconfirmed>) {
        self.unconfirmed = unconfirmed;
    }

    /// This text stays.
    pub fn confirm(&mut self) {
        self.unconfirmed = None;
    }
}

/// What of `[director]` cannot change while the daemon runs.
fn at_restart(before: &Director, after: &Director) -> Vec<&'static str> {
    let differs = [
        ("interfaces", before.interfaces != after.interfaces),
        ("xdp_mode", before.xdp_mode != after.xdp_mode),
        ("bpffs", before.bpffs != after.bpffs),
        ("control_socket", before.control_socket != after.control_socket),
        ("max_connections", before.max_connections != after.max_connections),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// What was changed while the daemon ran, for those who look it up.
#[derive(Debug, Default)]
pub(super) struct Marks<'a> {
    services: BTreeSet<&'a str>,
    servers: BTreeSet<(&'a str, IpAddr)>,
}

impl<'a> Marks<'a> {
    pub(super) fn of(changes: &'a [Change]) -> Self {
        let mut marks = Self::default();
        for change in changes {
            match change {
                Change::AddService { service } => {
                    let name = service.get("name").and_then(|name| name.as_str()).unwrap_or_default();
                    marks.services.insert(name);
                    let rows = service.get(SERVERS).and_then(|rows| rows.as_array()).into_iter().flatten();
                    let servers = rows.filter_map(|row| address(row.as_object()?));
                    marks.servers.extend(servers.map(|server| (name, server)));
                }
                Change::EditService { service, .. } | Change::Acl { service: Some(service), .. } => {
                    marks.services.insert(service);
                }
                Change::AddServer { service, server } => {
                    let address = address(server);
                    marks.servers.extend(address.map(|address| (service.as_str(), address)));
                }
                Change::EditServer { service, server, .. } => _ = marks.servers.insert((service, *server)),
                _ => {}
            }
        }
        marks
    }

    /// Whether anything of this virtual server itself is not the file's.
    pub(super) fn has_service(&self, name: &str) -> bool {
        self.services.contains(name)
    }

    pub(super) fn has_server(&self, name: &str, server: IpAddr) -> bool {
        self.servers.contains(&(name, server))
    }
}
