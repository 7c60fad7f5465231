//! Clients that are denied and allowed while the daemon runs.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_lab::{Director, Host, Lab, Load, Result, TestResult};
use serde_json::{Value, json};

use crate::support::{OpenConnection, PATIENCE, counter, list, web, web6};

/// A client, a guest, a director and two real servers, with both families.
fn lab() -> Result<Lab> {
    Lab::builder().ipv6().client("client").client("guest").director("director").real_servers(2).build()
}

fn start(lab: &Lab) -> Result<Director> {
    Director::on(&lab.director()).config(web(lab)).config(web6(lab)).start()
}

fn is_let_in(host: &Host, vip: impl Into<IpAddr>) -> bool {
    host.http_get((vip.into(), 80), Duration::from_millis(500)).is_ok()
}

/// What the director did besides forwarding, without whom it denied.
fn other_counters(director: &Director) -> Result<Value> {
    let mut counters = director.json(["counters"])?["counters"].take();
    let all = counters.as_object_mut().expect("an object");
    all.retain(|name, _| {
        !name.starts_with("drop_denied") && name != "pass_not_for_us" && name != "pass_not_a_vip"
    });
    // The lab's own noise: ARP, neighbour discovery.
    all.remove("pass_not_ip");
    all.remove("pass_not_tcp_udp");
    Ok(counters)
}

#[test]
fn a_denied_client_is_cut_off_within_a_second_and_nobody_else_notices() -> TestResult {
    let lab = lab()?;
    let mut director = start(&lab)?;
    let (client, guest) = (lab.client(), lab.host("guest"));
    let load = Load::to((lab.vip(), 80)).at_once(4).timeout(PATIENCE).start(&client)?;
    let load6 = Load::to((lab.vip6(), 80)).at_once(4).timeout(PATIENCE).start(&client)?;
    let before = other_counters(&director)?;
    for (vip, guest_address) in [
        (IpAddr::from(lab.vip()), IpAddr::from(guest.address())),
        (lab.vip6().into(), guest.address6().into()),
    ] {
        let mut stays = OpenConnection::open(&client, vip)?;
        let mut ends = OpenConnection::open(&guest, vip)?;
        let server = stays.ask().expect("it answers");
        ends.ask().expect("it answers");
        let prefix = guest_address.to_string();
        let told = director.cli(["acl", "deny", &prefix])?;
        assert!(told.contains("is now denied for all virtual servers"), "{told}");
        let denied = Instant::now();
        let mut last = denied;
        while ends.ask().is_ok() {
            last = Instant::now();
        }
        let after = last - denied;
        println!("{vip}: the last answer came {after:?} after the denial");
        assert!(after < Duration::from_secs(1), "{after:?}");
        assert!(!is_let_in(&guest, vip));
        assert_eq!(stays.ask().expect("it goes on"), server);
        assert!(counter(&director, "drop_denied")? > 0);
    }
    for load in [load, load6] {
        load.stop();
        let report = load.finish()?;
        assert_eq!(report.failed(), 0, "{report:?}\n{}", director.process()?.log());
        assert!(report.answered > 50, "{report:?}");
    }
    assert_eq!(other_counters(&director)?, before, "no frame of anybody else was treated otherwise");
    director.cli(["acl", "remove", &guest.address().to_string()])?;
    assert!(is_let_in(&guest, lab.vip()) && !is_let_in(&guest, lab.vip6()));
    Ok(())
}

