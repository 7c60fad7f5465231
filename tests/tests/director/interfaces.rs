//! A director with two NICs on two networks. Real servers behind the second one answer clients through the first.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_lab::{
    Captured, Direction, Director, DirectorBuilder, Host, Lab, SecondNetwork, TestResult, VirtualServer,
};

use crate::support::{OpenConnection, PATIENCE, answers, answers_of, lab, lab6, real_servers, web};

const BOTH: &str = r#"["eth0", "eth1"]"#;

/// rs1 behind eth0, rs2 behind eth1, and a director that has both.
fn two_networks(lab: &Lab, vip: impl Into<IpAddr>) -> lb_lab::Result<(SecondNetwork, DirectorBuilder)> {
    let (vip, rs1, rs2) = (vip.into(), lab.host("rs1"), lab.host("rs2"));
    let network = lab.second_network(&[&lab.director(), &rs2])?;
    let addresses: [IpAddr; 2] = if vip.is_ipv6() {
        [rs1.address6().into(), SecondNetwork::address6(&rs2).into()]
    } else {
        [rs1.address().into(), SecondNetwork::address(&rs2).into()]
    };
    let service =
        VirtualServer::tcp("web", vip, 80).real_server(addresses[0], 1).real_server(addresses[1], 1);
    Ok((network, Director::on(&lab.director()).setting("interfaces", BOTH).config(service)))
}

fn count(names: Vec<String>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn six_each() -> BTreeMap<String, u32> {
    ["rs1", "rs2"].map(|name| (name.to_owned(), 6)).into()
}

/// TCP frames to the IPv4 VIP that a host's cable brings it.
fn to_vip(lab: &Lab) -> impl Fn(Direction, &[u8]) -> bool + Send + 'static {
    let vip = lab.vip().octets();
    move |direction, frame| {
        direction == Direction::Out && frame.len() >= 34 && frame[12..14] == [8, 0] && frame[30..34] == vip
    }
}

#[test]
fn real_servers_behind_both_interfaces_share_the_connections() -> TestResult {
    let lab = lab(2)?;
    let (network, director) = two_networks(&lab, lab.vip())?;
    let rs2 = lab.host("rs2");
    let at_rs2 = network.capture_if(&rs2, to_vip(&lab))?;
    let mut director = director.start()?;
    assert_eq!(count(answers(&lab, 12)?), six_each());
    let frames: Vec<Captured> = at_rs2.wait_for_some(6, PATIENCE, |_| true)?;
    for frame in &frames {
        assert_eq!(frame.bytes[..6], SecondNetwork::mac(&rs2).0, "to the MAC it has there");
        assert_eq!(frame.bytes[6..12], SecondNetwork::mac(&lab.director()).0, "from the NIC that sent it");
    }
    let listed = real_servers(&director)?;
    assert_eq!(listed[1]["mac"], SecondNetwork::mac(&rs2).to_string());
    assert_eq!(listed[1]["state"], "up");
    let log = director.process()?.log();
    assert!(log.contains("attached to eth0") && log.contains("attached to eth1"), "{log}");
    let counters = director.json(["counters"])?;
    assert_eq!(counters["interface"], "eth0, eth1");
    Ok(())
}

#[test]
fn explain_names_the_interface_a_frame_comes_in_on_and_the_one_it_leaves_by() -> TestResult {
    let lab = lab(2)?;
    let (_network, director) = two_networks(&lab, lab.vip())?;
    let director = director.start()?;
    let (client, vip) = (format!("{}:40000", lab.client().address()), format!("{}:80", lab.vip()));
    let ask = |more: &[&str]| [&["explain", &client, &vip, "tcp"], more].concat().join(" ");
    let explain = |more: &[&str]| director.json(ask(more).split(' '));
    // The first connection is rs2's, which is behind eth1.
    let first = explain(&[])?;
    assert_eq!(first["real_server"]["mac"], SecondNetwork::mac(&lab.host("rs2")).to_string());
    assert_eq!(
        (&first["frame"]["interface"], &first["verdict"]["action"], &first["verdict"]["interface"]),
        (&"eth0".into(), &"redirect".into(), &"eth1".into())
    );
    let text = director.cli(ask(&[]).split(' '))?;
    assert!(text.contains("XDP_REDIRECT: forward out of eth1\n"), "{text}");
    let second = explain(&["--interface", "eth1"])?;
    assert_eq!(second["frame"]["mac"], SecondNetwork::mac(&lab.director()).to_string());
    assert_eq!(
        (&second["frame"]["interface"], &second["verdict"]["action"], &second["verdict"]["interface"]),
        (&"eth1".into(), &"transmit".into(), &"eth1".into())
    );
    let unknown = director.try_cli(ask(&["--interface", "eth9"]).split(' '))?;
    assert!(!unknown.status.success());
    assert!(unknown.stderr.contains("the interface is one of eth0, eth1"), "{}", unknown.stderr);
    Ok(())
}

#[test]
fn real_servers_of_ipv6_behind_both_interfaces_share_the_connections() -> TestResult {
    let lab = lab6(2)?;
    let (_network, director) = two_networks(&lab, lab.vip6())?;
    let _director = director.start()?;
    assert_eq!(count(answers_of(&lab, lab.vip6(), 12)?), six_each());
    Ok(())
}

#[test]
fn generic_xdp_reaches_real_servers_behind_both_interfaces_too() -> TestResult {
    let lab = lab(2)?;
    let (_network, director) = two_networks(&lab, lab.vip())?;
    let director = director.setting("xdp_mode", "\"generic\"").start()?;
    assert_eq!(count(answers(&lab, 12)?), six_each());
    assert_eq!(director.json(["counters"])?["xdp_mode"], "generic");
    Ok(())
}

