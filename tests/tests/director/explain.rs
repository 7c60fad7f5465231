//! `lb explain`: what it says is what the next frame meets, and asking changes nothing.

use std::net::{IpAddr, SocketAddr};

use lb_lab::{Director, Lab, Result, TestResult, VirtualServer};
use serde_json::Value;

use crate::support::{OpenConnection, PATIENCE, answers_of, counter, lab, lab6, real_servers, web, web6};

/// What `lb explain` says of a segment from the client.
fn explain(lab: &Lab, director: &Director, vip: IpAddr, port: u16, flags: &str) -> Result<Value> {
    let client: IpAddr =
        if vip.is_ipv4() { lab.client().address().into() } else { lab.client().address6().into() };
    explain_from(director, (client, 40_000).into(), (vip, port).into(), flags)
}

fn explain_from(director: &Director, client: SocketAddr, to: SocketAddr, flags: &str) -> Result<Value> {
    director.json(["explain", &client.to_string(), &to.to_string(), "tcp", "--flags", flags])
}

/// The name of the real server that a frame would go to; its MAC is the one it has.
fn chosen(lab: &Lab, explained: &Value) -> Option<String> {
    let (address, mac) = (explained["real_server"]["address"].as_str()?, &explained["real_server"]["mac"]);
    let server = lab.real_servers().into_iter().find(|server| {
        [server.address().to_string(), server.address6().to_string()].contains(&address.to_owned())
    })?;
    assert_eq!(*mac, server.mac().to_string(), "{explained}");
    Some(server.name().to_owned())
}

/// What a frame or a connection would move: connections, packets and bytes of every real server.
fn stats(director: &Director) -> Result<Vec<Value>> {
    let idle = ["stats", "active_connections", "inactive_connections"];
    let servers = real_servers(director)?;
    Ok(servers.iter().flat_map(|server| idle.map(|key| server[key].clone())).collect())
}

#[test]
fn what_is_explained_is_what_the_next_connection_gets() -> TestResult {
    let lab = lab6(3)?;
    for scheduler in ["rr", "wrr", "sh", "dh", "mh"] {
        let weighted = |service: VirtualServer, addresses: [IpAddr; 3]| {
            addresses
                .into_iter()
                .zip([3, 2, 1])
                .fold(service.scheduler(scheduler), |service, (address, weight)| {
                    service.real_server(address, weight)
                })
        };
        let servers = lab.real_servers();
        let service4 = weighted(
            VirtualServer::tcp("web", lab.vip(), 80),
            [0, 1, 2].map(|i: usize| servers[i].address().into()),
        );
        let service6 = weighted(
            VirtualServer::tcp("web6", lab.vip6(), 80),
            [0, 1, 2].map(|i: usize| servers[i].address6().into()),
        );
        let director = Director::on(&lab.director()).config(service4).config(service6).start()?;
        for vip in [IpAddr::from(lab.vip()), lab.vip6().into()] {
            for round in 0..7 {
                let explained = explain(&lab, &director, vip, 80, "syn")?;
                let again = explain(&lab, &director, vip, 80, "syn")?;
                assert_eq!(again, explained, "asking changes nothing");
                let said = chosen(&lab, &explained);
                let got = answers_of(&lab, vip, 1)?.remove(0);
                assert_eq!(said, Some(got), "{scheduler}, {vip}, round {round}: {explained}");
                assert_eq!(explained["virtual_server"]["scheduler"], scheduler);
            }
        }
    }
    Ok(())
}

#[test]
fn asking_moves_no_counter_and_opens_no_connection() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let before = (stats(&director)?, counter(&director, "pass_not_a_vip")?);
    for (port, flags) in [(80, "syn"), (80, "ack"), (81, "syn")] {
        for _ in 0..20 {
            explain(&lab, &director, lab.vip().into(), port, flags)?;
        }
    }
    assert_eq!((stats(&director)?, counter(&director, "pass_not_a_vip")?), before);
    Ok(())
}

#[test]
fn an_established_connection_is_found_in_both_families() -> TestResult {
    let lab = lab6(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).config(web6(&lab)).start()?;
    for vip in [IpAddr::from(lab.vip()), lab.vip6().into()] {
        let mut connection = OpenConnection::open(&lab.client(), vip)?;
        let server = connection.ask()?;
        let explained = explain_from(&director, connection.client()?, (vip, 80).into(), "ack")?;
        let known = &explained["connection"];
        assert_eq!(
            (&known["table"], &known["state"]),
            (&"established".into(), &"ESTABLISHED".into()),
            "{explained}"
        );
        let (age, expires_in) = (known["age"].as_u64().expect("a number"), &known["expires_in"]);
        assert_eq!(expires_in.as_u64(), Some(900 - age));
        assert_eq!(known["real_server"], explained["real_server"]["address"]);
        assert_eq!(chosen(&lab, &explained), Some(server.clone()));
        assert!(explained["choice"].is_null(), "the scheduler is not asked: {explained}");
        assert_eq!(connection.ask()?, server, "it goes on");
    }
    Ok(())
}

#[test]
fn an_address_that_is_no_vips_and_a_service_without_servers() -> TestResult {
    let lab = lab(1)?;
    let nobody = VirtualServer::tcp("drained", lab.vip(), 81).real_server(lab.host("rs1").address(), 0);
    let director = Director::on(&lab.director()).config(web(&lab)).config(nobody).start()?;
    let other = explain(&lab, &director, lab.vip().into(), 22, "syn")?;
    assert_eq!(
        (&other["verdict"]["action"], &other["verdict"]["reason"]),
        (&"pass".into(), &"pass_not_a_vip".into())
    );
    let near = [format!("tcp {}:80 (web)", lab.vip()), format!("tcp {}:81 (drained)", lab.vip())];
    assert_eq!(other["near"], serde_json::json!(near));
    let empty = explain(&lab, &director, lab.vip().into(), 81, "syn")?;
    assert_eq!(empty["verdict"]["reason"], "drop_no_real_server", "{empty}");
    assert_eq!(empty["virtual_server"]["name"], "drained");
    let unknown = explain(&lab, &director, lab.vip().into(), 80, "ack")?;
    assert_eq!(unknown["verdict"]["reason"], "pass_no_connection", "{unknown}");
    Ok(())
}

#[test]
fn people_get_a_line_for_each_stage_and_an_exit_code() -> TestResult {
    let lab = lab(1)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let (client, vip) = (format!("{}:40000", lab.client().address()), format!("{}:80", lab.vip()));
    let text = director.cli(["explain", &client, &vip, "tcp", "--vlan", "7"])?;
    for part in [
        format!(
            "frame       {client} -> {vip}, 58 bytes, VLAN 7, to {} of eth0: accepted",
            lab.director().mac()
        ),
        "service     web (rr)".to_owned(),
        "connection  none; would be recorded as SYN_RECV (half-open)".to_owned(),
        "scheduler   slot 0 of 1, by turn 0".to_owned(),
        format!("goes to     {} at {}, VLAN 7", lab.host("rs1").address(), lab.host("rs1").mac()),
        "verdict     XDP_TX: forward out of eth0".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} is missing:\n{text}");
    }
    let families = director.try_cli(["explain", &client, "[2001:db8::1]:80", "tcp"])?;
    assert_eq!(families.status.code(), Some(2), "{}", families.stderr);
    director.kill()?;
    let nobody = director.try_cli(["explain", &client, &vip, "tcp"])?;
    assert_eq!(nobody.status.code(), Some(3), "{}", nobody.stderr);
    director.process()?.wait(PATIENCE)?;
    Ok(())
}
