//! `target = "vip"`: the real server that is well, and lacks the VIP.

use std::net::IpAddr;

use lb_lab::{Director, Lab, Result, TestResult, VirtualServer};
use serde_json::Value;

use super::{all_are_up, changes, is_found, often, others_are_well};
use crate::support::answers_of;

fn lab() -> Result<Lab> {
    Lab::builder().ipv6().client("client").director("director").real_servers(2).build()
}

/// Four virtual servers: of each family, one whose checks take the way of clients' packets, and one whose checks do not.
fn started(lab: &Lab, manage_vips: bool) -> Result<Director> {
    let families = [("", IpAddr::from(lab.vip())), ("6", lab.vip6().into())];
    let both = families.into_iter().flat_map(|(family, vip)| {
        let through = VirtualServer::tcp(&format!("through{family}"), vip, 80);
        let beside = VirtualServer::tcp(&format!("beside{family}"), vip, 8080);
        [
            through.line(&often("target = \"vip\", http = {}")).hosts(&lab.real_servers()),
            beside.line(&often("http = { port = 80 }")).hosts(&lab.real_servers()),
        ]
    });
    let config: String = both.map(|service| service.to_string()).collect();
    let director = Director::on(&lab.director()).setting("manage_vips", manage_vips).config(config);
    let director = director.start()?;
    all_are_up(&director);
    Ok(director)
}

/// The real server whose VIP goes is down where that matters, and up again with it.
fn it_is_missed(lab: &Lab, director: &Director) -> Result<()> {
    let server = lab.host("rs1");
    let cases = [
        ("", IpAddr::from(lab.vip()), IpAddr::from(server.address())),
        ("6", lab.vip6().into(), server.address6().into()),
    ];
    for (family, vip, address) in cases {
        server.remove_vip(vip)?;
        is_found(director, &format!("through{family}"), "not connected within 200ms")?;
        let beside = format!("beside{family}");
        others_are_well(director, &beside)?;
        assert!(
            changes(director, &beside)?.iter().all(|event| event["after"] == "up"),
            "a plain check notices it"
        );
        let finding = diagnosed(director, address)?;
        assert!(
            finding["found"].as_str().is_some_and(|found| found.contains(&vip.to_string())),
            "{finding:#}"
        );
        server.add_vip(vip)?;
        all_are_up(director);
    }
    Ok(())
}

/// What `lb doctor --real-servers` says of a real server that does not take packets to its VIP.
fn diagnosed(director: &Director, server: IpAddr) -> Result<Value> {
    let command =
        director.host().command(director.binary()).args(["doctor", "--real-servers", "--json", "--config"]);
    let output = command.arg(director.config_file()).env("NO_COLOR", "1").run()?;
    let report: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON: {error}: {}{}", output.stdout, output.stderr));
    let findings = report["findings"].as_array().expect("a list");
    let of_it: Vec<_> = findings
        .iter()
        .filter(|finding| finding["code"] == "vip-not-accepted" && finding["severity"] != "ok")
        .collect();
    assert_eq!(of_it.len(), 1, "{report:#}");
    assert!(
        of_it[0]["subject"].as_str().is_some_and(|subject| subject.contains(&server.to_string())),
        "{report:#}"
    );
    println!("{}: {}", of_it[0]["subject"], of_it[0]["found"]);
    Ok(of_it[0].clone())
}

#[test]
fn a_real_server_without_the_vip_is_found_by_a_probe_to_the_vip_alone() -> TestResult {
    let lab = lab()?;
    let director = started(&lab, true)?;
    it_is_missed(&lab, &director)?;
    lab.host("rs1").remove_vip(lab.vip())?;
    is_found(&director, "through", "not connected within 200ms")?;
    assert_eq!(answers_of(&lab, lab.vip(), 4)?, ["rs2"; 4], "no client hangs");
    Ok(())
}

/// A backup sees the same as the master does.
#[test]
fn a_director_that_lacks_the_vip_finds_it_as_well() -> TestResult {
    let lab = lab()?;
    let director = started(&lab, false)?;
    let has_vip =
        lab.director().run(["ip", "address", "show", "dev", "eth0"])?.contains(&lab.vip().to_string());
    assert!(!has_vip, "it is a backup");
    Ok(it_is_missed(&lab, &director)?)
}
