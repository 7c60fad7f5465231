//! A lab with a page, and a browser that has opened it.

use std::env;
use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lb_lab::{Browser, Director, Lab, Result, TestResult};
use serde_json::Value;

/// Where the page is, in the director's network.
pub(crate) const PAGE: &str = "http://127.0.0.1:9811/";
/// Enough for something that comes at once, however busy the machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Names a directory that pictures for the documentation go to.
const PICTURES: &str = "LB_PICTURES";

/// A daemon with a page.
pub(crate) fn director(lab: &Lab, config: impl fmt::Display) -> Result<Director> {
    Director::on(&lab.director()).setting("http", "\"127.0.0.1:9811\"").config(config).start()
}

/// What administrators know.
pub(crate) const SECRET: &str = "correct horse battery staple";

/// A daemon with a page at this address and port that administrators may use.
pub(crate) fn administered(lab: &Lab, http: &str, config: impl fmt::Display) -> Result<Director> {
    let key = lab.directory().join("admin.key");
    fs::write(&key, format!("{SECRET}\n")).expect("the lab has a directory");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("it is there");
    let director = Director::on(&lab.director()).setting("http", format!("\"{http}\""));
    director.setting("http_admin_file", format!("{key:?}")).config(config).start()
}

/// A browser that shows it.
pub(crate) fn browser(lab: &Lab) -> Result<Browser> {
    browser_at(lab, PAGE)
}

/// The same for a page that is elsewhere.
pub(crate) fn browser_at(lab: &Lab, page: &str) -> Result<Browser> {
    let browser = Browser::start(&lab.director(), &lab.directory())?;
    browser.look(1280, 860, "light")?;
    browser.open(page)?;
    browser.wait_for("the page shows something", "return document.body.dataset.shown ?? null")?;
    Ok(browser)
}

/// Rows of the table: address, and what the columns say, without white space around it.
pub(crate) fn rows(browser: &Browser) -> Result<Vec<Value>> {
    let rows = browser.run(
        "const text = (row, name) => row.querySelector(name)?.textContent.trim() ?? '';
         return [...document.querySelectorAll('tr.server')].map((row) => ({
           service: row.parentElement.querySelector('.name').textContent, address: text(row, '.address'),
           mac: text(row, 'th small'), state: text(row, '.state'), weight: text(row, '.of-weight span'),
           active: text(row, '.of-active'), inactive: text(row, '.of-inactive'), check: text(row, '.of-check'),
           since: text(row, '.of-since'), share: text(row, '.of-share'),
         }));",
    )?;
    Ok(rows.as_array().cloned().unwrap_or_default())
}

/// The event that the page shows with these words in it, once it does.
pub(crate) fn told(browser: &Browser, words: &str) -> Result<String> {
    let script = format!(
        "return [...document.querySelectorAll('#events li')].find((it) => it.textContent.includes({words:?}))?.textContent"
    );
    let told = browser.wait_for(&format!("it is told of: {words}"), &script)?;
    Ok(told.as_str().expect("text").to_owned())
}

/// Whether the browser has complained of anything.
pub(crate) fn complaints(browser: &Browser) -> Result<Vec<Value>> {
    let said = browser.console()?;
    Ok(said.into_iter().filter(|line| line["level"] != "INFO" && line["level"] != "DEBUG").collect())
}

/// Where a picture is to be kept, if pictures are wanted.
pub(crate) fn picture(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(env::var_os(PICTURES)?).join(name))
}

/// Keeps what the browser shows, for the documentation.
pub(crate) fn keep(lab: &Lab, browser: &Browser, file: &Path) -> TestResult {
    let write = format!("base64 -d > '{}'", file.display());
    lab.director().command("sh").args(["-c", &write]).input(browser.screenshot()?).run()?.success()?;
    assert!(fs::metadata(file)?.len() < 150_000, "{} is too large for a document", file.display());
    Ok(())
}
