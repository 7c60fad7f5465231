//! `lb import`: files of keepalived and ipvsadm, converted and then run, do in a lab what they are there for.

use std::fs;
use std::net::Ipv4Addr;

use lb_lab::{Director, HostSpec, Lab, Output, Result, TestResult, wait_until};

use crate::support::{PATIENCE, answers_of, lab, real_servers};

/// One line, and a comment that has swallowed it: as such files are passed on.
const ONE_LINE: &str = include_str!("../../../lb-userspace/src/import/tests/cases/one-line.conf");

/// The program before there is a daemon.
fn lb(lab: &Lab, words: &[&str], input: &str) -> Result<Output> {
    let binary = std::env::var_os("LB_BINARY").expect("LB_BINARY names the program");
    lab.director().command(binary).args(words).input(input).run()
}

/// What becomes of a file, which `lb check` finds nothing wrong with: all but the section `[director]`, that labs have
/// their own of.
fn sections(lab: &Lab, name: &str, text: &str) -> Result<String> {
    let file = lab.directory().join(name);
    fs::write(&file, text).expect("there is room");
    let imported = lb(lab, &["import", "--interface", "eth0", &file.display().to_string()], "")?;
    assert!(imported.status.success(), "{}", imported.stderr);
    let toml = lab.directory().join(format!("{name}.toml"));
    fs::write(&toml, &imported.stdout).expect("there is room");
    let checked = lb(lab, &["check", "--config", &toml.display().to_string()], "")?;
    assert!(checked.status.success(), "{}\n{}", imported.stdout, checked.stderr);
    let (_, sections) =
        imported.stdout.split_once("interfaces = [\"eth0\"]\n").expect("the director's section");
    Ok(sections.to_owned())
}

fn wait_until_state(director: &Director, place: usize, state: &str) {
    wait_until(&format!("real server {place} is {state}"), PATIENCE, || {
        real_servers(director).is_ok_and(|listed| listed[place]["state"] == state)
    });
}

fn all_of(lab: &Lab, vip: Ipv4Addr, expected: &[&str]) {
    wait_until(&format!("{expected:?} answer"), PATIENCE, || {
        let mut answered = answers_of(lab, vip, 6).map_err(|error| error.to_string())?;
        answered.sort();
        answered.dedup();
        if answered == expected { Ok(()) } else { Err(format!("{answered:?}")) }
    });
}

#[test]
fn a_keepalived_file_serves_clients_and_takes_out_who_is_down() -> TestResult {
    let lab = lab(2)?;
    let vip = lab.vip();
    let addresses: Vec<Ipv4Addr> = lab.real_servers().iter().map(|host| host.address()).collect();
    let real_server = |address: &Ipv4Addr| {
        format!(
            "real_server {address} 80 {{ weight 1 TCP_CHECK {{ connect_timeout 1 retry 0 connect_port 80 }} }}\n"
        )
    };
    let servers: String = addresses.iter().map(real_server).collect();
    let text = format!(
        "virtual_server {vip} 80 {{\n delay_loop 1\n lb_algo rr\n lb_kind DR\n protocol TCP\n{servers}}}\n"
    );
    let director = Director::on(&lab.director()).config(sections(&lab, "keepalived.conf", &text)?).start()?;
    all_of(&lab, vip, &["rs1", "rs2"]);
    lab.real_servers()[0].stop_web()?;
    wait_until_state(&director, 0, "down");
    all_of(&lab, vip, &["rs2"]);
    lab.real_servers()[0].start_web()?;
    wait_until_state(&director, 0, "up");
    all_of(&lab, vip, &["rs1", "rs2"]);
    Ok(())
}

/// The director becomes master, has the VIP, and keeps each client at one real server.
#[test]
fn a_file_in_one_line_is_run_as_it_was_meant() -> TestResult {
    let vip = Ipv4Addr::new(192, 168, 2, 240);
    let host = |spec: HostSpec, last| spec.address(Ipv4Addr::new(192, 168, 2, last));
    let lab = Lab::builder()
        .subnet(Ipv4Addr::new(192, 168, 2, 0), 24)
        .vip(vip)
        .host(host(HostSpec::client("client"), 100))
        .host(host(HostSpec::director("director"), 210))
        .host(host(HostSpec::real_server("rs1"), 212))
        .host(host(HostSpec::real_server("rs2"), 213))
        .build()?;
    let director =
        Director::on(&lab.director()).config(sections(&lab, "one-line.conf", ONE_LINE)?).start()?;
    wait_until("it is master", 4 * PATIENCE, || {
        let listed = director.cli(["vrrp"]).unwrap_or_default();
        if listed.contains("master") { Ok(()) } else { Err(listed) }
    });
    wait_until("a client is served", PATIENCE, || answers_of(&lab, vip, 1).is_ok());
    let answered = answers_of(&lab, vip, 6)?;
    assert!(answered.iter().all(|server| *server == answered[0]), "the client is remembered: {answered:?}");
    Ok(())
}

#[test]
fn saved_rules_are_the_same_after_a_way_through_toml() -> TestResult {
    const RULES: &str = "\
-A -t 10.99.0.100:80 -s wlc -p 60
-a -t 10.99.0.100:80 -r 10.0.0.1:80 -g -w 3
-a -t 10.99.0.100:80 -r 10.0.0.2:80 -g -w 1
-A -t 10.99.0.100:443 -s sh -p 300 -M 255.255.255.0 -b sh-fallback,sh-port
-a -t 10.99.0.100:443 -r 10.0.0.1:443 -g -w 1
-A -u 10.99.0.100:53 -s mh -b mh-port
-a -u 10.99.0.100:53 -r 10.0.0.3:53 -g -w 1
-A -f 7 -s rr
-a -f 7 -r 10.0.0.2:0 -g -w 1
";
    let lab = lab(1)?;
    let sections = sections(&lab, "rules", RULES)?;
    let director = Director::on(&lab.director()).setting("manage_vips", false).config(sections).start()?;
    let saved = director.cli(["ipvsadm", "-S", "-n"])?;
    let sorted = |rules: &str| {
        let mut lines: Vec<String> = rules.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&saved), sorted(RULES));
    Ok(())
}

#[test]
fn what_cannot_be_converted_says_so_and_fails() -> TestResult {
    let lab = lab(1)?;
    let nothing = lb(&lab, &["import", "-"], "Dear all,\nlunch is at 12.\n")?;
    assert_eq!(nothing.status.code(), Some(1));
    assert_eq!(nothing.stdout, "");
    assert!(nothing.stderr.contains("there is nothing in it that lb could do"), "{}", nothing.stderr);
    let absent = lb(&lab, &["import", "/nonexistent/keepalived.conf"], "")?;
    assert_eq!(absent.status.code(), Some(1));
    assert!(absent.stderr.contains("/nonexistent/keepalived.conf: No such file"), "{}", absent.stderr);
    let wrong = lb(&lab, &["import", "--interface", "eth/0", "-"], "")?;
    assert_eq!(wrong.status.code(), Some(2));
    let found =
        lb(&lab, &["import", "-"], "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 192.0.2.2:80 -m\n")?;
    assert!(found.status.success());
    assert!(found.stderr.contains("standard input:2: changed: "), "{}", found.stderr);
    Ok(())
}
