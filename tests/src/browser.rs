//! A browser on a host of the lab: Chromium without a screen, told what to do by chromedriver (WebDriver,
//! <https://www.w3.org/TR/webdriver2/>, and Chromium's own protocol where that has more).

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Doing as _, Error, Result};
use crate::host::Host;
use crate::process::Process;
use crate::wait::try_wait_until;

/// Where chromedriver listens; each host has ports of its own.
const PORT: u16 = 9515;
/// Time for a browser to start, or to do one thing, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// W3C's name for what refers to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Dropping it ends it.
pub struct Browser {
    host: Host,
    session: String,
    _driver: Process,
}

impl Browser {
    /// Starts one in the host's network. Its files go with the lab.
    pub fn start(host: &Host, directory: &std::path::Path) -> Result<Self> {
        let driver = host
            .command("chromedriver")
            .arg(format!("--port={PORT}"))
            .env("TMPDIR", directory)
            .env("HOME", directory)
            .spawn()?;
        let mut browser = Self { host: host.clone(), session: String::new(), _driver: driver };
        try_wait_until("chromedriver answers", PATIENCE, || {
            browser.call("GET", "/status", None).map_err(|e| e.to_string())
        })?;
        let arguments =
            ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let started = browser.call("POST", "/session", Some(&capabilities))?;
        browser.session = started["sessionId"].as_str().unwrap_or_default().to_owned();
        Ok(browser)
    }

    /// Opens a page, and waits until it is loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    /// Runs the body of a function in the page.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until such a function returns something that is true.
    pub fn wait_for(&self, what: &str, script: &str) -> Result<Value> {
        try_wait_until(what, PATIENCE, || match self.run(script) {
            Ok(Value::Null | Value::Bool(false)) => Err("not yet".to_owned()),
            Ok(value) => Ok(value),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The window's size, in pixels of the page's style, and which colours its user prefers: `light` or `dark`.
    pub fn look(&self, width: u32, height: u32, scheme: &str) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.chromium("Emulation.setDeviceMetricsOverride", &size)?;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.chromium("Emulation.setEmulatedMedia", &features)
    }

    /// Presses a key where the focus is, as WebDriver names it: `\u{e004}` is Tab.
    pub fn press(&self, key: &str) -> Result<()> {
        let actions = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }))
            .map(drop)
    }

    /// Types text into the element that this selector finds.
    pub fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }))?;
        let id = found[ELEMENT].as_str().unwrap_or_default().to_owned();
        self.post(&format!("/element/{id}/value"), &json!({ "text": text })).map(drop)
    }

    /// Clicks on it.
    pub fn click(&self, selector: &str) -> Result<()> {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }))?;
        let id = found[ELEMENT].as_str().unwrap_or_default().to_owned();
        self.post(&format!("/element/{id}/click"), &json!({})).map(drop)
    }

    /// What the console has said since it was asked last.
    pub fn console(&self) -> Result<Vec<Value>> {
        let said = self.post("/se/log", &json!({ "type": "browser" }))?;
        Ok(said.as_array().cloned().unwrap_or_default())
    }

    /// What the window shows, as PNG in base64.
    pub fn screenshot(&self) -> Result<String> {
        let shown = self.call("GET", &format!("/session/{}/screenshot", self.session), None)?;
        Ok(shown.as_str().unwrap_or_default().to_owned())
    }

    fn chromium(&self, command: &str, parameters: &Value) -> Result<()> {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).map(drop)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", &format!("/session/{}{path}", self.session), Some(body))
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.host.enter(|| exchange(method, path, &body))?;
        let answer = answer.doing(|| format!("ask chromedriver for {method} {path}"))?;
        let value = &answer["value"];
        if let Some(error) = value["error"].as_str() {
            let (status, output) = (error.to_owned(), value["message"].to_string());
            let command = format!("chromedriver: {method} {path}");
            return Err(Error::Command { command, host: self.host.name().to_owned(), status, output });
        }
        Ok(value.clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It takes its windows and files with it; chromedriver itself is killed after that.
        let _ = self.call("DELETE", &format!("/session/{}", self.session), None);
    }
}

fn exchange(method: &str, path: &str, body: &str) -> io::Result<Value> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if answer.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
