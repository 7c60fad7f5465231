//! The quick start (`docs/quick-start.md`) as a new user follows it: every command, in order. Other pages' readers are as
//! this one is.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use lb_lab::page::{blocks, command};
use lb_lab::{Director, Host, HostSpec, Lab, Result, TestResult, wait_until};
use nix::sys::signal::Signal;
use toml::{Table, Value};

use crate::support::PATIENCE;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/quick-start.md");

/// What goes on until it is told to end, by Ctrl-C.
const ENDLESS: [&str; 3] = ["lb top", "lb events --last 20", "curl --unix-socket /run/lb/lb.sock -N "];

/// `lb drain` waits for connections, and those that have ended are remembered for two minutes.
const SHORT: &str = "[timeouts]\ntcp_fin = \"1s\"\n";

/// A file with what an excerpt has in place of it, or besides: the first virtual server is the same one in both.
fn merged(mut file: Table, excerpt: Table) -> Table {
    for (key, new) in excerpt {
        let value = match (file.remove(&key), new) {
            (Some(Value::Table(old)), Value::Table(new)) => Value::Table(merged(old, new)),
            (Some(Value::Array(old)), Value::Array(new)) if new.iter().all(Value::is_table) => {
                let mut old = old.into_iter();
                let mut both: Vec<Value> = new
                    .into_iter()
                    .map(|new| match (old.next(), new) {
                        (Some(Value::Table(old)), Value::Table(new)) => Value::Table(merged(old, new)),
                        (_, new) => new,
                    })
                    .collect();
                both.extend(old);
                Value::Array(both)
            }
            (_, new) => new,
        };
        file.insert(key, value);
    }
    file
}

/// Sits in front of a network that has the pages' addresses, and types.
pub(crate) struct Reader {
    pub(crate) lab: Lab,
    pub(crate) directors: BTreeMap<String, Director>,
    /// What the page has the reader write to the file.
    config: String,
}

impl Reader {
    /// A client, two machines for directors and two for real servers.
    pub(crate) fn new() -> Result<Self> {
        let at = |last| Ipv4Addr::new(192, 168, 2, last);
        let lab = Lab::builder()
            .subnet(at(0), 24)
            .vip(at(240))
            .host(HostSpec::client("client").address(at(50)))
            .host(HostSpec::director("director").address(at(210)))
            .host(HostSpec::director("other").address(at(211)))
            .host(HostSpec::other("server-1").address(at(212)))
            .host(HostSpec::other("server-2").address(at(213)))
            .build()?;
        for server in ["server-1", "server-2"] {
            lab.host(server).start_web()?;
        }
        let reader = Self { lab, directors: BTreeMap::new(), config: String::new() };
        let programs = reader.programs();
        fs::create_dir(&programs).expect("there is room");
        let binary = std::env::var_os("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY");
        symlink(binary, programs.join("lb")).expect("there is room");
        Ok(reader)
    }

    fn host(&self, name: &str) -> Host {
        self.lab.host(name)
    }

    /// What `/usr/local/sbin` is to the reader.
    fn programs(&self) -> PathBuf {
        self.lab.directory().join("programs")
    }

    /// Writes what the page says to the file, which `lb check` finds right; a director that runs is not told.
    pub(crate) fn writes(&mut self, text: &str) -> Result<()> {
        self.config = if self.config.is_empty() {
            text.to_owned()
        } else {
            merged(self.config.parse().expect("TOML"), text.parse().expect("TOML")).to_string()
        };
        if let Some(mut director) = self.directors.remove("director") {
            director.change_config(self.sections("director"))?;
            self.directors.insert("director".to_owned(), director);
        }
        self.types("director", "lb check").map(drop)
    }

    /// All of the file but `[director]`, as one director has it.
    fn sections(&self, host: &str) -> String {
        let mut file: Table = self.config.parse().expect("TOML");
        let director = file.remove("director").expect("the file has it");
        assert_eq!(director.to_string(), "{ interfaces = [\"eth0\"] }", "as labs have it");
        // As the page says of the second one.
        let text = if host == "other" {
            file.to_string().replace("priority = 150", "priority = 100")
        } else {
            file.to_string()
        };
        format!("{}\n{SHORT}", self.in_the_lab(host, &text))
    }

