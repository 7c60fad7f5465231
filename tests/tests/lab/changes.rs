//! Changing a running lab.

use std::net::Ipv4Addr;
use std::time::Duration;

use lb_lab::frame::marker;
use lb_lab::{HostSpec, Lab, Mac, TestResult, try_wait_until};

use crate::{SOON, pair};

/// Long enough for an answer, short enough to wait for none.
const SHORTLY: Duration = Duration::from_millis(100);

#[test]
fn a_host_with_a_new_mac_is_found_under_it() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    client.http_get((server.address(), 80), SOON)?;
    let new: Mac = "02:11:22:33:44:55".parse()?;
    server.set_mac(new)?;
    assert_eq!(server.mac(), new);
    client.forget_neighbours()?;
    client.http_get((server.address(), 80), SOON)?;
    let neighbours = client.run(["ip", "neighbour", "show"])?;
    assert!(neighbours.contains(&new.to_string()), "{neighbours}");
    Ok(())
}

#[test]
fn a_link_that_is_down_carries_nothing_until_it_is_up_again() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let get = |timeout| client.http_get((server.address(), 80), timeout);
    get(SOON)?;
    server.set_link(false)?;
    get(SHORTLY).expect_err("eth0 is down");
    server.set_link(true)?;
    try_wait_until("eth0 is up", SOON, || get(SHORTLY))?;
    lab.switch().set_port(&server, false)?;
    get(SHORTLY).expect_err("the cable is out");
    lab.switch().set_port(&server, true)?;
    try_wait_until("the cable is in", SOON, || get(SHORTLY))?;
    Ok(())
}

#[test]
fn a_web_server_stops_and_starts_again() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    server.stop_web()?;
    let error = client.http_get((server.address(), 80), SOON).expect_err("nobody listens");
    assert!(error.to_string().contains("refused"), "{error}");
    server.start_web()?;
    assert_eq!(client.http_get((server.address(), 80), SOON)?.server, "rs1");
    Ok(())
}

#[test]
fn a_host_can_be_plugged_in_late_also_with_an_address_that_is_taken() -> TestResult {
    let lab = pair()?;
    let (client, first) = (lab.client(), lab.host("rs1"));
    let second = lab.plug(HostSpec::real_server("rs2"))?;
    assert_eq!(client.http_get((second.address(), 80), SOON)?.server, "rs2");

    let twin = HostSpec::real_server("twin").address(first.address()).mac("02:77:77:77:77:77".parse()?);
    let twin = lab.plug(twin)?;
    lab.switch().set_port(&first, false)?;
    client.forget_neighbours()?;
    assert_eq!(client.http_get((twin.address(), 80), SOON)?.server, "twin");
    Ok(())
}

#[test]
fn addresses_come_and_go() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let more = lab.subnet().address(200);
    server.add_address(more, lab.subnet().prefix())?;
    assert_eq!(client.http_get((more, 80), SOON)?.server, "rs1");
    server.remove_address(more, lab.subnet().prefix())?;
    client.forget_neighbours()?;
    client.http_get((more, 80), SHORTLY).expect_err("nobody has the address");

    let vip = Ipv4Addr::new(192, 0, 2, 1);
    server.add_vip(vip)?;
    assert!(server.run(["ip", "address", "show", "dev", "lo"])?.contains("192.0.2.1/32"));
    server.remove_vip(vip)?;
    assert!(!server.run(["ip", "address", "show", "dev", "lo"])?.contains("192.0.2.1"));
    Ok(())
}

#[test]
fn a_switch_that_floods_gives_every_frame_to_every_port() -> TestResult {
    let lab = Lab::builder().client("client").real_servers(2).build()?;
    let (client, first, second) = (lab.client(), lab.host("rs1"), lab.host("rs2"));
    second.set_promiscuous(true)?;
    // The switch learns where the first server is.
    client.http_get((first.address(), 80), SOON)?;
    let (addressed, overheard) = (first.capture()?, second.capture()?);
    let send = |text: &[u8]| client.send_frame(&marker(client.mac(), first.mac(), text));

    send(b"quiet")?;
    addressed.wait_for(SOON, |frame| frame.bytes.ends_with(b"quiet"))?;
    lab.switch().set_flooding(true)?;
    send(b"loud")?;
    overheard.wait_for(SOON, |frame| frame.bytes.ends_with(b"loud"))?;
    lab.switch().set_flooding(false)?;
    client.http_get((first.address(), 80), SOON)?;
    send(b"quiet again")?;
    addressed.wait_for(SOON, |frame| frame.bytes.ends_with(b"quiet again"))?;
    client.send_frame(&marker(client.mac(), Mac::BROADCAST, b"end"))?;
    overheard.wait_for(SOON, |frame| frame.bytes.ends_with(b"end"))?;
    let quiet = |frame: &lb_lab::Captured| frame.bytes.windows(5).any(|part| part == b"quiet");
    let overheard = overheard.finish()?;
    assert!(!overheard.iter().any(quiet), "{overheard:?}");
    Ok(())
}

#[test]
fn a_description_that_makes_no_sense_says_why() {
    for (name, why) in
        [("", "needs a name"), ("switch", "switch"), ("a name", "safe"), ("longer-than-a-link", "15 letters")]
    {
        let error =
            Lab::builder().client(name).build().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(why), "{name:?}: {error}");
    }
    let error = Lab::builder().client("one").client("one").build().err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("two hosts are called \"one\""));
}
