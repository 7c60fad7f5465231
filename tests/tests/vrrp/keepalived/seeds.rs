//! Configurations as people have them, from articles on LVS with keepalived: keepalived runs them as they are, and pairs
//! with their translation to TOML.
//!
//! The labs have the articles' networks, so that no address is another; only the interface `ens192` is called
//! `eth0`. Two have new line breaks, or a brace elsewhere, without which keepalived refuses them.

use std::net::Ipv4Addr;

use lb_lab::{Director, Error, HostSpec, Lab, LabBuilder, Request, Result, TestResult};
use serde_json::Value;

use super::program::{Keepalived, PREEMPTION};
use super::router::{assert_nothing_rejected, wait_for_states};
use crate::support::{PATIENCE, wait_for, wait_for_address, wait_for_state};

const VI_1: (&str, &str) = (include_str!("seeds/vi-1.conf"), include_str!("seeds/vi-1.toml"));
const VI_141_142: (&str, &str) =
    (include_str!("seeds/vi-141-142.conf"), include_str!("seeds/vi-141-142.toml"));
const HAPROXY: (&str, &str) = (include_str!("seeds/haproxy.conf"), include_str!("seeds/haproxy.toml"));
const LVS_01: (&str, &str) = (include_str!("seeds/lvs01.conf"), include_str!("seeds/lvs01.toml"));
const LVS_02: (&str, &str) = (include_str!("seeds/lvs02.conf"), include_str!("seeds/lvs02.toml"));

/// What keepalived says of scripts if it is not told who runs them, as in the articles.
const WITHOUT_SCRIPT_USER: [&str; 2] =
    ["Script user 'keepalived_script' does not exist", "SECURITY VIOLATION - scripts are being executed"];
const SCRIPT: [&str; 2] = ["VRRP_Script(chk_http_port) ", "Changing effective priority from "];

#[test]
fn an_advert_every_five_seconds() -> TestResult {
    let lab = Site::new([192, 168, 2], [211, 210], 240).real_servers([212, 213])?;
    // The lab has no name server.
    keepalived_is_higher(&lab, VI_1.0, VI_1.1, &["Invalid smtp server smtp.163.com 25"])
}

#[test]
fn the_first_of_two_with_comments_is_keepalived() -> TestResult {
    let lab = Site::new([172, 16, 40], [154, 153], 160).real_servers([151, 152])?;
    keepalived_is_higher(&lab, LVS_01.0, LVS_02.1, &[])
}

#[test]
fn the_second_of_two_with_comments_is_keepalived() -> TestResult {
    let lab = Site::new([172, 16, 40], [153, 154], 160).real_servers([151, 152])?;
    lb_is_higher(&lab, LVS_02.0, LVS_01.1, &[])
}

#[test]
fn the_first_of_two_with_a_script_is_keepalived() -> TestResult {
    let lab = Site::new([192, 168, 1], [193, 192], 200).real_servers([])?;
    let (conf, toml) = with_script(&lab)?;
    let complaints = [WITHOUT_SCRIPT_USER, SCRIPT].concat();
    keepalived_is_higher(&lab, &conf, &replaced(&toml, &["priority = 150", "priority = 120"])?, &complaints)
}

#[test]
fn the_second_of_two_with_a_script_is_keepalived() -> TestResult {
    let lab = Site::new([192, 168, 1], [192, 193], 200).real_servers([])?;
    let (conf, toml) = with_script(&lab)?;
    let conf = replaced(&conf, &["state MASTER", "state BACKUP", "priority 150", "priority 120"])?;
    lb_is_higher(&lab, &conf, &toml, &[WITHOUT_SCRIPT_USER, SCRIPT].concat())
}

#[test]
fn each_is_master_of_one_of_two() -> TestResult {
    let lab = Site::new([192, 168, 10], [151, 152], 141).also(142).real_servers([])?;
    let (vi_141, vi_142) = ("192.168.10.141", "192.168.10.142");
    let mut b = Keepalived::start(&lab, "b", &VI_141_142.0)?;
    let mut a = start_lb(&lab, VI_141_142.1)?;
    wait_for_states(&a, &["backup", "master"])?;
    b.wait_for_state("VI_141", "MASTER")?;
    let are_where = |ours: &str, theirs: &str| -> Result<()> {
        wait_for_address(&lab.host("a"), ours, true)?;
        wait_for_address(&lab.host("b"), ours, false)?;
        wait_for_address(&lab.host("a"), theirs, false)?;
        wait_for_address(&lab.host("b"), theirs, true)
    };
    are_where(vi_142, vi_141)?;

    b.stop()?;
    wait_for_states(&a, &["master", "master"])?;
    b.run()?;
    wait_for_states(&a, &["backup", "master"])?;
    are_where(vi_142, vi_141)?;

    a.stop()?;
    b.wait_for_state("VI_142", "MASTER")?;
    a.start()?;
    wait_for_states(&a, &["backup", "master"])?;
    are_where(vi_142, vi_141)?;
    assert_nothing_rejected(&a)?;
    b.assert_content(&PREEMPTION);
    Ok(())
}

