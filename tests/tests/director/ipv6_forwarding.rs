//! IPv6 through the data plane: what `forwarding`, `neighbours`, `restart` and `real_server` show for IPv4.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_lab::{Direction, Director, HostSpec, Lab, Load, TestResult, UdpEcho, VirtualServer, wait_until};

use crate::support::{OpenConnection, PATIENCE, answers, answers_of, counter, lab6, real_servers, web, web6};

#[test]
fn twelve_requests_reach_three_real_servers_four_times_each() -> TestResult {
    let lab = lab6(3)?;
    let director = Director::on(&lab.director()).config(web6(&lab)).start()?;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for server in answers_of(&lab, lab.vip6(), 12)? {
        *counts.entry(server).or_default() += 1;
    }
    assert_eq!(counts, ["rs1", "rs2", "rs3"].map(|name| (name.to_owned(), 4)).into());
    for server in real_servers(&director)? {
        assert_eq!(server["stats"]["connections"], 4, "{server}");
    }
    Ok(())
}

#[test]
fn real_servers_see_the_clients_frames_and_clients_see_the_vip() -> TestResult {
    let lab = lab6(1)?;
    let _director = Director::on(&lab.director()).config(web6(&lab)).start()?;
    let (client, rs1) = (lab.client(), lab.host("rs1"));
    let between = |from: [u8; 16], to: [u8; 16]| {
        move |frame: &[u8]| {
            let is_tcp = frame.len() >= 74 && frame[12..14] == [0x86, 0xdd] && frame[20] == 6;
            is_tcp && frame[22..38] == from && frame[38..54] == to
        }
    };
    let (address, vip) = (client.address6().octets(), lab.vip6().octets());
    let (to_vip, from_vip) = (between(address, vip), between(vip, address));
    let sent = client.capture_if(move |direction, frame| direction == Direction::Out && to_vip(frame))?;
    let arrived = rs1.capture_if(move |direction, frame| direction == Direction::In && to_vip(frame))?;
    let replies = client.capture_if(move |direction, frame| direction == Direction::In && from_vip(frame))?;

    assert_eq!(answers_of(&lab, lab.vip6(), 3)?, ["rs1"; 3]);
    let sent = sent.wait_for_some(15, PATIENCE, |_| true)?;
    let arrived = arrived.wait_for_some(sent.len(), PATIENCE, |_| true)?;
    for (sent, arrived) in sent.iter().zip(&arrived) {
        assert_eq!(arrived.bytes[12..], sent.bytes[12..], "byte for byte: hop limit, flow label, checksum");
        assert_eq!(arrived.bytes[..12], [lab.host("rs1").mac().0, lab.director().mac().0].concat());
    }
    let reply = replies.wait_for(PATIENCE, |_| true)?;
    assert_eq!(reply.bytes[6..12], rs1.mac().0, "from the real server, past the director");
    Ok(())
}

#[test]
fn both_families_are_balanced_side_by_side() -> TestResult {
    let lab = lab6(2)?;
    let _director = Director::on(&lab.director()).config(web(&lab)).config(web6(&lab)).start()?;
    for _ in 0..2 {
        assert_eq!(answers(&lab, 2)?, ["rs2", "rs1"]);
        assert_eq!(answers_of(&lab, lab.vip6(), 2)?, ["rs2", "rs1"]);
    }
    Ok(())
}

#[test]
fn the_director_itself_answers_pings_to_vips_of_both_families() -> TestResult {
    let lab = lab6(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).config(web6(&lab)).start()?;
    let at_rs1 = lab.switch().capture_if(&lab.host("rs1"), |direction, frame| {
        let is_echo = |protocol_at: usize, protocol, kind_at: usize, kind| {
            frame.get(protocol_at) == Some(&protocol) && frame.get(kind_at) == Some(&kind)
        };
        direction == Direction::Out && (is_echo(23, 1, 34, 8) || is_echo(20, 58, 54, 128))
    })?;
    for vip in [IpAddr::from(lab.vip()), lab.vip6().into()] {
        let before = counter(&director, "pass_not_tcp_udp")?;
        lab.client().run(["ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", &vip.to_string()])?;
        assert!(counter(&director, "pass_not_tcp_udp")? >= before + 3, "{vip}");
    }
    let seen = at_rs1.finish()?;
    assert!(seen.is_empty(), "rs1 has the VIPs and is not asked: {seen:?}");
    Ok(())
}

