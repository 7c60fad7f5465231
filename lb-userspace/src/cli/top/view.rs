//! What `lb top` shows, and what keys do to it. Pure: what was heard of the daemon, keys and the time come in from outside.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lb_common::counter::{Kind, Reason};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde::{Deserialize, Serialize};

use crate::control::api::{Director, RealServer, VirtualServer, VirtualServers, Vrrp, WeightChanged};

/// What the daemon says at one moment; what `--json` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) director: Director,
    #[serde(flatten)]
    pub(super) listed: VirtualServers,
    pub(super) vrrp: Vrrp,
}

/// What is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As it is configured.
    #[default]
    Configured,
    Name,
    State,
    Active,
    Inactive,
    Connections,
    Packets,
    Bytes,
}

impl Sort {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Configured, "configured"),
        (Self::Name, "name"),
        (Self::State, "state"),
        (Self::Active, "active"),
        (Self::Inactive, "inactive"),
        (Self::Connections, "conns/s"),
        (Self::Packets, "packets/s"),
        (Self::Bytes, "bytes/s"),
    ];

    fn place(self) -> usize {
        Self::ALL.iter().position(|(sort, _)| *sort == self).unwrap_or(0)
    }

    /// As it is shown.
    pub(super) fn name(self) -> &'static str {
        Self::ALL[self.place()].1
    }

    fn moved(self, by: usize) -> Self {
        Self::ALL[(self.place() + by) % Self::ALL.len()].0
    }
}

/// What somebody wants to be done, when it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) service: String,
    pub(super) server: String,
    pub(super) before: u32,
    pub(super) weight: u32,
}

/// What keys do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Look,
    /// Letters are those of the filter.
    Filter,
    /// A yes is waited for.
    Confirm(Order),
    Help,
}

/// What a key asks of whoever runs the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Quit,
    Do(Order),
}

/// A line of the list: a virtual server, or one of its real servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) service: &'a VirtualServer,
    pub(super) server: Option<&'a RealServer>,
    pub(super) is_sorry: bool,
}

/// What a line is known by.
type Place = (String, Option<String>);

impl Row<'_> {
    fn place(&self) -> Place {
        (self.service.name.clone(), self.server.map(|server| server.address.clone()))
    }
}

/// Everything that is on the screen.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) sample: Option<Sample>,
    /// How often in a second frames were dropped or something happened in the data plane, by reason.
    pub(super) reasons: Vec<(&'static str, f64)>,
    /// Why the daemon does not answer, and for how long it has not.
    pub(super) gone: Option<(String, Duration)>,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// What became of what was done last.
    pub(super) note: Option<String>,
    pub(super) has_colour: bool,
    selected: Option<Place>,
    /// What real servers had before they were drained here.
    weights: HashMap<(String, String), u32>,
}

impl View {
    /// Takes what the daemon says now; `since` is the time since it said something before.
    pub(super) fn hear(&mut self, sample: Sample, since: Duration) {
        if let Some(before) = &self.sample {
            self.reasons = changed(&before.director.counters, &sample.director.counters, since);
        }
        (self.sample, self.gone) = (Some(sample), None);
        let rows = self.rows();
        let is_there = |place: &Place| rows.iter().any(|row| row.place() == *place);
        if !self.selected.as_ref().is_some_and(is_there) {
            self.selected = rows.first().map(Row::place);
        }
    }

    /// The daemon does not answer; what it said last stays.
    pub(super) fn miss(&mut self, reason: String, since: Duration) {
        self.gone = Some((reason, since));
        self.reasons.clear();
    }

    /// What came of an order.
    pub(super) fn finish(&mut self, done: Result<WeightChanged, String>) {
        self.note = Some(match done {
            Ok(WeightChanged { service, server, before, weight: 0, .. }) => {
                let note = format!("{server} of {service} is drained: e gives it weight {before} again");
                self.weights.insert((service, server), before);
                note
            }
            Ok(WeightChanged { service, server, weight, .. }) => {
                format!("{server} of {service} has weight {weight}")
            }
            Err(error) => error,
        });
    }

