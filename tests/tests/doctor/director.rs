//! Faults of the director itself.

use lb_lab::{Director, HostSpec, Lab, Result, TestResult, run_as_nobody};
use nix::mount::umount;

use crate::clinic::{Clinic, binary};

fn lab() -> Result<Lab> {
    Lab::builder().director("director").real_servers(1).build()
}

#[test]
fn a_vip_that_nobody_has_is_missing_where_lb_does_not_manage_it() -> TestResult {
    let lab = lab()?;
    lab.director().add_address(lab.vip(), 32)?;
    let clinic = Clinic::new(lab, "manage_vips = false");
    Ok(clinic.finds_and_mends("vip", |lab| lab.director().remove_address(lab.vip(), 32))?)
}

#[test]
fn an_interface_that_is_down_is_taken_up() -> TestResult {
    Ok(Clinic::new(lab()?, "").finds_and_mends("link-down", |lab| lab.director().set_link(false))?)
}

#[test]
fn a_program_that_a_link_attached_is_detached() -> TestResult {
    let clinic = Clinic::new(lab()?, "");
    let mut attached = None;
    clinic.finds_and_mends("xdp-foreign", |lab| {
        attached = Some(lab.director().attach_xdp("tag_7")?);
        Ok(())
    })?;
    Ok(())
}

/// The same program is on another host, by a link that is not to be ended.
#[test]
fn a_program_that_netlink_attached_is_detached() -> TestResult {
    let lab = Lab::builder().director("director").real_servers(1).host(HostSpec::other("other")).build()?;
    // Interfaces of other namespaces are told apart by their index only: it is to be another one.
    lab.director().run(["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1-peer"])?;
    for name in ["eth1", "eth1-peer"] {
        lab.director().run(["ip", "link", "set", "dev", name, "up"])?;
    }
    let clinic = Clinic::new(lab, "");
    let text = std::fs::read_to_string(clinic.config())?;
    std::fs::write(clinic.config(), text.replace("\"eth0\"", "\"eth0\", \"eth1\""))?;
    let _elsewhere = clinic.lab.host("other").attach_xdp("tag_100")?;
    let shown = clinic.lab.host("other").run(["ip", "-details", "link", "show", "dev", "eth0"])?;
    let mut words = shown.split_whitespace();
    let id =
        words.by_ref().skip_while(|word| *word != "prog/xdp").nth(2).expect("`prog/xdp id 7`").to_owned();
    let before: Vec<String> = codes(&clinic)?;
    clinic.lab.director().run(["bpftool", "net", "attach", "xdpgeneric", "id", &id, "dev", "eth1"])?;
    let fault =
        clinic.faults()?.into_iter().find(|fault| fault["code"] == "xdp-foreign").expect("it is found");
    clinic.obey(&fault)?;
    assert_eq!(codes(&clinic)?, before);
    Ok(())
}

fn codes(clinic: &Clinic) -> Result<Vec<String>> {
    Ok(clinic.faults()?.iter().map(|fault| fault["code"].to_string()).collect())
}

#[test]
fn a_strict_reverse_path_filter_is_loosened() -> TestResult {
    let lab = lab()?;
    let _second = lab.second_network(&[&lab.director()])?;
    let clinic = Clinic::new(lab, "");
    Ok(clinic
        .finds_and_mends("rp-filter", |lab| lab.director().set_sysctl("ipv4/conf/all/rp_filter", "1"))?)
}

/// One more real server of the last virtual server.
const IN_A_VLAN: &str =
    "[[virtual_server.real_server]]\naddress = \"10.99.0.77\"\nmac = \"02:00:00:00:00:77\"\nvlan = 100\n";

#[test]
fn a_nic_that_removes_vlan_tags_is_told_not_to() -> TestResult {
    let clinic = Clinic::new(lab()?, "vlan_offload = \"keep\"");
    clinic.add(IN_A_VLAN)?;
    let removal = |on: &str| {
        let words = ["ethtool", "-K", "eth0", "rx-vlan-offload", on];
        clinic.lab.director().run(words).map(drop)
    };
    removal("off")?;
    Ok(clinic.finds_and_mends("vlan-offload", |_| removal("on"))?)
}

