//! The directors of a simulation, what is between them, and what whoever drives a machine does.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::*;
use crate::vrrp::packet::{Envelope, GROUP_V4};

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 80));

/// What all directors have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) version: Version,
    /// The longest that a director has.
    pub(super) interval: Duration,
    /// Version 3: how much shorter each next director's is.
    pub(super) haste: u32,
    pub(super) preempt: bool,
    /// Whether they wait before they preempt.
    pub(super) is_patient: bool,
}

impl Rules {
    fn preempt_delay(&self) -> Duration {
        if self.is_patient { 3 * self.interval } else { Duration::ZERO }
    }

    /// How long it takes until there is one master, and that is the best: until the least of them would be, and two
    /// intervals. With a delay, that begins with the first advert of a lower one, and then the best waits.
    pub(super) fn settled(&self) -> Duration {
        let wait = timing::master_down(self.version, LEAST, self.interval);
        let delay = if self.is_patient { self.preempt_delay() + wait } else { Duration::ZERO };
        wait + 2 * self.interval + delay
    }
}

/// A director: its machine, if it runs, and what its kernel has.
struct Director {
    machine: Option<Machine>,
    parameters: Parameters,
    address: IpAddr,
    has_addresses: bool,
    /// It does not run until then, and what comes waits in its socket.
    frozen_until: Option<Instant>,
    socket: Vec<(Vec<u8>, IpAddr)>,
}

/// A message on its way: when it arrives, the how-manieth it is, from whom to whom.
type Flight = Reverse<(Instant, u64, usize, usize, Vec<u8>)>;

/// Directors on a network.
pub(super) struct Directors {
    pub(super) rules: Rules,
    directors: Vec<Director>,
    now: Instant,
    start: Instant,
    flights: BinaryHeap<Flight>,
    sent: u64,
    /// Who is not heard by whom.
    cuts: BTreeSet<(usize, usize)>,
    /// How many of a hundred messages are lost.
    pub(super) loss: u64,
    /// How long a message takes at most.
    pub(super) delay: Duration,
    dice: Dice,
    seed: u64,
    is_told: bool,
}

