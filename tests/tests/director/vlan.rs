//! VLANs. The kernel of a lab may have none of its own, so tags are put in and taken out by hand, or by XDP programs
//! around hosts that know nothing of them.

use std::net::IpAddr;

use lb_lab::frame::{Endpoint, Frame, SYN};
use lb_lab::{Capture, Direction, Director, DirectorBuilder, Lab, TestResult, VirtualServer};

use crate::support::{PATIENCE, lab, lab6, web, web6};

/// In the first byte behind a tag's type.
const PRIORITY_5: u8 = 5 << 5;
/// The tags of hosts in these VLANs: priority 5, eligible to be dropped ([`lb_lab::Host::attach_vlan`]).
const IN_VLAN_7: [u8; 4] = [0x81, 0, 0xb0, 7];
const IN_VLAN_100: [u8; 4] = [0x81, 0, 0xb0, 100];

/// rs1 in VLAN 100, at its own MAC.
fn in_vlan_100(lab: &Lab) -> DirectorBuilder {
    let rs1 = lab.host("rs1");
    let service = format!(
        "{}[[virtual_server.real_server]]\naddress = \"{}\"\nmac = \"{}\"\nvlan = 100\n",
        VirtualServer::tcp("web", lab.vip(), 80),
        rs1.address(),
        rs1.mac()
    );
    Director::on(&lab.director()).config(service)
}

fn removes_tags(lab: &Lab) -> lb_lab::Result<bool> {
    Ok(lab.director().run(["ethtool", "-k", "eth0"])?.contains("rx-vlan-offload: on"))
}

#[test]
fn a_frame_gets_the_vlan_of_its_real_server_and_keeps_its_priority() -> TestResult {
    let lab = lab(1)?;
    lab.switch().keep_tags_in_frames(&lab.director())?;
    let _director = in_vlan_100(&lab).start()?;
    let arrived = lab.switch().capture_if(&lab.host("rs1"), |direction, frame| {
        direction == Direction::Out && frame.len() > 18 && frame[12..14] == [0x81, 0]
    })?;
    let client = lab.client();
    let send = |port, tag: Option<u16>| -> lb_lab::Result<Vec<u8>> {
        let to = Endpoint::new(lab.director().mac(), lab.vip(), 80);
        let frame = Frame::between(Endpoint::of(&client, port), to);
        let mut frame = tag.map_or(frame.clone(), |tag| frame.vlan(tag)).tcp(SYN, b"");
        if tag.is_some() {
            frame[14] |= PRIORITY_5;
        }
        client.send_frame(&frame)?;
        Ok(frame)
    };
    let tagged = send(5000, Some(7))?;
    let got = arrived.wait_for(PATIENCE, |_| true)?;
    assert_eq!(got.bytes[..6], lab.host("rs1").mac().0);
    assert_eq!(got.bytes[14..16], [PRIORITY_5, 100]);
    assert_eq!(got.bytes[16..], tagged[16..]);
    let plain = send(5001, None)?;
    let got = arrived.wait_for(PATIENCE, |frame| frame.bytes[38..40] == 5001_u16.to_be_bytes())?;
    assert_eq!(got.bytes[14..16], [0, 100], "a tag of its own");
    assert_eq!(got.bytes[16..], plain[12..]);
    Ok(())
}

#[test]
fn a_nic_that_removes_tags_is_told_not_to_and_told_again_when_lb_has_gone() -> TestResult {
    let lab = lab(1)?;
    assert!(removes_tags(&lab)?, "a veth does by default");
    let mut director = in_vlan_100(&lab).setting("on_exit", "\"detach\"").start()?;
    assert!(!removes_tags(&lab)?);
    let log = director.process()?.log();
    assert!(log.contains("eth0: switched rx-vlan-offload off"), "{log}");
    director.kill()?;
    director.start()?;
    assert!(director.stop()?.success());
    assert!(removes_tags(&lab)?, "the daemon that took over knows that it was on");
    drop(director);
    let _director = in_vlan_100(&lab).setting("vlan_offload", "\"keep\"").start()?;
    assert!(removes_tags(&lab)?);
    Ok(())
}

/// HTTP frames to a VIP on the director's cable, tagged or not.
fn requests(lab: &Lab) -> lb_lab::Result<Capture> {
    // To port 80, behind one tag or none, whatever the family.
    let is_request = |behind_macs: &[u8]| {
        let untagged = behind_macs.strip_prefix(&[0x81, 0]).map_or(behind_macs, |tagged| &tagged[2..]);
        let transport = match untagged {
            [8, 0, ..] => 22,
            [0x86, 0xdd, ..] => 42,
            _ => return false,
        };
        untagged.get(transport + 2..transport + 4) == Some(&[0, 80])
    };
    lab.switch().capture_if(&lab.director(), move |_, frame| frame.len() > 18 && is_request(&frame[12..]))
}

/// The client in VLAN 7 and rs1 in `vlan` get on with each other; every frame came tagged `IN_VLAN_7` to the
/// director, and left it tagged `leaves_in`.
fn http_in_vlans(
    lab: &Lab,
    vip: IpAddr,
    vlan: u16,
    director: DirectorBuilder,
    leaves_in: [u8; 4],
) -> TestResult {
    lab.switch().keep_tags_in_frames(&lab.director())?;
    let _vlans = (lab.client().attach_vlan(7)?, lab.host("rs1").attach_vlan(vlan)?);
    let director = director.start()?;
    let requests = requests(lab)?;
    for _ in 0..3 {
        let answer = lab.client().http_get((vip, 80), PATIENCE)?;
        assert_eq!((answer.status, answer.server.as_str()), (200, "rs1"));
    }
    let frames = requests.finish()?;
    let tags = |way: Direction| -> Vec<&[u8]> {
        frames.iter().filter(|frame| frame.direction == way).map(|frame| &frame.bytes[12..16]).collect()
    };
    // A handshake, a request and an end each.
    let (came, left) = (tags(Direction::Out), tags(Direction::In));
    assert!(came.len() >= 3 * 4, "{frames:?}");
    assert_eq!(came, vec![IN_VLAN_7; came.len()], "{frames:?}");
    assert_eq!(left, vec![leaves_in; came.len()], "{frames:?}");
    drop(director);
    Ok(())
}

#[test]
fn http_over_tagged_frames() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).config(web(&lab));
    http_in_vlans(&lab, lab.vip().into(), 7, director, IN_VLAN_7)
}

#[test]
fn http_over_tagged_frames_of_ipv6() -> TestResult {
    let lab = lab6(1)?;
    let director = Director::on(&lab.director()).config(web6(&lab));
    http_in_vlans(&lab, lab.vip6().into(), 7, director, IN_VLAN_7)
}

#[test]
fn http_between_two_vlans() -> TestResult {
    let lab = lab(1)?;
    let director = in_vlan_100(&lab);
    http_in_vlans(&lab, lab.vip().into(), 100, director, IN_VLAN_100)
}
