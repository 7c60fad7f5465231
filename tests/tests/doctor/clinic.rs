//! A director that is examined, and cured by what the doctor says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lb_lab::{Host, Lab, Output, Result, VirtualServer};
use serde_json::Value;

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY").into()
}

/// A lab whose director has a configuration and no running daemon.
pub(crate) struct Clinic {
    pub(crate) lab: Lab,
    config: PathBuf,
    pub(crate) bpffs: PathBuf,
    real_servers: bool,
}

impl Clinic {
    /// A director with two real servers, healthy. `settings` are lines of `[director]`.
    pub(crate) fn new(lab: Lab, settings: &str) -> Self {
        let bpffs = lab.bpffs().join("doctor");
        Self::with_bpffs(lab, settings, bpffs)
    }

    /// The same, with its pins somewhere else.
    pub(crate) fn with_bpffs(lab: Lab, settings: &str, bpffs: PathBuf) -> Self {
        let mut services = VirtualServer::tcp("web", lab.vip(), 80).hosts(&lab.real_servers()).to_string();
        if lab.topology().contains("2001:db8") {
            services += &VirtualServer::tcp("web6", lab.vip6(), 80).hosts(&lab.real_servers()).to_string();
        }
        let config = lab.directory().join("doctor.toml");
        let text =
            format!("[director]\ninterfaces = [\"eth0\"]\nbpffs = {bpffs:?}\n{settings}\n\n{services}");
        fs::write(&config, text).expect("the lab's directory can be written");
        Self { lab, config, bpffs, real_servers: false }
    }

    /// Has the doctor ask the real servers too.
    pub(crate) fn asking_real_servers(mut self) -> Self {
        self.real_servers = true;
        self
    }

    /// Adds to its configuration.
    pub(crate) fn add(&self, lines: &str) -> Result<()> {
        let text = fs::read_to_string(&self.config).expect("it was written");
        fs::write(&self.config, format!("{text}\n{lines}")).expect("it can be written again");
        Ok(())
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// `lb doctor` with these arguments, run on the director.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output> {
        let command = self.lab.director().command(binary()).arg("doctor").arg("--config").arg(&self.config);
        let command = if self.real_servers { command.arg("--real-servers") } else { command };
        command.args(arguments).env("NO_COLOR", "1").run()
    }

    /// What it finds, as JSON.
    pub(crate) fn findings(&self) -> Result<Vec<Value>> {
        let output = self.run(&["--json"])?;
        let report: Value = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {}{}", output.stdout, output.stderr));
        let problems = report["problems"].as_u64().expect("a number");
        assert_eq!(output.status.code(), Some(i32::from(problems > 0)), "{report:#}");
        Ok(report["findings"].as_array().expect("a list").clone())
    }

    /// What it finds that is not as it should be.
    pub(crate) fn faults(&self) -> Result<Vec<Value>> {
        Ok(self.findings()?.into_iter().filter(|finding| finding["severity"] != "ok").collect())
    }

    /// The doctor finds nothing, then, when a fault is planted, nothing but that; its commands mend it.
    #[track_caller]
    pub(crate) fn finds_and_mends(&self, code: &str, plant: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
        assert_eq!(self.faults()?, Vec::<Value>::new(), "before anything is wrong");
        plant(&self.lab)?;
        let faults = self.finds_only(code)?;
        for fault in &faults {
            self.obey(fault)?;
        }
        assert_eq!(self.faults()?, Vec::<Value>::new(), "when the commands were run: {faults:#?}");
        Ok(())
    }

    /// Something is wrong, and all of it is this.
    #[track_caller]
    pub(crate) fn finds_only(&self, code: &str) -> Result<Vec<Value>> {
        let faults = self.faults()?;
        let codes: BTreeSet<&str> = faults.iter().filter_map(|fault| fault["code"].as_str()).collect();
        assert_eq!(codes, BTreeSet::from([code]), "{faults:#?}");
        for fault in &faults {
            let is_said = |key: &str| fault[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(["subject", "found", "why"].into_iter().all(is_said), "{fault:#}");
        }
        Ok(faults)
    }

    /// Runs the commands of a finding where they are to be run.
    pub(crate) fn obey(&self, fault: &Value) -> Result<()> {
        let place = match fault["fix"]["on"].as_str() {
            Some(address) => self.host_with(address),
            None => self.lab.director(),
        };
        let commands = fault["fix"]["commands"].as_array().expect("a list of commands");
        assert!(!commands.is_empty(), "no command: {fault:#}");
        for command in commands {
            self.shell(&place, command.as_str().expect("a text"))?;
        }
        Ok(())
    }

    fn host_with(&self, address: &str) -> Host {
        let has_it = |host: &Host| {
            let v6 = self.lab.topology().contains("2001:db8").then(|| host.address6().to_string());
            host.address().to_string() == address || v6.as_deref() == Some(address)
        };
        self.lab.hosts().into_iter().find(has_it).unwrap_or_else(|| panic!("no host has {address}"))
    }

    /// Runs a command as somebody at that machine would type it, with `lb` on the PATH.
    pub(crate) fn shell(&self, host: &Host, command: &str) -> Result<String> {
        let binary = binary();
        let directory = binary.parent().expect("a program is in a directory").display().to_string();
        let path = format!("{directory}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        // Hosts have a network of their own, and files in common.
        let state = self.lab.directory().join(format!("{}-real-server.json", host.name()));
        let run = host.command("sh").args(["-ec", command]).env("PATH", path);
        run.env("LB_REAL_SERVER_STATE", state).run()?.success()
    }
}
