//! What follows from a check: the hold of who flips, slow start, the sorry server, mail.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use lb_lab::{Director, HostSpec, Lab, Request, Result, TestResult, VirtualServer, wait_until};

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

/// A client that uses no port twice: connections that the director still knows would stay where they were.
struct Asking {
    lab: Lab,
    ports: RangeInclusive<u16>,
}

impl Asking {
    /// Every request until then is answered; how many in a hundred of them by `rs1`.
    fn share_until(&mut self, end: Instant) -> Result<usize> {
        let client = self.lab.client();
        let (mut all, mut of_it) = (0, 0);
        while Instant::now() < end {
            let source = (client.address(), self.ports.next().expect("ports are left"));
            let request = Request::get((self.lab.vip(), 80)).source(source).timeout(PATIENCE);
            let response = request.send(&client)?;
            all += 1;
            of_it += usize::from(response.server == "rs1");
        }
        println!("{of_it} of {all}");
        Ok(of_it * 100 / all.max(1))
    }
}

#[test]
fn a_real_server_that_came_back_gets_its_share_little_by_little() -> TestResult {
    let lab = lab(2)?;
    let service = web(&lab).scheduler("wrr").line("slow_start = \"2s\"").line(&often(HTTP));
    let director = started(&lab, [service])?;
    let first = answers(&lab, 10)?;
    assert_eq!(first.iter().filter(|name| *name == "rs1").count(), 5, "who was never down has all of it");
    let back = lab.host("rs1");
    back.stop_web()?;
    is_found(&director, "web", "refused")?;
    assert_eq!(answers(&lab, 10)?, ["rs2"; 10]);
    back.start_web()?;
    wait_until_it_is(&director, "web", "up");
    let up = Instant::now();
    // A tenth more with every tenth of the time: 1 of 11, 2 of 12, and so on to 10 of 20.
    let mut asking = Asking { lab, ports: 2000..=60_000 };
    let mut share_until = |milliseconds| asking.share_until(up + Duration::from_millis(milliseconds));
    let [first, second, third] = [share_until(400)?, share_until(1000)?, share_until(1600)?];
    // The last steps, and some time for the last of them to be made.
    share_until(2400)?;
    let whole = share_until(3000)?;
    assert!((5..25).contains(&first), "{first}% in the first tenths");
    assert!(first < second && second < third && third < whole, "{first}%, {second}%, {third}%, {whole}%");
    assert!((49..=50).contains(&whole), "{whole}% in the end");
    Ok(())
}

#[test]
fn the_sorry_server_answers_while_all_are_down() -> TestResult {
    let lab = Lab::builder().client("client").director("director").real_servers(2);
    let lab = lab.host(HostSpec::real_server("sorry")).build()?;
    let [rs1, rs2, sorry] = ["rs1", "rs2", "sorry"].map(|name| lab.host(name));
    let service = VirtualServer::tcp("web", lab.vip(), 80).hosts([&rs1, &rs2]).line(&often(HTTP));
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
    let director = Director::on(&lab.director()).config(smtp).config(checked(&lab, "web", 80, HTTP));
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
