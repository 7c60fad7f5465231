//! `lb real-server` on a machine that is to become one.

use std::collections::BTreeSet;

use lb_lab::{Director, Host, HostSpec, Lab, Output, Result, TestResult, VirtualServer, wait_until};

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

/// A machine that is to become a real server, and `lb` on it.
struct Plain {
    lab: Lab,
    host: Host,
}

impl Plain {
    fn new() -> Result<Self> {
        let lab = Lab::builder().ipv6().client("client").host(HostSpec::other("plain")).build()?;
        Ok(Self { host: lab.host("plain"), lab })
    }

    fn command(&self, action: &str, vips: &[&str]) -> lb_lab::Command {
        let command = self.host.command(binary()).args(["real-server", action]);
        let state = self.lab.directory().join("real-server.json");
        vips.iter()
            .fold(command.env("LB_REAL_SERVER_STATE", state), |command, vip| command.args(["--vip", vip]))
    }

    fn lb(&self, action: &str, vips: &[&str]) -> Result<String> {
        self.command(action, vips).run()?.success()
    }

    /// What `status` finds wrong, by subject.
    fn wrong(&self, vips: &[&str]) -> Result<BTreeSet<String>> {
        let output: Output = self.command("status", vips).arg("--json").run()?;
        let findings: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let findings = findings.as_array().expect("a list");
        let wrong = findings.iter().filter(|finding| finding["ok"] == false);
        let wrong: BTreeSet<String> =
            wrong.map(|finding| finding["subject"].as_str().expect("a text").to_owned()).collect();
        assert_eq!(output.status.code(), Some(i32::from(!wrong.is_empty())));
        Ok(wrong)
    }

    /// Whether it answers ARP for the address.
    fn is_loud(&self, vip: &str) -> Result<bool> {
        let command =
            self.lab.client().command("arping").args(["-D", "-c", "1", "-w", "1", "-I", "eth0", vip]);
        Ok(command.run()?.stdout.to_lowercase().contains("reply from"))
    }

    /// Everything that `up` may change.
    fn state(&self) -> Result<String> {
        let script = "sysctl -a 2>/dev/null | grep -E 'ipv4.conf.*(arp_ignore|arp_announce)'; ip address show dev lo | grep -v valid_lft; ip route show table local dev lo";
        self.host.run(["sh", "-c", script])
    }
}

const V4: &str = "10.99.0.100";
const V6: &str = "2001:db8:99::100";
const PREFIX: &str = "192.0.2.0/28";

#[test]
fn vips_of_both_families_come_one_by_one_and_go_one_by_one() -> TestResult {
    let plain = Plain::new()?;
    let before = plain.state()?;
    plain.lb("up", &[V6])?;
    let ignore = || plain.host.run(["sysctl", "-n", "net.ipv4.conf.all.arp_ignore"]);
    assert_eq!(ignore()?, "0\n", "IPv6 needs no settings");
    plain.lb("up", &[V4])?;
    plain.lb("up", &[PREFIX, "10.99.0.101"])?;
    assert_eq!(plain.wrong(&[V4, V6, PREFIX, "10.99.0.101"])?, BTreeSet::new());
    plain.lb("down", &[V4, PREFIX])?;
    assert_eq!(plain.wrong(&[V6, "10.99.0.101"])?, BTreeSet::new());
    assert_eq!(plain.wrong(&[V4, PREFIX])?, [V4, PREFIX].map(str::to_owned).into());
    plain.lb("down", &["10.99.0.101"])?;
    assert_eq!(ignore()?, "0\n", "with the last one of IPv4");
    plain.lb("down", &[V6])?;
    assert_eq!(plain.state()?, before);
    Ok(())
}

