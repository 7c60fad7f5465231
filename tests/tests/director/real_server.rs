//! `lb real-server` on a machine that is to become one.

use lb_lab::{Director, HostSpec, Lab, TestResult, VirtualServer};

use crate::support::{PATIENCE, answers};

fn binary() -> String {
    std::env::var("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY")
}

#[test]
fn a_plain_machine_becomes_a_real_server_and_one_again() -> TestResult {
    let lab = Lab::builder().client("client").director("director").host(HostSpec::other("plain")).build()?;
    let (plain, vip) = (lab.host("plain"), lab.vip().to_string());
    let state_file = lab.directory().join("real-server.json");
    let lb = |action: &str| {
        let command = plain.command(binary()).args(["real-server", action, "--vip", &vip]);
        if action == "status" { command } else { command.arg("--state-file").arg(&state_file) }
    };
    let settings = || plain.run(["sysctl", "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.lo.arp_announce"]);
    let before = settings()?;

    let missing = lb("status").run()?;
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stdout.contains("run `lb real-server up"), "{}", missing.stdout);

    let done = lb("up").run()?.success()?;
    assert!(done.contains(&format!("added {vip}/32 to lo")), "{done}");
    assert!(lb("status").run()?.success()?.lines().all(|line| line.starts_with("ok")));
    assert_eq!(lb("up").run()?.success()?, "nothing to do\n");

    plain.start_web()?;
    let service = VirtualServer::tcp("web", lab.vip(), 80).hosts([&plain]);
    let _director = Director::on(&lab.director()).config(service).start()?;
    assert_eq!(answers(&lab, 2)?, ["plain"; 2]);
    // It keeps quiet: only the director answers.
    let heard = lab.client().run(["arping", "-c", "2", "-w", "3", "-I", "eth0", &vip])?;
    assert!(!heard.to_uppercase().contains(&plain.mac().to_string().to_uppercase()), "{heard}");

    lb("down").run()?.success()?;
    assert_eq!(settings()?, before, "settings are what they were");
    assert!(!plain.run(["ip", "address", "show", "dev", "lo"])?.contains(&vip));
    assert!(!state_file.exists());
    assert!(lab.client().http_get((lab.vip(), 80), PATIENCE / 10).is_err());
    Ok(())
}

#[test]
fn settings_stay_until_the_last_vip_goes() -> TestResult {
    let lab = Lab::builder().host(HostSpec::other("plain")).build()?;
    let plain = lab.host("plain");
    let state_file = lab.directory().join("real-server.json");
    let lb = |action: &str, vips: &[&str]| {
        let command =
            plain.command(binary()).args(["real-server", action]).arg("--state-file").arg(&state_file);
        vips.iter().fold(command, |command, vip| command.args(["--vip", vip])).run()?.success()
    };
    let ignore = || plain.run(["sysctl", "-n", "net.ipv4.conf.all.arp_ignore"]);
    lb("up", &["192.0.2.1", "192.0.2.2"])?;
    assert_eq!(ignore()?, "1\n");
    lb("down", &["192.0.2.1"])?;
    assert_eq!(ignore()?, "1\n");
    lb("down", &["192.0.2.2"])?;
    assert_eq!(ignore()?, "0\n");
    Ok(())
}