/// Unmounts what the doctor's command mounted, also when a test fails.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        _ = umount(&self.0);
    }
}

#[test]
fn a_bpffs_is_mounted_where_pins_are_to_be() -> TestResult {
    let lab = lab()?;
    let directory = lab.directory().join("pins");
    let clinic = Clinic::with_bpffs(lab, "", directory.clone());
    let _mounted = Mounted(directory);
    let faults = clinic.finds_only("bpffs")?;
    for command in faults[0]["fix"]["commands"].as_array().expect("a list") {
        clinic.shell(&clinic.lab.director(), command.as_str().expect("a text"))?;
    }
    assert!(clinic.faults()?.is_empty());
    Ok(())
}

#[test]
fn fix_does_what_is_safe_and_says_so() -> TestResult {
    let lab = lab()?;
    let _second = lab.second_network(&[&lab.director()])?;
    let director = lab.director();
    let directory = lab.directory().join("pins");
    let clinic = Clinic::with_bpffs(lab, "vlan_offload = \"keep\"", directory.clone());
    let _mounted = Mounted(directory);
    director.set_sysctl("ipv4/conf/eth0/rp_filter", "1")?;
    clinic.add(IN_A_VLAN)?;
    director.set_link(false)?;
    let output = clinic.run(&["--fix"])?;
    assert_eq!(output.status.code(), Some(0), "{}{}", output.stdout, output.stderr);
    let fixed: Vec<&str> = output.stdout.lines().filter(|line| line.starts_with("fixed")).collect();
    assert_eq!(fixed.len(), 4, "{}", output.stdout);
    assert!(output.stdout.ends_with(" ok\n") && output.stdout.contains("\n0 problems, 0 warnings,"));
    assert!(clinic.faults()?.is_empty());
    let again = clinic.run(&["--fix"])?;
    assert!(!again.stdout.contains("fixed"), "{}", again.stdout);
    Ok(())
}

#[test]
fn a_running_daemons_own_program_is_no_fault() -> TestResult {
    let clinic = Clinic::new(lab()?, "");
    let _daemon = Director::on(&clinic.lab.director())
        .setting("bpffs", format!("{:?}", clinic.bpffs))
        .config(lb_lab::VirtualServer::tcp("web", clinic.lab.vip(), 80).hosts(&clinic.lab.real_servers()))
        .start()?;
    assert!(clinic.faults()?.is_empty());
    clinic.lab.director().remove_address(clinic.lab.vip(), 32)?;
    clinic.finds_only("vip")?;
    Ok(())
}

#[test]
fn what_is_no_interface_is_named_and_a_bad_file_is_explained() -> TestResult {
    let clinic = Clinic::new(lab()?, "");
    let text = std::fs::read_to_string(clinic.config())?;
    std::fs::write(clinic.config(), text.replace("\"eth0\"", "\"eth7\""))?;
    let faults = clinic.finds_only("interface")?;
    assert!(faults[0]["found"].as_str().is_some_and(|found| found.contains("eth0")), "{faults:#?}");
    std::fs::write(clinic.config(), "[director]\ninterface = \"eth0\"\n")?;
    let output = clinic.run(&[])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("interfaces"), "{}", output.stderr);
    clinic.finds_only("config")?;
    Ok(())
}

#[test]
fn without_a_file_an_interface_is_looked_at() -> TestResult {
    let lab = lab()?;
    let command = lab.director().command(binary()).args(["doctor", "--interface", "eth0"]);
    let text = command.run()?.success()?;
    // Before Linux 6.3 the kernel does not tell what the driver can do.
    let is_told = |line: &str| line.contains("xdp-native: eth0: ") && line.contains("driver veth");
    assert!(text.lines().any(is_told), "{text}");
    Ok(())
}

#[test]
fn nobody_is_told_what_was_not_looked_at() -> TestResult {
    let output = run_as_nobody(&binary(), &["doctor", "--interface", "lo"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("not-looked-at") && text.contains("run lb doctor as root"), "{text}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    Ok(())
}