#[test]
fn udp_datagrams_reach_one_real_server_per_flow() -> TestResult {
    let lab = lab6(2)?;
    let service = VirtualServer::udp("dns", lab.vip6(), 53).hosts(&lab.real_servers());
    let _director = Director::on(&lab.director()).config(service).start()?;
    let echo = |server| UdpEcho::start(server, (lab.vip6(), 53));
    let _echo: Vec<UdpEcho> = lab.real_servers().iter().map(echo).collect::<lb_lab::Result<_>>()?;
    let exchange = |_| lab.client().udp_exchange((lab.vip6(), 53), b"ping", PATIENCE);
    let answers: Vec<Vec<u8>> = (0..4).map(exchange).collect::<lb_lab::Result<_>>()?;
    assert_eq!(answers, [&b"rs2: ping"[..], b"rs1: ping", b"rs2: ping", b"rs1: ping"]);
    Ok(())
}

#[test]
fn a_client_keeps_its_real_server_with_sh() -> TestResult {
    let lab = lab6(3)?;
    let _director = Director::on(&lab.director()).config(web6(&lab).scheduler("sh")).start()?;
    let seen = answers_of(&lab, lab.vip6(), 6)?;
    assert!(seen.iter().all(|server| *server == seen[0]), "{seen:?}");
    Ok(())
}

#[test]
fn connections_survive_a_killed_daemon_and_the_next_one() -> TestResult {
    let lab = lab6(2)?;
    let mut director = Director::on(&lab.director()).config(web6(&lab)).start()?;
    let mut open = OpenConnection::open(&lab.client(), lab.vip6())?;
    let server = open.ask().expect("it answers");
    director.kill()?;
    assert_eq!(open.ask().expect("an open connection goes on without the daemon"), server);
    assert_eq!(answers_of(&lab, lab.vip6(), 3)?.len(), 3, "new connections too");
    director.start()?;
    assert_eq!(open.ask().expect("an open connection survives the takeover"), server);
    let log = director.process()?.log();
    assert!(log.contains("took over the program attached to eth0"), "{log}");
    let connections = |server: &serde_json::Value| server["stats"]["connections"].as_u64();
    assert_eq!(real_servers(&director)?.iter().filter_map(connections).sum::<u64>(), 4, "counters go on");
    let active = |server: &serde_json::Value| server["active_connections"].as_u64();
    assert_eq!(real_servers(&director)?.iter().filter_map(active).sum::<u64>(), 1, "so does the table");
    Ok(())
}

#[test]
fn restarts_under_load_lose_nothing() -> TestResult {
    let lab = lab6(3)?;
    let mut director = Director::on(&lab.director()).config(web6(&lab)).start()?;
    let load = Load::to((lab.vip6(), 80)).at_once(8).timeout(PATIENCE).start(&lab.client())?;
    for _ in 0..3 {
        director.kill()?;
        director.start()?;
        director.restart()?;
        let before = load.answered();
        wait_until("requests go on", PATIENCE, || load.answered() > before);
    }
    load.stop();
    let report = load.finish()?;
    assert_eq!(report.failed(), 0, "{:?}", report.errors);
    Ok(())
}

#[test]
fn what_somebody_else_changed_is_not_what_ipv6_looks_like() -> TestResult {
    let lab = lab6(1)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).config(web6(&lab)).start()?;
    // Longer than the ten seconds after which the maps are read back.
    std::thread::sleep(std::time::Duration::from_secs(12));
    let log = director.process()?.log();
    assert!(!log.contains("changed by somebody else"), "{log}");
    Ok(())
}

#[test]
fn a_plain_machine_becomes_a_real_server() -> TestResult {
    let lab = Lab::builder().ipv6().client("client").director("director").host(HostSpec::other("plain"));
    let lab = lab.build()?;
    let (plain, vip) = (lab.host("plain"), lab.vip6().to_string());
    let state_file = lab.directory().join("real-server.json");
    let lb = |action: &str| {
        let binary = std::env::var("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY");
        let command = plain.command(binary).args(["real-server", action, "--vip", &vip]);
        command.arg("--state-file").arg(&state_file).run()?.success()
    };
    lb("up")?;
    plain.start_web()?;
    let service = VirtualServer::tcp("web6", lab.vip6(), 80).hosts([&plain]);
    let _director = Director::on(&lab.director()).config(service).start()?;
    assert_eq!(answers_of(&lab, lab.vip6(), 2)?, ["plain"; 2]);
    lb("down")?;
    assert!(lab.client().http_get((lab.vip6(), 80), PATIENCE / 10).is_err());
    Ok(())
}
