//! A thousand real servers.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use lb_lab::{Lab, TestResult};
use serde_json::Value;

use crate::support::{browser, complaints, director};

/// Virtual servers, and real servers of each.
const SERVICES: u16 = 10;
const SERVERS: u16 = 100;
/// How long the page may keep a user waiting, in milliseconds: what is slower is not felt to be at once
/// (<https://web.dev/articles/rail>); ten times that, for a machine that builds something besides.
const MOST: f64 = 1000.0;

#[test]
fn a_thousand_real_servers_are_shown_and_searched_at_once() -> TestResult {
    let lab = Lab::builder()
        .subnet(Ipv4Addr::new(10, 99, 0, 0), 16)
        .client("client")
        .director("director")
        .real_servers(1)
        .build()?;
    let mut config = String::new();
    for service in 0..SERVICES {
        let _ = writeln!(
            config,
            "[[virtual_server]]\nname = \"s{service}\"\naddresses = [\"{}:{}\"]",
            lab.vip(),
            8000 + service
        );
        for server in 1..=SERVERS {
            let _ = writeln!(
                config,
                "[[virtual_server.real_server]]\naddress = \"10.99.{}.{server}\"",
                10 + service
            );
        }
    }
    let director = director(&lab, config)?;
    let browser = browser(&lab)?;
    let count = browser.run("return document.querySelectorAll('tr.server').length")?;
    assert_eq!(count, u64::from(SERVICES * SERVERS));
    // What it does by itself, for each snapshot, as the browser measures it.
    browser.run(
        "window.long = [];
         new PerformanceObserver((list) => list.getEntries().forEach((it) => window.long.push(it.duration)))
           .observe({ type: 'longtask' });
         window.shown = new Set(); new MutationObserver(() => window.shown.add(document.body.dataset.shown))
           .observe(document.body, { attributes: true });",
    )?;
    browser.wait_for("five snapshots are shown", "return window.shown.size >= 5")?;
    let long = browser.run("return window.long")?;
    let longest = long.as_array().expect("a list").iter().filter_map(Value::as_f64).fold(0.0, f64::max);
    // What a user does.
    let took = browser.run(
        "const measure = (act) => { const begin = performance.now(); act(); document.body.offsetHeight; return performance.now() - begin; };
         const filter = document.querySelector('#filter');
         const type = (text) => { filter.value = text; filter.dispatchEvent(new Event('input')); };
         const times = { filter: measure(() => type('10.99.13.77')), found: document.querySelectorAll('tr.server').length };
         times.all = measure(() => type(''));
         times.sort = measure(() => document.querySelector('#columns th[data-key=weight] button').click());
         return times;",
    )?;
    println!("the longest task of five snapshots {longest} ms; {took}");
    assert!(longest < MOST, "{longest} ms");
    assert_eq!(took["found"], 1);
    for key in ["filter", "all", "sort"] {
        assert!(took[key].as_f64().is_some_and(|took| took < MOST), "{took}");
    }
    // Rows stay what they are.
    browser.run("document.querySelector('tr.server').isTheSame = true")?;
    director.cli(["weight", "s0", "10.99.10.1", "7"])?;
    browser.wait_for(
        "a change is shown in the row that was there",
        "return [...document.querySelectorAll('tr.server')].some((row) =>
           row.isTheSame && row.querySelector('.of-weight span').textContent === '7')",
    )?;
    assert!(complaints(&browser)?.is_empty(), "{:?}", complaints(&browser)?);
    Ok(())
}
