//! Any events in any order, with any time in between.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    /// Time passes, and the timer may be late.
    Pass(Duration),
    /// Time passes until the next timer expires.
    Expire,
    Advert {
        priority: u8,
        from: u8,
        centiseconds: u64,
    },
    Link {
        is_up: bool,
        has_address: bool,
    },
    Track {
        weight: i32,
        fails: bool,
        is_pending: bool,
    },
    Hold(bool),
    Shutdown,
    Reconfigure {
        priority: u8,
        preempt: bool,
        addresses: u8,
    },
    ForceMaster,
    ForceBackup,
    ForceFault(bool),
}

fn priorities() -> impl Strategy<Value = u8> {
    prop_oneof![Just(1), Just(99), Just(100), Just(101), Just(254), Just(OWNER), 1..=OWNER]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..6_000_000u64).prop_map(|micros| Event::Pass(Duration::from_micros(micros))),
        8 => Just(Event::Expire),
        6 => (prop_oneof![Just(RELEASE), priorities()], 8..13u8, 1..4096u64)
            .prop_map(|(priority, from, centiseconds)| Event::Advert { priority, from, centiseconds }),
        2 => (any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(is_up, has_address)| Event::Link { is_up, has_address }),
        2 => (any::<i32>(), prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(weight, fails, is_pending)| Event::Track { weight, fails, is_pending }),
        1 => any::<bool>().prop_map(Event::Hold),
        1 => Just(Event::Shutdown),
        1 => (priorities(), any::<bool>(), 1..4u8)
            .prop_map(|(priority, preempt, addresses)| Event::Reconfigure { priority, preempt, addresses }),
        1 => Just(Event::ForceMaster),
        1 => Just(Event::ForceBackup),
        1 => any::<bool>().prop_map(Event::ForceFault),
    ]
}

prop_compose! {
    fn routers()(
        is_version_3: bool,
        priority in priorities(),
        preempt: bool,
        delay in 0..5u32,
        is_grouped in prop::bool::weighted(0.2),
    ) -> Parameters {
        let own = if is_version_3 { version_3(millis(100)) } else { parameters() };
        Parameters { priority, preempt, preempt_delay: delay * SECOND, is_grouped, ..own }
    }
}

fn happen(lab: &mut Lab, event: &Event) {
    let now = lab.now;
    match *event {
        Event::Pass(time) => {
            lab.now += time;
            lab.machine.handle_timeout(lab.now);
        }
        Event::Expire => {
            lab.now = lab.machine.poll_timeout().unwrap_or(now);
            lab.machine.handle_timeout(lab.now);
        }
        Event::Advert { priority, from, centiseconds } => {
            let mut advert = lab.machine.parameters().advert(priority);
            if advert.version == Version::V3 {
                advert.interval = millis(10 * centiseconds);
            }
            lab.machine.handle_advert(&advert, address(from), now);
        }
        Event::Link { is_up, has_address } => {
            lab.machine.handle_link(Link { is_up, address: has_address.then_some(OURS) }, now);
        }
        Event::Track { weight, fails, is_pending } => {
            let fault = fails.then(|| "script failed".into());
            lab.track(Tracking { weight, fault, is_pending });
        }
        Event::Hold(is_held) => lab.machine.handle_hold(is_held, now),
        Event::Shutdown => lab.machine.handle_shutdown(now),
        Event::Reconfigure { priority, preempt, addresses } => {
            let addresses = (0..addresses).map(|last| address(80 + last)).collect();
            let before = lab.machine.parameters().clone();
            lab.machine.reconfigure(Parameters { priority, preempt, addresses, ..before }, now);
        }
        Event::ForceMaster => lab.machine.force_master(now),
        Event::ForceBackup => lab.machine.force_backup("VI_2", now),
        Event::ForceFault(is_faulty) => lab.machine.force_fault(is_faulty.then_some("VI_2"), now),
    }
}

/// What whoever drives it has made of its actions.
struct Driver {
    state: State,
    has_addresses: bool,
    addresses: Vec<IpAddr>,
}

