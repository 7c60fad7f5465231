//! What people type: answers, errors, exit codes.

use lb_lab::{Director, HostSpec, Lab, Ready, TestResult};

use crate::support::{answers, counter, lab, web};

#[test]
fn a_client_without_a_daemon_says_so_with_exit_code_3() -> TestResult {
    let lab = lab(1)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    director.cli(["list"])?;
    director.kill()?;
    for words in [&["list"][..], &["list", "--json"], &["counters"]] {
        let output = director.try_cli(words)?;
        assert_eq!(output.status.code(), Some(3), "{words:?}");
        assert!(
            output.stderr.contains("is not running") && output.stderr.contains("lb run"),
            "{}",
            output.stderr
        );
        assert_eq!(output.stdout, "");
    }
    Ok(())
}

#[test]
fn list_shows_services_and_real_servers_in_the_manner_of_ipvsadm() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    answers(&lab, 3)?;
    let [first, second] = [lab.host("rs1"), lab.host("rs2")];
    let table = director.cli(["list", "-n"])?;
    let expected = format!(
        "Prot LocalAddress:Port Scheduler
  -> RemoteAddress Weight ActiveConn InActConn State MAC
TCP  {}:80 rr
  -> {}    1      0          1         up    {}
  -> {}    1      0          2         up    {}
",
        lab.vip(),
        first.address(),
        first.mac(),
        second.address(),
        second.mac()
    );
    assert_eq!(table, expected);
    Ok(())
}

#[test]
fn an_interface_that_is_not_there_is_an_error_for_run_and_a_warning_for_check() -> TestResult {
    let lab = lab(1)?;
    let start = Director::on(&lab.director()).setting("interfaces", "[\"eth7\"]").config(web(&lab));
    let error = start.start().err().expect("there is no eth7").to_string();
    assert!(error.contains("eth7") && error.contains("eth0"), "the name, and what there is: {error}");
    let file = lab.directory().join("director.toml");
    let binary = std::env::var("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY");
    let checked = lab.director().command(binary).arg("check").arg("--config").arg(&file).run()?;
    assert!(checked.status.success(), "{}", checked.stderr);
    assert!(checked.stderr.starts_with("warning[") && checked.stderr.contains("eth7"), "{}", checked.stderr);
    assert!(checked.stdout.contains("ok, 1 virtual server and 1 real server"), "{}", checked.stdout);
    Ok(())
}

#[test]
fn a_second_daemon_is_refused_and_does_no_harm() -> TestResult {
    let lab = lab(1)?;
    let _director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let same = Director::on(&lab.director()).config(web(&lab)).start().err().expect("refused").to_string();
    assert!(same.contains("in use by another lb daemon"), "{same}");
    let other_pins = format!("{:?}", lab.bpffs().join("elsewhere"));
    let second = || Director::on(&lab.director()).setting("bpffs", other_pins.clone()).config(web(&lab));
    let error = second().start().err().expect("refused").to_string();
    assert!(error.contains("another lb daemon answers"), "{error}");
    let other_socket = format!("{:?}", lab.directory().join("elsewhere.sock"));
    let second = second().setting("control_socket", other_socket);
    let error = second.start().err().expect("refused").to_string();
    assert!(error.contains("another XDP program is attached"), "{error}");
    assert_eq!(answers(&lab, 2)?, ["rs1"; 2]);
    Ok(())
}

#[test]
fn a_driver_without_native_xdp_gets_generic_xdp_and_the_log_says_why() -> TestResult {
    let lab = lab(1)?;
    let host = lab.director();
    // A macvlan has an address of its own and no native XDP.
    host.run(["ip", "link", "add", "link", "eth0", "name", "mac0", "type", "macvlan", "mode", "bridge"])?;
    host.run(["ip", "link", "set", "dev", "mac0", "up"])?;
    let on_macvlan = || {
        let director = Director::on(&host).setting("interfaces", "[\"mac0\"]");
        director.setting("on_exit", "\"detach\"").config(web(&lab))
    };
    let mut director = on_macvlan().start()?;
    let log = director.process()?.log();
    assert!(
        log.contains("attached to mac0: generic XDP") && log.contains("because the driver refused"),
        "{log}"
    );
    assert!(director.cli(["counters"])?.contains("(generic XDP)"));
    director.stop()?;
    let native = on_macvlan().setting("xdp_mode", "\"native\"").start();
    let error = native.err().expect("it has no native XDP").to_string();
    assert!(error.contains("attach xdp to mac0") && error.contains("xdp_mode"), "{error}");
    Ok(())
}

#[test]
fn generic_xdp_forwards_too() -> TestResult {
    let lab = lab(2)?;
    let director =
        Director::on(&lab.director()).setting("xdp_mode", "\"generic\"").config(web(&lab)).start()?;
    assert_eq!(answers(&lab, 4)?, ["rs2", "rs1", "rs2", "rs1"]);
    assert!(director.cli(["counters"])?.contains("(generic XDP)"));
    Ok(())
}

#[test]
fn an_interface_that_vanishes_ends_the_daemon_with_a_word() -> TestResult {
    let lab =
        Lab::builder().client("client").director("director").host(HostSpec::real_server("rs1")).build()?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    lab.director().run(["ip", "link", "delete", "dev", "eth0"])?;
    let status = director.process()?.wait(crate::support::PATIENCE)?;
    assert_eq!(status.code(), Some(1));
    let log = director.process()?.log();
    assert!(log.contains("interface eth0 is gone"), "{log}");
    Ok(())
}

#[test]
fn scheduled_flows_are_logged_when_asked_for() -> TestResult {
    let lab = lab(1)?;
    let mut director =
        Director::on(&lab.director()).config(web(&lab)).log_filter("info,lb_ebpf=debug").ready(Ready::AtOnce);
    director = director.argument("--log-flows");
    let mut director = director.ready(Ready::LogLine("ready".into())).start()?;
    answers(&lab, 1)?;
    let line = format!("-> {}:80 protocol 6 scheduled", lab.vip());
    director.process()?.wait_for_line(&line, crate::support::PATIENCE)?;
    assert_eq!(counter(&director, "insert_lost")?, 0);
    Ok(())
}