    /// A page's text with the lab's places in it.
    fn in_the_lab(&self, host: &str, text: &str) -> String {
        let directory = self.lab.directory();
        let mut text = text.replace("/etc/lb/lb.toml", &self.file(host).display().to_string());
        if let Some(director) = self.directors.get(host) {
            text = text.replace("/run/lb/lb.sock", &director.control_socket().display().to_string());
        }
        let places = [("/etc/lb/sync.key", "sync.key"), ("/etc/sysconfig/ipvsadm", "rules")];
        places
            .into_iter()
            .fold(text, |text, (of_page, name)| {
                text.replace(of_page, &directory.join(name).display().to_string())
            })
            .replace("/usr/local/sbin", &self.programs().display().to_string())
    }

    /// What `/etc/lb/lb.toml` is to the reader.
    fn file(&self, host: &str) -> PathBuf {
        match self.directors.get(host) {
            Some(director) => director.config_file().clone(),
            None => self.lab.directory().join(format!("{host}-lb.toml")),
        }
    }

    /// Runs a command, which must succeed; what it prints.
    pub(crate) fn types(&mut self, host: &str, words: &str) -> Result<String> {
        if words.starts_with("lb run") {
            let director = Director::on(&self.host(host)).config(self.sections(host)).start()?;
            self.directors.insert(host.to_owned(), director);
            return Ok(String::new());
        }
        if !self.directors.contains_key(host) {
            fs::write(self.file(host), self.in_the_lab(host, &self.config)).expect("there is room");
        }
        let mut line = self.in_the_lab(host, words);
        if words.starts_with("lb real-server up") {
            line += &format!(" --state-file {}/{host}.json", self.lab.directory().display());
        }
        if words.starts_with("lb doctor") {
            // 1 is what the page says: there is a problem.
            line += " || [ $? = 1 ]";
        }
        // An answer that says no is no success.
        line = line.replace("curl ", "curl --fail-with-body --silent --show-error ");
        let path = format!("{}:{}", self.programs().display(), std::env::var("PATH").unwrap_or_default());
        let bash = self.host(host).command("bash").args(["-c", &line]).env("NO_COLOR", "1");
        let mut bash = bash.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LB_CONFIG", self.file(host));
        if let Some(director) = self.directors.get(host) {
            bash = bash.env("LB_CONTROL_SOCKET", director.control_socket());
        }
        if ENDLESS.iter().any(|begin| words == *begin || begin.ends_with(' ') && words.starts_with(begin)) {
            let mut running = bash.spawn()?;
            wait_until(&format!("{words} prints something"), PATIENCE, || !running.log().is_empty());
            running.signal(Signal::SIGINT)?;
            let status = running.wait(PATIENCE)?;
            // An error ends with 1, 2 or 3.
            let is_fine = [None, Some(0), Some(130)].contains(&status.code());
            assert!(is_fine, "{words}: {status}\n{}", running.log());
            return Ok(running.log());
        }
        bash.timeout(Duration::from_secs(60)).run()?.success()
    }

    /// Asks as a client; one of the real servers answers.
    pub(crate) fn asks(&self) -> Result<()> {
        let answer = self.lab.client().http_get((self.lab.vip(), 80), PATIENCE)?;
        assert!(["server-1", "server-2"].contains(&answer.server.as_str()), "{}", answer.server);
        Ok(())
    }

    /// What `lb save` has written.
    pub(crate) fn saved(&self) -> String {
        fs::read_to_string(self.file("director")).expect("it is there")
    }
}

#[test]
fn every_command_of_the_quick_start_does_what_the_page_says() -> TestResult {
    let page = fs::read_to_string(PAGE)?;
    let mut reader = Reader::new()?;
    let mut typed = 0;
    for (_, language, text) in blocks(&page) {
        match language {
            "toml" => reader.writes(text)?,
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
    reader.asks()?;
    let saved = reader.saved();
    assert!(saved.contains("persistence"), "lb save wrote what was changed: {saved}");
    Ok(())
}
