//! What every page should do: nothing from elsewhere, no complaint, all of it by keyboard, legible, on a telephone too.

use std::collections::BTreeSet;

use lb_lab::{Lab, TestResult, VirtualServer};
use serde_json::Value;

use crate::support::{PAGE, browser, complaints, director};

/// Every text whose contrast to what is behind it is too low (WCAG 2.2, 1.4.3: 4.5, or 3 for large text).
pub(crate) const CONTRASTS: &str = "
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (part) => part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (node) => {
    for (let it = node; it; it = it.parentElement) {
      const colour = parts(getComputedStyle(it).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
      if (colour[3] !== 0) throw new Error('a translucent background: ' + it.className);
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll('body *')].filter((node) => node.checkVisibility() &&
    ([...node.childNodes].some((it) => it.nodeType === 3 && it.textContent.trim() !== '') || node.tagName === 'INPUT'));
  const bad = [];
  for (const node of texts) {
    const style = getComputedStyle(node);
    const [one, other] = [luminance(parts(style.color)), luminance(behind(node))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (isLarge ? 3 : 4.5)) bad.push(`${node.tagName} ${node.className} ${node.textContent} ${contrast}`);
  }
  return { texts: texts.length, bad };
";

/// Every control, as the tab key should find it.
const CONTROLS: &str = "
  const all = [...document.querySelectorAll('a[href], button, input, select, textarea, [tabindex], summary')];
  return all.filter((it) => it.checkVisibility() && !it.disabled).map((it, i) => (it.dataset.control = i, i));
";

#[test]
fn it_is_legible_and_usable_by_all_and_takes_nothing_from_elsewhere() -> TestResult {
    let lab = Lab::builder().client("client").director("director").real_servers(3).build()?;
    let servers = lab.real_servers();
    let web = VirtualServer::tcp("web", lab.vip(), 80).hosts(&servers[..2]);
    let web = web.real_server(lab.subnet().address(199), 1);
    let mail = VirtualServer::tcp("mail", lab.vip(), 25).real_server(servers[2].address(), 0);
    let mail = mail.line("health_check = { interval = \"1s\", tcp = { port = 25 } }");
    let _director = director(&lab, format!("{web}\n{mail}"))?;
    let browser = browser(&lab)?;
    browser.wait_for(
        "all states are there",
        "return document.querySelectorAll('tr.server [data-state=down]').length > 0",
    )?;

    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
        browser.look(width, 860, scheme)?;
        let found = browser.run(CONTRASTS)?;
        assert!(found["texts"].as_u64().is_some_and(|texts| texts > 60), "{found}");
        assert_eq!(found["bad"], Value::Array(Vec::new()), "{width} pixels, {scheme}");
        let wide = browser.run("return document.documentElement.scrollWidth")?;
        assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{wide} of {width} pixels");
        let back = browser.run("return getComputedStyle(document.body).backgroundColor")?;
        assert_eq!(back == "rgb(15, 19, 24)", scheme == "dark", "{back}");

        let controls = browser.run(CONTROLS)?;
        let controls: BTreeSet<u64> =
            controls.as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
        assert!(controls.len() > 6, "{controls:?}");
        browser
            .run("document.activeElement.blur(); window.getSelection().removeAllRanges(); scrollTo(0, 0)")?;
        let mut reached = Vec::new();
        // A list that scrolls is stopped at too.
        for _ in 0..2 * controls.len() + 8 {
            browser.press("\u{e004}")?;
            let control = browser.run(
                "const it = document.activeElement, style = getComputedStyle(it);
                 return it.dataset.control === undefined ? null : [Number(it.dataset.control), style.outlineStyle]",
            )?;
            if let (Some(number), outline) = (control[0].as_u64(), &control[1]) {
                assert_ne!(*outline, "none", "the focus is seen at {control}");
                reached.push(number);
            }
            if controls.iter().all(|control| reached.contains(control)) {
                break;
            }
        }
        let all: BTreeSet<u64> = reached.iter().copied().collect();
        assert_eq!(all, controls, "{width} pixels: in this order {reached:?}");
    }

    browser.look(1280, 860, "light")?;
    let first = "return [...document.querySelectorAll('tr.server .address')].map((it) => it.textContent)";
    let unsorted = browser.run(first)?;
    browser.run("document.querySelector('#columns th[data-key=weight] button').focus()")?;
    browser.press("\u{e007}")?;
    let order = browser
        .run("return document.querySelector('#columns th[data-key=weight]').getAttribute('aria-sort')")?;
    assert_eq!(order, "descending");
    assert_eq!(browser.run(first)?.as_array().map(Vec::len), unsorted.as_array().map(Vec::len));
    browser.type_into("#filter", "mail")?;
    assert_eq!(browser.run(first)?.as_array().map(Vec::len), Some(1), "only what is looked for");
    browser.type_into("#filter", " nothing")?;
    assert_eq!(browser.run("return document.querySelector('#none').checkVisibility()")?, true);
    browser.run(
        "const it = document.querySelector('#filter'); it.value = ''; it.dispatchEvent(new Event('input'))",
    )?;
    browser.click("#states button:nth-of-type(3)")?;
    let states = browser
        .run("return [...document.querySelectorAll('tr.server .state')].map((it) => it.textContent)")?;
    assert_eq!(states, serde_json::json!(["down"]));

    let resources = browser.run("return performance.getEntries().map((it) => it.name)")?;
    let resources = resources.as_array().expect("a list");
    let foreign: Vec<&Value> = resources
        .iter()
        .filter(|name| name.as_str().is_some_and(|name| name.contains("://") && !name.starts_with(PAGE)))
        .collect();
    assert!(resources.len() >= 4 && foreign.is_empty(), "{resources:?}");
    assert!(complaints(&browser)?.is_empty(), "{:?}", complaints(&browser)?);
    // The page may not ask elsewhere even if it wanted to.
    let asked = "return fetch('http://192.0.2.1/').then(() => 'answered', (error) => error.name)";
    assert_eq!(browser.run(asked)?, "TypeError");
    let refused = complaints(&browser)?;
    assert!(refused.iter().any(|line| line.to_string().contains("Content Security Policy")), "{refused:?}");
    Ok(())
}
