//! What is configured changes while the daemon runs: a file that is loaded anew, changes by command, restarts.

use std::fs;
use std::time::{Duration, Instant};

use lb_lab::{Director, Load, Result, TestResult};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{OpenConnection, PATIENCE, answers, lab, list, real_servers, web};

/// What `lb list` says of one key of each real server of the first virtual server.
fn each(director: &Director, key: &str) -> Result<Vec<Value>> {
    Ok(real_servers(director)?.iter().map(|server| server[key].clone()).collect())
}

fn edit(director: &Director, from: &str, to: &str) -> TestResult {
    let text = fs::read_to_string(director.config_file())?;
    assert!(text.contains(from), "{text}");
    fs::write(director.config_file(), text.replace(from, to))?;
    Ok(())
}

#[test]
fn a_reload_says_what_is_different_and_a_bad_file_changes_nothing() -> TestResult {
    let lab = lab(2)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let second = lab.real_servers()[1].address().to_string();
    assert_eq!(director.cli(["reload"])?, "reloaded: nothing is different\n");
    edit(&director, "scheduler = \"rr\"", "scheduler = \"wrr\"")?;
    assert_eq!(
        director.cli(["reload"])?,
        "~ virtual server \"web\": scheduler = \"wrr\"\nreloaded: 1 change\n"
    );
    assert_eq!(list(&director)?["virtual_servers"][0]["scheduler"], "wrr");

    edit(&director, "scheduler = \"wrr\"", "scheduler = \"wr\"")?;
    let refused = director.try_cli(["reload"])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("did you mean \"wrr\"?"), "{}", refused.stderr);
    assert!(refused.stderr.contains("director.toml:"), "the place: {}", refused.stderr);
    assert_eq!(list(&director)?["virtual_servers"][0]["scheduler"], "wrr", "as before");

    // SIGHUP does the same, and tells the log.
    edit(&director, "scheduler = \"wr\"", "scheduler = \"sh\"")?;
    edit(&director, "[director]", "[director]\nmax_connections = 2048")?;
    director.process()?.signal(Signal::SIGHUP)?;
    director.process()?.wait_for_line("reloaded", PATIENCE)?;
    assert_eq!(list(&director)?["virtual_servers"][0]["scheduler"], "sh");
    assert!(director.process()?.log().contains("director.max_connections is different in the file"));

    // What was changed by command counts on beside the file; what makes no sense with it is forgotten.
    director.cli(["weight", "web", &second, "7"])?;
    edit(&director, "scheduler = \"sh\"", "scheduler = \"rr\"")?;
    director.cli(["reload"])?;
    assert_eq!(each(&director, "weight")?, [1, 7]);
    edit(&director, &second, "10.99.0.77")?;
    let told = director.cli(["reload"])?;
    assert!(told.contains("is forgotten: \"web\" has no real server"), "{told}");
    Ok(())
}

#[test]
fn what_is_not_confirmed_is_undone_also_by_the_next_daemon() -> TestResult {
    let lab = lab(1)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let scheduler = |director: &Director| {
        Ok::<_, lb_lab::Error>(list(director)?["virtual_servers"][0]["scheduler"].clone())
    };
    edit(&director, "scheduler = \"rr\"", "scheduler = \"wrr\"")?;
    director.cli(["reload", "--confirm-within", "1s"])?;
    assert_eq!(scheduler(&director)?, "wrr");
    let refused = director.try_cli(["reload"])?;
    assert!(refused.stderr.contains("awaits its confirmation"), "{}", refused.stderr);
    director.process()?.wait_for_line("was not confirmed in time", PATIENCE)?;
    lb_lab::wait_until("it is undone", PATIENCE, || {
        scheduler(&director).is_ok_and(|scheduler| scheduler == "rr")
    });

    director.cli(["reload", "--confirm-within", "1m"])?;
    assert_eq!(director.cli(["confirm"])?, "confirmed: it stays\n");
    assert_eq!(director.cli(["confirm"])?, "there is nothing to confirm\n");
    assert_eq!(scheduler(&director)?, "wrr");

    edit(&director, "scheduler = \"wrr\"", "scheduler = \"sh\"")?;
    director.cli(["reload", "--confirm-within", "1h"])?;
    director.kill()?;
    director.start()?;
    assert_eq!(scheduler(&director)?, "wrr", "nobody has confirmed it");
    assert_eq!(director.json(["reload"])?["changes"].as_array().map(Vec::len), Some(1));
    assert_eq!(scheduler(&director)?, "sh");
    Ok(())
}

