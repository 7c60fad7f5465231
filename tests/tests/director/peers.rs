//! Two directors that are real servers too.

use std::time::Duration;

use lb_lab::{Director, HostSpec, Lab, Role, TestResult, VirtualServer};

use crate::support::{counter, real_servers};

/// Each is a director for the VIP and a real server of the other; clients reach it at either.
#[test]
fn a_frame_from_the_other_director_is_delivered_and_never_scheduled_again() -> TestResult {
    let lab = Lab::builder()
        .client("client")
        .host(HostSpec::director("a").serving())
        .host(HostSpec::director("b").serving())
        .build()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    assert_eq!((a.role(), a.serves()), (Role::Director, true));
    let start = |own: &lb_lab::Host, other: &lb_lab::Host| {
        Director::on(own)
            .setting("manage_vips", false)
            .setting("peers", format!("[\"{}\"]", other.address()))
            .config(VirtualServer::tcp("web", lab.vip(), 80).real_server(other.address(), 1))
            .start()
    };
    let (on_a, on_b) = (start(&a, &b)?, start(&b, &a)?);
    let client = lab.client();
    for (near, far, near_director, far_director) in [(&a, &b, &on_a, &on_b), (&b, &a, &on_b, &on_a)] {
        client.pin_neighbour(lab.vip(), near.mac())?;
        let forwarded = |director: &Director| {
            real_servers(director).map(|servers| servers[0]["stats"]["packets"].as_u64().unwrap_or(0))
        };
        let (before, passed) = (forwarded(far_director)?, counter(far_director, "pass_from_peer")?);
        let near_before = forwarded(near_director)?;
        for _ in 0..5 {
            let answer = client.http_get((lab.vip(), 80), Duration::from_secs(2))?;
            assert_eq!(answer.server, far.name());
        }
        assert!(forwarded(near_director)? >= near_before + 20);
        assert_eq!(forwarded(far_director)?, before, "{} sent nothing back", far.name());
        assert!(counter(far_director, "pass_from_peer")? >= passed + 20);
    }
    Ok(())
}

/// The same without knowing each other: this is what `peers` is for, and that the test above can fail.
#[test]
fn directors_that_do_not_know_each_other_send_frames_to_and_fro() -> TestResult {
    let lab = Lab::builder()
        .client("client")
        .host(HostSpec::director("a").serving())
        .host(HostSpec::director("b").serving())
        .build()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let start = |own: &lb_lab::Host, other: &lb_lab::Host| {
        Director::on(own)
            .setting("manage_vips", false)
            .config(VirtualServer::tcp("web", lab.vip(), 80).real_server(other.address(), 1))
            .start()
    };
    let (_on_a, on_b) = (start(&a, &b)?, start(&b, &a)?);
    let client = lab.client();
    client.pin_neighbour(lab.vip(), a.mac())?;
    assert!(client.http_get((lab.vip(), 80), Duration::from_millis(300)).is_err());
    let bounced = real_servers(&on_b)?[0]["stats"]["packets"].as_u64().unwrap_or(0);
    assert!(bounced > 10, "{bounced} frames bounced");
    // Pull the cables before the loop keeps a CPU busy.
    lab.switch().set_port(&a, false).map_err(Into::into)
}
