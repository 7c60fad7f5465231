//! Health checks: who is out of service, since when and why; what the next daemon knows; who is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lb_lab::{Director, Lab, Load, Result, TestResult, VirtualServer, wait_until};
use serde_json::Value;

use crate::support::{PATIENCE, answers, events, lab, list, real_servers, web};

/// A check of nginx that decides within half a second.
const HTTP: &str = "health_check = { interval = \"200ms\", timeout = \"150ms\", retries = 1, retry_delay = \"50ms\", \
                    rise = 2, http = { path = \"/\", status = [200] } }";

fn wait_until_state(director: &Director, place: usize, state: &str) {
    wait_until(&format!("real server {place} is {state}"), PATIENCE, || {
        real_servers(director).is_ok_and(|listed| listed[place]["state"] == state)
    });
}

fn wait_until_all_are(director: &Director, state: &str) {
    wait_until(&format!("all real servers are {state}"), PATIENCE, || {
        real_servers(director).is_ok_and(|listed| listed.iter().all(|server| server["state"] == state))
    });
}

fn started(lab: &Lab, service: VirtualServer) -> Result<Director> {
    let director = Director::on(&lab.director()).config(service).start()?;
    wait_until_all_are(&director, "up");
    Ok(director)
}

/// Clients see nothing of it but what was on its way to that server when it ended.
#[test]
fn a_web_server_that_ends_is_out_of_service_until_it_is_back() -> TestResult {
    let lab = lab(3)?;
    let mut director = started(&lab, web(&lab).line(HTTP))?;
    let second = lab.real_servers()[1].clone();
    second.stop_web()?;
    wait_until_state(&director, 1, "down");
    let listed = real_servers(&director)?;
    let error = listed[1]["health"]["last"]["error"].as_str().expect("why").to_owned();
    assert!(error.contains("refused"), "{error}");

    // From now on nobody is sent there.
    let load = Load::to((lab.vip(), 80)).at_once(4).timeout(PATIENCE).start(&lab.client())?;
    wait_until("clients are served", PATIENCE, || load.answered() > 200);
    second.start_web()?;
    wait_until_state(&director, 1, "up");
    let before = load.answered();
    wait_until("clients are served", PATIENCE, || load.answered() > before + 200);
    load.stop();
    let report = load.finish()?;
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(answers(&lab, 6)?.contains(&"rs2".to_owned()));

    let told = events(&director, "real_server_state")?;
    let down = told.iter().find(|event| event["after"] == "down").expect("it was down");
    assert!(down["reason"].as_str().expect("why").contains("(2 times in a row)"), "{down}");
    assert!(director.process()?.log().contains("is down (was up): "), "{}", director.process()?.log());
    let table = director.cli(["list", "-n"])?;
    assert!(table.lines().nth(1).is_some_and(|heading| heading.ends_with("Health")), "{table}");
    assert!(table.contains(" ms\n"), "{table}");
    Ok(())
}

#[test]
fn the_next_daemon_knows_who_is_down() -> TestResult {
    let lab = lab(2)?;
    // The next probe of a server that is down is far away.
    let check = "health_check = { interval = \"1h\", timeout = \"1s\", retries = 0, http = {} }";
    let mut director = started(&lab, web(&lab).line(check))?;
    lab.real_servers()[0].stop_web()?;
    let failed = director.try_cli(["check-now", &lab.real_servers()[0].address().to_string()])?;
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
    assert!(failed.stdout.contains("refused"), "{}", failed.stdout);
    wait_until_state(&director, 0, "down");
    let file = director.control_socket().with_extension("sock.health.json");
    wait_until("it is written down", PATIENCE, || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("\"is_up\":false"))
    });
    director.kill()?;
    director.start()?;
    let listed = real_servers(&director)?;
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&"down".into(), &"up".into()), "{listed:?}");
    let flips = events(&director, "real_server_state")?;
    assert_eq!(flips, Vec::<Value>::new(), "nothing changed");
    assert_eq!(answers(&lab, 4)?, ["rs2", "rs2", "rs2", "rs2"]);

    // Another interval is another check, but the same real server.
    let config = fs::read_to_string(director.config_file())?;
    fs::write(director.config_file(), config.replace("1h", "2h"))?;
    director.cli(["reload"])?;
    assert_eq!(real_servers(&director)?[0]["state"], "down");
    lab.real_servers()[0].start_web()?;
    director.cli(["check-now", &lab.real_servers()[0].address().to_string()])?;
    wait_until_state(&director, 0, "up");
    Ok(())
}

