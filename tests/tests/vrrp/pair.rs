//! Two directors with lb.

use lb_lab::TestResult;

use crate::support::{
    PATIENCE, director, has_address, lab, vrrp, wait_for, wait_for_address, wait_for_state,
};

#[test]
fn the_one_with_the_higher_priority_has_the_address_and_the_other_one_takes_over() -> TestResult {
    let lab = lab(2)?;
    let vip = lab.vip().to_string();
    let mut a = director(&lab, "a", 150)?;
    wait_for_state(&a, "master")?;
    let mut b = director(&lab, "b", 100)?;
    wait_for_state(&b, "backup")?;
    assert!(has_address(a.host(), &vip)?);
    assert!(!has_address(b.host(), &vip)?);
    wait_for(&b, "it hears the master", |found| {
        found["master"]["address"] == a.host().address().to_string()
    })?;
    assert!(lab.client().http_get((lab.vip(), 80), PATIENCE).is_ok());

    a.stop()?;
    wait_for_state(&b, "master")?;
    assert!(vrrp(&b)?["reason"].as_str().is_some_and(|why| why.contains("has stopped")), "{}", vrrp(&b)?);
    assert!(!has_address(a.host(), &vip)?, "gone when the daemon has ended");
    assert!(lab.client().http_get((lab.vip(), 80), PATIENCE).is_ok());

    a.start()?;
    wait_for_state(&a, "master")?;
    wait_for_state(&b, "backup")?;
    assert!(!has_address(b.host(), &vip)?);

    a.kill()?;
    wait_for_state(&b, "master")?;
    assert!(vrrp(&b)?["reason"].as_str().is_some_and(|why| why.contains("no advert for")), "{}", vrrp(&b)?);
    assert!(lab.client().http_get((lab.vip(), 80), PATIENCE).is_ok());
    wait_for_address(a.host(), &vip, false)?;
    b.stop()?;
    Ok(())
}
