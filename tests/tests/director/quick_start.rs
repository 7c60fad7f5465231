//! The quick start (`docs/quick-start.md`) and what the README says of a director, as a new user follows them: every command,
//! in order.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use lb_lab::page::{blocks, command};
use lb_lab::{Director, Host, HostSpec, Lab, Result, TestResult};

use crate::support::PATIENCE;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/quick-start.md");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// The README's sections that are about one director and its real servers, in their order.
const SECTIONS: [&str; 3] = ["Deploy it", "Watch it", "Change it while it runs"];
/// What is done on the machine that lb is built on, and what ends by a key only.
const ELSEWHERE: [&str; 3] = ["cargo xtask build", "scp ", "lb top\n"];

/// `lb drain` waits for connections, and those that have ended are remembered for two minutes.
const SHORT: &str = "[timeouts]\ntcp_fin = \"1s\"\n";

/// Where the README's reader sits, after what it says before a block.
fn places(before: &str) -> &'static [&'static str] {
    if before.contains("On each real server") {
        &["server-1", "server-2"]
    } else if before.contains("On the client") {
        &["client"]
    } else {
        &["director"]
    }
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

    fn types(&mut self, host: &str, words: &str) -> Result<()> {
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
        let mut words = words.replace("/etc/lb/lb.toml", &file.display().to_string());
        let socket = self.director.as_ref().map(|director| director.control_socket().clone());
        if let Some(socket) = &socket {
            words = words.replace("/run/lb/lb.sock", &socket.display().to_string());
        }
        let script = format!("lb() {{ '{binary}' \"$@\"; }}\n{words}");
        let mut typed = self.host(host).command("bash").args(["-c", &script]).env("NO_COLOR", "1");
        if let Some(socket) = socket {
            typed = typed.env("LB_CONTROL_SOCKET", socket);
        }
        let done = typed.timeout(Duration::from_secs(60)).run()?.success();
        done.map(|_| ())
    }

    /// A network like the pages', in front of which the reader sits.
    fn new() -> Result<Self> {
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
        Ok(Self { lab, addresses, director: None, config: String::new() })
    }

    /// Asks, and reads what `lb save` has written.
    fn looks(&self) -> Result<String> {
        let answer = self.lab.client().http_get((self.lab.vip(), 80), PATIENCE)?;
        assert!(["server-1", "server-2"].contains(&answer.server.as_str()), "{}", answer.server);
        let director = self.director.as_ref().expect("it was started");
        Ok(fs::read_to_string(director.config_file()).expect("it is there"))
    }
}

#[test]
fn every_command_of_the_quick_start_does_what_the_page_says() -> TestResult {
    let page = fs::read_to_string(PAGE)?;
    let mut reader = Reader::new()?;
    let mut typed = 0;
    for (_, language, text) in blocks(&page) {
        match language {
            "toml" => reader.config = text.to_owned(),
            "console" => {
                for line in text.lines() {
                    let (host, words) = command(line);
                    reader.types(host, words).map_err(|error| format!("{line}: {error}"))?;
                    typed += 1;
                }
            }
            other => panic!("{other:?} is neither a file nor commands"),
        }
    }
    assert!(typed > 15, "{typed} commands");
    let saved = reader.looks()?;
    assert!(saved.contains("persistence"), "lb save wrote what was changed: {saved}");
    Ok(())
}

#[test]
fn every_command_of_the_readme_about_a_director_does_what_it_says() -> TestResult {
    let page = fs::read_to_string(README)?;
    let mut reader = Reader::new()?;
    let mut typed = 0;
    for title in SECTIONS {
        let (_, section) =
            page.split_once(&format!("\n## {title}\n")).ok_or(format!("there is no {title}"))?;
        let section = section.split("\n## ").next().unwrap_or_default();
        for (before, language, text) in blocks(section) {
            if language == "toml" {
                reader.config = text.to_owned();
                continue;
            }
            let is_here = |line: &&str| !ELSEWHERE.iter().any(|begin| format!("{line}\n").starts_with(begin));
            for line in text.lines().filter(is_here) {
                for host in places(before) {
                    reader.types(host, line).map_err(|error| format!("{line}: {error}"))?;
                    typed += 1;
                }
            }
        }
    }
    assert!(typed > 20, "{typed} commands");
    let saved = reader.looks()?;
    assert!(saved.contains("name = \"web\"") && saved.contains("upper_threshold = 1000"), "{saved}");
    Ok(())
}