impl Driver {
    /// Does what is to be done, and looks whether it can be.
    fn follow(&mut self, lab: &mut Lab) {
        for count in 0.. {
            let Some(action) = lab.machine.poll_action() else { break };
            assert!(count < 4, "no event leads to more: {action:?}");
            match action {
                Action::Send(advert) => {
                    assert!(
                        advert.priority == RELEASE || advert.priority == lab.machine.effective_priority()
                    );
                    assert!(
                        advert.priority != RELEASE || self.state == State::Master,
                        "only a master gives up what it has"
                    );
                    let parameters = lab.machine.parameters();
                    assert_eq!(
                        (advert.interval, &advert.addresses),
                        (parameters.interval, &parameters.addresses)
                    );
                }
                Action::Become { state, .. } => {
                    assert_ne!(state, self.state);
                    if state == State::Master {
                        self.addresses.clone_from(&lab.machine.parameters().addresses);
                    }
                    if state == State::Leaving {
                        assert_eq!(self.state, State::Master);
                    }
                    (self.state, self.has_addresses) = (state, state.has_addresses());
                }
                Action::ReplaceAddresses => {
                    assert!(self.state == State::Master);
                    self.addresses.clone_from(&lab.machine.parameters().addresses);
                }
                Action::Announce { repeat } => assert!(self.state == State::Master && repeat > 0),
            }
        }
    }

    fn agrees(&self, lab: &Lab) {
        let machine = &lab.machine;
        assert_eq!(machine.state(), self.state);
        assert_eq!(self.has_addresses, matches!(self.state, State::Master | State::Leaving));
        if self.state == State::Master {
            assert_eq!(self.addresses, machine.parameters().addresses);
        }
        let status = machine.status();
        assert!(
            status.since <= lab.now && status.state == self.state && !status.reason.to_string().is_empty()
        );
        assert_eq!(
            machine.poll_timeout().is_some(),
            matches!(self.state, State::Backup | State::Master | State::Leaving)
        );
        match machine.fault() {
            Some(_) => assert!(!matches!(self.state, State::Backup | State::Master)),
            None => assert!(machine.effective_priority() >= LEAST),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_timers_are_kept_and_addresses_are_where_the_master_is(
        parameters in routers(),
        events in vec(events(), 1..80),
    ) {
        let mut lab = Lab::new(parameters);
        let mut driver = Driver { state: State::Init, has_addresses: false, addresses: Vec::new() };
        for event in &events {
            happen(&mut lab, event);
            driver.follow(&mut lab);
            driver.agrees(&lab);
            if matches!(event, Event::Pass(_) | Event::Expire) {
                // It is done with this moment.
                prop_assert!(lab.machine.poll_timeout().is_none_or(|next| next > lab.now), "after {event:?}");
                lab.machine.handle_timeout(lab.now);
                prop_assert_eq!(lab.machine.poll_action(), None);
            }
            // A master sends its next advert within an interval, a backup has an end to its patience.
            let most = match lab.state() {
                State::Master => lab.machine.parameters().interval,
                _ => timing::master_down(Version::V3, LEAST, Version::V3.longest_interval()),
            };
            prop_assert!(lab.machine.poll_timeout().is_none_or(|next| next <= lab.now + most), "after {event:?}");
        }
    }

    /// Left alone, whoever can be master is, in time, and stays it.
    #[test]
    fn left_alone_it_is_master_or_has_a_reason(parameters in routers(), events in vec(events(), 1..40)) {
        let mut lab = Lab::new(parameters);
        for event in &events {
            happen(&mut lab, event);
        }
        lab.actions();
        lab.pass(200 * SECOND);
        match lab.state() {
            State::Init => prop_assert!(lab.machine.link.is_none() || lab.machine.tracking.is_pending),
            State::Backup => prop_assert!(lab.machine.parameters().is_grouped && lab.machine.wants_master()),
            State::Fault => prop_assert!(matches!(lab.machine.status().reason, Reason::Fault(_))),
            State::Master | State::Stopped => {}
            State::Leaving => prop_assert!(false, "it does not leave for ever"),
        }
    }
}
