//! IPv6 beside the data plane: VIPs, neighbours, a real server's side, what is listed.

use std::net::Ipv6Addr;

use lb_lab::{Captured, Direction, Director, Host, HostSpec, Lab, TestResult, VirtualServer, wait_until};

use crate::support::{PATIENCE, lab6, real_servers, web, web6};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Whether a frame is such a message of neighbour discovery about this address.
pub(crate) fn is_discovery(frame: &[u8], message: u8, target: Ipv6Addr) -> bool {
    frame.len() >= 78
        && frame[12..14] == [0x86, 0xdd]
        && (frame[20], frame[54]) == (58, message)
        && frame[62..78] == target.octets()
}

fn addresses(host: &Host) -> lb_lab::Result<String> {
    host.run(["ip", "-6", "-oneline", "address", "show", "dev", "eth0"])
}

fn line_of(vip: Ipv6Addr, addresses: &str) -> Option<&str> {
    addresses.lines().find(|line| line.contains(&format!(" {vip}/128 ")))
}

#[test]
fn vips_are_added_announced_and_taken_away() -> TestResult {
    let lab = lab6(1)?;
    let vip = lab.vip6();
    let announcements = lab.client().capture_if(move |direction, frame| {
        direction == Direction::In && is_discovery(frame, ADVERTISEMENT, vip)
    })?;
    let mut director = Director::on(&lab.director())
        .setting("on_exit", "\"detach\"")
        .config(web(&lab))
        .config(web6(&lab))
        .start()?;
    let added = addresses(director.host())?;
    let line = line_of(vip, &added).expect("the VIP is there");
    assert!(["nodad", "noprefixroute", "deprecated"].iter().all(|flag| line.contains(flag)), "{line}");
    assert!(!line.contains("tentative"), "{line}");
    let announced = announcements.wait_for(PATIENCE, |_| true)?.bytes;
    let mac = lab.director().mac();
    assert_eq!(announced[..12], [&[0x33, 0x33, 0, 0, 0, 1], &mac.0[..]].concat(), "to all nodes");
    assert_eq!(announced[21], 255, "hop limit");
    assert_eq!(announced[22..38], vip.octets(), "from the VIP");
    assert_eq!(announced[58], 0x20, "the override flag alone");
    assert_eq!(announced[78..86], [&[2, 1], &mac.0[..]].concat(), "the target's MAC is the director's");
    director.stop()?;
    assert_eq!(line_of(vip, &addresses(director.host())?), None);
    Ok(())
}

#[test]
fn neighbours_believe_an_announcement() -> TestResult {
    let lab = lab6(1)?;
    let (client, vip) = (lab.client(), lab.vip6().to_string());
    client.run([
        "ip",
        "neighbour",
        "replace",
        &vip,
        "lladdr",
        "02:00:00:00:00:99",
        "dev",
        "eth0",
        "nud",
        "stale",
    ])?;
    let _director = Director::on(&lab.director()).config(web6(&lab)).start()?;
    let mac = lab.director().mac().to_string();
    wait_until("the client has the director's MAC", PATIENCE, || {
        let entry = client.run(["ip", "neighbour", "show", &vip]).unwrap_or_default();
        if entry.contains(&mac) { Ok(()) } else { Err(entry) }
    });
    Ok(())
}

#[test]
fn a_vip_is_never_the_source_of_what_the_director_sends_itself() -> TestResult {
    let lab = lab6(1)?;
    let director = Director::on(&lab.director()).config(web6(&lab)).start()?;
    // Were the VIP not deprecated, its longer prefix would win: ::100 has more bits in common with ::101.
    let near = lab.subnet().address6(101);
    let route = director.host().run(["ip", "-6", "route", "get", &near.to_string()])?;
    assert!(route.contains(&format!("src {} ", director.host().address6())), "{route}");
    Ok(())
}

#[test]
fn an_administrators_address_is_left_alone_and_a_killed_daemons_goes() -> TestResult {
    let lab = lab6(1)?;
    let other = lab.subnet().address6(120);
    let more = VirtualServer::tcp("more", other, 80).hosts(&lab.real_servers());
    lab.director().add_address(lab.vip6(), 128)?;
    let mut director = Director::on(&lab.director()).config(web6(&lab)).config(more).start()?;
    assert!(line_of(other, &addresses(director.host())?).is_some());
    director.kill()?;
    director.change_config(web6(&lab))?;
    director.start()?;
    let left = addresses(director.host())?;
    assert!(line_of(other, &left).is_none() && line_of(lab.vip6(), &left).is_some(), "{left}");
    Ok(())
}

#[test]
fn vips_are_there_again_after_the_interface_was_down() -> TestResult {
    let lab = lab6(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).config(web6(&lab)).start()?;
    let (host, vip) = (director.host(), lab.vip6());
    let is_there = || addresses(host).is_ok_and(|addresses| line_of(vip, &addresses).is_some());
    host.set_link(false)?;
    wait_until("the kernel has removed it", PATIENCE, || !is_there());
    let announcements = lab.client().capture_if(move |direction, frame| {
        direction == Direction::In && is_discovery(frame, ADVERTISEMENT, vip)
    })?;
    host.set_link(true)?;
    wait_until("it is there again", PATIENCE, is_there);
    announcements.wait_for(PATIENCE, |frame| frame.bytes[58] == 0x20)?;
    Ok(())
}

#[test]
fn an_interface_without_ipv6_is_an_error_that_says_so() -> TestResult {
    let lab = lab6(1)?;
    lab.director().set_sysctl("ipv6/conf/eth0/disable_ipv6", "1")?;
    let start = Director::on(&lab.director()).config(web6(&lab)).start();
    let error = start.err().expect("it cannot add the VIP").to_string();
    assert!(error.contains("IPv6 is off there") && error.contains("disable_ipv6"), "{error}");
    Ok(())
}

