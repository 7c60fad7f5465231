//! What servers and programs answer.

use std::fs;

use lb_lab::{Lab, Result, TestResult, wait_until};

use super::nginx::{Authority, BODY, NAME, Nginx, PORT, TLS_PORT};
use super::talk::{MailServer, NameServer};
use super::{all_are_up, checked, is_found, started};
use crate::support::{PATIENCE, lab};

/// What `printf 'well\n' | sha256sum` prints.
const SHA256: &str = "718bdcfd1af83d3188b23c2d0899e8dbae4f3644c8ca952fc770fb989dc98afd";

fn both_nginx(lab: &Lab) -> Result<(Authority, [Nginx; 2])> {
    let authority = Authority::new(lab);
    let start = |name| Nginx::start(lab, &lab.host(name), &authority);
    let both = [start("rs1")?, start("rs2")?];
    Ok((authority, both))
}

#[test]
fn what_a_web_server_says_is_read() -> TestResult {
    let lab = lab(2)?;
    let (_authority, [nginx, _other]) = both_nginx(&lab)?;
    let asked = |path: &str, more: &str| format!("http = {{ port = {PORT}, path = \"{path}\"{more} }}");
    let services = [
        checked(&lab, "status", 81, &asked("/status", "")),
        checked(&lab, "regex", 82, &asked("/body", &format!(", body_regex = '^{}'", BODY.trim()))),
        checked(&lab, "digest", 83, &asked("/body", &format!(", body_sha256 = \"{SHA256}\""))),
        checked(&lab, "slow", 84, &asked("/slow", ", body_regex = 'and the end$'")),
    ];
    let director = started(&lab, services)?;
    nginx.break_it()?;
    is_found(&director, "status", "status 500, expected 200-299")?;
    is_found(&director, "regex", "the body does not match \"^well\": it begins with \"out of order")?;
    is_found(&director, "digest", &format!("expected {SHA256}: it begins with \"out of order"))?;
    // Whoever is asked for the whole body waits for it.
    is_found(&director, "slow", "body not complete within 200ms")?;
    nginx.mend()?;
    all_are_up(&director);
    Ok(())
}

/// Whoever does not look does not find it.
#[test]
fn a_certificate_that_expired_is_told_with_its_day() -> TestResult {
    let lab = lab(2)?;
    let (authority, [nginx, _other]) = both_nginx(&lab)?;
    let https = |tls: &str| format!("http = {{ port = {TLS_PORT}, host = \"{NAME}\", tls = {{ {tls} }} }}");
    let verified = https(&format!("ca_file = {:?}", authority.file()));
    let services =
        [checked(&lab, "verified", 443, &verified), checked(&lab, "trusting", 444, &https("verify = false"))];
    let director = started(&lab, services)?;
    nginx.renew(&authority, (2020, 2021));
    is_found(&director, "verified", "the TLS certificate expired on 2021-01-01")?;
    assert_eq!(super::server(&director, "trusting", 0)?["state"], "up");
    nginx.renew(&authority, (2020, 2090));
    all_are_up(&director);
    Ok(())
}

#[test]
fn a_name_server_that_fails_is_asked_for_a_name() -> TestResult {
    let lab = lab(2)?;
    let [failing, _other] = [NameServer::start(&lab.host("rs1"))?, NameServer::start(&lab.host("rs2"))?];
    let asked = "dns = { port = 53, name = \"example.net\", type = \"A\" }";
    // Its port answers all the while.
    let udp = "udp = { port = 53, payload_hex = \"00 01 01 00 00 01 00 00 00 00 00 00 00 00 01 00 01\", \
               require_reply = true }";
    let director = started(&lab, [checked(&lab, "dns", 53, asked), checked(&lab, "udp", 54, udp)])?;
    failing.code.set(2);
    is_found(&director, "dns", "SERVFAIL for example.net A: the server could not find out")?;
    assert_eq!(super::server(&director, "udp", 0)?["state"], "up");
    failing.code.set(0);
    all_are_up(&director);
    Ok(())
}

#[test]
fn a_mail_server_that_greets_with_an_error_is_down() -> TestResult {
    let lab = lab(2)?;
    let [failing, _other] = [MailServer::start(&lab.host("rs1"))?, MailServer::start(&lab.host("rs2"))?];
    let director = started(&lab, [checked(&lab, "mail", 25, "smtp = { helo_name = \"lb.example.net\" }")])?;
    assert!(failing.heard.get().contains("HELO lb.example.net\nQUIT\n"), "{}", failing.heard.get());
    let greeting = failing.greeting.get();
    failing.greeting.set("554 no service here".to_owned());
    is_found(&director, "mail", "the mail server said \"554 no service here\" to the connection, not 220")?;
    failing.greeting.set(greeting);
    all_are_up(&director);
    Ok(())
}

/// Whoever hangs is killed with what it started.
#[test]
fn a_program_that_fails_or_hangs_is_told_of() -> TestResult {
    let lab = lab(2)?;
    let (mood, children) = (lab.directory().join("mood"), lab.directory().join("children"));
    let failing = lab.host("rs1").address();
    let script = lab.write_script(
        "check.sh",
        &format!(
            "#!/bin/sh\ntest \"$LB_REAL_SERVER\" = {failing} || exit 0\ncase $(cat {mood}) in\n\
             bad) echo 'the pool is empty' >&2; exit 1;;\n\
             slow) sleep 300 & echo $! >> {children}; wait;;\nesac\n",
            mood = mood.display(),
            children = children.display()
        ),
    )?;
    fs::write(&mood, "good")?;
    let exec = format!("exec = {{ command = [{script:?}] }}");
    let director = started(&lab, [checked(&lab, "web", 80, &exec)])?;
    fs::write(&mood, "bad")?;
    is_found(&director, "web", "exited with 1: \"the pool is empty\"")?;
    fs::write(&mood, "good")?;
    all_are_up(&director);
    fs::write(&mood, "slow")?;
    is_found(&director, "web", "the command did not end within 200ms")?;
    fs::write(&mood, "good")?;
    all_are_up(&director);
    let started = fs::read_to_string(&children)?;
    assert!(started.lines().count() >= 3, "{started:?}");
    wait_until("its children have ended", PATIENCE, || started.lines().all(|id| !is_asleep(id)));
    Ok(())
}

/// Whether this is a process that runs `sleep`, and has not ended.
fn is_asleep(id: &str) -> bool {
    fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x00300"))
}