/// A script that appends a line with its arguments to a file.
fn script(lab: &Lab, name: &str) -> Result<(String, std::path::PathBuf)> {
    let (script, log) = (lab.directory().join(name), lab.directory().join(format!("{name}.log")));
    let text = format!("#!/bin/sh\necho \"$*|$LB_REASON\" >> {}\n", log.display());
    fs::write(&script, text).expect("there is room for a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    Ok((script.display().to_string(), log))
}

#[test]
fn commands_are_told_of_real_servers_and_of_the_quorum() -> TestResult {
    let lab = lab(2)?;
    let [(notify, notified), (up, reached), (down, lost)] =
        [script(&lab, "notify")?, script(&lab, "up")?, script(&lab, "down")?];
    let service = web(&lab)
        .line(HTTP)
        .line(&format!(
            "notify = [\"{notify}\"]\nquorum_up = [\"{up}\"]\nquorum_down = [\"{down}\", \"now\"]"
        ))
        .line("quorum = 2");
    let director = started(&lab, service)?;
    let lines = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    wait_until("there is a quorum from the beginning", PATIENCE, || lines(&reached) == "|\n");
    lab.real_servers()[0].stop_web()?;
    wait_until("the quorum is lost", PATIENCE, || lines(&lost) == "now|\n");
    let address = lab.real_servers()[0].address();
    wait_until("somebody is told", PATIENCE, || {
        let told = lines(&notified);
        told.starts_with(&format!("real_server web {address} DOWN|")) && told.contains("refused")
    });
    assert_eq!(list(&director)?["virtual_servers"][0]["quorum"], false);
    lab.real_servers()[0].start_web()?;
    wait_until("it is told too", PATIENCE, || {
        lines(&notified).ends_with(&format!("real_server web {address} UP|up\n"))
    });
    wait_until("the quorum is back", PATIENCE, || lines(&reached) == "|\n|\n");
    Ok(())
}

#[test]
fn a_command_says_the_weight_and_an_inhibited_server_keeps_its_connections() -> TestResult {
    let lab = lab(2)?;
    let answer = lab.directory().join("answer");
    let check = lab.directory().join("check.sh");
    fs::write(&answer, "7")?;
    fs::write(&check, format!("#!/bin/sh\nexit $(cat {})\n", answer.display()))?;
    fs::set_permissions(&check, fs::Permissions::from_mode(0o755))?;
    let service = web(&lab).scheduler("wrr").line("inhibit_on_failure = true").line(&format!(
        "health_check = {{ interval = \"100ms\", exec = {{ command = [\"{}\"], dynamic = true }} }}",
        check.display()
    ));
    let director = started(&lab, service)?;
    let weights = || {
        real_servers(&director)
            .map(|listed| listed.iter().map(|server| server["weight"].clone()).collect::<Vec<_>>())
    };
    wait_until("the weights are the command's", PATIENCE, || {
        weights().is_ok_and(|weights| weights == [5, 5])
    });
    let mut open = crate::support::OpenConnection::open(&lab.client(), lab.vip())?;
    let server = open.ask()?;
    fs::write(&answer, "1")?;
    wait_until_all_are(&director, "down");
    assert_eq!(weights()?, [0, 0]);
    assert_eq!(open.ask()?, server, "it keeps its connections");
    fs::write(&answer, "0")?;
    wait_until("the weights are the configured ones", PATIENCE, || {
        weights().is_ok_and(|weights| weights == [1, 1])
    });
    Ok(())
}

#[test]
fn the_same_check_under_several_virtual_servers_runs_once() -> TestResult {
    let lab = lab(2)?;
    let service = |name: &str, port| {
        let check = HTTP.replace("http = {", "http = { port = 80,");
        VirtualServer::tcp(name, lab.vip(), port).hosts(&lab.real_servers()).line(&check)
    };
    let config = format!("{}{}", service("web", 80), service("alt", 8080));
    let director = Director::on(&lab.director()).config(config).start()?;
    wait_until_all_are(&director, "up");
    let listed = director.json(["health"])?;
    let checks = listed["checks"].as_array().expect("a list");
    assert_eq!(checks.len(), 2, "{listed}");
    assert_eq!(checks[0]["virtual_servers"], serde_json::json!(["web", "alt"]));
    assert_eq!(checks[0]["check"], "http 80 /");
    let table = director.cli(["health"])?;
    assert!(table.contains("web, alt"), "{table}");
    assert_eq!(director.cli(["health", "--failing"])?.lines().count(), 1, "the heading");
    let none = director.try_cli(["check-now", "203.0.113.77"])?;
    assert_eq!(none.status.code(), Some(1));
    assert!(none.stderr.contains("no virtual server has the real server"), "{}", none.stderr);
    Ok(())
}

/// `ha_suspend`: a director that does not have the VIP checks nothing.
#[test]
fn nothing_is_checked_while_the_vip_is_elsewhere() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director())
        .setting("manage_vips", false)
        .config(web(&lab).line(HTTP).line("ha_suspend = true"))
        .start()?;
    let state = || director.json(["health"]).map(|listed| listed["checks"][0]["state"].clone());
    assert_eq!(state()?, "suspended");
    assert!(director.cli(["list", "-n"])?.contains("not checked"));
    lab.director().add_address(lab.vip(), 32)?;
    wait_until("it is checked", PATIENCE, || state().is_ok_and(|state| state == "up"));
    lab.director().remove_address(lab.vip(), 32)?;
    wait_until("it is not", PATIENCE, || state().is_ok_and(|state| state == "suspended"));
    Ok(())
}
