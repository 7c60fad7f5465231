//! The page shows what is, as it becomes so.

use lb_lab::{Browser, Lab, Load, Result, TestResult, VirtualServer, wait_until};
use serde_json::{Value, json};

use crate::support::{PAGE, SOON, browser, complaints, director, keep, picture, rows, told};

const CHECK: &str = "health_check = { interval = \"500ms\", timeout = \"400ms\", retries = 1, retry_delay = \"50ms\", \
                     http = { path = \"/\", status = [200] } }";

fn lab() -> Result<Lab> {
    Lab::builder().client("client").director("director").real_servers(4).build()
}

fn services(lab: &Lab) -> String {
    let servers = lab.real_servers();
    let sorry = format!("sorry_server = \"{}\"", servers[3].address());
    let web = VirtualServer::tcp("web", lab.vip(), 80).scheduler("wrr").line(CHECK).line(&sorry);
    let web = web.real_server(servers[0].address(), 3).real_server(servers[1].address(), 1);
    let web = web.real_server(servers[2].address(), 2);
    let dns = VirtualServer::udp("dns", lab.vip(), 53).hosts(&servers[..2]);
    format!("{web}\n{dns}")
}

/// What `lb list --json` says, in the words of the page.
fn listed(list: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for service in list["virtual_servers"].as_array().expect("a list") {
        let servers = service["real_servers"].as_array().expect("a list").iter();
        for server in servers.chain(service.get("sorry_server")) {
            let number = |key: &str| server[key].as_u64().expect("a number").to_string();
            rows.push(json!({
                "service": service["name"], "address": server["address"], "mac": server["mac"], "state": server["state"],
                "weight": number("weight"), "active": number("active_connections"),
                "inactive": number("inactive_connections"),
            }));
        }
    }
    rows
}

/// The same of the page.
fn shown(browser: &Browser) -> Result<Vec<Value>> {
    let keys = ["service", "address", "mac", "state", "weight", "active", "inactive"];
    let plain = |row: &Value| {
        let cell =
            |key: &&str| ((*key).to_owned(), row[*key].as_str().expect("text").replace(',', "").into());
        Value::Object(keys.iter().map(cell).collect())
    };
    Ok(rows(browser)?.iter().map(plain).collect())
}

