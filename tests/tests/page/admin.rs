//! What administrators do on the page, and what nobody else does.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lb_lab::{Browser, Director, Host, Lab, Load, Result, TestResult, VirtualServer};
use serde_json::Value;

use crate::basics::CONTRASTS;
use crate::support::{
    SECRET, SOON, administered, browser, browser_at, complaints, director, keep, picture, told,
};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

fn lab() -> Result<Lab> {
    Lab::builder().client("client").director("director").real_servers(2).build()
}

fn web(lab: &Lab) -> VirtualServer {
    let servers = lab.real_servers();
    VirtualServer::tcp("web", lab.vip(), 80)
        .scheduler("wrr")
        .real_server(servers[0].address(), 3)
        .hosts(&servers[1..])
}

/// A real server's weight, and how many connections it got.
fn listed(director: &Director, server: &Host) -> (u64, u64) {
    let list = director.json(["list"]).expect("the daemon answers");
    let address = server.address().to_string();
    let servers = list["virtual_servers"][0]["real_servers"].as_array().expect("a list");
    let found = servers.iter().find(|found| found["address"] == address.as_str()).expect("it is there");
    let number = |value: &Value| value.as_u64().expect("a number");
    (number(&found["weight"]), number(&found["stats"]["connections"]))
}

/// Presses the tab key until something is true of what has the focus, `it`.
fn tab_to(browser: &Browser, what: &str) -> TestResult {
    for _ in 0..60 {
        browser.press(TAB)?;
        if browser.run(&format!("const it = document.activeElement; return {what}"))? == true {
            let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")?;
            assert_ne!(outline, "none", "the focus is seen at {what}");
            return Ok(());
        }
    }
    panic!("the tab key never comes to {what}");
}

fn sign_in(browser: &Browser) -> TestResult {
    browser.wait_for(
        "there are administrators",
        "return document.querySelector('#sign-in').checkVisibility()",
    )?;
    type_secret(browser)?;
    browser
        .wait_for("somebody is signed in", "return document.querySelector('#sign-out').checkVisibility()")?;
    Ok(())
}

fn type_secret(browser: &Browser) -> TestResult {
    browser.click("#sign-in")?;
    browser.type_into("#secret", &format!("{SECRET}{ENTER}"))?;
    Ok(())
}

fn said(browser: &Browser, what: &str) -> Result<Value> {
    let script = format!("return document.querySelector('#said').textContent.includes({what:?})");
    browser.wait_for(&format!("the page says {what}"), &script)
}

#[test]
fn without_the_key_there_is_nothing_to_sign_in_to() -> TestResult {
    let lab = lab()?;
    let _director = director(&lab, web(&lab))?;
    let browser = browser(&lab)?;
    let shown = browser.run(
        "return [...document.querySelectorAll('#sign-in, #sign-out, .change, dialog')].filter((it) => it.checkVisibility()).length",
    )?;
    assert_eq!(shown, 0);
    let asked = "return fetch('v1/session').then((answer) => answer.status)";
    assert_eq!(browser.run(asked)?, 403);
    Ok(())
}

