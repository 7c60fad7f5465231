//! A script that keepalived called works with lb as it is: both tell it the same of the same story.

use std::fs;
use std::path::PathBuf;

use lb_lab::{Lab, Result, TestResult, try_wait_until};

use super::check::Check;
use super::groups::{GROUP_OF_KEEPALIVED, GROUP_OF_LB, NAMES, of_lb, sections, start_lb};
use super::program::Keepalived;
use super::router::{lab, wait_for_states};
use crate::support::PATIENCE;

const STORY: [&str; 6] = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "STOP"];
const STORY_OF_THE_OTHER: [&str; 5] = ["BACKUP", "MASTER", "BACKUP", "MASTER", "STOP"];

#[test]
fn lb_tells_scripts_what_keepalived_tells_them() -> TestResult {
    let stage = Stage::new()?;
    let Stage { lab, .. } = &stage;
    let mut a = start_lb(lab, &stage.of_lb(150, true)?)?;
    wait_for_states(&a, &["master", "master"])?;
    let mut b = Keepalived::start(lab, "b", &stage.of_keepalived(100, false)?)?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "BACKUP"))?;
    stage.check.fail()?;
    wait_for_states(&a, &["fault", "fault"])?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "MASTER"))?;
    stage.check.succeed()?;
    wait_for_states(&a, &["master", "master"])?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "BACKUP"))?;
    a.stop()?;
    assert!(!a.process()?.log().contains("channel closed"), "{}", a.process()?.log());
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "MASTER"))?;
    b.stop()?;
    stage.were_told("a", &STORY, 150)?;
    stage.were_told("b", &STORY_OF_THE_OTHER, 100)
}

#[test]
fn keepalived_tells_scripts_what_lb_tells_them() -> TestResult {
    let stage = Stage::new()?;
    let Stage { lab, .. } = &stage;
    let mut b = Keepalived::start(lab, "b", &stage.of_keepalived(150, true)?)?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "MASTER"))?;
    let mut a = start_lb(lab, &stage.of_lb(100, false)?)?;
    wait_for_states(&a, &["backup", "backup"])?;
    stage.check.fail()?;
    wait_for_states(&a, &["master", "master"])?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "FAULT"))?;
    stage.check.succeed()?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "MASTER"))?;
    wait_for_states(&a, &["backup", "backup"])?;
    b.stop()?;
    wait_for_states(&a, &["master", "master"])?;
    a.stop()?;
    assert!(!a.process()?.log().contains("channel closed"), "{}", a.process()?.log());
    stage.were_told("b", &STORY, 150)?;
    stage.were_told("a", &STORY_OF_THE_OTHER, 100)
}

#[test]
fn an_instance_that_a_reload_removes_has_stopped() -> TestResult {
    let stage = Stage::new()?;
    let lab = &stage.lab;
    let script = stage.script("a")?;
    let [first, second] = of_lb(lab, [150, 150]).map(|text| format!("{text}notify = {script:?}\n"));
    let mut a = start_lb(lab, &format!("{first}{second}"))?;
    wait_for_states(&a, &["master", "master"])?;
    a.change_config(&second)?;
    a.cli(["reload"])?;
    wait_for_states(&a, &["master"])?;
    stage.was_told("a", "INSTANCE VI_1", &["BACKUP", "MASTER", "STOP"], 150)?;
    stage.was_told("a", "INSTANCE VI_2", &["BACKUP", "MASTER"], 150)
}

/// Two virtual routers in a sync group, one of which has a check that fails while there is an obstacle.
struct Stage {
    lab: Lab,
    check: Check,
}

impl Stage {
    fn new() -> Result<Self> {
        let lab = lab(false)?;
        Ok(Self { check: Check::new(&lab)?, lab })
    }

    fn told(&self, host: &str) -> PathBuf {
        self.lab.directory().join(format!("{host}.told"))
    }

    /// A host's script.
    fn script(&self, host: &str) -> Result<String> {
        let text = format!("#!/bin/sh\necho \"$@\" >> {}\n", self.told(host).display());
        Ok(self.lab.write_script(&format!("{host}.notify.sh"), &text)?.display().to_string())
    }

    fn of_lb(&self, priority: u8, has_check: bool) -> Result<String> {
        let Self { lab, check } = self;
        let script = self.script("a")?;
        let [first, second] =
            of_lb(lab, [priority, priority]).map(|text| format!("{text}notify = {script:?}\n"));
        let track = if has_check { check.of_lb(0) } else { String::new() };
        Ok(format!("{first}{second}{track}{GROUP_OF_LB}notify = {script:?}\n"))
    }

    fn of_keepalived(&self, priority: u8, has_check: bool) -> Result<String> {
        let Self { lab, check } = self;
        let script = self.script("b")?;
        let [first, second] =
            sections(lab, [priority, priority]).map(|section| section.line(format!("notify {script}")));
        let group = GROUP_OF_KEEPALIVED.trim_end().trim_end_matches('}');
        let group = format!("{group}notify {script}\n}}\n");
        if !has_check {
            return Ok(format!("{}{group}{first}{second}", Check::OF_SCRIPTS));
        }
        let second = second.line(Check::OF_INSTANCE);
        Ok(format!("{}{group}{first}{second}", check.of_keepalived(0)))
    }

    /// Its script was told this, in this order, of each instance and of the group.
    fn were_told(&self, host: &str, story: &[&str], priority: u8) -> TestResult {
        for (subject, priority) in [("INSTANCE VI_1", priority), ("INSTANCE VI_2", priority), ("GROUP G1", 0)]
        {
            self.was_told(host, subject, story, priority)?;
        }
        Ok(())
    }

    /// Its script was told this, in this order, of one of them.
    fn was_told(&self, host: &str, subject: &str, story: &[&str], priority: u8) -> TestResult {
        let told = || -> Vec<String> {
            let text = fs::read_to_string(self.told(host)).unwrap_or_default();
            text.lines().filter(|line| line.starts_with(subject)).map(str::to_owned).collect()
        };
        let expected: Vec<String> =
            story.iter().map(|state| format!("{subject} {state} {priority}")).collect();
        try_wait_until(&format!("{host} is told of {subject}"), PATIENCE, || {
            let told = told();
            if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
        })?;
        Ok(())
    }
}
