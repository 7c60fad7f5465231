//! What is changed while the daemon runs: timeouts, weights, draining, counters.

use std::time::{Duration, Instant};

use lb_lab::{Director, Load, Result, TestResult};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{OpenConnection, PATIENCE, answers, lab, list, real_servers, web};

fn states(director: &Director) -> Result<Vec<Value>> {
    let listed = director.json(["connections"])?;
    let found = listed["connections"].as_array().expect("a list").iter();
    Ok(found.map(|connection| connection["state"].clone()).collect())
}

#[test]
fn timeouts_change_for_connections_that_there_are() -> TestResult {
    let lab = lab(1)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    assert_eq!(director.cli(["timeouts"])?, "tcp     15m\ntcp_fin 2m\nudp     5m\n");
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    open.ask().expect("it answers");
    answers(&lab, 1)?;
    assert_eq!(states(&director)?.len(), 2);
    let changed = director.json(["timeouts", "--tcp-fin", "1s", "--udp", "90"])?;
    assert_eq!(
        (&changed["changed"], &changed["tcp"], &changed["tcp_fin"], &changed["udp"]),
        (&json!(true), &json!(900), &json!(1), &json!(90))
    );
    lb_lab::wait_until("the closed connection is forgotten", PATIENCE, || {
        states(&director).is_ok_and(|states| states == ["ESTABLISHED"])
    });
    assert_eq!(director.json(["timeouts", "--udp", "90s"])?["changed"], false);
    let all = director.cli(["timeouts", "--all"])?;
    assert!(
        all.contains("FIN_WAIT    1s        tcp_fin\n") && all.contains("CLOSE       10s       (fixed)\n"),
        "{all}"
    );
    for (words, code, message) in [
        (["--tcp", "0"], 2, "leave its option out"),
        (["--tcp", "soon"], 2, "write a number and a unit"),
        (["--udp", "60days"], 1, "at least \"1s\" and at most \"48days\""),
    ] {
        let output = director.try_cli(["timeouts"].into_iter().chain(words))?;
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains(message), "{words:?}: {}", output.stderr);
    }
    director.restart()?;
    assert_eq!(director.json(["timeouts"])?["tcp_fin"], 1, "what was changed counts on");
    Ok(())
}

#[test]
fn weights_change_under_load_and_nothing_is_lost() -> TestResult {
    let lab = lab(3)?;
    let mut director = Director::on(&lab.director()).config(web(&lab).scheduler("wrr")).start()?;
    let addresses: Vec<String> =
        lab.real_servers().iter().map(|server| server.address().to_string()).collect();
    let load = Load::to((lab.vip(), 80)).at_once(8).timeout(PATIENCE).start(&lab.client())?;
    for round in 0..20 {
        let weight = [0, 3, 7, 1][round % 4].to_string();
        director.cli(["weight", "web", &addresses[round % 3], &weight])?;
    }
    let vip = format!("{}:80", lab.vip());
    for (address, weight) in addresses.iter().zip(["0", "3", "1"]) {
        director.cli(["weight", &vip, address, weight])?;
    }
    load.stop();
    let report = load.finish()?;
    assert_eq!(report.failed(), 0, "{report:?}\n{}", director.process()?.log());
    let mut answered = answers(&lab, 8)?;
    answered.sort();
    assert_eq!(answered, ["rs2", "rs2", "rs2", "rs2", "rs2", "rs2", "rs3", "rs3"]);
    let servers = real_servers(&director)?;
    assert_eq!((&servers[0]["state"], &servers[0]["weight"]), (&json!("draining"), &json!(0)));
    for (words, code, message) in [
        (["wbe", &addresses[0], "1"], 1, "there is no virtual server \"wbe\"; did you mean \"web\"?"),
        (["web", "192.0.2.99", "1"], 1, "\"web\" has no real server 192.0.2.99"),
        (["web", &addresses[0], "65536"], 2, "0..=65535"),
    ] {
        let output = director.try_cli(["weight"].into_iter().chain(words))?;
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains(message), "{words:?}: {}", output.stderr);
    }
    Ok(())
}