/// Also to the last connection, and of a real server that ends while the page is open, without loading it anew.
#[test]
fn it_shows_what_lb_list_shows_and_follows_it() -> TestResult {
    let lab = lab()?;
    let director = director(&lab, services(&lab))?;
    wait_until("all real servers are up", SOON, || {
        let states = director.json(["list"]).map(|list| listed(&list)).unwrap_or_default();
        !states.is_empty() && states.iter().all(|server| server["state"] == "up")
    });
    let load = Load::to((lab.vip(), 80)).at_once(4).requests(400).timeout(SOON).run(&lab.client())?;
    assert_eq!(load.failed(), 0, "{load:?}");
    let browser = browser(&lab)?;
    browser.run("window.isTheSame = true")?;
    let agree = || -> std::result::Result<(), String> {
        let (listed, shown) = (
            listed(&director.json(["list"]).map_err(|error| error.to_string())?),
            shown(&browser).map_err(|error| error.to_string())?,
        );
        if listed == shown { Ok(()) } else { Err(format!("listed {listed:#?}\nshown {shown:#?}")) }
    };
    wait_until("the page shows what is listed", SOON, agree);
    let first = &rows(&browser)?[0];
    assert!(first["check"].as_str().expect("text").contains(" ms, "), "{first}");
    assert!(first["check"].as_str().expect("text").ends_with("/"), "what is asked: {first}");
    assert!(first["since"].as_str().expect("text").ends_with('s'), "{first}");
    let facts = browser.run("return document.querySelector('#facts').textContent")?;
    assert!(facts.as_str().expect("text").contains("XDP on eth0"), "{facts}");

    director.cli(["weight", "web", &lab.real_servers()[1].address().to_string(), "0"])?;
    browser.wait_for(
        "a weight of 0 is shown",
        "return document.querySelectorAll('tr.server')[1].querySelector('.state').textContent === 'draining'",
    )?;
    lab.real_servers()[0].stop_web()?;
    browser.wait_for(
        "a real server that has ended is shown",
        "const row = document.querySelector('tr.server');
         return row.querySelector('.state').textContent === 'down' && row.textContent.includes('refused')",
    )?;
    let told = told(&browser, "is down")?;
    assert!(told.contains("web: "), "{told}");
    wait_until("the page shows what is listed", SOON, agree);
    assert_eq!(browser.run("return window.isTheSame")?, true, "it was not loaded anew");
    assert!(complaints(&browser)?.is_empty(), "{:?}", complaints(&browser)?);

    // What is exported is the same.
    let list = director.json(["list"])?;
    let csv = browser.run("return fetch('/status.csv').then((answer) => answer.text())")?;
    let csv = csv.as_str().expect("text").to_owned();
    let lines: Vec<Vec<String>> = csv.split("\r\n").map(cells).collect();
    let expected = listed(&list);
    assert_eq!(lines.len(), expected.len() + 2, "a heading, and an end of the last line: {csv}");
    for (line, expected) in lines[1..].iter().zip(&expected) {
        assert_eq!(line.len(), lines[0].len(), "{csv}");
        let found = json!({ "service": line[0], "address": line[4], "mac": line[9], "state": line[6],
            "weight": line[8], "active": line[10], "inactive": line[11] });
        assert_eq!(found, *expected, "{csv}");
    }
    let exported = browser.run("return document.querySelectorAll('.exports a')[1].href")?;
    assert_eq!(exported, format!("{PAGE}v1/virtual_servers"));
    pictures(&lab, &browser)?;

    // Without the daemon, it says so.
    drop(director);
    browser.wait_for(
        "the end of the daemon is shown",
        "return document.querySelector('#live').textContent.startsWith('no connection')",
    )?;
    Ok(())
}

/// The cells of a line of RFC 4180 without line breaks in them.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            other => cells.last_mut().expect("there is one").push(other),
        }
    }
    cells
}

/// For the documentation, if somebody has asked for them, with something to be seen.
fn pictures(lab: &Lab, browser: &Browser) -> TestResult {
    let (Some(light), Some(dark)) = (picture("status-page.png"), picture("status-page-dark.png")) else {
        return Ok(());
    };
    let load = Load::to((lab.vip(), 80))
        .at_once(4)
        .duration(std::time::Duration::from_secs(40))
        .start(&lab.client())?;
    browser.wait_for(
        "trends have something to show",
        "return document.querySelector('.of-trend path').getAttribute('d').split('L').length > 14",
    )?;
    for (file, scheme) in [(light, "light"), (dark, "dark")] {
        browser.look(1280, 800, scheme)?;
        keep(lab, browser, &file)?;
    }
    load.stop();
    load.finish()?;
    Ok(())
}

/// Names and messages are text, whatever is in them, and nothing in them is run.
#[test]
fn what_looks_like_html_is_text() -> TestResult {
    let lab = lab()?;
    let name = "<img src=x onerror=document.title='owned'>";
    let service = VirtualServer::tcp(name, lab.vip(), 80).hosts(&lab.real_servers()[..1]);
    let _director = director(&lab, service)?;
    let browser = browser(&lab)?;
    assert_eq!(browser.run("return document.querySelector('.service .name').textContent")?, name);
    assert_eq!(browser.run("return document.images.length")?, 1, "the page's own");
    let title = browser.run("return document.title")?;
    assert!(title.as_str().expect("text").starts_with("lb "), "{title}");
    assert!(complaints(&browser)?.is_empty(), "{:?}", complaints(&browser)?);
    Ok(())
}