impl Directors {
    pub(super) fn new(rules: Rules, priorities: &[u8], seed: u64, is_told: bool) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a beginning for times that are made up")]
        let start = Instant::now();
        let director = |(priority, last): (&u8, u8)| Director {
            machine: None,
            parameters: Parameters {
                interface: "eth0".into(),
                version: rules.version,
                vrid: 51,
                priority: *priority,
                interval: rules.interval / rules.haste.pow(u32::from(last) - 1),
                addresses: vec![VIP],
                authentication: None,
                preempt: rules.preempt,
                preempt_delay: rules.preempt_delay(),
                is_grouped: false,
            },
            address: IpAddr::from([192, 0, 2, last]),
            has_addresses: false,
            frozen_until: None,
            socket: Vec::new(),
        };
        let directors = Self {
            rules,
            directors: priorities.iter().zip(1..).map(director).collect(),
            now: start,
            start,
            flights: BinaryHeap::new(),
            sent: 0,
            cuts: BTreeSet::new(),
            loss: 0,
            delay: Duration::ZERO,
            dice: Dice(!seed),
            seed,
            is_told,
        };
        directors.tell(|| format!("{rules:?}, priorities {priorities:?}"));
        directors
    }

    pub(super) fn len(&self) -> usize {
        self.directors.len()
    }

    pub(super) fn priority(&self, one: usize) -> u8 {
        self.directors[one].parameters.priority
    }

    /// Which schedule this is, for messages.
    pub(super) fn name(&self) -> String {
        format!("{} directors, {SEED}={}", self.len(), self.seed)
    }

    /// Ends at once; its addresses are gone before they could be missed.
    pub(super) fn crash(&mut self, one: usize) {
        self.tell(|| format!("{one} crashes"));
        let director = &mut self.directors[one];
        (director.machine, director.frozen_until, director.has_addresses) = (None, None, false);
        director.socket.clear();
    }

    /// Starts, if it does not run.
    pub(super) fn start(&mut self, one: usize) {
        let director = &mut self.directors[one];
        if director.machine.as_ref().is_none_or(|machine| machine.state() == State::Stopped) {
            director.machine = Some(Machine::new(director.parameters.clone(), self.now));
            self.link(one, true);
        }
    }

    pub(super) fn shut_down(&mut self, one: usize) {
        self.with(one, "is shut down", Machine::handle_shutdown);
    }

    /// It does nothing for a while, and then finds in its socket what came.
    pub(super) fn freeze(&mut self, one: usize, time: Duration) {
        self.tell(|| format!("{one} freezes for {time:?}"));
        let director = &mut self.directors[one];
        director.frozen_until = director.machine.is_some().then(|| self.now + time);
    }

    /// What one sends is not heard by the other any more.
    pub(super) fn cut(&mut self, one: usize, other: usize) {
        self.tell(|| format!("{other} does not hear {one}"));
        self.cuts.insert((one, other));
    }

    /// Everybody hears everybody.
    pub(super) fn mend(&mut self) {
        self.tell(|| "everybody hears everybody".into());
        self.cuts.clear();
    }

    pub(super) fn link(&mut self, one: usize, is_up: bool) {
        let link = Link { is_up, address: Some(self.directors[one].address) };
        let what = if is_up { "has a link" } else { "has no link" };
        self.with(one, what, |machine, now| machine.handle_link(link, now));
    }

    pub(super) fn track(&mut self, one: usize, weight: i32) {
        let tracking = Tracking { weight, ..Tracking::default() };
        self.with(one, "has another weight", |machine, now| machine.handle_track(tracking, now));
    }

    pub(super) fn fail(&mut self, one: usize, fails: bool) {
        let tracking = Tracking { fault: fails.then(|| "script failed".into()), ..Tracking::default() };
        self.with(one, "has run its script", |machine, now| machine.handle_track(tracking, now));
    }

    pub(super) fn hold(&mut self, one: usize, is_held: bool) {
        let what = if is_held { "is held" } else { "is held no more" };
        self.with(one, what, |machine, now| machine.handle_hold(is_held, now));
    }

    pub(super) fn reload(&mut self, one: usize, priority: u8) {
        self.directors[one].parameters.priority = priority;
        let parameters = self.directors[one].parameters.clone();
        self.with(one, "is reloaded", |machine, now| machine.reconfigure(parameters, now));
    }

    /// Everything that went wrong is right again, and everybody runs.
    pub(super) fn heal(&mut self) {
        self.tell(|| "all heals".into());
        self.cuts.clear();
        (self.loss, self.delay) = (0, self.rules.interval / 100);
        for one in 0..self.len() {
            if self.state(one) == Some(State::Leaving) {
                self.crash(one);
            }
            self.thaw(one);
            self.start(one);
            self.link(one, true);
            self.fail(one, false);
            self.hold(one, false);
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    /// The one master there is.
    pub(super) fn only_master(&self) -> usize {
        let states: Vec<_> = (0..self.len()).map(|one| self.state(one)).collect();
        let mut masters = (0..self.len()).filter(|one| states[*one] == Some(State::Master));
        let master = masters.next().unwrap_or_else(|| panic!("{}: no master: {states:?}", self.name()));
        assert_eq!(masters.next(), None, "{}: several masters: {states:?}", self.name());
        master
    }

    /// With preemption, nobody who runs is better.
    pub(super) fn is_best(&self, master: usize) {
        let effective = |one: usize| self.directors[one].machine.as_ref().map(Machine::effective_priority);
        let best = (0..self.len()).filter_map(effective).max();
        let is_owner = best == Some(OWNER);
        if self.rules.preempt || is_owner {
            assert_eq!(effective(master), best, "{}: the best is master", self.name());
        }
    }

    fn state(&self, one: usize) -> Option<State> {
        self.directors[one].machine.as_ref().map(Machine::state)
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let arrival = self.flights.peek().map(|Reverse((at, ..))| *at);
        let timer = |director: &Director| {
            director.frozen_until.or_else(|| director.machine.as_ref().and_then(Machine::poll_timeout))
        };
        self.directors.iter().filter_map(timer).chain(arrival).min()
    }

    /// What happens now: messages first, as whoever drives a machine has to do it.
    fn step(&mut self) {
        while self.flights.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
            let Some(Reverse((_, _, from, to, message))) = self.flights.pop() else { return };
            let source = self.directors[from].address;
            if self.directors[to].frozen_until.is_some() {
                self.directors[to].socket.push((message, source));
            } else {
                self.receive(to, &message, source);
            }
        }
        for one in 0..self.len() {
            if self.directors[one].frozen_until.is_some_and(|until| until <= self.now) {
                self.thaw(one);
            }
            let director = &self.directors[one];
            let timer = director.machine.as_ref().and_then(Machine::poll_timeout);
            if director.frozen_until.is_none() && timer.is_some_and(|at| at <= self.now) {
                self.with(one, "", Machine::handle_timeout);
                let next = self.directors[one].machine.as_ref().and_then(Machine::poll_timeout);
                assert!(next.is_none_or(|next| next > self.now), "{}: time stands still", self.name());
            }
        }
    }

    fn thaw(&mut self, one: usize) {
        if self.directors[one].frozen_until.take().is_some() {
            self.tell(|| format!("{one} thaws"));
            for (message, source) in std::mem::take(&mut self.directors[one].socket) {
                self.receive(one, &message, source);
            }
        }
    }

    fn receive(&mut self, one: usize, message: &[u8], source: IpAddr) {
        let envelope = Envelope { source, destination: GROUP_V4.into(), ttl: 255 };
        let expected = self.directors[one].parameters.expectation(Vec::new());
        let advert = Advert::decode(message, &envelope, &expected).expect("a good advert");
        if self.is_told && self.state(one).is_some() {
            self.tell(|| format!("{one} hears {} from {source}", advert.priority));
        }
        self.with(one, "", |machine, now| machine.handle_advert(&advert, source, now));
    }

    /// Hands a machine an event, if it runs, and does what is to be done.
    fn with(&mut self, one: usize, what: &str, event: impl FnOnce(&mut Machine, Instant)) {
        let now = self.now;
        // Whoever freezes learns it later; what is told here is told again.
        if !what.is_empty() {
            self.thaw(one);
            self.tell(|| format!("{one} {what}"));
        }
        let Some(machine) = &mut self.directors[one].machine else { return };
        event(machine, now);
        for count in 0.. {
            let Some(action) = self.directors[one].machine.as_mut().and_then(Machine::poll_action) else {
                break;
            };
            assert!(count < 10, "{}: no end of actions", self.name());
            self.follow(one, action);
        }
        let holds = matches!(self.state(one), Some(State::Master | State::Leaving));
        assert_eq!(self.directors[one].has_addresses, holds, "{}: addresses of {one}", self.name());
    }

    fn follow(&mut self, one: usize, action: Action) {
        self.tell(|| format!("{one}: {}", tests::words(&action)));
        match action {
            Action::Send(advert) => self.send(one, &advert),
            Action::Become { state, .. } => self.directors[one].has_addresses = state.has_addresses(),
            Action::ReplaceAddresses | Action::Announce { .. } => assert!(self.directors[one].has_addresses),
        }
    }

    fn send(&mut self, one: usize, advert: &Advert) {
        let message = advert.encode(self.directors[one].address, GROUP_V4.into());
        for other in (0..self.len()).filter(|other| *other != one) {
            let is_lost = self.dice.percent(self.loss) || self.cuts.contains(&(one, other));
            let arrival = self.now + Duration::from_micros(50) + self.dice.within(self.delay);
            if !is_lost {
                self.sent += 1;
                self.flights.push(Reverse((arrival, self.sent, one, other, message.clone())));
            }
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:10.4}  {}", (self.now - self.start).as_secs_f64(), what());
        }
    }
}