#[test]
fn an_administrator_drains_enables_and_weighs_by_keyboard() -> TestResult {
    let lab = lab()?;
    let director = administered(&lab, "127.0.0.1:9811", web(&lab))?;
    let (drained, other) = (&lab.real_servers()[0], &lab.real_servers()[1]);
    let browser = browser(&lab)?;
    browser.wait_for(
        "there are administrators",
        "return document.querySelector('#sign-in').checkVisibility()",
    )?;
    assert!(complaints(&browser)?.is_empty(), "{:?}", complaints(&browser)?);

    tab_to(&browser, "it.id === 'sign-in'")?;
    browser.press(ENTER)?;
    browser.type_into("#secret", &format!("guessed{ENTER}"))?;
    browser.wait_for(
        "a wrong secret is refused",
        "return document.querySelector('#sign-in-dialog .error').textContent.includes('is not the secret')",
    )?;
    assert_eq!(browser.run("return document.activeElement.id")?, "secret", "one may try again");
    browser.type_into("#secret", &format!("{SECRET}{ENTER}"))?;
    said(&browser, "Signed in")?;
    let complained = complaints(&browser)?;
    assert!(complained.len() == 1 && complained[0].to_string().contains("401"), "{complained:?}");

    let change = format!("it.ariaLabel === 'Change {} of web'", drained.address());
    tab_to(&browser, &change)?;
    browser.press(ENTER)?;
    tab_to(&browser, "it.id === 'drain'")?;
    browser.press(ENTER)?;
    tab_to(&browser, "it.id === 'drain-now'")?;
    assert_eq!(listed(&director, drained).0, 3, "not before that is confirmed");
    browser.press(ENTER)?;
    said(&browser, "gets no new connections; its weight was 3")?;
    assert_eq!(
        browser.run(&format!("const it = document.activeElement; return {change}"))?,
        true,
        "the focus is back"
    );
    let (weight, before) = listed(&director, drained);
    assert_eq!(weight, 0);
    let load = Load::to((lab.vip(), 80)).at_once(2).requests(40).timeout(SOON).run(&lab.client())?;
    assert_eq!(load.failed(), 0, "{load:?}");
    assert_eq!(listed(&director, drained).1, before, "traffic goes elsewhere");
    assert!(listed(&director, other).1 >= 40);
    browser.wait_for(
        "the page shows it",
        "return document.querySelector('tr.server .state').textContent === 'draining'",
    )?;
    let told = told(&browser, "127.0.0.1 gave")?;
    assert!(told.contains("weight 0 at director.http"), "{told}");

    browser.press(ENTER)?;
    tab_to(&browser, "it.id === 'enable'")?;
    let offered = browser.run("return document.activeElement.textContent")?;
    assert_eq!(offered, "Enable with weight 3", "what it had before");
    browser.press(ENTER)?;
    said(&browser, "has weight 3; its weight was 0")?;
    assert_eq!(listed(&director, drained).0, 3);

    browser.press(ENTER)?;
    browser.run("document.querySelector('#weight').value = ''")?;
    browser.type_into("#weight", &format!("7{ENTER}"))?;
    said(&browser, "has weight 7")?;
    assert_eq!(listed(&director, drained).0, 7);
    // A weight of 0 is a drain, and asked about.
    browser.press(ENTER)?;
    browser.run("document.querySelector('#weight').value = ''")?;
    browser.type_into("#weight", &format!("0{ENTER}"))?;
    browser.wait_for("it is asked", "return document.querySelector('#drain-dialog').open")?;
    browser.press(ESCAPE)?;
    browser.press(ESCAPE)?;
    assert_eq!(browser.run("return document.querySelectorAll('dialog[open]').length")?, 0);
    assert_eq!(listed(&director, drained).0, 7);

    // What the daemon refuses is told in its words.
    browser.press(ENTER)?;
    director.cli(["remove", "server", "web", &drained.address().to_string()])?;
    browser.click("#server-dialog [type=submit]")?;
    let refused = browser.wait_for(
        "the daemon refuses",
        "return document.querySelector('#server-dialog .error').textContent || null",
    )?;
    assert!(refused.as_str().expect("text").contains(&drained.address().to_string()), "{refused}");
    browser.press(ESCAPE)?;

    browser.click("#sign-out")?;
    said(&browser, "Signed out")?;
    let buttons =
        "return [...document.querySelectorAll('.change')].filter((it) => it.checkVisibility()).length";
    assert_eq!(browser.run(buttons)?, 0);
    Ok(())
}

/// The session ends with the secret: the page says so, and what was wanted can be done after signing in again.
#[test]
fn a_session_that_has_ended_is_said_to_have_and_can_be_begun_anew() -> TestResult {
    let lab = lab()?;
    let mut director = administered(&lab, "127.0.0.1:9811", web(&lab))?;
    let browser = browser(&lab)?;
    sign_in(&browser)?;
    // It stays when the page is loaded anew, also in another window.
    browser.run("window.isOld = true; location.reload()")?;
    browser.wait_for(
        "it is still there",
        "return !window.isOld && (document.querySelector('#sign-out')?.checkVisibility() ?? false)",
    )?;
    browser.click("#filter")?;
    director.restart()?;
    said(&browser, "Your session has ended")?;
    browser.wait_for(
        "the next daemon knows no sessions, and nobody who types is interrupted",
        "return !document.querySelector('dialog[open]') && document.activeElement.id === 'filter'",
    )?;
    type_secret(&browser)?;
    said(&browser, "Signed in")?;
    browser.wait_for("the focus is somewhere", "return document.activeElement.id === 'sign-out'")?;
    browser.click(".change")?;
    std::fs::write(lab.directory().join("admin.key"), "another secret altogether\n")?;
    browser.click("#server-dialog [type=submit]")?;
    browser.wait_for(
        "a session ends with its secret",
        "const it = document.querySelector('#sign-in-dialog');
         return it.open && it.textContent.includes('Your session has ended')",
    )?;
    Ok(())
}

/// A page of somebody else, on this machine and another port: for a cookie that is the same site.
struct Attacker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Attacker {
    const PORT: u16 = 8080;

