//! What follows from a check: the hold of who flips, slow start, the sorry server, mail.

use lb_lab::{HostSpec, Lab, Load, Report, Result, TestResult, wait_until};

use super::talk::MailServer;
use super::{all_are_up, changes, checked, is_found, often, server, started, wait_until_it_is};
use crate::support::{PATIENCE, answers, lab, web};

const HTTP: &str = "http = {}";

#[test]
fn a_real_server_that_flips_too_often_is_held_down() -> TestResult {
    let lab = lab(2)?;
    let probe = format!("flap = {{ changes = 2, within = \"1h\", hold = \"1h\" }}, {HTTP}");
    let director = started(&lab, [checked(&lab, "web", 80, &probe)])?;
    let flipping = lab.host("rs1");
    flipping.stop_web()?;
    is_found(&director, "web", "refused")?;
    flipping.start_web()?;
    all_are_up(&director);
    flipping.stop_web()?;
    wait_until_it_is(&director, "web", "down");
    let told = changes(&director, "web")?;
    let reason = told.last().and_then(|event| event["reason"].as_str()).expect("why");
    assert_eq!(reason, "it flips too often, and is down for 1h");
    flipping.start_web()?;
    let held = wait_until("its probes succeed", PATIENCE, || {
        let found = server(&director, "web", 0).map_err(|error| error.to_string())?;
        let is_well =
            found["health"]["last"]["error"].is_null() && found["health"]["in_a_row"].as_u64() > Some(3);
        if is_well { Ok(found) } else { Err(format!("{found:#}")) }
    });
    assert_eq!((held["state"].as_str(), held["health"]["state"].as_str()), (Some("down"), Some("down")));
    assert!(held["health"]["held_until"].is_string(), "{held:#}");
    let table = director.cli(["health", "--failing"])?;
    assert!(table.contains("flips too often, held for 59m"), "{table}");
    assert_eq!(answers(&lab, 4)?, ["rs2"; 4]);
    Ok(())
}

/// Of requests without a failure, how many in a hundred `rs1` has answered.
fn share(report: &Report) -> u64 {
    assert_eq!(report.failed(), 0, "{report:?}");
    report.by_server.get("rs1").copied().unwrap_or(0) * 100 / report.answered.max(1)
}

#[test]
fn a_real_server_that_came_back_gets_its_share_little_by_little() -> TestResult {
    let lab = lab(2)?;
    let service = web(&lab).scheduler("wrr").line("slow_start = \"5s\"").line(&often(HTTP));
    let director = started(&lab, [service])?;
    let load = |requests| Load::to((lab.vip(), 80)).at_once(2).requests(requests).timeout(PATIENCE);
    assert_eq!(share(&load(40).run(&lab.client())?), 50, "who was never down has all of it");
    let back = lab.host("rs1");
    back.stop_web()?;
    is_found(&director, "web", "refused")?;
    let all_the_while = load(u64::MAX).start(&lab.client())?;
    back.start_web()?;
    wait_until_it_is(&director, "web", "up");
    let early = share(&load(60).run(&lab.client())?);
    assert!((1..35).contains(&early), "{early}% at first");
    let shares = std::cell::RefCell::new(vec![early]);
    wait_until("it has its share", 2 * PATIENCE, || {
        let now = load(60).run(&lab.client()).map(|report| share(&report)).expect("a load runs");
        shares.borrow_mut().push(now);
        now >= 48
    });
    println!("of a hundred: {:?}", shares.borrow());
    all_the_while.stop();
    let report = all_the_while.finish()?;
    assert_eq!(report.failed(), 0, "{report:?}");
    Ok(())
}

#[test]
fn the_sorry_server_answers_while_all_are_down() -> TestResult {
    let lab = Lab::builder().client("client").director("director").real_servers(2);
    let lab = lab.host(HostSpec::real_server("sorry")).build()?;
    let [rs1, rs2, sorry] = ["rs1", "rs2", "sorry"].map(|name| lab.host(name));
    let service = lb_lab::VirtualServer::tcp("web", lab.vip(), 80).hosts([&rs1, &rs2]).line(&often(HTTP));
    let director = started(&lab, [service.line(&format!("sorry_server = \"{}\"", sorry.address()))])?;
    rs1.stop_web()?;
    is_found(&director, "web", "refused")?;
    assert_eq!(answers(&lab, 3)?, ["rs2"; 3]);
    rs2.stop_web()?;
    wait_until("the other is down", PATIENCE, || {
        server(&director, "web", 1).is_ok_and(|found| found["state"] == "down")
    });
    assert_eq!(answers(&lab, 3)?, ["sorry"; 3]);
    rs1.start_web()?;
    wait_until_it_is(&director, "web", "up");
    assert_eq!(answers(&lab, 3)?, ["rs1"; 3]);
    Ok(())
}

/// The headers and bodies that a mail server was told, with long lines joined (RFC 5322, section 2.2.3).
fn mails(server: &MailServer) -> String {
    server.heard.get().replace("\n ", " ")
}

#[test]
fn mail_says_who_is_down_and_who_is_up_again() -> Result<()> {
    let lab = Lab::builder().client("client").director("director").real_servers(2);
    let lab = lab.host(HostSpec::other("post")).build()?;
    let post = lab.host("post");
    let server = MailServer::start(&post)?;
    let smtp = format!(
        "[smtp]\nserver = \"{}\"\nfrom = \"lb@example.net\"\nto = [\"ops@example.net\"]\nhelo_name = \"lb.example.net\"\n",
        post.address()
    );
    let director = lb_lab::Director::on(&lab.director()).config(smtp).config(checked(&lab, "web", 80, HTTP));
    let director = director.start()?;
    all_are_up(&director);
    let failing = lab.host("rs1");
    let subject = |state: &str| format!("Realserver {} of virtual server web - {state}\n", failing.address());
    failing.stop_web()?;
    is_found(&director, "web", "refused")?;
    wait_until("a mail comes", PATIENCE, || {
        let told = mails(&server);
        let is_there =
            told.contains(&subject("DOWN")) && told.contains("It is down (was up): port 80 refused");
        if is_there { Ok(()) } else { Err(told) }
    });
    let told = mails(&server);
    for line in ["MAIL FROM:<lb@example.net>", "RCPT TO:<ops@example.net>", "Subject: ["] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    failing.start_web()?;
    wait_until("another comes", PATIENCE, || {
        let told = mails(&server);
        if told.contains(&subject("UP")) { Ok(()) } else { Err(told) }
    });
    Ok(())
}
