//! Who answers, scheduler by scheduler.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use lb_lab::{Director, Request, Result, TestResult, VirtualServer};

use crate::support::{PATIENCE, answers, lab, web};

#[test]
fn twelve_requests_over_rr_reach_three_real_servers_in_turn() -> TestResult {
    let lab = lab(3)?;
    let _director = Director::on(&lab.director()).config(web(&lab)).start()?;
    // IPVS adds real servers at the head of its list, so the last added comes first.
    let turn = ["rs3", "rs2", "rs1"];
    let expected: Vec<&str> = turn.into_iter().cycle().take(12).collect();
    assert_eq!(answers(&lab, 12)?, expected);
    Ok(())
}

#[test]
fn wrr_4_3_2_gives_ipvss_sequence() -> TestResult {
    let lab = lab(3)?;
    let weighted = lab
        .real_servers()
        .iter()
        .zip([4, 3, 2])
        .fold(VirtualServer::tcp("web", lab.vip(), 80).scheduler("wrr"), |service, (server, weight)| {
            service.real_server(server.address(), weight)
        });
    let _director = Director::on(&lab.director()).config(weighted).start()?;
    let period = ["rs3", "rs2", "rs1", "rs1", "rs2", "rs1", "rs3", "rs2", "rs1"];
    let expected: Vec<&str> = period.into_iter().cycle().take(20).collect();
    assert_eq!(answers(&lab, 20)?, expected);
    Ok(())
}

/// Clients of the golden file's first sh case (weights 1, 1, 1), and what the kernel's IPVS chose for them.
const SH_CHOICES: [(Ipv4Addr, &str); 6] = [
    (Ipv4Addr::new(10, 50, 1, 5), "rs3"),
    (Ipv4Addr::new(10, 50, 2, 10), "rs1"),
    (Ipv4Addr::new(10, 50, 5, 25), "rs1"),
    (Ipv4Addr::new(10, 50, 6, 30), "rs2"),
    (Ipv4Addr::new(10, 50, 9, 45), "rs3"),
    (Ipv4Addr::new(10, 50, 10, 50), "rs2"),
];

#[test]
fn sh_is_stable_and_chooses_what_ipvs_chose() -> TestResult {
    let lab = lab(3)?;
    let _director = Director::on(&lab.director()).config(web(&lab).scheduler("sh")).start()?;
    let client = lab.client();
    for (address, _) in SH_CHOICES {
        client.add_address(address, 32)?;
    }
    for server in lab.real_servers() {
        server.run(["ip", "route", "add", "10.50.0.0/16", "dev", "eth0"])?;
    }
    let mut seen: BTreeMap<Ipv4Addr, Vec<String>> = BTreeMap::new();
    for _ in 0..3 {
        for (address, _) in SH_CHOICES {
            let request = Request::get((lab.vip(), 80)).source((address, 0)).timeout(PATIENCE);
            seen.entry(address).or_default().push(request.send(&client)?.server);
        }
    }
    for (address, choice) in SH_CHOICES {
        assert_eq!(seen[&address], [choice; 3], "{address}");
    }
    Ok(())
}

#[test]
fn dh_sends_a_vip_to_one_real_server() -> TestResult {
    let lab = lab(3)?;
    let _director = Director::on(&lab.director()).config(web(&lab).scheduler("dh")).start()?;
    let seen = answers(&lab, 5)?;
    assert!(seen.iter().all(|server| *server == seen[0]), "{seen:?}");
    Ok(())
}

#[test]
fn a_real_server_of_weight_0_gets_no_new_connections() -> TestResult {
    let lab = lab(3)?;
    let servers = lab.real_servers();
    let service = VirtualServer::tcp("web", lab.vip(), 80)
        .real_server(servers[0].address(), 1)
        .real_server(servers[1].address(), 0)
        .real_server(servers[2].address(), 1);
    let director = Director::on(&lab.director()).config(service).start()?;
    assert_eq!(answers(&lab, 4)?, ["rs3", "rs1", "rs3", "rs1"]);
    let listed = crate::support::real_servers(&director)?;
    assert_eq!(listed[1]["state"], "draining");
    Ok(())
}

/// Who had the quiesced server gets another, nobody else moves, and a restart forgets nothing of it.
#[test]
fn a_quiesced_real_server_keeps_its_slots_of_mh_across_restarts() -> TestResult {
    let lab = lab(3)?;
    let servers = lab.real_servers();
    let service = |weight: u32| {
        VirtualServer::tcp("web", lab.vip(), 80)
            .scheduler("mh")
            .line("scheduler_flags = [\"mh-port\", \"mh-fallback\"]")
            .real_server(servers[0].address(), 1)
            .real_server(servers[1].address(), weight)
            .real_server(servers[2].address(), 1)
    };
    let chosen = |director: &Director| -> Result<Vec<(String, bool)>> {
        let explain = |port: u32| {
            let (from, to) = (format!("{}:{port}", lab.client().address()), format!("{}:80", lab.vip()));
            let explained = director.json(["explain", &from, &to, "tcp"])?;
            let server = explained["real_server"]["address"].as_str().unwrap_or_default().to_owned();
            Ok((server, !explained["choice"]["fallback"].is_null()))
        };
        (40_000..40_030).map(explain).collect()
    };
    let quiesced = servers[1].address().to_string();
    let mut director = Director::on(&lab.director()).config(service(1)).start()?;
    let before = chosen(&director)?;
    assert!(before.iter().any(|(server, _)| *server == quiesced), "{before:?}");
    assert!(before.iter().all(|(_, fell_back)| !fell_back), "{before:?}");
    director.change_config(service(0))?;
    let mut after = Vec::new();
    for _ in 0..2 {
        director.restart()?;
        after.push(chosen(&director)?);
        let listed = director.cli(["list", "-n"])?;
        let line = format!("TCP  {}:80 mh (mh-fallback,mh-port)\n", lab.vip());
        assert!(listed.contains(&line), "{listed}");
    }
    assert_eq!(after[0], after[1]);
    for ((old, _), (new, fell_back)) in before.iter().zip(&after[0]) {
        assert_eq!(*fell_back, *old == quiesced);
        assert!(*new != quiesced && (*fell_back || new == old), "{old} {new}");
    }
    Ok(())
}
