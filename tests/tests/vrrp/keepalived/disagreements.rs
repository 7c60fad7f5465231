//! Settings that differ where they may not: lb counts what it does not listen to under its cause, and says once what to do.
//! Where they may differ, it listens.

use std::time::Duration;

use lb_lab::{Director, Lab, TestResult};

use super::program::{Keepalived, PREEMPTION};
use super::router::{Kind, adverts, assert_nothing_rejected, wait_for_more_adverts};
use crate::support::{Instance, vrrp, wait_for, wait_for_state};

const V2_PASS: Kind = Kind { password: Some("1111"), ..Kind::V2 };
const V3_UNICAST: Kind = Kind { unicast: true, ..Kind::V3 };

#[test]
fn another_password() -> TestResult {
    let other = Kind { password: Some("1112"), ..Kind::V2 };
    ignores((V2_PASS, &same), other, "password", "`authentication` has to be the same on all directors")
}

#[test]
fn a_password_on_one_side_only() -> TestResult {
    let remedy = "its authentication is of type 1, not 0";
    ignores((Kind::V2, &same), V2_PASS, "authentication_type", remedy)
}

#[test]
fn version_3_where_version_2_is_spoken() -> TestResult {
    let remedy = "it is of version 3, not 2: `version` has to be the same";
    ignores((Kind::V2, &same), Kind::V3, "version", remedy)
}

#[test]
fn version_2_where_version_3_is_spoken() -> TestResult {
    let remedy = "it is of version 2, not 3: `version` has to be the same";
    ignores((Kind::V3, &same), Kind::V2, "version", remedy)
}

#[test]
fn another_interval_in_version_2() -> TestResult {
    let slower = Kind { interval: Duration::from_secs(2), ..Kind::V2 };
    let remedy = "version 2 needs the same `advert_interval` on all directors";
    ignores((slower, &same), Kind::V2, "interval", remedy)
}

#[test]
fn another_address() -> TestResult {
    let other = |lab: &Lab, instance: Instance| {
        instance.key("virtual_addresses", format!("[\"{}/24\"]", lab.vips()[1]))
    };
    ignores((Kind::V3, &other), Kind::V3, "addresses", "`virtual_addresses` has to be the same")
}

#[test]
fn one_address_more() -> TestResult {
    let more = |lab: &Lab, instance: Instance| {
        let [first, second] = [lab.vips()[0], lab.vips()[1]];
        instance.key("virtual_addresses", format!("[\"{first}/24\", \"{second}/24\"]"))
    };
    ignores(
        (Kind::V3, &more),
        Kind::V3,
        "count",
        "its number of addresses is 1, not 2: `virtual_addresses` has to be the same",
    )
}

#[test]
fn to_a_peer_where_the_group_is_listened_to() -> TestResult {
    let remedy = "`unicast_peers` has to be set on all directors";
    ignores((Kind::V3, &same), V3_UNICAST, "destination", remedy)
}

#[test]
fn to_the_group_where_there_are_peers() -> TestResult {
    let remedy = "it was sent to 224.0.0.18: `unicast_peers` has to be set on all directors";
    ignores((V3_UNICAST, &same), Kind::V3, "destination", remedy)
}

#[test]
fn from_nobody_that_is_a_peer() -> TestResult {
    let other = |lab: &Lab, instance: Instance| {
        instance.key("unicast_peers", format!("[\"{}\"]", lab.client().address()))
    };
    let remedy = "which is not in `unicast_peers`: add it, if that is a director";
    ignores((V3_UNICAST, &other), V3_UNICAST, "source", remedy)
}

#[test]
fn another_interval_in_version_3_is_the_masters() -> TestResult {
    let slow = Kind { interval: Duration::from_secs(1), ..Kind::V3 };
    let fast = Kind { interval: Duration::from_millis(100), ..Kind::V3 };
    let lab = slow.lab()?;
    let mut b = Keepalived::start(&lab, "b", &slow.of_keepalived(&lab, 150))?;
    b.wait_for_state("VI_1", "MASTER")?;
    let mut a = fast.start_lb(&lab, &fast.of_lb(&lab, 100).key("preempt", false))?;
    // It may be master until it has heard keepalived, and its interval, for the first time.
    wait_for(&a, "backup", |found| found["adverts"]["received"].as_u64() >= Some(1))?;
    wait_for_state(&a, "backup")?;
    let since = vrrp(&a)?["since"].clone();
    wait_for(&a, "backup", |found| found["adverts"]["received"].as_u64() >= Some(4))?;
    assert_eq!(vrrp(&a)?["since"], since, "a backup waits as long as its master's interval makes it");

    // The other way round: keepalived of 100 ms is backup of lb's 1 s.
    b.stop()?;
    wait_for_state(&a, "master")?;
    b.configure(&fast.of_keepalived(&lab, 100))?;
    change(&mut a, &slow.of_lb(&lab, 150))?;
    b.run()?;
    wait_for_more_adverts(&a, "sent")?;
    assert_eq!(b.state("VI_1").as_deref(), Some("BACKUP"));
    assert_nothing_rejected(&a)?;
    let election = "with lower priority 100, ours 150, forcing new election";
    b.assert_content(&[PREEMPTION.as_slice(), &[election, "advertisement interval updated from "]].concat());
    Ok(())
}

/// Stops lb, and starts it with another instance.
fn change(a: &mut Director, instance: &Instance) -> TestResult {
    a.stop()?;
    a.change_config(instance)?;
    a.start()?;
    wait_for_state(a, "master")?;
    Ok(())
}

type Change<'a> = &'a dyn Fn(&Lab, Instance) -> Instance;

fn same(_: &Lab, instance: Instance) -> Instance {
    instance
}

/// lb does not listen to keepalived, nor is deposed by it; so there are two masters.
fn ignores(
    (of_lb, change): (Kind, Change<'_>),
    of_keepalived: Kind,
    cause: &str,
    remedy: &str,
) -> TestResult {
    let lab = of_lb.lab()?;
    let instance = change(&lab, of_lb.of_lb(&lab, 100));
    let mut a = of_lb.start_lb(&lab, &instance)?;
    wait_for(&a, "it takes part", |found| found["source"].is_string() && found["state"] == "backup")?;
    let sent = adverts(&lab, "b")?;
    let b = Keepalived::start(&lab, "b", &of_keepalived.of_keepalived(&lab, 150))?;
    b.wait_for_state("VI_1", "MASTER")?;
    wait_for_state(&a, "master")?;
    // keepalived may have sent one only: what it does not listen to makes it wait for another interval, too.
    wait_for_more_adverts(&a, "sent")?;
    wait_for(&a, &format!("{cause} is counted"), |found| {
        let count = found["adverts"]["rejected"][cause].as_u64();
        count >= Some(1) && count == u64::try_from(sent.frames().len()).ok()
    })?;
    let found = vrrp(&a)?;
    assert_eq!((&found["state"], &found["adverts"]["received"]), (&"master".into(), &0.into()));
    assert_eq!(found["adverts"]["rejected"].as_object().map(serde_json::Map::len), Some(1), "{found}");
    let log = a.process()?.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("is ignored: ")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(&format!("VI_1: an advert of {}", b.host().address())), "{said:?}");
    assert!(said[0].contains(remedy), "{said:?}");
    assert!(a.cli(["vrrp", "--details"])?.contains(cause));
    Ok(())
}