#[test]
fn connections_survive_restarts_even_if_the_interfaces_change_their_order() -> TestResult {
    let lab = lab(2)?;
    let (_network, builder) = two_networks(&lab, lab.vip())?;
    let mut director = builder.clone().start()?;
    let mut open: Vec<OpenConnection> =
        (0..2).map(|_| OpenConnection::open(&lab.client(), lab.vip())).collect::<lb_lab::Result<_>>()?;
    let before: Vec<String> = open.iter_mut().map(|open| open.ask().expect("it answers")).collect();
    assert_eq!(before, ["rs2", "rs1"]);
    let mut still_there =
        || -> Vec<String> { open.iter_mut().map(|open| open.ask().expect("it answers")).collect() };
    director.kill()?;
    assert_eq!(still_there(), before, "both ways go on without the daemon");
    director.start()?;
    assert_eq!(still_there(), before);
    let log = director.process()?.log();
    assert!(log.contains("took over the program attached to eth1"), "{log}");
    drop(director);
    let mut director = builder.setting("interfaces", r#"["eth1", "eth0"]"#).start()?;
    assert_eq!(still_there(), before);
    assert_eq!(count(answers(&lab, 12)?), six_each());
    director.stop()?;
    Ok(())
}

/// What clients behind the second interface send goes straight back out of it, and out of the first where the real
/// server is there.
#[test]
fn requests_may_come_in_on_either_interface() -> TestResult {
    let lab = Lab::builder().client("client").director("director").real_servers(2).client("other").build()?;
    let (rs1, rs2, other) = (lab.host("rs1"), lab.host("rs2"), lab.host("other"));
    let _network = lab.second_network(&[&lab.director(), &rs2, &other])?;
    let vip = SecondNetwork::address(&lab.director()).to_bits() + 60;
    let vip = std::net::Ipv4Addr::from_bits(vip);
    rs1.add_vip(vip)?;
    rs2.add_vip(vip)?;
    let service = VirtualServer::tcp("web", vip, 80)
        .real_server(rs1.address(), 1)
        .real_server(SecondNetwork::address(&rs2), 1);
    let director = Director::on(&lab.director()).setting("interfaces", BOTH).config(service).start()?;
    // The VIP is on the interface whose network it is in.
    let addresses = lab.director().run(["ip", "address", "show", "dev", "eth1"])?;
    assert!(addresses.contains(&format!("{vip}/32")), "{addresses}");
    // Answers come over the first network.
    let (to, from) = (vip.to_string(), other.address().to_string());
    other.run(["ip", "route", "replace", &to, "dev", "eth1", "src", &from])?;
    let names = (0..12).map(|_| answer(&other, vip)).collect::<lb_lab::Result<Vec<_>>>()?;
    assert_eq!(count(names), six_each());
    drop(director);
    Ok(())
}

fn answer(client: &Host, vip: std::net::Ipv4Addr) -> lb_lab::Result<String> {
    Ok(client.http_get((vip, 80), PATIENCE)?.server)
}

#[test]
fn a_real_server_behind_an_interface_that_is_not_listed_is_unresolved_and_the_log_says_what_to_add()
-> TestResult {
    let lab = lab(2)?;
    let (_network, builder) = two_networks(&lab, lab.vip())?;
    let mut director = builder.clone().setting("interfaces", r#"["eth0"]"#).start()?;
    let listed = real_servers(&director)?;
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&"up".into(), &"unresolved".into()));
    let log = director.process()?.log();
    assert!(log.contains(r#"is behind eth1, which is not among director.interfaces"#), "{log}");
    assert!(log.contains(r#"add "eth1" there"#), "{log}");
    assert_eq!(answers(&lab, 3)?, ["rs1"; 3]);
    director.stop()?;
    drop(director);
    let _director = builder.start()?;
    assert_eq!(count(answers(&lab, 12)?), six_each(), "it was added");
    Ok(())
}

#[test]
fn an_interface_that_is_taken_from_the_list_is_let_go() -> TestResult {
    let lab = lab(2)?;
    let (_network, builder) = two_networks(&lab, lab.vip())?;
    let mut director = builder.start()?;
    director.stop()?;
    drop(director);
    let mut director =
        Director::on(&lab.director()).setting("on_exit", "\"detach\"").config(web(&lab)).start()?;
    let link = |name: &str| lab.director().run(["ip", "-details", "link", "show", "dev", name]);
    assert!(!link("eth1")?.contains("xdp"), "{}", link("eth1")?);
    assert!(link("eth0")?.contains("xdp"));
    director.stop()?;
    assert!(!link("eth0")?.contains("xdp"));
    Ok(())
}

#[test]
fn an_interface_that_vanishes_ends_the_daemon_and_the_others_go_on() -> TestResult {
    let lab = lab(2)?;
    let (mut network, builder) = two_networks(&lab, lab.vip())?;
    let mut director = builder.start()?;
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    assert_eq!(open.ask().expect("it answers"), "rs2");
    let mut first = OpenConnection::open(&lab.client(), lab.vip())?;
    assert_eq!(first.ask().expect("it answers"), "rs1");
    lab.director().run(["ip", "link", "delete", "dev", "eth1"])?;
    director.process()?.wait_for_line("interface eth1 is gone", PATIENCE)?;
    assert_eq!(first.ask().expect("eth0 forwards"), "rs1");
    network.plug(&lab.director())?;
    lb_lab::wait_until("the daemon has ended", PATIENCE, || {
        director.process().is_ok_and(|process| process.exit_status().is_some())
    });
    director.start()?;
    assert_eq!(open.ask().expect("its interface is another one now"), "rs2");
    assert_eq!(count(answers(&lab, 12)?), six_each());
    Ok(())
}
