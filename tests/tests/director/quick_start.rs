//! The quick start (`docs/quick-start.md`), as a new user follows it: every command of it, in order.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use lb_lab::{Director, Host, HostSpec, Lab, Result, TestResult};

use crate::support::PATIENCE;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/quick-start.md");

/// `lb drain` waits for connections, and those that have ended are remembered for two minutes.
const SHORT: &str = "[timeouts]\ntcp_fin = \"1s\"\n";

/// The page's blocks in backquotes, with the language that they are in.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let inner = page.split("```").skip(1).step_by(2);
    inner.filter_map(|block| block.split_once('\n')).collect()
}

/// A command, and where it is typed: `director# lb list`.
fn command(line: &str) -> (&str, &str) {
    let prompt = |sign: &'static str| line.split_once(sign).filter(|(host, _)| !host.contains(' '));
    let found = prompt("# ").or_else(|| prompt("$ "));
    found.unwrap_or_else(|| panic!("{line:?} does not begin with a host and a prompt"))
}

/// The page's addresses, and those of the lab.
fn translated(text: &str, addresses: &BTreeMap<&str, String>) -> String {
    addresses.iter().fold(text.to_owned(), |text, (of_page, of_lab)| text.replace(of_page, of_lab))
}

struct Reader {
    lab: Lab,
    addresses: BTreeMap<&'static str, String>,
    director: Option<Director>,
    /// What the page has the reader write to the file.
    config: String,
}

impl Reader {
    fn host(&self, name: &str) -> Host {
        self.lab.host(name)
    }

    fn types(&mut self, line: &str) -> Result<()> {
        let (host, words) = command(line);
        if words.starts_with("lb run") {
            let (_, sections) = self.config.split_once("\n\n").expect("[director], and the rest");
            let sections = translated(sections, &self.addresses);
            let director = Director::on(&self.host(host)).config(sections).config(SHORT).start()?;
            self.director = Some(director);
            return Ok(());
        }
        let binary = std::env::var("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY");
        let directory = self.lab.directory();
        let mut words = translated(words, &self.addresses);
        if words.starts_with("lb real-server up") {
            words += &format!(" --state-file {}/{host}.json", directory.display());
        }
        let file = match &self.director {
            Some(director) => director.config_file().clone(),
            None => {
                let file = directory.join("lb.toml");
                fs::write(&file, translated(&self.config, &self.addresses)).expect("there is room");
                file
            }
        };
        let words = words.replace("/etc/lb/lb.toml", &file.display().to_string());
        let socket = self.director.as_ref().map(|director| director.control_socket().clone());
        let script = format!("lb() {{ '{binary}' \"$@\"; }}\n{words}");
        let mut typed = self.host(host).command("bash").args(["-c", &script]).env("NO_COLOR", "1");
        if let Some(socket) = socket {
            typed = typed.env("LB_CONTROL_SOCKET", socket);
        }
        let done = typed.timeout(Duration::from_secs(60)).run()?.success();
        done.map(|_| ())
    }
}

#[test]
fn every_command_of_the_quick_start_does_what_the_page_says() -> TestResult {
    let page = fs::read_to_string(PAGE)?;
    let lab = Lab::builder()
        .client("client")
        .director("director")
        .host(HostSpec::other("server-1"))
        .host(HostSpec::other("server-2"))
        .build()?;
    let address = |host: &str| lab.host(host).address().to_string();
    let addresses = BTreeMap::from([
        ("192.168.2.240", lab.vip().to_string()),
        ("192.168.2.210", address("director")),
        ("192.168.2.212", address("server-1")),
        ("192.168.2.213", address("server-2")),
        ("192.168.2.50", address("client")),
    ]);
    for server in ["server-1", "server-2"] {
        lab.host(server).start_web()?;
    }
    let mut reader = Reader { lab, addresses, director: None, config: String::new() };
    let mut typed = 0;
    for (language, text) in blocks(&page) {
        match language {
            "toml" => reader.config = text.to_owned(),
            "console" => {
                for line in text.lines() {
                    reader.types(line).map_err(|error| format!("{line}: {error}"))?;
                    typed += 1;
                }
            }
            other => panic!("{other:?} is neither a file nor commands"),
        }
    }
    assert!(typed > 15, "{typed} commands");
    let (lab, director) = (&reader.lab, reader.director.as_ref().expect("it was started"));
    let answer = lab.client().http_get((lab.vip(), 80), PATIENCE)?;
    assert!(["server-1", "server-2"].contains(&answer.server.as_str()), "{}", answer.server);
    let saved = fs::read_to_string(director.config_file())?;
    assert!(saved.contains("persistence"), "lb save wrote what was changed: {saved}");
    Ok(())
}