#[test]
fn a_real_server_that_cannot_be_resolved_is_retried() -> TestResult {
    let lab = lab6(2)?;
    let rs2 = lab.host("rs2");
    rs2.remove_address(rs2.address6(), lab.subnet().prefix6())?;
    let mut director = Director::on(&lab.director()).config(web6(&lab)).start()?;
    let state = |index: usize| real_servers(&director).map(|listed| listed[index]["state"].clone());
    assert_eq!((state(0)?, state(1)?), ("up".into(), "unresolved".into()));
    rs2.add_address(rs2.address6(), lab.subnet().prefix6())?;
    wait_until("rs2 is found", PATIENCE, || state(1).is_ok_and(|state| state == "up"));
    let log = director.process()?.log();
    assert!(log.contains(&format!("{} does not answer neighbour solicitations", rs2.address6())), "{log}");
    Ok(())
}

#[test]
fn list_shows_ipv6_in_brackets_with_its_columns_aligned() -> TestResult {
    let lab = lab6(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).config(web6(&lab)).start()?;
    let rs1 = lab.host("rs1");
    let expected = format!(
        "Prot LocalAddress:Port Scheduler
  -> RemoteAddress   Weight ActiveConn InActConn State MAC
TCP  10.99.0.100:80 rr
  -> 10.99.0.51      1      0          0         up    {mac}
TCP  [2001:db8:99::100]:80 rr
  -> 2001:db8:99::51 1      0          0         up    {mac}
",
        mac = rs1.mac()
    );
    assert_eq!(director.cli(["list", "-n"])?, expected);
    Ok(())
}

#[test]
fn a_plain_machine_accepts_a_vip_and_says_so_to_nobody() -> TestResult {
    let lab = Lab::builder().ipv6().client("client").host(HostSpec::other("plain")).build()?;
    let (client, plain, vip) = (lab.client(), lab.host("plain"), lab.vip6());
    let state_file = lab.directory().join("real-server.json");
    let lb = |action: &str| {
        let binary = std::env::var("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY");
        let command = plain.command(binary).args(["real-server", action, "--vip", &vip.to_string()]);
        if action == "status" { command } else { command.arg("--state-file").arg(&state_file) }
    };
    let settings = || plain.run(["sysctl", "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce"]);
    let before = settings()?;
    let missing = lb("status").run()?;
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stdout.contains("run `lb real-server up"), "{}", missing.stdout);

    assert_eq!(lb("up").run()?.success()?, format!("added {vip}/128 to lo\n"));
    assert_eq!(lb("status").run()?.success()?, format!("ok    {vip} is an address of lo\n"));
    assert_eq!(lb("up").run()?.success()?, "nothing to do\n");
    assert_eq!(settings()?, before, "IPv6 needs no settings");

    // The machine itself has it; the client's kernel asks for it, and nobody answers.
    plain.run(["ping", "-6", "-c", "1", "-W", "2", &vip.to_string()])?;
    let heard = plain.capture_if(move |_, frame| {
        is_discovery(frame, SOLICITATION, vip) || is_discovery(frame, ADVERTISEMENT, vip)
    })?;
    let ping = client.command("ping").args(["-6", "-c", "1", "-W", "2", &vip.to_string()]).run()?;
    assert!(!ping.status.success(), "{}", ping.stdout);
    let heard = heard.finish()?;
    let asked = |frame: &Captured| frame.direction == Direction::In && frame.bytes[54] == SOLICITATION;
    assert!(heard.iter().any(asked) && heard.iter().all(asked), "{heard:?}");

    // On eth0 it would answer: that is what `status` warns of.
    plain.add_address(vip, 128)?;
    let wrong = lb("status").run()?;
    assert!(wrong.stdout.contains("is an address of eth0: this machine answers"), "{}", wrong.stdout);
    // The client's kernel remembers for a moment that nobody answered.
    wait_until("it answers on eth0", PATIENCE, || {
        let ping = client.run(["ping", "-6", "-c", "1", "-W", "1", &vip.to_string()]);
        ping.map(drop).map_err(|error| error.to_string())
    });
    plain.remove_address(vip, 128)?;

    assert_eq!(lb("down").run()?.success()?, format!("removed {vip}/128 from lo\n"));
    assert!(!plain.run(["ip", "address", "show", "dev", "lo"])?.contains(&vip.to_string()));
    assert!(!state_file.exists());
    Ok(())
}

#[test]
fn settings_of_arp_go_with_the_last_vip_of_ipv4() -> TestResult {
    let lab = Lab::builder().ipv6().host(HostSpec::other("plain")).build()?;
    let plain = lab.host("plain");
    let lb = |action: &str, vip: &str| {
        let binary = std::env::var("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY");
        let state_file = lab.directory().join("real-server.json");
        let command = plain.command(binary).args(["real-server", action, "--vip", vip]);
        command.arg("--state-file").arg(state_file).run()?.success()
    };
    let ignore = || plain.run(["sysctl", "-n", "net.ipv4.conf.all.arp_ignore"]);
    lb("up", "192.0.2.1")?;
    lb("up", "2001:db8::1")?;
    lb("down", "2001:db8::1")?;
    assert_eq!(ignore()?, "1\n");
    lb("up", "2001:db8::1")?;
    lb("down", "192.0.2.1")?;
    assert_eq!(ignore()?, "0\n");
    lb("down", "2001:db8::1")?;
    assert!(!lab.directory().join("real-server.json").exists());
    Ok(())
}