/// `status` took 3 for good, being more than 1: but it hides addresses of host scope only. And 3 on the interface counts
/// more than 1 on all.
#[test]
fn an_interface_with_arp_ignore_of_3_is_loud() -> TestResult {
    let plain = Plain::new()?;
    plain.host.set_sysctl("ipv4/conf/eth0/arp_ignore", "3")?;
    plain.host.set_sysctl("ipv4/conf/all/arp_ignore", "1")?;
    plain.host.set_sysctl("ipv4/conf/all/arp_announce", "2")?;
    plain.host.add_vip(plain.lab.vip())?;
    assert!(plain.is_loud(V4)?);
    assert_eq!(plain.wrong(&[V4])?, ["net.ipv4.conf.eth0.arp_ignore".to_owned()].into());
    let before = plain.state()?;
    plain.lb("up", &[V4])?;
    assert!(!plain.is_loud(V4)?);
    assert_eq!(plain.wrong(&[V4])?, BTreeSet::new());
    plain.lb("down", &[V4])?;
    plain.host.add_vip(plain.lab.vip())?;
    assert_eq!(plain.state()?, before);

    plain.host.remove_vip(plain.lab.vip())?;
    plain.host.run(["ip", "address", "add", V4, "dev", "lo", "scope", "host"])?;
    assert!(!plain.is_loud(V4)?);
    assert_eq!(plain.wrong(&[V4])?, BTreeSet::new(), "of host scope it is hidden");
    Ok(())
}

#[test]
fn what_keeps_quiet_already_is_left_as_it_is() -> TestResult {
    let plain = Plain::new()?;
    for value in ["2", "8"] {
        plain.host.set_sysctl("ipv4/conf/all/arp_ignore", value)?;
        plain.lb("up", &[V4])?;
        assert!(!plain.is_loud(V4)?);
        assert_eq!(plain.wrong(&[V4])?, BTreeSet::new());
        assert_eq!(plain.host.run(["sysctl", "-n", "net.ipv4.conf.all.arp_ignore"])?, format!("{value}\n"));
        plain.lb("down", &[V4])?;
    }
    for value in ["0", "4", "7"] {
        plain.host.set_sysctl("ipv4/conf/all/arp_ignore", value)?;
        plain.host.add_vip(plain.lab.vip())?;
        assert!(plain.is_loud(V4)?, "{value}");
        assert!(plain.wrong(&[V4])?.contains("net.ipv4.conf.all.arp_ignore"), "{value}");
        plain.host.remove_vip(plain.lab.vip())?;
    }
    Ok(())
}

#[test]
fn what_a_killed_up_began_is_finished_or_undone() -> TestResult {
    let plain = Plain::new()?;
    let before = plain.state()?;
    let vips: Vec<String> = (1..=200).map(|number| format!("198.51.100.{number}")).collect();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    for finish in [false, true] {
        let mut process = plain.command("up", &vips).spawn()?;
        wait_until("the first VIPs are there", PATIENCE, || {
            let shown =
                plain.host.run(["ip", "address", "show", "dev", "lo"]).map_err(|error| error.to_string())?;
            if shown.contains("198.51.100.") { Ok(()) } else { Err(shown) }
        });
        process.kill()?;
        if finish {
            plain.lb("up", &vips)?;
            assert_eq!(plain.wrong(&vips)?, BTreeSet::new());
        }
        plain.lb("down", &vips)?;
        assert_eq!(plain.state()?, before, "finished: {finish}");
    }
    Ok(())
}

/// The lines that would be run at boot, in the lab: the files themselves belong to the machine.
#[test]
fn what_persistent_prints_does_what_up_does() -> TestResult {
    let plain = Plain::new()?;
    let before = plain.state()?;
    let vips = [V4, V6, PREFIX];
    for (format, up, down) in [("systemd", "ExecStart=", "ExecStop="), ("ifupdown", "    up ", "    down ")] {
        let script = plain.command("up", &vips).arg(format!("--persistent={format}")).run()?.success()?;
        assert_eq!(plain.state()?, before, "printing changes nothing");
        plain.host.command("sh").args(["-n", "-c", &script]).run()?.success()?;
        let run = |prefix: &str| -> Result<()> {
            for line in script.lines().filter_map(|line| line.strip_prefix(prefix)) {
                let state = plain.lab.directory().join("boot.json");
                let command = plain.host.command("sh").args(["-c", line]);
                command.env("LB_REAL_SERVER_STATE", state).run()?.success()?;
            }
            Ok(())
        };
        run(up)?;
        assert_eq!(plain.wrong(&vips)?, BTreeSet::new(), "{script}");
        run(down)?;
        assert_eq!(plain.wrong(&[V6])?, [V6.to_owned()].into());
        for setting in ["arp_ignore", "arp_announce"] {
            plain.host.set_sysctl(&format!("ipv4/conf/all/{setting}"), "0")?;
        }
        assert_eq!(plain.state()?, before);
    }
    let default = plain.command("up", &vips).arg("--persistent").run()?.success()?;
    assert!(default.contains("/etc/systemd/system/lb-real-server.service"), "{default}");
    Ok(())
}