fn keepalived_is_higher(lab: &Lab, conf: &str, toml: &str, complaints: &[&str]) -> TestResult {
    let mut b = Keepalived::start(lab, "b", &conf)?;
    let mut a = start_lb(lab, toml)?;
    b.wait_for_state("VI_1", "MASTER")?;
    wait_for(&a, "backup", |found| found["state"] == "backup" && found["master"]["priority"].is_u64())?;
    is_at(lab, "b", "a")?;
    b.stop()?;
    wait_for(&a, "master", has_taken_over)?;
    is_at(lab, "a", "b")?;
    is_served(lab)?;
    assert_nothing_rejected(&a)?;
    b.run()?;
    // Not later than when its sockets are there: it takes part.
    b.wait_for_lines(2, "VRRP sockpool: ")?;
    a.stop()?;
    b.wait_for_state("VI_1", "MASTER")?;
    is_at(lab, "b", "a")?;
    b.assert_content(&[&PREEMPTION, complaints].concat());
    Ok(())
}

fn lb_is_higher(lab: &Lab, conf: &str, toml: &str, complaints: &[&str]) -> TestResult {
    let mut a = start_lb(lab, toml)?;
    wait_for_state(&a, "master")?;
    let mut b = Keepalived::start(lab, "b", &conf)?;
    b.wait_for_lines(1, "VRRP sockpool: ")?;
    is_at(lab, "a", "b")?;
    is_served(lab)?;
    a.stop()?;
    b.wait_for_state("VI_1", "MASTER")?;
    is_at(lab, "b", "a")?;
    a.start()?;
    wait_for_state(&a, "backup")?;
    b.stop()?;
    wait_for(&a, "master", has_taken_over)?;
    is_at(lab, "a", "b")?;
    is_served(lab)?;
    assert_nothing_rejected(&a)?;
    b.assert_content(&[&PREEMPTION, complaints].concat());
    Ok(())
}

fn has_taken_over(found: &Value) -> bool {
    found["state"] == "master" && found["reason"].to_string().contains("has stopped")
}

/// The network of an article.
struct Site {
    network: [u8; 3],
    lab: LabBuilder,
}

impl Site {
    /// With the numbers of the directors, lb's first, and of the VIP in the network.
    fn new(network: [u8; 3], [a, b]: [u8; 2], vip: u8) -> Self {
        let address = |number| address(network, number);
        let lab = Lab::builder().subnet(address(0), 24).client("client").vip(address(vip));
        let lab = lab.host(HostSpec::director("a").address(address(a)));
        Self { network, lab: lab.host(HostSpec::other("b").address(address(b))) }
    }

    fn also(self, vip: u8) -> Self {
        Self { lab: self.lab.vip(address(self.network, vip)), ..self }
    }

    fn real_servers<const N: usize>(self, numbers: [u8; N]) -> Result<Lab> {
        let servers = numbers.map(|number| {
            HostSpec::real_server(&format!("rs{number}")).address(address(self.network, number))
        });
        servers.into_iter().fold(self.lab, LabBuilder::host).build()
    }
}

fn address([first, second, third]: [u8; 3], number: u8) -> Ipv4Addr {
    Ipv4Addr::new(first, second, third, number)
}

fn start_lb(lab: &Lab, sections: &str) -> Result<Director> {
    Director::on(&lab.host("a")).config(sections).start()
}

/// The article's script would start haproxy; this one says that it runs.
fn with_script(lab: &Lab) -> Result<(String, String)> {
    let script = lab.write_script("check_haproxy.sh", "#!/bin/sh\n")?.display().to_string();
    let change = ["/etc/keepalived/check_haproxy.sh", &script];
    Ok((replaced(HAPROXY.0, &change)?, replaced(HAPROXY.1, &change)?))
}

/// The text with other words: each of a pair by the second.
fn replaced(text: &str, words: &[&str]) -> Result<String> {
    let mut text = text.to_owned();
    for pair in words.chunks(2) {
        if !text.contains(pair[0]) {
            return Err(Error::Description(format!("no {:?} in {text}", pair[0])));
        }
        text = text.replace(pair[0], pair[1]);
    }
    Ok(text)
}

/// Waits until one host has the VIP and the other has not.
fn is_at(lab: &Lab, owner: &str, other: &str) -> Result<()> {
    let vip = lab.vip().to_string();
    wait_for_address(&lab.host(owner), &vip, true)?;
    wait_for_address(&lab.host(other), &vip, false)
}

/// A client is answered, if there are servers.
fn is_served(lab: &Lab) -> Result<()> {
    if lab.real_servers().is_empty() {
        return Ok(());
    }
    Request::get((lab.vip(), 80)).timeout(PATIENCE).send(&lab.client()).map(drop)
}