    fn start(host: &Host) -> Result<Self> {
        let listener = host.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, Self::PORT)))?;
        let listener = listener.expect("the port is free");
        listener.set_nonblocking(true).expect("it is a socket");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let page = "<!doctype html><title>attacker</title><p>hello";
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
                    page.len()
                );
                let _ = stream.set_nonblocking(false).and_then(|()| stream.read(&mut [0; 4096]));
                let _ = stream.write_all(answer.as_bytes());
            }
        };
        Ok(Self { stop, thread: Some(host.start_thread(serve)?) })
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// In the browser of somebody who is signed in. At an address that a browser does not take for trustworthy it says less of
/// where requests come from, and the page works there too.
#[test]
fn no_other_page_drains_anything() -> TestResult {
    let lab = lab()?;
    let own = lab.director().address();
    // A weight that there was stays from one daemon to the next.
    for (address, weight) in [("127.0.0.1".to_owned(), 5), (own.to_string(), 6)] {
        let http = format!("{address}:9811");
        let director = administered(&lab, &http, web(&lab))?;
        let server = &lab.real_servers()[0];
        let page = format!("http://{http}/");
        let browser = browser_at(&lab, &page)?;
        sign_in(&browser)?;
        browser.click(".change")?;
        browser.run("document.querySelector('#weight').value = ''")?;
        browser.type_into("#weight", &format!("{weight}{ENTER}"))?;
        said(&browser, &format!("has weight {weight};"))?;

        let _attacker = Attacker::start(&lab.director())?;
        let body = format!(r#"{{"service":"web","server":"{}","weight":0}}"#, server.address());
        let elsewhere = lab.real_servers()[1].address();
        for other in [format!("http://{address}:{}/", Attacker::PORT), format!("http://{elsewhere}/")] {
            browser.open(&other)?;
            for media in ["text/plain", "application/json"] {
                for mode in ["no-cors", "cors"] {
                    let fetched = browser.run(&format!(
                        "return fetch('{page}v1/weight', {{ method: 'POST', mode: '{mode}', credentials: 'include', body: {body:?},
                           headers: {{ 'Content-Type': '{media}' }} }}).then((it) => it.type, (error) => error.name)"
                    ))?;
                    assert!(
                        fetched == "opaque" || fetched == "TypeError",
                        "{other} {mode} {media}: {fetched}"
                    );
                    assert_eq!(listed(&director, server).0, weight, "{other} {mode} {media}");
                }
            }
            // Nor does it learn the session's token.
            let told = browser.run(&format!(
                "return fetch('{page}v1/session', {{ credentials: 'include' }}).then((it) => it.text(), (error) => error.name)"
            ))?;
            assert_eq!(told, "TypeError", "{other}");
            // A form takes the whole window there; what the daemon answers is shown.
            browser.run(&format!(
                "const form = document.createElement('form'), field = document.createElement('input');
                 Object.assign(form, {{ method: 'post', enctype: 'text/plain', action: '{page}v1/weight' }});
                 Object.assign(field, {{ name: {body:?}.slice(0, -1) + ',\"x\":\"', value: '\"}}' }});
                 form.append(field); document.body.append(form); form.submit()"
            ))?;
            let answer = browser.wait_for(
                "the form is answered",
                "return location.pathname === '/v1/weight' ? document.body.textContent : null",
            )?;
            let answer = answer.as_str().expect("text");
            assert!(answer.contains("other_origin") || answer.contains("signed_out"), "{other}: {answer}");
            assert_eq!(listed(&director, server).0, weight, "{other}");
        }
    }
    Ok(())
}

/// As `basics` does for the rest of the page.
#[test]
fn what_administrators_see_is_legible_and_on_a_telephone_too() -> TestResult {
    let lab = lab()?;
    let _director = administered(&lab, "127.0.0.1:9811", web(&lab))?;
    let browser = browser(&lab)?;
    browser.wait_for(
        "there are administrators",
        "return document.querySelector('#sign-in').checkVisibility()",
    )?;
    let sizes = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")];
    let check = |what: &str| -> TestResult {
        for (width, scheme) in sizes {
            browser.look(width, 860, scheme)?;
            let found = browser.run(CONTRASTS)?;
            assert_eq!(found["bad"], Value::Array(Vec::new()), "{what}: {width} pixels, {scheme}");
            let outside = browser.run(
                "const width = document.documentElement.clientWidth;
                 return document.documentElement.scrollWidth > width || [...document.querySelectorAll('dialog[open]')].some((it) => {
                   const box = it.getBoundingClientRect();
                   return box.left < 0 || box.right > width || it.scrollWidth > it.clientWidth;
                 })",
            )?;
            assert_eq!(outside, false, "{what}: {width} pixels");
        }
        browser.look(1280, 860, "light")?;
        Ok(())
    };
    browser.click("#sign-in")?;
    check("sign-in")?;
    // Whoever is in a dialog stays there, and every control of it is reached.
    for id in ["secret", "sign-in-dialog"] {
        let is_there = if id == "secret" { "it.id === 'secret'" } else { "it.classList.contains('main')" };
        tab_to(&browser, is_there)?;
    }
    browser.press(ESCAPE)?;
    sign_in(&browser)?;
    check("page")?;
    let named = browser.run(
        "return [...document.querySelectorAll('.change')].map((it) => it.ariaLabel).concat(
           [...document.querySelectorAll('dialog')].map((it) => it.getAttribute('aria-labelledby')))",
    )?;
    let named = named.as_array().expect("a list");
    assert!(
        named.len() == 5 && named.iter().all(|name| name.as_str().is_some_and(|name| !name.is_empty())),
        "{named:?}"
    );
    browser.click(".change")?;
    check("server")?;
    if let Some(file) = picture("status-page-admin.png") {
        browser.look(1280, 560, "light")?;
        keep(&lab, &browser, &file)?;
    }
    browser.click("#drain")?;
    check("drain")?;
    browser.press(ESCAPE)?;
    browser.press(ESCAPE)?;
    assert!(complaints(&browser)?.is_empty(), "{:?}", complaints(&browser)?);
    Ok(())
}