#[test]
fn draining_waits_for_connections_and_says_how_it_ended() -> TestResult {
    let lab = lab(2)?;
    let director =
        Director::on(&lab.director()).config("[timeouts]\ntcp_fin = \"1s\"\n").config(web(&lab)).start()?;
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    let name = open.ask().expect("it answers");
    let server = lab.host(&name).address().to_string();

    let start = Instant::now();
    let late = director.try_cli(["drain", "web", &server, "--timeout", "2s"])?;
    assert_eq!(late.status.code(), Some(1), "{}", late.stderr);
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(
        late.stderr.contains(&format!("draining {server} of \"web\": 1 active, 0 inactive")),
        "{}",
        late.stderr
    );
    let undo = format!(
        "still has 1 active and 0 inactive connections; it gets no new ones, and `lb weight web {server} 1`"
    );
    assert!(late.stderr.contains(&undo), "{}", late.stderr);
    assert!(!answers(&lab, 4)?.contains(&name), "no new connections");
    assert_eq!(open.ask().expect("it goes on"), name);

    let drain = || {
        let command = lab.director().command(director.binary()).args(["drain", "web", &server, "--json"]);
        command.arg("--control-socket").arg(director.control_socket())
    };
    let mut interrupted = drain().spawn()?;
    interrupted.wait_for_line("1 active", PATIENCE)?;
    interrupted.signal(Signal::SIGINT)?;
    let status = interrupted.wait(PATIENCE)?;
    assert_eq!(status.code(), Some(1));
    assert!(interrupted.log().contains("\"outcome\": \"interrupted\""), "{}", interrupted.log());
    assert_eq!(open.ask().expect("it goes on"), name);
    assert!(!answers(&lab, 4)?.contains(&name), "it goes on draining");

    let mut waiting = drain().spawn()?;
    waiting.wait_for_line("1 active", PATIENCE)?;
    drop(open);
    let status = waiting.wait(PATIENCE)?;
    assert!(status.success(), "{}", waiting.log());
    assert!(waiting.log().contains("\"outcome\": \"drained\""), "{}", waiting.log());
    let told = director.cli(["drain", "web", &server])?;
    assert!(told.contains("has no connections any more"), "{told}");

    let mut waiting = drain().arg("--timeout").arg("20s").spawn()?;
    assert!(waiting.wait(PATIENCE)?.success(), "nothing is left to wait for");
    director.cli(["weight", "web", &server, "1"])?;
    assert!(answers(&lab, 4)?.contains(&name), "back into service");
    Ok(())
}

#[test]
fn counters_begin_anew_and_stay_so() -> TestResult {
    let lab = lab(2)?;
    let mut director = Director::on(&lab.director())
        .config(web(&lab))
        .config(lb_lab::VirtualServer::tcp("other", lab.vip(), 8080).hosts(&lab.real_servers()))
        .start()?;
    answers(&lab, 4)?;
    let sums =
        |director: &Director| -> Result<Value> { Ok(list(director)?["virtual_servers"][0]["stats"].take()) };
    let before = sums(&director)?;
    assert_eq!(before["connections"], 4);
    let [packets, bytes] = ["packets", "bytes"].map(|name| before[name].as_u64().expect("a number"));
    let table = director.cli(["list", "-n", "--stats"])?;
    let line = table.lines().find(|line| line.contains(":80 rr")).expect("it is listed");
    let cells: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    assert_eq!(cells[3..], ["4".to_owned(), packets.to_string(), bytes.to_string()], "{table}");

    assert_eq!(director.cli(["zero", "other"])?, "the counters of \"other\" begin anew\n");
    assert_eq!(sums(&director)?, before);
    assert_eq!(director.json(["zero"])?["virtual_servers"], json!(["web", "other"]));
    let zeroes = json!({ "connections": 0, "packets": 0, "bytes": 0 });
    assert_eq!(sums(&director)?, zeroes);
    answers(&lab, 2)?;
    director.kill()?;
    answers(&lab, 1)?;
    director.start()?;
    assert_eq!(sums(&director)?["connections"], 3, "it outlives the daemon");
    let wrong = director.try_cli(["zero", "wbe"])?;
    assert!(wrong.stderr.contains("did you mean \"web\"?"), "{}", wrong.stderr);
    Ok(())
}

#[test]
fn rates_are_ipvs_s_average_and_add_up() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let load = Load::to((lab.vip(), 80)).at_once(2).timeout(PATIENCE).start(&lab.client())?;
    let service = lb_lab::wait_until("there is a rate", Duration::from_secs(10), || {
        let mut listed = list(&director).ok()?;
        let service = listed["virtual_servers"][0].take();
        (service["rate"]["packets"].as_f64()? > 0.0).then_some(service)
    });
    load.stop();
    let report = load.finish()?;
    let rate = |value: &Value, name: &str| value["rate"][name].as_f64().expect("a number");
    for name in ["connections", "packets", "bytes"] {
        let servers = service["real_servers"].as_array().expect("a list");
        let sum: f64 = servers.iter().map(|server| rate(server, name)).sum();
        assert!((rate(&service, name) - sum).abs() < 1e-6, "{name}: {service}");
        assert!(sum > 0.0, "{name}: {service}");
    }
    // An average of periods of two seconds, a quarter each: some of what there really was.
    let really = report.answered as f64 / report.elapsed.as_secs_f64();
    assert!(rate(&service, "connections") < really, "{} of {really}", rate(&service, "connections"));
    let table = director.cli(["list", "-n", "--rate"])?;
    let heading = table.lines().nth(1).expect("there is one");
    assert_eq!(
        heading.split_whitespace().collect::<Vec<_>>(),
        ["->", "RemoteAddress", "CPS", "InPPS", "InBPS"]
    );
    Ok(())
}
