//! VIPs on the director's interface.

use lb_lab::{Direction, Director, TestResult, VirtualServer, wait_until};

use crate::support::{PATIENCE, answers, lab, web};

fn has_address(director: &Director, address: &str) -> lb_lab::Result<bool> {
    Ok(director.host().run(["ip", "-4", "address", "show", "dev", "eth0"])?.contains(address))
}

#[test]
fn vips_are_added_announced_and_taken_away() -> TestResult {
    let lab = lab(1)?;
    let vip = lab.vip();
    let announcements = lab.client().capture_if(move |direction, frame| {
        let is_arp = direction == Direction::In && frame.len() >= 42 && frame[12..14] == [8, 6];
        is_arp && frame[28..32] == vip.octets() && frame[38..42] == vip.octets()
    })?;
    let mut director =
        Director::on(&lab.director()).setting("on_exit", "\"detach\"").config(web(&lab)).start()?;
    assert!(has_address(&director, &format!("{vip}/32"))?);
    let announced = announcements.wait_for(PATIENCE, |_| true)?;
    assert_eq!(announced.bytes[22..28], lab.director().mac().0, "the sender's MAC is the director's");
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    director.stop()?;
    assert!(!has_address(&director, &vip.to_string())?);
    Ok(())
}

#[test]
fn an_administrators_address_is_left_alone() -> TestResult {
    let lab = lab(1)?;
    lab.director().add_address(lab.vip(), 32)?;
    let mut director =
        Director::on(&lab.director()).setting("on_exit", "\"detach\"").config(web(&lab)).start()?;
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    director.stop()?;
    assert!(has_address(&director, &lab.vip().to_string())?);
    Ok(())
}

#[test]
fn a_vip_that_a_killed_daemon_left_goes_when_no_service_has_it() -> TestResult {
    let lab = lab(1)?;
    let other = lab.subnet().address(120);
    let both = format!("{}{}", web(&lab), VirtualServer::tcp("more", other, 80).hosts(&lab.real_servers()));
    let mut director = Director::on(&lab.director()).config(both).start()?;
    assert!(has_address(&director, &other.to_string())?);
    director.kill()?;
    director.change_config(web(&lab))?;
    director.start()?;
    assert!(!has_address(&director, &other.to_string())?);
    assert!(has_address(&director, &lab.vip().to_string())?);
    Ok(())
}

#[test]
fn a_vip_that_somebody_removes_comes_back() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    director.host().remove_address(lab.vip(), 32)?;
    let vip = lab.vip().to_string();
    wait_until("the VIP is back", PATIENCE, || has_address(&director, &vip).unwrap_or(false));
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    Ok(())
}

#[test]
fn vips_that_a_reload_leaves_to_somebody_else_stay_as_they_are() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).setting("manage_vips", true).config(web(&lab)).start()?;
    let text = std::fs::read_to_string(director.config_file())?;
    std::fs::write(director.config_file(), text.replace("manage_vips = true", "manage_vips = false"))?;
    director.cli(["reload"])?;
    assert!(has_address(&director, &lab.vip().to_string())?);
    Ok(())
}

#[test]
fn without_manage_vips_addresses_are_not_touched() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).setting("manage_vips", false).config(web(&lab)).start()?;
    assert!(!has_address(&director, &lab.vip().to_string())?);
    Ok(())
}

#[test]
fn a_director_whose_mac_changes_tells_everybody_and_goes_on() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    let new = lb_lab::Mac([2, 0xdd, 0, 0, 0, 9]);
    director.host().set_mac(new)?;
    wait_until("clients find the new MAC", PATIENCE, || {
        lab.client()
            .http_get((lab.vip(), 80), std::time::Duration::from_millis(200))
            .map(drop)
            .map_err(|e| e.to_string())
    });
    let wire = lab.switch().capture(&lab.host("rs1"))?;
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    let frame =
        wire.wait_for(PATIENCE, |frame| frame.direction == Direction::Out && frame.bytes[12..14] == [8, 0])?;
    assert_eq!(frame.bytes[6..12], new.0, "frames leave with the new MAC");
    Ok(())
}
