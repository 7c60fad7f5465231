//! Requests and load.

use std::thread;
use std::time::Duration;

use lb_lab::{HostSpec, Lab, Load, Request, TestResult, UdpEcho, try_wait_until};

use crate::{SOON, pair};

#[test]
fn a_client_reaches_each_real_server_by_http() -> TestResult {
    let lab = Lab::builder().client("client").real_servers(2).build()?;
    for server in lab.real_servers() {
        let answer = lab.client().http_get((server.address(), 80), SOON)?;
        assert_eq!(
            (answer.status, answer.body.as_str(), answer.server.as_str()),
            (200, server.name(), server.name())
        );
    }
    Ok(())
}

#[test]
fn with_ipv6_every_host_has_an_address_of_each_family() -> TestResult {
    let lab = Lab::builder().ipv6().client("client").real_servers(2).build()?;
    assert_eq!(lab.vip6(), "2001:db8:99::100".parse::<std::net::Ipv6Addr>()?);
    for server in lab.real_servers() {
        assert_eq!(lab.client().http_get((server.address6(), 80), SOON)?.server, server.name());
        assert_eq!(lab.client().http_get((server.address(), 80), SOON)?.server, server.name());
        assert!(server.run(["ip", "address", "show", "dev", "lo"])?.contains("2001:db8:99::100/128"));
    }
    Ok(())
}

#[test]
fn two_labs_with_the_same_addresses_do_not_see_each_other() -> TestResult {
    let build = |name: &'static str| move || Lab::builder().client("client").real_server(name).build();
    let (left, right) = (thread::spawn(build("left")), thread::spawn(build("right")));
    let (left, right) = (left.join().expect("no panic")?, right.join().expect("no panic")?);
    assert_ne!(left.id(), right.id());
    for (lab, name) in [(&left, "left"), (&right, "right")] {
        let server = lab.host(name).address();
        assert_eq!(lab.client().http_get((server, 80), SOON)?.server, name);
    }
    left.remove()?;
    let server = right.host("right").address();
    assert_eq!(right.client().http_get((server, 80), SOON)?.server, "right", "without the other lab");
    Ok(())
}

#[test]
fn a_real_server_has_the_vip_but_is_silent_about_it() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let error = client
        .http_get((lab.vip(), 80), Duration::from_millis(200))
        .expect_err("nobody answers ARP for the VIP");
    assert!(error.to_string().contains(&lab.vip().to_string()), "{error}");
    // What a director does for it: the right Ethernet address.
    let mac = server.mac().to_string();
    client.run(["ip", "neighbour", "replace", &lab.vip().to_string(), "lladdr", &mac, "dev", "eth0"])?;
    assert_eq!(client.http_get((lab.vip(), 80), SOON)?.server, "rs1");
    Ok(())
}

#[test]
fn a_request_comes_from_the_source_that_it_names() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let capture = server.capture()?;
    Request::get((server.address(), 80)).source((client.address(), 40_000)).path("/any").send(&client)?;
    // The SYN's source port, behind 14 bytes of Ethernet and 20 of IP.
    capture.wait_for(SOON, |frame| frame.bytes.get(34..36) == Some(&40_000_u16.to_be_bytes()))?;
    Ok(())
}

#[test]
fn a_udp_server_answers_with_its_name_from_the_vip() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let echo = UdpEcho::start(&server, (lab.vip(), 5353))?;
    let mac = server.mac().to_string();
    client.run(["ip", "neighbour", "replace", &lab.vip().to_string(), "lladdr", &mac, "dev", "eth0"])?;
    assert_eq!(client.udp_exchange(echo.address(), b"hello", SOON)?, b"rs1: hello");
    drop(echo);
    client.udp_exchange((lab.vip(), 5353), b"hello", SOON).expect_err("the server has stopped");
    Ok(())
}

#[test]
fn a_load_of_a_number_sends_that_number() -> TestResult {
    let lab = Lab::builder().client("client").host(HostSpec::real_server("rs1").ports([80, 8080])).build()?;
    let server = lab.host("rs1").address();
    for load in [Load::to((server, 80)), Load::to((server, 8080)).reset_connections()] {
        let report = load.requests(500).at_once(8).run(&lab.client())?;
        assert_eq!((report.answered, report.failed()), (500, 0), "{:?}", report.errors);
        assert_eq!(report.by_server.get("rs1"), Some(&500));
        assert!(report.latency(0.5) > Duration::ZERO && report.latency(0.5) <= report.latency(0.99));
    }
    Ok(())
}

#[test]
fn a_load_counts_errors_by_reason() -> TestResult {
    let lab = pair()?;
    let report = Load::to((lab.host("rs1").address(), 81)).requests(20).run(&lab.client())?;
    assert_eq!((report.answered, report.failed()), (0, 20));
    let reasons: Vec<_> = report.errors.keys().collect();
    assert!(reasons.iter().all(|reason| reason.contains("refused")), "{reasons:?}");
    Ok(())
}

#[test]
fn a_load_of_a_time_ends_after_it_and_can_be_watched_and_stopped() -> TestResult {
    let lab = pair()?;
    let load = Load::to((lab.host("rs1").address(), 80)).duration(Duration::from_secs(30));
    let running = load.start(&lab.client())?;
    try_wait_until("requests are answered", SOON, || running.answered() > 100)?;
    running.stop();
    let report = running.finish()?;
    assert!(report.answered > 100 && report.failed() == 0, "{report:?}");

    let report = load.duration(Duration::from_millis(200)).run(&lab.client())?;
    assert!(report.elapsed < SOON, "{:?}", report.elapsed);
    Ok(())
}
