//! What becomes of frames, as the data plane tells it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lb_lab::{
    Director, Host, Lab, Load, Process, Result, SecondNetwork, TestResult, UdpEcho, VirtualServer, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::steadiness::ask_all;
use crate::support::{PATIENCE, answers, lab, web};

/// Loading the other program takes the verifier some tenths of a second, on a busy machine some seconds.
const TIME_TO_LOAD: Duration = Duration::from_secs(30);

/// `lb trace`, when it has begun.
fn trace(director: &Director, words: &[&str]) -> Result<Process> {
    let (binary, socket) = (director.binary().to_str(), director.control_socket().to_str());
    let (binary, socket) = (binary.expect("it is text"), socket.expect("it is text"));
    let words = [&[binary, "trace"], words, &["--control-socket", socket]].concat();
    let mut tracing = director.host().spawn(words)?;
    tracing.wait_for_line("tracing; Ctrl-C ends it", TIME_TO_LOAD)?;
    Ok(tracing)
}

/// The lines of `lb trace --json` that are of a kind.
fn lines(tracing: &Process, kind: &str) -> Vec<Value> {
    let log = tracing.log();
    let parsed = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["kind"] == kind).collect()
}

/// The kernel's number of the program that is attached to an interface.
fn attached(host: &Host, interface: &str) -> Result<u64> {
    let shown = host.run(["ip", "-json", "link", "show", "dev", interface])?;
    let shown: Value = serde_json::from_str(&shown).expect("it is JSON");
    Ok(shown[0]["xdp"]["prog"]["id"].as_u64().unwrap_or_else(|| panic!("no program: {shown}")))
}

/// Ends a trace as Ctrl-C does.
fn interrupt(tracing: &mut Process) -> TestResult {
    tracing.signal(Signal::SIGINT)?;
    assert_eq!(tracing.wait(PATIENCE)?.code(), Some(0), "{}", tracing.log());
    Ok(())
}

#[test]
fn a_trace_tells_a_connections_real_server_and_why_a_client_is_refused() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let ordinary = attached(&lab.director(), "eth0")?;
    let (client, vip) = (lab.client().address().to_string(), format!("{}:80", lab.vip()));
    let mut tracing = trace(&director, &["--client", &client, "--vip", &vip, "--json"])?;
    assert_ne!(attached(&lab.director(), "eth0")?, ordinary, "another program tells");
    let server = answers(&lab, 1)?.remove(0);
    let address = lab.host(&server).address().to_string();
    let frames = wait_until("the connection is told of", PATIENCE, || {
        let frames = lines(&tracing, "frame");
        frames.iter().any(|frame| frame["flags"].to_string().contains("fin")).then_some(frames)
    });
    for frame in &frames {
        assert_eq!(
            [&frame["verdict"], &frame["real_server"], &frame["service"], &frame["destination"]],
            ["forward", &address, "web", &vip],
            "{frame}"
        );
        assert!(frame["reason"].is_null() && frame["interface"] == "eth0", "{frame}");
    }
    let flags = |frame: &Value| frame["flags"].to_string();
    assert_eq!((flags(&frames[0]), &frames[0]["state"]), (r#"["syn"]"#.to_owned(), &Value::Null));
    assert!(frames.iter().any(|frame| frame["state"] == "ESTABLISHED"), "{frames:?}");

    director.cli(["acl", "deny", &client])?;
    assert!(lab.client().http_get((lab.vip(), 80), Duration::from_millis(500)).is_err());
    wait_until("the refusal is told of", PATIENCE, || {
        let refused = lines(&tracing, "frame").into_iter().find(|frame| frame["verdict"] == "drop");
        refused.filter(|frame| frame["reason"] == "drop_denied" && frame["real_server"].is_null())
    });
    interrupt(&mut tracing)?;
    wait_until("the ordinary program is back", PATIENCE, || {
        attached(&lab.director(), "eth0").is_ok_and(|found| found == ordinary)
    });
    Ok(())
}

#[test]
fn what_is_not_asked_for_is_not_told() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let rs1 = lab.host("rs1").address().to_string();
    let mut of_server = trace(&director, &["--server", &rs1, "--json"])?;
    let names = answers(&lab, 6)?;
    assert!(names.contains(&"rs2".to_owned()), "{names:?}");
    wait_until("three connections are told of", PATIENCE, || {
        let frames = lines(&of_server, "frame");
        frames.iter().filter(|frame| frame["flags"] == serde_json::json!(["syn"])).count() == 3
    });
    interrupt(&mut of_server)?;
    let frames = lines(&of_server, "frame");
    assert!(frames.iter().all(|frame| frame["real_server"] == *rs1), "{frames:?}");

    let mut dropped = trace(&director, &["--dropped", "--reason", "not_a_vip", "--count", "1"])?;
    assert_eq!(answers(&lab, 2)?.len(), 2);
    let _ = lab.client().http_get((lab.vip(), 81), Duration::from_millis(500));
    assert_eq!(dropped.wait(PATIENCE)?.code(), Some(0), "it has enough");
    let log = dropped.log();
    let told = format!("> {}:81 tcp syn: pass, pass_not_a_vip", lab.vip());
    assert!(log.contains(&told) && !log.contains("forward"), "{log}");
    assert!(log.contains("1 told"), "{log}");

    for (words, says) in [
        (["--service", "wbe"], "did you mean \"web\"?"),
        (["--server", "192.0.2.99"], "no virtual server has the real server"),
        (["--reason", "evicted_live"], "drop_no_real_server"),
    ] {
        let refused = director.try_cli([&["trace"][..], &words].concat())?;
        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
    }
    Ok(())
}

