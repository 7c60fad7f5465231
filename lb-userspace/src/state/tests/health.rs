//! What becomes of real servers by what their checks say.

use std::time::{Duration, Instant};

use super::*;
use crate::config::{Config, HealthCheck, Probe, RealServer, SharedCheck, Target, Tcp};
use crate::health::probe::Advice;
use crate::health::{Check, State, Verdict, Verdicts, checks};
use crate::neighbour::Resolutions;

const SERVERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

/// A virtual server of three real servers that have a check, of weights 1, 2 and 3.
fn a_config() -> Config {
    let server = |(weight, address): (usize, &str)| {
        format!("{{ address = \"{address}\", weight = {weight}, mac = \"02:00:00:00:01:0{weight}\" }}")
    };
    let servers: Vec<String> = (1..).zip(SERVERS).map(server).collect();
    let text = format!(
        "[director]\ninterfaces = [\"eth0\"]\n[[virtual_server]]\naddresses = [\"192.0.2.1:80\"]\nscheduler = \"wrr\"\n\
         real_server = [{}]\n",
        servers.join(", ")
    );
    let mut config = config::parse("lb.toml", &text).expect("it is valid").config;
    let check = SharedCheck::from(tcp(Duration::from_secs(1)));
    for server in &mut config.virtual_servers[0].real_servers {
        server.health_check = Some(check.clone());
    }
    config
}

fn tcp(interval: Duration) -> HealthCheck {
    HealthCheck {
        interval,
        timeout: interval,
        connect_timeout: interval,
        retries: 0,
        retry_delay: interval,
        rise: 1,
        flap: None,
        bind: None,
        target: Target::RealServer,
        probe: Probe::Tcp(Tcp { port: 80 }),
    }
}

/// All servers are up, but for what is said of them by their place.
fn verdicts(config: &Config, said: &[(usize, Verdict)]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let service = &config.virtual_servers[0];
    for (place, server) in service.real_servers.iter().enumerate() {
        let said = said.iter().find(|(said, _)| *said == place).map(|(_, verdict)| verdict.clone());
        let check = Check::of(service, server).expect("it has one");
        verdicts.put(check, said.unwrap_or_else(up));
    }
    verdicts
}

fn up() -> Verdict {
    Verdict { state: State::Up, ..Verdict::default() }
}

fn down() -> Verdict {
    Verdict { state: State::Down, reason: Some("connection refused".into()), ..Verdict::default() }
}

fn advised(advice: Advice) -> Verdict {
    Verdict { advice: Some(advice), ..up() }
}

/// What is desired of the virtual server then.
fn desired_at(config: &Config, verdicts: &Verdicts, had_quorum: bool, now: Instant) -> DesiredService {
    let without: BTreeSet<String> =
        config.virtual_servers.iter().filter(|_| !had_quorum).map(|service| service.name.clone()).collect();
    let view = tables().view();
    let circumstances = Circumstances {
        network: &Network::of_one(DIRECTOR),
        resolutions: &Resolutions::new(),
        verdicts,
        without_quorum: &without,
        view: &view,
        now,
    };
    desired(config, &circumstances).services.remove(0)
}

fn desired_of(config: &Config, said: &[(usize, Verdict)]) -> DesiredService {
    desired_at(config, &verdicts(config, said), true, now())
}

#[expect(clippy::disallowed_methods, reason = "a beginning for times that are made up")]
fn now() -> Instant {
    Instant::now()
}

/// How many slots each server has.
fn slots(service: &DesiredService) -> [usize; 3] {
    std::array::from_fn(|place| service.slots.iter().filter(|slot| **slot == Some(place)).count())
}

#[test]
fn one_that_is_down_gets_no_new_connections_and_its_connections_are_given_up() {
    let mut config = a_config();
    config.virtual_servers[0].on_down = OnDown::Reschedule;
    assert_eq!(slots(&desired_of(&config, &[])), [1, 2, 3]);
    let found = desired_of(&config, &[(1, down())]);
    assert_eq!(slots(&found), [1, 0, 3]);
    assert!(found.gives_up(&found.servers[1]) && !found.gives_up(&found.servers[0]));
    config.virtual_servers[0].inhibit_on_failure = true;
    let inhibited = desired_of(&config, &[(1, down())]);
    assert_eq!(slots(&inhibited), [1, 0, 3]);
    assert_eq!(inhibited.servers[1].weight, 0);
    assert!(!inhibited.gives_up(&inhibited.servers[1]), "it keeps its connections");
}

#[test]
fn one_of_which_nothing_is_known_is_up_unless_alpha_says_otherwise() {
    let mut config = a_config();
    let unknown = [(0, Verdict::default())];
    assert_eq!(slots(&desired_of(&config, &unknown)), [1, 2, 3]);
    config.virtual_servers[0].alpha = true;
    assert_eq!(slots(&desired_of(&config, &unknown)), [0, 2, 3]);
}

#[test]
fn a_check_may_say_the_weight_unless_the_operator_has_quiesced_the_server() {
    let mut config = a_config();
    let said =
        [(0, advised(Advice::Weight(5))), (1, advised(Advice::Percent(50))), (2, advised(Advice::Weight(0)))];
    assert_eq!(slots(&desired_of(&config, &said)), [5, 1, 0]);
    config.virtual_servers[0].real_servers[0].weight = 0;
    assert_eq!(slots(&desired_of(&config, &said)), [0, 1, 0]);
    assert_eq!(advised(Advice::Percent(1)).weight(3), 1, "a share of something is something");
    assert_eq!(advised(Advice::Weight(u32::MAX)).weight(3), lb_common::limits::MAX_WEIGHT);
}