#[test]
fn what_is_changed_by_command_survives_the_daemon_and_is_saved_to_the_file() -> TestResult {
    let lab = lab(3)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let addresses: Vec<String> =
        lab.real_servers().iter().map(|server| server.address().to_string()).collect();
    let vip = lab.vip();
    edit(&director, "[[virtual_server]]", "# The web.\n[[virtual_server]]")?;
    director.cli(["reload"])?;
    director.cli(["remove", "server", "web", &addresses[2]])?;
    director.cli([
        "edit",
        "server",
        "web",
        &addresses[1],
        "--weight",
        "3",
        "--set",
        "upper_threshold=1000",
    ])?;
    let added = director.cli([
        "add",
        "service",
        &format!("{vip}:8080"),
        "--name",
        "alt",
        "--server",
        &addresses[2],
    ])?;
    assert_eq!(
        added,
        format!(
            "+ virtual server \"alt\": addresses = [\"{vip}:8080\"], protocol = \"tcp\", 1 real server\n"
        )
    );
    director.cli(["add", "server", "alt", &addresses[0], "--weight", "0"])?;
    let check = |director: &Director| -> TestResult {
        let listed = list(director)?;
        let services = listed["virtual_servers"].as_array().expect("a list");
        assert_eq!(services.len(), 2);
        assert_eq!(services[0]["real_servers"].as_array().map(Vec::len), Some(2));
        assert_eq!((&services[0]["name"], &services[1]["name"]), (&json!("web"), &json!("alt")));
        assert_eq!(services[1]["scheduler"], "wlc", "as ipvsadm chooses");
        let states = |service: &Value| {
            service["real_servers"]
                .as_array()
                .map(|servers| servers.iter().map(|server| server["state"].clone()).collect::<Vec<_>>())
        };
        assert_eq!(states(&services[1]), Some(vec![json!("up"), json!("draining")]));
        Ok(())
    };
    check(&director)?;
    let marks = |director: &Director| {
        Ok::<_, lb_lab::Error>(director.cli(["list", "-n"])?.matches("runtime").count())
    };
    assert_eq!(
        marks(&director)?,
        4,
        "one real server, and one virtual server with two: {}",
        director.cli(["list", "-n"])?
    );
    director.kill()?;
    director.start()?;
    check(&director)?;
    assert_eq!(marks(&director)?, 4);

    let saved = director.cli(["save"])?;
    assert!(saved.contains("+ virtual server \"alt\"") && saved.contains("saved to"), "{saved}");
    assert_eq!(marks(&director)?, 0);
    assert!(director.cli(["save"])?.contains("says what is done already"));
    let text = fs::read_to_string(director.config_file())?;
    assert!(text.contains("# The web.\n[[virtual_server]]"), "{text}");
    director.kill()?;
    director.start()?;
    check(&director)?;

    // A file that somebody else edits meanwhile is not overwritten.
    director.cli(["weight", "alt", &addresses[0], "1"])?;
    fs::write(director.config_file(), format!("{text}\n# edited\n"))?;
    let refused = director.try_cli(["save"])?;
    assert!(refused.stderr.contains("was edited since the daemon loaded it"), "{}", refused.stderr);
    Ok(())
}

/// A new real server is used by the connection after the answer to the command that added it.
#[test]
fn what_was_added_is_there_when_the_command_returns() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config("").start()?;
    let (vip, servers) = (lab.vip(), lab.real_servers());
    let first = servers[0].address().to_string();
    director.cli([
        "add",
        "service",
        &format!("{vip}:80"),
        "--name",
        "web",
        "--scheduler",
        "rr",
        "--server",
        &first,
    ])?;
    let start = Instant::now();
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    assert!(start.elapsed() < Duration::from_millis(900), "the first SYN was lost");
    director.cli(["add", "server", "web", &servers[1].address().to_string()])?;
    director.cli(["remove", "server", "web", &first])?;
    assert_eq!(answers(&lab, 2)?, ["rs2", "rs2"]);
    director.cli(["remove", "service", &format!("{vip}:80/tcp")])?;
    assert_eq!(list(&director)?["virtual_servers"], json!([]));
    for (words, message) in [
        (vec!["remove", "service", "web"], "there is no virtual server \"web\"; there are none at all"),
        (
            vec!["add", "service", "192.0.2.1"],
            "the port of 192.0.2.1 is missing; write \"192.0.2.1:80\" for port 80",
        ),
        (vec!["edit", "service", "web"], "nothing to change was named"),
    ] {
        let output = director.try_cli(words.iter().copied())?;
        assert!(!output.status.success() && output.stderr.contains(message), "{words:?}: {}", output.stderr);
    }
    Ok(())
}

/// All real servers are others: there is somebody to send new connections to at every moment.
#[test]
fn a_reload_that_replaces_every_real_server_loses_no_connection() -> TestResult {
    let lab = lab(4)?;
    let servers: Vec<String> = lab.real_servers().iter().map(|server| server.address().to_string()).collect();
    let file = |servers: &[String]| {
        let rows: String = servers
            .iter()
            .map(|server| format!("[[virtual_server.real_server]]\naddress = \"{server}\"\n"))
            .collect();
        format!(
            "[[virtual_server]]\nname = \"web\"\naddresses = [\"{}:80\"]\nscheduler = \"rr\"\n{rows}",
            lab.vip()
        )
    };
    let mut director = Director::on(&lab.director()).config(file(&servers[..2])).start()?;
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    open.ask().expect("it answers");
    let load = Load::to((lab.vip(), 80)).at_once(4).timeout(PATIENCE).start(&lab.client())?;
    for round in 0..6 {
        let text = fs::read_to_string(director.config_file())?;
        let head = text.split("[[virtual_server]]").next().unwrap_or_default();
        // Those that are left drain: their connections go on.
        let (stay, go) =
            if round % 2 == 0 { (&servers[2..], &servers[..2]) } else { (&servers[..2], &servers[2..]) };
        let drained: String = go
            .iter()
            .map(|server| format!("[[virtual_server.real_server]]\naddress = \"{server}\"\nweight = 0\n"))
            .collect();
        fs::write(director.config_file(), format!("{head}{}{drained}", file(stay)))?;
        director.cli(["reload"])?;
    }
    load.stop();
    let report = load.finish()?;
    assert_eq!(report.failed(), 0, "{report:?}\n{}", director.process()?.log());
    assert!(open.ask().is_ok(), "it goes on");
    Ok(())
}
