//! Command lines, one or many, to questions and changes for the daemon, and its answers to text.
//!
//! What `-R` reads is gathered and made in batches: many lines are one change, which disturbs nothing that stays. What
//! comes of each line is as if it had been typed alone: a refused one is complained of, and the others are made.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;

use serde_json::json;

use super::changes::{
    self, NO_SUCH_DESTINATION, NO_SUCH_SCHEDULER, NO_SUCH_SERVICE, OUT_OF_RANGE, SERVICE_EXISTS, UNDEFINED,
};
use super::connections::{Lines, title};
use super::daemon::{Daemon, NotDone};
use super::foresight::Foresight;
use super::listing::{Entry, Names, all, some};
use super::request::{Layout, Listed, Request, Service, Terms, parse};
use super::save::save;
use super::usage::{usage, version};
use super::{Complaint, DONE, FAILED};
use crate::config::{MAKE_SECRET, SYNC_KEY, Sync};
use crate::control::api::Change;
use crate::names::Resolver;
use crate::scheduler::Scheduler;
use crate::sync::SyncStatus;

/// Changes that are made at once: some hundred kilobytes.
const BATCH: usize = 500;

/// A call of ipvsadm.
pub(super) struct Session<'a> {
    program: &'a str,
    daemon: &'a mut dyn Daemon,
    resolver: &'a dyn Resolver,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// What was asked for and has not been done yet.
    pending: Vec<(Request, Change)>,
    /// What came of the line that was done last.
    code: u8,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        program: &'a str,
        daemon: &'a mut dyn Daemon,
        resolver: &'a dyn Resolver,
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
    ) -> Self {
        Self { program, daemon, resolver, out, err, pending: Vec::new(), code: DONE }
    }

    /// `ipvsadm`. Returns the exit code.
    pub(super) fn run(&mut self, words: &[String], input: &mut dyn BufRead) -> u8 {
        let done = match parse(self.program, words, self.resolver) {
            _ if words.is_empty() => self.list(Listed::All, Layout::default()),
            Ok(Request::Restore) => self.restore(input),
            Ok(request) => self.execute(request).and_then(|()| self.flush()),
            Err(complaint) => Err(complaint),
        };
        self.end(done)
    }

    /// `ipvsadm-save`. Returns the exit code.
    pub(super) fn save(&mut self, words: &[String]) -> u8 {
        let is_known = |word: &String| word == "-n" || !word.starts_with('-');
        let done = if words.iter().all(is_known) {
            self.execute(Request::Save { numeric: words.iter().any(|word| word == "-n") })
        } else {
            let program = self.program;
            Err(Complaint::fatal(
                FAILED,
                format!("{program}: prints what ipvsadm-restore takes\n   -n: numbers instead of names"),
            ))
        };
        self.end(done)
    }

    /// `ipvsadm-restore`: what there was goes in the change in which what is read comes. Returns the exit code.
    pub(super) fn restore_anew(&mut self, input: &mut dyn BufRead) -> u8 {
        let done = self.execute(Request::Clear).and_then(|()| self.restore(input));
        self.end(done)
    }

    fn end(&mut self, done: Result<(), Complaint>) -> u8 {
        done.map_or_else(|complaint| complaint.report(&mut self.err), |()| self.code)
    }

    /// Does what every line says (`restore_table`); the last one decides the exit code.
    fn restore(&mut self, input: &mut dyn BufRead) -> Result<(), Complaint> {
        for line in input.lines() {
            let unreadable = |error| Complaint::fatal(FAILED, format!("read from standard input: {error}"));
            let words = words(&line.map_err(unreadable)?);
            if words.is_empty() {
                continue;
            }
            let done = match parse(self.program, &words, self.resolver) {
                Ok(Request::Restore) => Err(Complaint::try_help(self.program)),
                Ok(request) => self.execute(request),
                Err(complaint) => Err(complaint),
            };
            if let Err(complaint) = done {
                // What was asked for before it is done before it is complained of.
                self.flush()?;
                self.note(complaint)?;
            }
        }
        self.flush()
    }

    /// Says what is wrong with a line, and goes on unless that is the end of all.
    fn note(&mut self, complaint: Complaint) -> Result<(), Complaint> {
        if complaint.is_final {
            return Err(complaint);
        }
        self.code = complaint.report(&mut self.err);
        Ok(())
    }

    /// Does what one line asks for, or has it wait for the next [`flush`](Self::flush).
    fn execute(&mut self, request: Request) -> Result<(), Complaint> {
        if let Some(change) = changes::change(&request)
            && !self.needs_a_look(&request)
        {
            self.pending.push((request, change));
            return if self.pending.len() < BATCH { Ok(()) } else { self.flush() };
        }
        self.flush()?;
        self.code = DONE;
        match request {
            Request::AddService(service, terms) => self.without_scheduler(service, &terms, true),
            Request::EditService(service, terms) => self.without_scheduler(service, &terms, false),
            Request::RemoveService(service) => self.remove_service(service),
            Request::AddServer(service, _) | Request::EditServer(service, _) => {
                self.with_wrong_server(service, OUT_OF_RANGE)
            }
            Request::RemoveServer { service, .. } => self.with_wrong_server(service, NO_SUCH_DESTINATION),
            Request::List { what, layout } => self.list(what, layout),
            Request::Save { numeric } => {
                let listed = self.daemon.services(false)?;
                let saved = save(&listed, Names { numeric, resolver: self.resolver });
                self.warn(saved.warnings.iter().map(String::as_str));
                self.print(&saved.rules)
            }
            Request::Zero(None) => self.daemon.zero(None),
            Request::Zero(Some(service)) => {
                let listed = self.daemon.services(false)?;
                let entry =
                    Entry::find(&listed, service).ok_or_else(|| Complaint::failed(NO_SUCH_SERVICE))?;
                self.daemon.zero(Some(entry.service.name.clone()))
            }
            // IPVS's words for EEXIST and ESRCH (`ipvs_strerror`), and its defaults. Every director is both, master and backup.
            Request::StartDaemon { interface, group, port } => {
                if self.daemon.sync()?.interface.is_some() {
                    return Err(Complaint::failed("Daemon has already run"));
                }
                let interface = interface.ok_or_else(|| Complaint::usage("--mcast-interface is missing: name the interface that the other directors are reached by"))?;
                if !self.daemon.has_sync_key() {
                    return Err(Complaint::fatal(
                        FAILED,
                        format!(
                            "directors share connections if they have a key in common: make {SYNC_KEY} on one of them ({MAKE_SECRET}), readable by root only, and copy it to the others"
                        ),
                    ));
                }
                let group = SocketAddr::new(group, u16::try_from(port).unwrap_or(u16::MAX)).to_string();
                // ipvsadm has no option for the key.
                self.set_sync([
                    ("interface", interface.into()),
                    ("group", group.into()),
                    ("key_file", SYNC_KEY.into()),
                ])
            }
            Request::StopDaemon => match self.daemon.sync()?.interface {
                None => Err(Complaint::failed("No daemon is running")),
                Some(_) => self.set_sync(Sync::KEYS.iter().map(|key| (*key, serde_json::Value::Null))),
            },
            Request::Help => self.print(&usage(self.program)),
            Request::Version => self.print(&version()),
            // Those that are changes wait, and a line of `-R` cannot be one.
            Request::Clear | Request::SetTimeouts(_) | Request::Restore => Ok(()),
        }
    }

    /// Whether it can only be judged by what there is.
    fn needs_a_look(&self, request: &Request) -> bool {
        match request {
            Request::AddService(_, terms) | Request::EditService(_, terms) => {
                terms.persistence_engine.is_some() || Scheduler::by_name(&terms.scheduler).is_none()
            }
            Request::AddServer(_, server) | Request::EditServer(_, server) => {
                server.lower_threshold > server.upper_threshold
            }
            // The port is looked at here only: no real server has another one than its service.
            Request::RemoveServer { service: Service::Address { address, .. }, port: Some(port), .. } => {
                *port != address.port()
            }
            Request::RemoveService(Service::Address { .. }) => true,
            _ => false,
        }
    }

    /// A scheduler or persistence engine that there is not; whether the service exists is looked at first.
    fn without_scheduler(&mut self, service: Service, terms: &Terms, is_new: bool) -> Result<(), Complaint> {
        debug_assert!(terms.persistence_engine.is_some() || Scheduler::by_name(&terms.scheduler).is_none());
        let exists = self.exists(service)?;
        Err(Complaint::failed(match (exists, is_new) {
            (true, true) => SERVICE_EXISTS,
            (false, false) => NO_SUCH_SERVICE,
            _ => NO_SUCH_SCHEDULER,
        }))
    }

    fn with_wrong_server(&mut self, service: Service, words: &str) -> Result<(), Complaint> {
        let exists = self.exists(service)?;
        Err(Complaint::failed(if exists { words } else { UNDEFINED }))
    }

    fn exists(&mut self, service: Service) -> Result<bool, Complaint> {
        Ok(Entry::find(&self.daemon.services(false)?, service).is_some())
    }

    /// Of a group without a mark, only the address goes: the others are other services to whoever lists them.
    fn remove_service(&mut self, service: Service) -> Result<(), Complaint> {
        let listed = self.daemon.services(false)?;
        let entry = Entry::find(&listed, service).ok_or_else(|| Complaint::failed(NO_SUCH_SERVICE))?;
        let others = entry.service.addresses.iter().filter(|other| Some(other.as_str()) != entry.address);
        let others: Vec<&String> = others.collect();
        let name = entry.service.name.clone();
        let change = if entry.address.is_some() && !others.is_empty() {
            let set = [("addresses".to_owned(), json!(others))].into_iter().collect();
            Change::EditService { service: name, set }
        } else {
            Change::RemoveService { service: name }
        };
        self.pending.push((Request::RemoveService(service), change));
        self.flush()
    }

    fn list(&mut self, what: Listed, layout: Layout) -> Result<(), Complaint> {
        let text = match what {
            Listed::Daemons => daemons(&self.daemon.sync()?),
            Listed::Connections => return self.list_connections(layout),
            Listed::Timeouts => {
                let timeouts = self.daemon.timeouts()?;
                format!("Timeout (tcp tcpfin udp): {} {} {}\n", timeouts.tcp, timeouts.tcp_fin, timeouts.udp)
            }
            Listed::All => all(&self.daemon.services(layout.persistent_connections)?, layout, self.resolver),
            Listed::One(service) => {
                let listed = self.daemon.services(layout.persistent_connections)?;
                let entry = Entry::find(&listed, service);
                let entry = entry.ok_or_else(|| Complaint::fatal(FAILED, NO_SUCH_SERVICE))?;
                some(&[entry], layout, self.resolver)
            }
        };
        self.print(&text)
    }

    fn list_connections(&mut self, layout: Layout) -> Result<(), Complaint> {
        let listed = self.daemon.services(false)?;
        let marks = listed.virtual_servers.iter().filter_map(|it| Some((it.name.clone(), it.fwmark?)));
        let marks: HashMap<String, u32> = marks.collect();
        let mut lines = Lines::new(Names { numeric: layout.numeric, resolver: self.resolver }, marks);
        self.print(&title(layout.persistent_connections))?;
        let out = &mut self.out;
        self.daemon.connections(&mut |connection| match out.write_all(lines.line(connection).as_bytes()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ControlFlow::Break(None),
            Err(error) => ControlFlow::Break(Some(Complaint::output(&error))),
        })
    }

    /// Sets keys of `[sync]`; without any left, there is none.
    fn set_sync(
        &mut self,
        keys: impl IntoIterator<Item = (&'static str, serde_json::Value)>,
    ) -> Result<(), Complaint> {
        let set = keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.daemon.change(vec![Change::SetSync { set }]).map_err(|error| match error {
            NotDone::Refused(problem) => Complaint::fatal(FAILED, problem.error),
            NotDone::Unasked(complaint) => complaint,
        })
    }

    /// Has the daemon do what waits for it. What of it is refused is left out, and the rest is done.
    fn flush(&mut self) -> Result<(), Complaint> {
        let mut rest = std::mem::take(&mut self.pending);
        let (mut size, mut is_foreseen, mut last) = (rest.len(), false, None);
        while !rest.is_empty() {
            let changes = rest[..size].iter().map(|(_, change)| change.clone()).collect();
            let problem = match self.daemon.change(changes) {
                Ok(()) => {
                    self.code = DONE;
                    let done: Vec<_> = rest.drain(..size).collect();
                    self.warn(done.iter().filter_map(|(request, _)| unbound(request)));
                    size = rest.len();
                    continue;
                }
                Err(NotDone::Unasked(complaint)) => return Err(complaint),
                Err(NotDone::Refused(problem)) => problem,
            };
            match problem.change {
                // Nothing of it was done.
                _ if size > 1 && !is_foreseen => {
                    is_foreseen = true;
                    last = self.leave_out(&mut rest)?;
                    size = rest.len();
                }
                // First what comes before the one that cannot be.
                Some(place) if (1..size).contains(&place) => size = place,
                None if size > 1 => size /= 2,
                _ => {
                    let (request, _) = rest.remove(0);
                    let mut complaint = changes::refused(&request, &problem);
                    if let Request::AddService(service, _) = request
                        && self.exists(service)?
                    {
                        // Under another name, which IPVS does not know of.
                        complaint.message = SERVICE_EXISTS.to_owned();
                    }
                    self.note(complaint)?;
                    size = rest.len();
                }
            }
        }
        if let Some(code) = last {
            self.code = code;
        }
        Ok(())
    }

    /// Takes out what would be refused by what there is, and complains of it; returns the exit code that the last one
    /// leads to, if it is among these.
    fn leave_out(&mut self, requests: &mut Vec<(Request, Change)>) -> Result<Option<u8>, Complaint> {
        let mut foresight = Foresight::of(&self.daemon.services(false)?);
        let mut last = None;
        let mut complaints = Vec::new();
        requests.retain(|(request, _)| {
            let refusal = foresight.refusal(request).map(Complaint::failed);
            last = refusal.as_ref().map(|complaint| complaint.code);
            let is_refused = refusal.is_some();
            complaints.extend(refusal);
            !is_refused
        });
        for complaint in complaints {
            self.note(complaint)?;
        }
        Ok(last)
    }

    fn print(&mut self, text: &str) -> Result<(), Complaint> {
        match self.out.write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Complaint::output(&error)),
            _ => Ok(()),
        }
    }

    fn warn<S: AsRef<str>>(&mut self, warnings: impl Iterator<Item = S>) {
        for warning in warnings {
            let line = format!("{}: {}\n", self.program, warning.as_ref());
            let _ = self.err.write_all(line.as_bytes());
        }
    }
}