    /// The lines that the filter lets through, as they are sorted.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let Some(sample) = &self.sample else { return Vec::new() };
        let mut services: Vec<_> = sample.listed.virtual_servers.iter().collect();
        let ordered = |ordering: Ordering| if self.is_reversed { ordering.reverse() } else { ordering };
        services.sort_by(|a, b| ordered(by(self.sort, &Sums::of_service(a), &Sums::of_service(b))));
        if self.sort == Sort::Configured && self.is_reversed {
            services.reverse();
        }
        let mut rows = Vec::new();
        for service in services {
            let all_match = self.lets_through(&service.name)
                || service.addresses.iter().any(|address| self.lets_through(address));
            let mut servers: Vec<_> = service.real_servers.iter().map(|server| (server, false)).collect();
            servers.extend(service.sorry_server.iter().map(|server| (server, true)));
            servers.retain(|(server, _)| {
                all_match || self.lets_through(&server.address) || self.lets_through(server.state.name())
            });
            if !all_match && servers.is_empty() {
                continue;
            }
            servers
                .sort_by(|(a, _), (b, _)| ordered(by(self.sort, &Sums::of_server(a), &Sums::of_server(b))));
            rows.push(Row { service, server: None, is_sorry: false });
            rows.extend(servers.into_iter().map(|(server, is_sorry)| Row {
                service,
                server: Some(server),
                is_sorry,
            }));
        }
        rows
    }

    fn lets_through(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// Which of the [`rows`](Self::rows) is selected.
    pub(super) fn selected(&self) -> Option<usize> {
        let place = self.selected.as_ref()?;
        self.rows().iter().position(|row| row.place() == *place)
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Step {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Step::Quit;
        }
        match std::mem::take(&mut self.mode) {
            Mode::Look => return self.press_looking(key.code),
            Mode::Filter => match key.code {
                KeyCode::Enter => {}
                KeyCode::Esc => self.filter.clear(),
                code => {
                    self.mode = Mode::Filter;
                    match code {
                        KeyCode::Backspace => drop(self.filter.pop()),
                        KeyCode::Char(letter) => self.filter.push(letter),
                        _ => {}
                    }
                }
            },
            Mode::Confirm(order) => match key.code {
                KeyCode::Char('y') => return Step::Do(order),
                _ => self.note = Some("nothing was changed".to_owned()),
            },
            Mode::Help => {}
        }
        if self.selected().is_none() {
            self.selected = self.rows().first().map(Row::place);
        }
        Step::Nothing
    }

    fn press_looking(&mut self, code: KeyCode) -> Step {
        self.note = None;
        match code {
            KeyCode::Char('q') => return Step::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('s') => self.sort = self.sort.moved(1),
            KeyCode::Char('S') => self.sort = self.sort.moved(Sort::ALL.len() - 1),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Up | KeyCode::Char('k') => self.select(|at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(|at, last| last.min(at + 1)),
            KeyCode::PageUp => self.select(|at, _| at.saturating_sub(10)),
            KeyCode::PageDown => self.select(|at, last| last.min(at + 10)),
            KeyCode::Home => self.select(|_, _| 0),
            KeyCode::End => self.select(|_, last| last),
            KeyCode::Char('d') => self.ask(|_, _| 0),
            KeyCode::Char('e') => self.ask(|view, place| view.weights.get(place).copied().unwrap_or(1)),
            _ => {}
        }
        Step::Nothing
    }

    fn select(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let at = self.selected().unwrap_or(0);
        let rows = self.rows();
        let selected = rows.get(to(at, rows.len().saturating_sub(1))).map(Row::place);
        self.selected = selected;
    }

    /// Asks whether the selected real server is to have another weight.
    fn ask(&mut self, weight: impl FnOnce(&Self, &(String, String)) -> u32) {
        let rows = self.rows();
        let selected = self.selected().and_then(|at| rows.get(at).copied());
        let note = match selected {
            _ if self.gone.is_some() => "the daemon does not answer",
            Some(Row { server: Some(_), is_sorry: true, .. }) => "a sorry server has no weight",
            Some(Row { service, server: Some(server), .. }) => {
                let place = (service.name.clone(), server.address.clone());
                let (weight, before) = (weight(self, &place), server.weight);
                if (weight == 0) == (before == 0) {
                    let is = if before == 0 { "is drained already" } else { "is not drained" };
                    self.note = Some(format!("{} of {} {is}", server.address, service.name));
                } else {
                    let (service, server) = place;
                    self.mode = Mode::Confirm(Order { service, server, before, weight });
                }
                return;
            }
            _ => "select a real server first, with the arrow keys",
        };
        self.note = Some(note.to_owned());
    }
}

/// What lines are sorted by.
struct Sums<'a> {
    name: &'a str,
    state: usize,
    active: u64,
    inactive: u64,
    rate: crate::control::api::Rate,
}

impl<'a> Sums<'a> {
    fn of_server(server: &'a RealServer) -> Self {
        Self {
            name: &server.address,
            state: server.state as usize,
            active: server.active_connections,
            inactive: server.inactive_connections,
            rate: server.rate,
        }
    }

    fn of_service(service: &'a VirtualServer) -> Self {
        let (active, inactive) = connections(service);
        let state = usize::from(!service.quorum);
        Self { name: &service.name, state, active, inactive, rate: service.rate }
    }
}

/// Active and inactive connections of all real servers of a virtual server.
pub(super) fn connections(service: &VirtualServer) -> (u64, u64) {
    let all = service.real_servers.iter().chain(&service.sorry_server);
    all.fold((0, 0), |(active, inactive), server| {
        (active + server.active_connections, inactive + server.inactive_connections)
    })
}

/// The largest first, names by the alphabet, and those in trouble before those that are well.
fn by(sort: Sort, a: &Sums<'_>, b: &Sums<'_>) -> Ordering {
    match sort {
        Sort::Configured => Ordering::Equal,
        Sort::Name => a.name.cmp(b.name),
        Sort::State => b.state.cmp(&a.state),
        Sort::Active => b.active.cmp(&a.active),
        Sort::Inactive => b.inactive.cmp(&a.inactive),
        Sort::Connections => b.rate.connections.total_cmp(&a.rate.connections),
        Sort::Packets => b.rate.packets.total_cmp(&a.rate.packets),
        Sort::Bytes => b.rate.bytes.total_cmp(&a.rate.bytes),
    }
}

/// How often in a second drops and events were counted, the most frequent first.
fn changed(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    since: Duration,
) -> Vec<(&'static str, f64)> {
    let of = |counters: &BTreeMap<String, u64>, name| counters.get(name).copied().unwrap_or(0);
    let wanted = Reason::ALL.iter().filter(|reason| reason.kind() != Kind::Pass).map(|reason| reason.name());
    let rate = |name| {
        let counted = of(after, name).saturating_sub(of(before, name));
        (name, counted as f64 / since.as_secs_f64().max(0.001))
    };
    let mut rates: Vec<_> = wanted.map(rate).filter(|(_, rate)| *rate > 0.0).collect();
    rates.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    rates
}