#[test]
fn without_a_quorum_new_connections_are_the_sorry_servers() {
    let mut config = a_config();
    let service = &mut config.virtual_servers[0];
    service.quorum.quorum = 4;
    service.quorum.hysteresis = 1;
    let found = |config: &Config, said: &[(usize, Verdict)], had_quorum| {
        let found = desired_at(config, &verdicts(config, said), had_quorum, now());
        (found.has_quorum, slots(&found))
    };
    // Three of six: the quorum less the hysteresis.
    assert_eq!(found(&config, &[(2, down())], true), (true, [1, 2, 0]));
    assert_eq!(
        found(&config, &[(2, down())], false),
        (false, [1, 2, 0]),
        "who has no sorry server has those"
    );
    assert_eq!(found(&config, &[(1, down()), (2, down())], true), (false, [1, 0, 0]));
    assert_eq!(found(&config, &[(0, down())], false), (true, [0, 2, 3]), "the quorum and the hysteresis");
    let sorry = RealServer::at(IpAddr::from([10, 0, 0, 9]));
    config.virtual_servers[0].sorry_server = Some(sorry.address);
    assert_eq!(found(&config, &[(2, down())], false).1, [1, 2, 0], "nobody answers for the sorry server");
    let reachable = crate::neighbour::Resolution { mac: Some(DIRECTOR), is_reachable: true };
    let resolutions = Resolutions::from([(sorry.address, reachable)]);
    let (verdicts, view) = (verdicts(&config, &[(1, down()), (2, down())]), tables().view());
    let circumstances = Circumstances {
        network: &Network::of_one(DIRECTOR),
        resolutions: &resolutions,
        verdicts: &verdicts,
        without_quorum: &BTreeSet::new(),
        view: &view,
        now: now(),
    };
    assert_eq!(slots(&desired(&config, &circumstances).services[0]), [0, 0, 0]);
}

#[test]
fn one_that_came_up_gets_its_share_little_by_little() {
    let mut config = a_config();
    config.virtual_servers[0].slow_start = Duration::from_secs(10);
    let start = now();
    let said = [(2, Verdict { up_since: Some(start), ..up() })];
    let verdicts = verdicts(&config, &said);
    let after = |seconds| desired_at(&config, &verdicts, true, start + Duration::from_secs(seconds));
    assert_eq!(slots(&after(0)), [10, 20, 3]);
    assert_eq!(slots(&after(5)), [5, 10, 9], "six of ten steps");
    assert!(after(8).is_ramping);
    assert_eq!(slots(&after(10)), [1, 2, 3]);
    assert!(!after(10).is_ramping);
    assert_eq!(after(0).servers[2].weight, 3, "its weight is what it is");
}

/// The shares of large weights are no multiples, but none is nothing.
#[test]
fn large_weights_are_divided() {
    let mut config = a_config();
    config.virtual_servers[0].slow_start = Duration::from_secs(10);
    config.virtual_servers[0].real_servers[0].weight = lb_common::limits::MAX_WEIGHT;
    let start = now();
    let verdicts = verdicts(&config, &[(1, Verdict { up_since: Some(start), ..up() })]);
    let shares = desired_at(&config, &verdicts, true, start)
        .servers
        .iter()
        .map(|server| server.share)
        .collect::<Vec<_>>();
    assert_eq!(shares, [lb_common::limits::MAX_WEIGHT, 1, 3]);
}

#[test]
fn a_check_that_takes_the_place_of_another_knows_what_that_knew() {
    let before = a_config();
    let mut verdicts = verdicts(&before, &[(1, down())]);
    let mut after = a_config();
    for server in &mut after.virtual_servers[0].real_servers[1..] {
        server.health_check = Some(tcp(Duration::from_secs(7)).into());
    }
    verdicts.keep(&checks(&after));
    let states: Vec<State> = after.virtual_servers[0]
        .real_servers
        .iter()
        .map(|server| verdicts.of(&Check::of(&after.virtual_servers[0], server).expect("it has one")).state)
        .collect();
    assert_eq!(states, [State::Up, State::Down, State::Up]);
    // Of two that are gone, the one that asked the same.
    let of = |port, interval| HealthCheck {
        probe: Probe::Tcp(Tcp { port }),
        ..tcp(Duration::from_secs(interval))
    };
    let check = |definition: HealthCheck| Check {
        server: IpAddr::from([10, 0, 0, 7]),
        vip: None,
        definition: definition.into(),
    };
    let mut both = Verdicts::default();
    both.put(check(of(80, 1)), down());
    both.put(check(of(443, 1)), up());
    both.keep(&[check(of(80, 2)), check(of(443, 2))].into());
    let states = [80, 443].map(|port| both.of(&check(of(port, 2))).state);
    assert_eq!(states, [State::Down, State::Up]);
    let mut none = after.clone();
    none.virtual_servers.clear();
    verdicts.keep(&checks(&none));
    assert_eq!(verdicts, Verdicts::default(), "what is configured no more is forgotten");
}