/// What is to be said of a new group: nothing marks packets here, so it has to be told which are its own.
fn unbound(request: &Request) -> Option<String> {
    let Request::AddService(Service::Mark { mark, .. }, _) = request else { return None };
    Some(format!(
        "group {mark} has no addresses yet, so it gets no packets; give it those that iptables would mark: lb edit \
         service fwmark-{mark} --set 'addresses=[\"192.0.2.1:80\"]'"
    ))
}

/// The words of a line; `ipvsadm` may stand before them, and a comment behind them (`config_stream_read`).
fn words(line: &str) -> Vec<String> {
    let words = line.split_ascii_whitespace().take_while(|word| !word.starts_with('#'));
    words.filter(|word| *word != "ipvsadm").map(str::to_owned).collect()
}

/// What ipvsadm says of the two synchronisation daemons of IPVS (`list_daemon`): every director is both.
fn daemons(status: &SyncStatus) -> String {
    let Some(interface) = &status.interface else { return String::new() };
    let group = status.group.as_deref().and_then(|group| group.parse::<SocketAddr>().ok());
    let group = group.map(|group| format!(", group={}, port={}, ttl=1", group.ip(), group.port()));
    let group = group.unwrap_or_default();
    let line = |role| format!("{role} sync daemon (mcast={interface}, syncid=0{group})\n");
    line("master") + &line("backup")
}
