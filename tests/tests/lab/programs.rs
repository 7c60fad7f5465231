//! Programs on hosts, and the director's helper with a stand-in for the daemon.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lb_lab::{Director, Error, Lab, Ready, Result, TestResult, VirtualServer, try_wait_until};
use nix::sys::signal::Signal;

use crate::{SOON, pair};

#[test]
fn a_program_runs_in_the_hosts_network_with_all_else_as_usual() -> TestResult {
    let lab = pair()?;
    let addresses = lab.host("rs1").run(["ip", "-brief", "address"])?;
    assert!(addresses.contains("10.99.0.51/24") && addresses.contains("10.99.0.100/32"), "{addresses}");
    let pins = lab.bpffs().display().to_string();
    assert!(lab.client().run(["stat", "-f", "-c", "%T", &pins])?.contains("bpf"), "bpffs must be visible");
    Ok(())
}

#[test]
fn a_program_that_fails_shows_what_it_wrote() -> TestResult {
    let lab = Lab::builder().client("client").build()?;
    let client = lab.client();
    let error = client.run(["sh", "-c", "echo out; echo err >&2; exit 3"]).expect_err("it fails");
    let text = error.to_string();
    assert!(
        ["sh -c", "client", "exit status: 3", "out", "err"].iter().all(|part| text.contains(part)),
        "{text}"
    );
    assert_eq!(client.command("cat").input("echo").run()?.success()?, "echo");
    let error = client.run(["no-such-program"]).expect_err("it does not exist");
    assert!(error.to_string().contains("no-such-program"), "{error}");
    let late = client.command("sleep").arg("60").timeout(Duration::from_millis(50)).run();
    assert!(matches!(late, Err(Error::Timeout { .. })));
    Ok(())
}

#[test]
fn a_programs_log_can_be_waited_on() -> TestResult {
    let lab = Lab::builder().client("client").build()?;
    let script = "echo one; while read -r line; do echo $line; done; echo two >&2; exec sleep 60";
    let mut process = lab.client().command("sh").args(["-c", script]).input("three\n").spawn()?;
    process.wait_for_line("two", SOON)?;
    assert_eq!(process.log(), "one\nthree\ntwo\n");
    let mark = process.mark();
    let late = process.wait_for_line_after(mark, "one", Duration::from_millis(20));
    assert!(matches!(late, Err(Error::Timeout { .. })));
    assert!(!process.stop()?.success(), "SIGTERM ends sleep");
    let ended = process.wait_for_line("four", SOON).expect_err("it has ended");
    assert!(ended.to_string().contains("SIGTERM"), "{ended}");
    Ok(())
}

#[test]
fn the_directors_helper_starts_stops_and_asks_the_daemon() -> TestResult {
    let lab = Lab::builder().director("director").real_servers(2).build()?;
    let service = VirtualServer::tcp("web", lab.vip(), 80).scheduler("wrr").line("on_down = \"reset\"");
    let service = service.hosts(&lab.real_servers());
    let daemon = Director::on(&lab.director()).binary(stand_in(&lab)?).setting("on_exit", "\"detach\"");
    let mut daemon = daemon.config(service).start()?;

    let config = fs::read_to_string(daemon.config_file())?;
    for line in
        ["interfaces = [\"eth0\"]", "on_exit = \"detach\"", "scheduler = \"wrr\"", "address = \"10.99.0.52\""]
    {
        assert!(config.contains(line), "{line} is not in\n{config}");
    }
    let socket = daemon.control_socket().display().to_string();
    assert_eq!(daemon.cli(["list", "--json"])?, format!("list --json --control-socket {socket}\n"));
    assert_eq!(daemon.try_cli(["fail"])?.status.code(), Some(3));

    daemon.signal(Signal::SIGHUP)?;
    daemon.process()?.wait_for_line("reloaded", SOON)?;
    let first = daemon.process()?.id();
    assert!(daemon.stop()?.success());
    daemon.start()?;
    assert_ne!(daemon.process()?.id(), first);
    daemon.kill()?;
    daemon.restart()?;
    daemon.process()?.wait_for_line("ready", SOON)?;
    Ok(())
}

#[test]
fn a_daemon_that_does_not_get_ready_shows_its_log() -> TestResult {
    let lab = Lab::builder().director("director").build()?;
    let daemon = Director::on(&lab.director()).binary(stand_in(&lab)?);
    let never = Ready::LogLine("never".into());
    let late = daemon.clone().ready(never.clone()).timeout(Duration::from_millis(100)).start().err();
    assert!(late.is_some_and(|error| error.to_string().contains("ready: run --config")));
    let ended = daemon.config("# broken").ready(never).start().err();
    assert!(ended.is_some_and(|error| error.to_string().contains("the configuration is broken")));
    Ok(())
}

#[test]
fn a_thread_of_a_host_is_in_its_network() -> TestResult {
    let lab = pair()?;
    let listener = lab.client().enter(|| std::net::TcpListener::bind("10.99.0.11:0"))??;
    let address = listener.local_addr()?;
    let connect =
        move || std::net::TcpStream::connect_timeout(&address, SOON).map(|stream| stream.local_addr());
    let source = lab.host("rs1").start_thread(connect)?.join().expect("no panic")???;
    assert_eq!(source.ip().to_string(), "10.99.0.51");
    try_wait_until("the connection arrives", SOON, || listener.accept())?;
    Ok(())
}

/// A script that behaves like the daemon and its command line, as far as the helper can tell.
fn stand_in(lab: &Lab) -> Result<PathBuf> {
    let script = r#"#!/bin/sh
if [ "$1" = fail ]; then exit 3; fi
if [ "$1" != run ]; then echo "$@"; exit 0; fi
if grep -q broken "$3"; then echo "the configuration is broken"; exit 1; fi
trap 'echo reloaded' HUP
trap 'exit 0' TERM
echo "ready: $*"
while true; do sleep 0.01; done
"#;
    lab.write_script("stand-in", script)
}