#[test]
fn no_more_is_told_than_the_rate_says_and_the_rest_is_counted() -> TestResult {
    const RATE: u64 = 20;
    const SECONDS: u64 = 3;
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let load = Load::to((lab.vip(), 80)).at_once(8).timeout(PATIENCE).start(&lab.client())?;
    let (rate, seconds) = (RATE.to_string(), SECONDS.to_string());
    let mut tracing =
        trace(&director, &["--rate", &rate, "--seconds", &seconds, "--service", "web", "--json"])?;
    assert_eq!(tracing.wait(TIME_TO_LOAD)?.code(), Some(0), "{}", tracing.log());
    load.stop();
    assert_eq!(load.finish()?.failed(), 0);
    let frames = lines(&tracing, "frame").len() as u64;
    let counts = lines(&tracing, "counts").pop().expect("the last line");
    let number = |key: &str| counts[key].as_u64().expect("a number");
    // One budget each time it is renewed: at the beginning, and every second.
    assert!((RATE..=RATE * (SECONDS + 2)).contains(&frames), "{frames}: {counts}");
    assert_eq!(number("shown"), frames);
    assert!(number("limited") > frames, "there was more: {counts}");
    // Of those that were seen last the count may not be complete.
    let told = number("shown") + number("limited") + number("lost");
    assert!(number("seen").abs_diff(told) <= number("seen") / 10, "{counts}");
    Ok(())
}

