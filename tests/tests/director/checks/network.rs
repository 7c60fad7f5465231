//! What a network and a kernel say, or do not say.

use lb_lab::{TestResult, UdpEcho, VirtualServer, wait_until};
use nix::sys::signal::Signal;

use super::{all_are_up, changes, checked, is_found, server, started, wait_until_it_is};
use crate::support::{PATIENCE, lab};

const UDP: u16 = 5353;

/// The kernel accepts connections for a process that is frozen, so that TCP does not notice.
#[test]
fn a_frozen_web_server_times_out_and_tcp_does_not_notice() -> TestResult {
    let lab = lab(2)?;
    let services =
        [checked(&lab, "http", 80, "http = {}"), checked(&lab, "tcp", 8080, "tcp = { port = 80 }")];
    let director = started(&lab, services)?;
    let frozen = lab.host("rs1");
    frozen.signal_web(Signal::SIGSTOP)?;
    is_found(&director, "http", "no answer to the request within 200ms")?;
    let successes = || server(&director, "tcp", 0).map(|found| found["health"]["in_a_row"].as_u64());
    let before = successes()?;
    wait_until("TCP has asked again and again", PATIENCE, || {
        successes().is_ok_and(|now| now > before.map(|before| before + 3))
    });
    assert!(changes(&director, "tcp")?.iter().all(|event| event["after"] == "up"));
    frozen.signal_web(Signal::SIGCONT)?;
    all_are_up(&director);
    Ok(())
}

#[test]
fn a_port_that_nobody_listens_on_is_refused() -> TestResult {
    let lab = lab(2)?;
    let director = started(&lab, [checked(&lab, "web", 80, "tcp = {}")])?;
    lab.host("rs1").stop_web()?;
    is_found(&director, "web", "port 80 refused: nothing listens there, or a firewall rejects it")?;
    lab.host("rs1").start_web()?;
    all_are_up(&director);
    Ok(())
}

/// What a firewall does that drops: its host is there, says nothing, and answers ARP as before.
#[test]
fn a_port_that_drops_everything_is_not_connected() -> TestResult {
    let lab = lab(2)?;
    let director = started(&lab, [checked(&lab, "web", 80, "tcp = {}")])?;
    let answers = format!("{}/32", lab.director().address());
    lab.host("rs1").run(["ip", "route", "add", "blackhole", &answers])?;
    is_found(&director, "web", "not connected within 200ms")?;
    lab.host("rs1").run(["ip", "route", "delete", "blackhole", &answers])?;
    all_are_up(&director);
    Ok(())
}

#[test]
fn a_udp_port_that_nobody_listens_on_is_refused() -> TestResult {
    let lab = lab(2)?;
    let [rs1, rs2] = ["rs1", "rs2"].map(|name| lab.host(name));
    // A kernel sends one such ICMP error in a second to the same address: none to every probe of ours.
    rs1.set_sysctl("ipv4/icmp_ratelimit", "0")?;
    let listening = UdpEcho::start(&rs1, (rs1.address(), UDP))?;
    let _other = UdpEcho::start(&rs2, (rs2.address(), UDP))?;
    let silent = format!("udp = {{ port = {UDP} }}");
    let answering = format!("udp = {{ port = {UDP}, payload = \"who\", reply_regex = '^rs[12]: who$' }}");
    let director =
        started(&lab, [checked(&lab, "silent", 80, &silent), checked(&lab, "answering", 81, &answering)])?;
    drop(listening);
    for service in ["silent", "answering"] {
        is_found(&director, service, "port 5353 refused")?;
    }
    let _listening = UdpEcho::start(&rs1, (rs1.address(), UDP))?;
    all_are_up(&director);
    Ok(())
}

#[test]
fn a_host_that_answers_no_echo_requests_is_down() -> TestResult {
    let lab = lab(2)?;
    let director = started(&lab, [checked(&lab, "web", 80, "icmp = {}")])?;
    lab.host("rs1").set_sysctl("ipv4/icmp_echo_ignore_all", "1")?;
    is_found(&director, "web", "no echo reply within 200ms")?;
    lab.host("rs1").set_sysctl("ipv4/icmp_echo_ignore_all", "0")?;
    all_are_up(&director);
    Ok(())
}

/// A check finds it before the neighbour's entry expires. One that has not looked yet knows nothing of it, and the
/// daemon does.
#[test]
fn a_host_that_is_off_is_unresolved_and_checks_say_that_nobody_is_there() -> TestResult {
    let lab = lab(2)?;
    let rarely =
        "health_check = { interval = \"1h\", timeout = \"4500ms\", retries = 0, tcp = { port = 80 } }";
    let rarely = VirtualServer::tcp("rarely", lab.vip(), 8080).hosts(&lab.real_servers()).line(rarely);
    let mut director = started(&lab, [checked(&lab, "often", 80, "tcp = {}"), rarely])?;
    let off = lab.host("rs1");
    off.set_link(false)?;
    is_found(&director, "often", "not connected within 200ms")?;
    let unresolved = wait_until_it_is(&director, "rarely", "unresolved");
    assert_eq!(unresolved["health"]["state"], "up", "{unresolved:#}");
    assert!(
        director.process()?.log().contains(&format!("real server {} does not answer ARP", off.address()))
    );
    let failed = director.try_cli(["check-now", &off.address().to_string()])?;
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
    is_found(&director, "rarely", "is unreachable: nobody on its segment answers for the address")?;
    off.set_link(true)?;
    wait_until_it_is(&director, "often", "up");
    director.cli(["check-now", &off.address().to_string()])?;
    all_are_up(&director);
    Ok(())
}
