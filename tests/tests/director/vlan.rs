//! Real servers in VLANs. The kernel of a lab may have no VLANs of its own, so tagged frames are made by hand.

use lb_lab::frame::{Endpoint, Frame, SYN};
use lb_lab::{Direction, Director, DirectorBuilder, Lab, TestResult, VirtualServer};

use crate::support::{PATIENCE, lab};

/// In the first byte behind a tag's type.
const PRIORITY_5: u8 = 5 << 5;

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
    // The tag is to be in the frame on the cable, not beside it.
    lab.switch().command("ethtool").args(["-K", "director", "tx-vlan-offload", "off"]).run()?.success()?;
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
