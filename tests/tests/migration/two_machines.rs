//! Section 6: lb on a new machine takes over from keepalived and IPVS on the old one.

use std::time::{Duration, Instant};

use lb_lab::{HostSpec, TestResult, wait_until};

use crate::clients::{AT_ONCE, Requests, Talks, download, finish};
use crate::guide::Reader;
use crate::ipvs;
use crate::site::{BY_RR, BY_SH, Keepalived, PATIENCE, lab, wait_for_vips};

const TITLE: &str = "6. Between two machines: by VRRP";
/// Longer than the whole.
const THROUGH_IT_ALL: Duration = Duration::from_secs(100);
const SOME: u64 = 20;

#[test]
fn migration_between_two_machines_breaks_no_connection_of_sh_and_no_new_one() -> TestResult {
    let lab = lab([HostSpec::other("old"), HostSpec::director("new")])?;
    let (old, new) = (lab.host("old"), lab.host("new"));
    let keepalived = Keepalived::start(&lab, "old")?;
    let mut reader = Reader::new(&lab, keepalived, TITLE);
    let began = Instant::now();
    let (by_rr, by_sh) = (Requests::start(&lab, BY_RR)?, Requests::start(&lab, BY_SH)?);
    let (talks_by_rr, talks_by_sh) = (Talks::start(&lab, BY_RR)?, Talks::start(&lab, BY_SH)?);
    let download_by_sh = download(&lab, BY_SH, THROUGH_IT_ALL)?;
    let all_go_on = || {
        by_rr.wait_for_more(SOME);
        by_sh.wait_for_more(SOME);
        talks_by_sh.wait_for_more(2);
    };
    all_go_on();
    talks_by_rr.wait_for_more(2);

    // lb waits beside keepalived.
    println!("{}", reader.follow()?);
    let vrrp = |reader: &Reader<'_>| reader.director().json(["vrrp"]).map(|all| all["instances"][0].clone());
    let wait_for_state = |reader: &Reader<'_>, state: &str| {
        wait_until(state, PATIENCE, || {
            let found = vrrp(reader).map_err(|error| error.to_string())?;
            if found["state"] == state { Ok(()) } else { Err(found.to_string()) }
        });
    };
    wait_until("it hears the old director", PATIENCE, || {
        let found = vrrp(&reader).map_err(|error| error.to_string())?;
        let heard = found["state"] == "backup" && found["master"]["address"] == old.address().to_string();
        if heard { Ok(()) } else { Err(found.to_string()) }
    });
    all_go_on();
    talks_by_rr.wait_for_more(2);
    let forwarded = ipvs::service(&old, BY_RR)?.connections + ipvs::service(&old, BY_SH)?.connections;

    // It takes over.
    println!("{}", reader.follow()?);
    wait_for_state(&reader, "master");
    reader.keepalived.wait_for_line("Entering BACKUP STATE")?;
    reader.keepalived.wait_for_vips(false);
    wait_for_vips(&new, true);
    talks_by_rr.wait_until_reset()?;
    all_go_on();
    let left = ipvs::service(&old, BY_RR)?.connections + ipvs::service(&old, BY_SH)?.connections;
    assert!(left >= forwarded);
    all_go_on();
    let after = ipvs::service(&old, BY_RR)?.connections + ipvs::service(&old, BY_SH)?.connections;
    assert_eq!(left, after, "IPVS gets none any more");

    // keepalived ends.
    assert!(download_by_sh.is_running());
    println!("{}", reader.follow()?);
    reader.has_reached_the_end()?;
    all_go_on();
    let answers = talks_by_sh.finish()?;
    finish(download_by_sh)?;
    let (by_rr, by_sh) = (by_rr.finish()?, by_sh.finish()?);
    println!("rr: {by_rr:?}");
    println!("sh: {by_sh:?}");
    println!("open connections by sh: {answers} answers; all of it took {:?}", began.elapsed());
    assert!(by_sh.errors.is_empty(), "{by_sh:?}");
    assert!(by_rr.errors.len() <= AT_ONCE, "only what was under way: {by_rr:?}");
    Ok(())
}
