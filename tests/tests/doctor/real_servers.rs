//! Faults of real servers, which are found by asking them.

use lb_lab::{Director, HostSpec, Lab, Result, TestResult, VirtualServer};

use crate::clinic::Clinic;

fn clinic() -> Result<Clinic> {
    let lab = Lab::builder().client("client").director("director").real_servers(2).build()?;
    Ok(Clinic::new(lab, "").asking_real_servers())
}

fn clinic6() -> Result<Clinic> {
    let lab = Lab::builder().ipv6().client("client").director("director").real_servers(2).build()?;
    Ok(Clinic::new(lab, "").asking_real_servers())
}

#[test]
fn a_real_server_without_arp_ignore_answers_arp_for_the_vip() -> TestResult {
    Ok(clinic()?.finds_and_mends("arp-answers-vip", |lab| {
        lab.host("rs1").set_sysctl("ipv4/conf/all/arp_ignore", "0")
    })?)
}

#[test]
fn a_real_server_with_an_ipv6_vip_on_its_interface_answers_for_it() -> TestResult {
    Ok(clinic6()?.finds_and_mends("arp-answers-vip", |lab| lab.host("rs2").add_address(lab.vip6(), 128))?)
}

#[test]
fn a_real_server_without_the_vip_drops_what_it_gets() -> TestResult {
    Ok(clinic()?.finds_and_mends("vip-not-accepted", |lab| lab.host("rs1").remove_vip(lab.vip()))?)
}

#[test]
fn a_real_server_without_the_ipv6_vip_drops_what_it_gets() -> TestResult {
    Ok(clinic6()?.finds_and_mends("vip-not-accepted", |lab| lab.host("rs2").remove_vip(lab.vip6()))?)
}

#[test]
fn a_real_server_with_a_smaller_mtu_loses_long_frames() -> TestResult {
    Ok(clinic()?.finds_and_mends("mtu-mismatch", |lab| {
        lab.host("rs1").run(["ip", "link", "set", "dev", "eth0", "mtu", "1400"]).map(drop)
    })?)
}

#[test]
fn a_real_server_with_the_mac_of_another_one_takes_its_frames() -> TestResult {
    Ok(clinic()?.finds_and_mends("duplicate-mac", |lab| lab.host("rs2").set_mac(lab.host("rs1").mac()))?)
}

/// Its stack has the VIP, and would drop answers from it: the doctor hears them nevertheless.
#[test]
fn beside_a_running_daemon_everything_is_found_as_well() -> TestResult {
    let clinic = clinic6()?;
    let services = [
        VirtualServer::tcp("web", clinic.lab.vip(), 80).hosts(&clinic.lab.real_servers()),
        VirtualServer::tcp("web6", clinic.lab.vip6(), 80).hosts(&clinic.lab.real_servers()),
    ];
    let mut daemon = Director::on(&clinic.lab.director())
        .setting("bpffs", format!("{:?}", clinic.bpffs))
        .config(services.map(|service| service.to_string()).join("\n"))
        .start()?;
    clinic.finds_and_mends("arp-answers-vip", |lab| {
        lab.host("rs1").set_sysctl("ipv4/conf/all/arp_ignore", "0")
    })?;
    daemon.stop()?;
    assert!(clinic.faults()?.is_empty(), "its program and its VIPs stay when it ends");
    let table = clinic.lab.client().run(["ip", "neighbour"])?;
    assert!(!table.contains("2001:db8:99::100 "), "nobody has learned from a question: {table}");
    Ok(())
}

#[test]
fn who_is_not_there_is_told_from_who_is_elsewhere() -> TestResult {
    let clinic = clinic()?;
    clinic.lab.host("rs1").set_link(false)?;
    let faults = clinic.finds_only("real-server-silent")?;
    assert_eq!(faults[0]["subject"], clinic.lab.host("rs1").address().to_string());
    clinic.lab.host("rs1").set_link(true)?;

    let gateway = clinic.lab.client().address().to_string();
    let far = format!("{}/32", clinic.lab.host("rs1").address());
    clinic.lab.host("rs1").set_link(false)?;
    clinic.lab.director().run(["ip", "route", "add", &far, "via", &gateway])?;
    clinic.finds_only("real-server-routed")?;
    Ok(())
}

#[test]
fn two_machines_with_one_address_are_both_named() -> TestResult {
    let lab =
        Lab::builder().client("client").director("director").real_servers(2).host(HostSpec::other("thief"));
    let clinic = Clinic::new(lab.build()?, "").asking_real_servers();
    let victim = clinic.lab.host("rs1");
    clinic.lab.host("thief").add_address(victim.address(), 32)?;
    let faults = clinic.finds_only("duplicate-address")?;
    let found = faults[0]["found"].as_str().expect("a text");
    for host in [&victim, &clinic.lab.host("thief")] {
        assert!(found.contains(&host.mac().to_string()), "{found}");
    }
    Ok(())
}

#[test]
fn one_machine_with_two_addresses_is_no_fault() -> TestResult {
    let lab = Lab::builder().client("client").director("director").real_servers(2).build()?;
    let second = lab.subnet().address(77);
    lab.host("rs1").add_address(second, 24)?;
    let clinic = Clinic::new(lab, "").asking_real_servers();
    clinic.add(&format!("[[virtual_server.real_server]]\naddress = \"{second}\"\n"))?;
    assert_eq!(clinic.faults()?, Vec::<serde_json::Value>::new());
    Ok(())
}

#[test]
fn a_vip_that_another_machine_has_is_found() -> TestResult {
    let clinic = clinic()?;
    let (vip, client) = (clinic.lab.vip(), clinic.lab.client());
    clinic.lab.director().add_address(vip, 32)?;
    client.add_address(vip, 32)?;
    let faults = clinic.finds_only("vip-duplicate")?;
    assert!(faults[0]["found"].as_str().is_some_and(|found| found.contains(&client.mac().to_string())));
    // The director in reserve: another one has the VIP, and that is as it should be.
    clinic.lab.director().remove_address(vip, 32)?;
    assert!(clinic.faults()?.is_empty());
    Ok(())
}