#[test]
fn programs_are_swapped_under_load_and_no_frame_is_lost() -> TestResult {
    const FLOWS: usize = 100;
    let lab = lab(2)?;
    let vip = SocketAddr::from((lab.vip(), 53));
    let echoes =
        lab.real_servers().iter().map(|server| UdpEcho::start(server, vip)).collect::<Result<Vec<_>>>()?;
    let service = VirtualServer::udp("dns", lab.vip(), 53).hosts(&lab.real_servers());
    let director = Director::on(&lab.director()).config(service).start()?;
    let ordinary = attached(&lab.director(), "eth0")?;
    let (client, is_over) = (lab.client(), AtomicBool::new(false));
    let asked = thread::scope(|threads| {
        let asking = threads.spawn(|| ask_all(&client, vip, FLOWS, Duration::ZERO, &is_over));
        let traced = (0..6).try_for_each(|_| -> Result<()> {
            let told = director.cli(["trace", "--service", "dns", "--count", "50"])?;
            assert_eq!(told.lines().count(), 50, "{told}");
            assert!(told.lines().all(|line| line.contains("udp: forward to ")), "{told}");
            // The next one would be told that somebody traces.
            wait_until("it has ended", PATIENCE, || {
                attached(&lab.director(), "eth0").is_ok_and(|found| found == ordinary)
            });
            Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        let asked = asking.join().expect("it ends");
        traced.and(asked)
    })?;
    drop(echoes);
    let answered: u64 = asked.iter().map(|asked| asked.answered).sum();
    assert!(answered > 10 * u64::try_from(FLOWS)?, "there was load: {answered}");
    assert_eq!(asked.iter().map(|asked| asked.lost).sum::<u64>(), 0, "of {answered}");
    Ok(())
}

#[test]
fn whoever_is_killed_leaves_nothing_that_traces() -> TestResult {
    let lab = lab(1)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let ordinary = attached(&lab.director(), "eth0")?;
    let mut killed = trace(&director, &["--service", "web"])?;
    let second = director.try_cli(["trace", "--count", "1"])?;
    assert_eq!(second.status.code(), Some(1));
    assert!(second.stderr.contains("somebody else traces already"), "{}", second.stderr);
    killed.kill()?;
    wait_until("the ordinary program is back", PATIENCE, || {
        attached(&lab.director(), "eth0").is_ok_and(|found| found == ordinary)
    });

    let mut tracing = trace(&director, &["--service", "web"])?;
    director.kill()?;
    assert_eq!(tracing.wait(PATIENCE)?.code(), Some(1), "{}", tracing.log());
    assert_ne!(attached(&lab.director(), "eth0")?, ordinary, "nobody could take it away");
    assert_eq!(answers(&lab, 3)?, ["rs1"; 3], "it forwards as the other does");
    director.start()?;
    let ordinary = attached(&lab.director(), "eth0")?;
    let mut again = trace(&director, &["--service", "web", "--count", "1"])?;
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    assert_eq!(again.wait(PATIENCE)?.code(), Some(0), "{}", again.log());
    wait_until("the next daemon's program is back", PATIENCE, || {
        attached(&lab.director(), "eth0").is_ok_and(|found| found == ordinary)
    });

    let _tracing = trace(&director, &["--service", "web"])?;
    assert!(director.stop()?.success());
    assert_eq!(attached(&lab.director(), "eth0")?, ordinary, "a daemon that ends in order takes it away");
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    Ok(())
}

#[test]
fn a_file_has_the_frames_as_they_came_and_says_what_became_of_them() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let file = lab.directory().join("trace.pcapng").display().to_string();
    let mut tracing =
        trace(&director, &["--service", "web", "--count", "3", "--bytes", "54", "--write", &file])?;
    assert_eq!(answers(&lab, 1)?, ["rs1"]);
    assert_eq!(tracing.wait(PATIENCE)?.code(), Some(0), "{}", tracing.log());
    let read = lab.director().run(["tcpdump", "-ner", &file])?;
    let router = lab.director().mac().to_string();
    assert_eq!(read.lines().count(), 3, "{read}");
    for line in read.lines() {
        assert!(
            line.contains(&format!("> {router}")),
            "it came to the director, not to the real server: {line}"
        );
        assert!(line.contains(&format!("> {}.80: ", lab.vip())), "{line}");
    }
    let bytes = std::fs::read(&file)?;
    let comment = format!("forward to {}, service web", lab.host("rs1").address());
    assert!(bytes.windows(comment.len()).any(|part| part == comment.as_bytes()), "what became of it");
    Ok(())
}

/// A client on each network asks the same VIP, and the real server is on the first.
#[test]
fn frames_are_told_of_on_every_interface_with_the_one_they_left_by() -> TestResult {
    let lab = Lab::builder().client("client").director("director").real_servers(2).build()?;
    let rs2 = lab.host("rs2");
    let _network = lab.second_network(&[&lab.director(), &rs2])?;
    let service = VirtualServer::tcp("web", lab.vip(), 80).real_server(SecondNetwork::address(&rs2), 1);
    let director =
        Director::on(&lab.director()).setting("interfaces", r#"["eth0", "eth1"]"#).config(service).start()?;
    let ordinary = [attached(&lab.director(), "eth0")?, attached(&lab.director(), "eth1")?];
    let mut tracing = trace(&director, &["--service", "web", "--json"])?;
    for (interface, ordinary) in ["eth0", "eth1"].into_iter().zip(ordinary) {
        assert_ne!(attached(&lab.director(), interface)?, ordinary);
    }
    assert_eq!(answers(&lab, 1)?, ["rs2"]);
    let frame =
        wait_until("the connection is told of", PATIENCE, || lines(&tracing, "frame").into_iter().next());
    assert_eq!([&frame["interface"], &frame["left_by"], &frame["verdict"]], ["eth0", "eth1", "forward"]);
    assert_eq!(frame["real_server"], SecondNetwork::address(&rs2).to_string());
    interrupt(&mut tracing)?;
    wait_until("the ordinary programs are back", PATIENCE, || {
        let found = ["eth0", "eth1"].map(|interface| attached(&lab.director(), interface).ok());
        found == ordinary.map(Some)
    });
    Ok(())
}
