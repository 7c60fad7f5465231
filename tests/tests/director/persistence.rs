//! Clients keep their real server: nginx after nginx, restart after restart.

use std::net::Ipv4Addr;

use lb_lab::{Director, Lab, Request, Result, TestResult, VirtualServer};
use serde_json::{Value, json};

use crate::support::{PATIENCE, lab, lab6, list, web, web6};

/// Another client than the lab's own: an address that the client's host has too.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 50, 1, 5);
/// Of a network with it.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 50, 1, 200);

fn with_clients(lab: &Lab) -> Result<()> {
    for address in [OTHER, NEIGHBOUR] {
        lab.client().add_address(address, 32)?;
    }
    for server in lab.real_servers() {
        server.run(["ip", "route", "add", "10.50.0.0/16", "dev", "eth0"])?;
    }
    Ok(())
}

/// Who answers so many requests from a client, to a port.
fn answers(lab: &Lab, client: Ipv4Addr, port: u16, count: usize) -> Result<Vec<String>> {
    let request = || Request::get((lab.vip(), port)).source((client, 0)).timeout(PATIENCE);
    (0..count).map(|_| Ok(request().send(&lab.client())?.server)).collect()
}

fn templates(director: &Director) -> Result<Vec<Value>> {
    let listed = director.json(["connections"])?;
    let mut found = listed["connections"].as_array().expect("a list").clone();
    found.retain(|connection| connection["kind"] == "template");
    found.sort_by_key(|template| template["client"].to_string());
    Ok(found)
}

#[test]
fn clients_keep_their_real_servers_across_restarts_of_the_daemon() -> TestResult {
    let lab = lab(3)?;
    with_clients(&lab)?;
    let own = lab.client().address();
    let service = web(&lab).line("persistence = { timeout = \"90s\" }");
    let mut director = Director::on(&lab.director()).config(service).start()?;
    let chosen = ["rs3", "rs2", "rs1"];
    for (client, server) in [own, OTHER, NEIGHBOUR].into_iter().zip(chosen) {
        assert_eq!(answers(&lab, client, 80, 5)?, [server; 5], "{client}");
    }
    director.restart()?;
    director.kill()?;
    assert_eq!(answers(&lab, OTHER, 80, 2)?, ["rs2"; 2], "without a daemon");
    director.start()?;
    for (client, server) in [own, OTHER, NEIGHBOUR].into_iter().zip(chosen) {
        assert_eq!(answers(&lab, client, 80, 3)?, [server; 3], "{client}");
    }

    let found = templates(&director)?;
    let clients: Vec<&Value> = found.iter().map(|template| &template["client"]).collect();
    let mut expected = [own, OTHER, NEIGHBOUR].map(|client| json!(format!("{client}:0")));
    expected.sort_by_key(ToString::to_string);
    assert_eq!(clients, expected.iter().collect::<Vec<_>>());
    let mut other = found
        [clients.iter().position(|it| **it == json!(format!("{OTHER}:0"))).expect("it is there")]
    .clone();
    let expires = other["expires_in"].take().as_u64().expect("a number");
    assert!((80..=90).contains(&expires), "{expires}");
    let server = lab.host("rs2").address().to_string();
    let expected = json!({
        "kind": "template", "protocol": "tcp", "state": "TEMPLATE", "expires_in": null,
        "client": format!("{OTHER}:0"), "virtual_address": format!("{}:80", lab.vip()),
        "real_server": server, "service": "web", "half_open": false,
    });
    assert_eq!(other, expected);
    let table = director.cli(["connections", "--client", &OTHER.to_string()])?;
    let row = table.lines().find(|line| line.contains(" TEMPLATE ")).expect("it is listed");
    assert!(row.starts_with("TCP 01:") && row.ends_with(&format!(" {server}:80")), "{row}");

    let listed = list(&director)?;
    assert_eq!(listed["virtual_servers"][0]["persistence"], json!({ "timeout": 90, "mask": 32 }));
    let shown = director.cli(["list", "-n"])?;
    assert!(shown.contains(&format!("TCP  {}:80 rr persistent 90\n", lab.vip())), "{shown}");

    let ask = |client: Ipv4Addr| {
        director.cli(["explain", &format!("{client}:4000"), &format!("{}:80", lab.vip()), "tcp"])
    };
    let explained = ask(OTHER)?;
    let says = format!("not asked: the client's template leads to {server}, last followed ");
    assert!(
        explained.contains(&says) && explained.contains(&format!("goes to     {server} at ")),
        "{explained}"
    );
    let explained = ask(Ipv4Addr::new(10, 50, 9, 9))?;
    assert!(explained.contains("; a template would keep the client there\n"), "{explained}");
    assert_eq!(templates(&director)?.len(), 3, "explaining makes none");
    Ok(())
}

#[test]
fn networks_and_groups_are_remembered_together() -> TestResult {
    let lab = lab(3)?;
    with_clients(&lab)?;
    let service = lab.real_servers().iter().fold(
        VirtualServer::tcp("web", lab.vip(), 80).line("persistence = { timeout = \"60s\", mask_v4 = 24 }"),
        |service, server| service.real_server(server.address(), 1),
    );
    let director = Director::on(&lab.director()).config(service).start()?;
    let own = lab.client().address();
    assert_eq!(answers(&lab, OTHER, 80, 2)?, ["rs3"; 2]);
    assert_eq!(answers(&lab, own, 80, 2)?, ["rs2"; 2]);
    assert_eq!(answers(&lab, NEIGHBOUR, 80, 2)?, ["rs3"; 2]);
    let found = templates(&director)?;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["client"], "10.50.1.0:0");
    let shown = director.cli(["list", "-n"])?;
    assert!(shown.contains(" rr persistent 60 mask 255.255.255.0\n"), "{shown}");
    Ok(())
}

#[test]
fn clients_over_ipv6_keep_theirs() -> TestResult {
    let lab = lab6(2)?;
    let service = web6(&lab).line("persistence = { timeout = \"60s\", mask_v6 = 64 }");
    let director = Director::on(&lab.director()).config(service).start()?;
    let client = lab.client();
    let seen = |count: usize| -> Result<Vec<String>> {
        (0..count).map(|_| Ok(client.http_get((lab.vip6(), 80), PATIENCE)?.server)).collect()
    };
    let first = seen(4)?;
    assert!(first.iter().all(|server| *server == first[0]), "{first:?}");
    let found = templates(&director)?;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["virtual_address"], format!("[{}]:80", lab.vip6()));
    assert!(director.cli(["list", "-n"])?.contains(" persistent 60 mask 64\n"));
    Ok(())
}
