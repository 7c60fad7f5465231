//! Who follows the guide: types its commands, block by block, where its prompts say.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;

use lb_lab::page::{blocks, command, section};
use lb_lab::{Director, Lab, Result, TestResult};

use crate::site::{Keepalived, PATIENCE};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/migration.md");
/// How lb's file begins that `lb import` writes; labs have pins and a socket of their own there.
const INTERFACES: &str = "interfaces = [\"eth0\"]\n";

/// A reader of a section.
pub(crate) struct Reader<'a> {
    lab: &'a Lab,
    /// The blocks that are still to be followed.
    blocks: VecDeque<String>,
    pub(crate) keepalived: Keepalived,
    director: Option<Director>,
}

impl<'a> Reader<'a> {
    /// In front of a director that runs keepalived, with the page open at a section.
    pub(crate) fn new(lab: &'a Lab, keepalived: Keepalived, title: &str) -> Self {
        let page = fs::read_to_string(PAGE).expect("the page is there");
        let section = section(&page, title).unwrap_or_else(|| panic!("the page has no section {title:?}"));
        let commands = |(_, language, text): (&str, &str, &str)| {
            assert_eq!(language, "console", "{text}");
            text.to_owned()
        };
        let blocks = blocks(section).into_iter().map(commands).collect();
        Self { lab, blocks, keepalived, director: None }
    }

    /// lb, once it was started.
    pub(crate) fn director(&self) -> &Director {
        self.director.as_ref().expect("the page has started it by now")
    }

    /// Does what the next block says; what its commands printed.
    pub(crate) fn follow(&mut self) -> Result<String, Box<dyn std::error::Error>> {
        let block = self.blocks.pop_front().expect("the section has one more block");
        let mut printed = String::new();
        for line in block.lines() {
            let (host, words) = command(line);
            printed += &self.types(host, words).map_err(|error| format!("{line}: {error}"))?;
        }
        Ok(printed)
    }

    /// Nothing of the section was left out.
    pub(crate) fn has_reached_the_end(&self) -> TestResult {
        assert_eq!(self.blocks, [""; 0]);
        Ok(())
    }

    fn types(&mut self, host: &str, words: &str) -> Result<String> {
        match words.split_whitespace().collect::<Vec<_>>()[..] {
            ["systemctl", "enable", "--now", "lb"] => return self.start(host).map(|()| String::new()),
            ["systemctl", "disable", "--now", "keepalived"] => {
                return self.keepalived.stop().map(|()| String::new());
            }
            ["systemctl", ..] => panic!("a lab has no systemd for {words:?}"),
            _ => {}
        }
        let binary = std::env::var("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY");
        let file = self.director.as_ref().map_or_else(|| self.file(), |lb| lb.config_file().clone());
        let old = self.lab.directory().join("keepalived.conf").display().to_string();
        let words = words.replace("/etc/keepalived/keepalived.conf", "keepalived.conf");
        let words = words.replace("keepalived.conf", &old);
        let words = words.replace("/etc/lb/lb.toml", &file.display().to_string());
        let script = format!("lb() {{ '{binary}' \"$@\"; }}\n{words}");
        let mut typed = self.lab.host(host).command("bash").args(["-c", &script]).env("NO_COLOR", "1");
        if let Some(director) = &self.director {
            typed = typed.env("LB_CONTROL_SOCKET", director.control_socket());
        }
        typed.timeout(PATIENCE).run()?.success()
    }

    /// `/etc/lb/lb.toml`, until lb is started.
    fn file(&self) -> PathBuf {
        self.lab.directory().join("imported.toml")
    }

    /// Starts lb with what was imported.
    fn start(&mut self, host: &str) -> Result<()> {
        let text = fs::read_to_string(self.file()).expect("the page has written it by now");
        let (_, sections) = text.split_once(INTERFACES).expect("the interface is known by the VRRP instance");
        let director = Director::on(&self.lab.host(host)).config(sections).timeout(3 * PATIENCE).start()?;
        self.director = Some(director);
        Ok(())
    }
}