#[test]
fn rules_that_are_replaced_again_and_again_refuse_nobody_else() -> TestResult {
    let lab = lab()?;
    let mut director = start(&lab)?;
    let client = lab.client();
    let load = Load::to((lab.vip(), 80)).at_once(8).timeout(PATIENCE).start(&client)?;
    let around = format!(
        "{}/24",
        client.address().to_string().rsplit_once('.').map_or("", |(net, _)| net).to_owned() + ".0"
    );
    let alone = client.address().to_string();
    for _ in 0..5 {
        for change in [
            ["allow", &around],
            ["allow", &alone],
            ["remove", &around],
            ["deny", "198.51.100.0/24"],
            ["allow", &around],
            ["remove", &alone],
            ["remove", "198.51.100.0/24"],
            ["remove", &around],
        ] {
            director.cli(["acl"].into_iter().chain(change))?;
            director.cli(["acl"].into_iter().chain(change).chain(["--service", "web"]))?;
        }
    }
    load.stop();
    let report = load.finish()?;
    assert_eq!(report.failed(), 0, "{report:?}\n{}", director.process()?.log());
    for name in ["drop_denied", "drop_denied_by_service"] {
        assert_eq!(counter(&director, name)?, 0, "{name}");
    }
    Ok(())
}

#[test]
fn a_virtual_servers_rules_are_its_own_and_are_shown() -> TestResult {
    let lab = lab()?;
    let director = start(&lab)?;
    let guest = lab.host("guest");
    let address = guest.address6().to_string();
    director.cli(["acl", "allow", &address, "--service", "web6"])?;
    assert!(is_let_in(&guest, lab.vip6()) && is_let_in(&lab.client(), lab.vip()));
    assert!(!is_let_in(&lab.client(), lab.vip6()), "nobody else is allowed");
    assert!(counter(&director, "drop_denied_by_service")? > 0);
    let allowed = json!([address]);
    let acls = director.json(["acl", "list"])?;
    assert_eq!(acls["virtual_servers"][1], json!({ "name": "web6", "deny": [], "allow": allowed }));
    assert_eq!((&acls["deny"], &acls["allow"]), (&json!([]), &json!([])));
    assert_eq!(list(&director)?["virtual_servers"][1]["acl"]["allow"], allowed);
    assert!(director.cli(["list", "-n"])?.contains(":80 rr allow 1 runtime\n"));
    let table = director.cli(["acl", "list"])?;
    assert!(table.contains(&format!("web6    allow {address}\nweb6    deny  everybody else\n")), "{table}");
    Ok(())
}

#[test]
fn what_was_changed_counts_while_no_daemon_runs_and_with_the_next() -> TestResult {
    let lab = lab()?;
    let guest = lab.host("guest");
    let acl = format!("[acl]\ndeny = [\"{}\"]\n", guest.address());
    let mut director =
        Director::on(&lab.director()).config(&acl).config(web(&lab)).config(web6(&lab)).start()?;
    assert!(!is_let_in(&guest, lab.vip()) && is_let_in(&guest, lab.vip6()));
    director.cli(["acl", "remove", &guest.address().to_string()])?;
    director.cli(["acl", "deny", &guest.address6().to_string()])?;
    assert!(is_let_in(&guest, lab.vip()) && !is_let_in(&guest, lab.vip6()));
    // What was changed holds while no daemon runs.
    director.kill()?;
    assert!(is_let_in(&guest, lab.vip()) && !is_let_in(&guest, lab.vip6()));
    director.start()?;
    assert!(is_let_in(&guest, lab.vip()) && !is_let_in(&guest, lab.vip6()));
    Ok(())
}

#[test]
fn changes_that_make_no_sense_say_why() -> TestResult {
    let lab = lab()?;
    let director = start(&lab)?;
    for (words, code, message) in [
        (vec!["deny", "198.51.100.7/24"], 2, "write \"198.51.100.0/24\", or \"198.51.100.7\""),
        (vec!["remove", "198.51.100.0/24"], 1, "198.51.100.0/24 is neither denied nor allowed"),
        (vec!["deny", "198.51.100.0/24", "--service", "mail"], 1, "there is no virtual server \"mail\""),
        (
            vec!["deny", "2001:db8::/32", "--service", "web"],
            1,
            "no client of a virtual server of IPv4 is in 2001:db8::/32",
        ),
    ] {
        let output = director.try_cli(["acl"].into_iter().chain(words.iter().copied()))?;
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains(message), "{words:?}: {}", output.stderr);
    }
    Ok(())
}
