//! The product under test: `lb run` on a host, and its command line.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::command::Output;
use crate::error::{Doing, Error, Result};
use crate::host::Host;
use crate::link::INTERFACE;
use crate::process::Process;
use crate::wait::try_wait_until;

/// The variable that names the program.
const VARIABLE: &str = "LB_BINARY";
/// Time for the daemon to be ready: on an emulated processor the verifier alone takes longer than 10 s.
const TIME_TO_START: Duration = Duration::from_secs(60);

/// What tells that the daemon is ready.
#[derive(Debug, Clone)]
pub enum Ready {
    /// A line of its log that contains this.
    LogLine(String),
    /// Its control socket accepts a connection.
    ControlSocket,
    /// Nothing is waited for.
    AtOnce,
}

/// How to start the daemon.
#[derive(Debug, Clone)]
pub struct DirectorBuilder {
    host: Host,
    binary: Option<PathBuf>,
    settings: BTreeMap<String, String>,
    sections: String,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    variables: Vec<(String, OsString)>,
    log_filter: String,
    ready: Ready,
    timeout: Duration,
}

impl DirectorBuilder {
    /// Sets a key of the section `[director]`; the value is TOML, so text needs its quotes. Without more,
    /// the daemon attaches to `eth0` and keeps its pins and its socket in the lab's directories.
    pub fn setting(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.settings.insert(key.into(), value.to_string());
        self
    }

    /// Adds to the rest of the file: a [`VirtualServer`](crate::VirtualServer), or any TOML.
    pub fn config(mut self, sections: impl fmt::Display) -> Self {
        // Writing to a string does not fail.
        _ = writeln!(self.sections, "{sections}");
        self
    }

    /// Adds an argument of `lb run`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A program that becomes the daemon, with its arguments, such as setpriv(1).
    pub fn under<A: AsRef<str>>(mut self, words: impl IntoIterator<Item = A>) -> Self {
        self.wrapper = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Sets an environment variable of the daemon.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// RUST_LOG, instead of `info`.
    pub fn log_filter(mut self, filter: &str) -> Self {
        self.log_filter = filter.into();
        self
    }

    /// What to wait for, instead of a line of the log with `ready`.
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = ready;
        self
    }

    /// How long to wait for that; 60 s if not given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The program, instead of the one that LB_BINARY names.
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = Some(binary.into());
        self
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(mut self) -> Result<Director> {
        let binary = match self.binary.take() {
            Some(binary) => binary,
            None => env::var_os(VARIABLE)
                .map(PathBuf::from)
                .ok_or(Error::NotSet { variable: VARIABLE, names: "the program `lb`" })?,
        };
        let directory = self.host.inner.place.directory();
        let name = self.host.name().to_owned();
        let socket = directory.join(format!("{name}.sock"));
        let bpffs = self.host.inner.place.bpffs().join(&name);
        let defaults = [
            ("interfaces", format!("[{INTERFACE:?}]")),
            ("bpffs", format!("{bpffs:?}")),
            ("control_socket", format!("{socket:?}")),
        ];
        for (key, value) in defaults {
            self.settings.entry(key.into()).or_insert(value);
        }
        let config = directory.join(format!("{name}.toml"));
        let mut director = Director { builder: self, binary, config, socket, bpffs, process: None };
        director.write_config()?;
        director.start()?;
        Ok(director)
    }
}

/// A director whose daemon runs, or has run. Dropping it kills the daemon; what it pinned goes with the lab.
pub struct Director {
    builder: DirectorBuilder,
    binary: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    bpffs: PathBuf,
    process: Option<Process>,
}

impl Director {
    /// Describes a daemon on this host.
    pub fn on(host: &Host) -> DirectorBuilder {
        DirectorBuilder {
            host: host.clone(),
            binary: None,
            settings: BTreeMap::new(),
            sections: String::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            variables: Vec::new(),
            log_filter: "info".into(),
            ready: Ready::LogLine("ready".into()),
            timeout: TIME_TO_START,
        }
    }

    /// The host it runs on.
    pub fn host(&self) -> &Host {
        &self.builder.host
    }

    /// The program `lb`.
    pub fn binary(&self) -> &PathBuf {
        &self.binary
    }

    /// Its configuration file.
    pub fn config_file(&self) -> &PathBuf {
        &self.config
    }

    /// Its control socket, unless the settings say otherwise.
    pub fn control_socket(&self) -> &PathBuf {
        &self.socket
    }

    /// The directory of its pins, unless the settings say otherwise.
    pub fn bpffs(&self) -> &PathBuf {
        &self.bpffs
    }

    /// Replaces all but the section `[director]` in the file. The daemon is not told: send it SIGHUP.
    pub fn change_config(&mut self, sections: impl fmt::Display) -> Result<()> {
        self.builder.sections = sections.to_string();
        self.write_config()
    }

    /// Starts the daemon, if it does not run, and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(|process| process.exit_status().is_none()) {
            return Ok(());
        }
        let DirectorBuilder { host, wrapper, variables, arguments, .. } = &self.builder;
        let mut command = match wrapper.split_first() {
            Some((program, words)) => host.command(program).args(words).arg(&self.binary),
            None => host.command(&self.binary),
        };
        for (name, value) in variables {
            command = command.env(name, value);
        }
        let command = command.arg("run").arg("--config").arg(&self.config).args(arguments);
        let process = command.env("RUST_LOG", &self.builder.log_filter).env("NO_COLOR", "1").spawn()?;
        let process = self.process.insert(process);
        let timeout = self.builder.timeout;
        match &self.builder.ready {
            Ready::LogLine(pattern) => process.wait_for_line(pattern, timeout).map(drop),
            Ready::ControlSocket => try_wait_until("the control socket accepts", timeout, || {
                match (UnixStream::connect(&self.socket), process.exit_status()) {
                    (Ok(_), _) => Ok(Ok(())),
                    (Err(_), Some(status)) => Ok(Err(process.failed(&status.to_string()))),
                    (Err(error), None) => Err(format!("{error}; its log:\n{}", process.log())),
                }
            })?,
            Ready::AtOnce => Ok(()),
        }
    }

    /// Stops the daemon with SIGTERM and waits for its end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process()?.stop()
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process()?.kill()
    }

    /// Stops the daemon with SIGTERM and starts it again. After [`kill`](Self::kill), only starts it.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Sends the daemon a signal, such as SIGHUP.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process()?.signal(signal)
    }

    /// The daemon's process: its id, its log.
    pub fn process(&mut self) -> Result<&mut Process> {
        let name = self.builder.host.name();
        self.process.as_mut().ok_or_else(|| Error::Description(format!("no daemon was started on {name}")))
    }

    /// Runs a client command of `lb` that must succeed, such as `["list", "--json"]`; returns its standard output.
    pub fn cli<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Result<String> {
        self.try_cli(words)?.success()
    }

    /// What a client command prints with `--json`, such as `["list"]`.
    pub fn json<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Result<serde_json::Value> {
        let words = words.into_iter().map(|word| word.as_ref().to_owned());
        let text = self.cli(words.chain(["--json".into()]))?;
        let wrong = |error| Error::Description(format!("`lb` prints what is no JSON: {error}: {text}"));
        serde_json::from_str(&text).map_err(wrong)
    }

    /// Runs a client command of `lb` with any outcome.
    pub fn try_cli<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Result<Output> {
        let command = self.builder.host.command(&self.binary).args(words);
        command.arg("--control-socket").arg(&self.socket).env("NO_COLOR", "1").run()
    }

    /// Lets the daemon run on when this is dropped: for a lab that is kept.
    pub fn leave_running(mut self) {
        if let Some(process) = self.process.take() {
            process.leave_running();
        }
    }

    fn write_config(&self) -> Result<()> {
        let mut text = String::from("[director]\n");
        for (key, value) in &self.builder.settings {
            text += &format!("{key} = {value}\n");
        }
        text += &format!("\n{}", self.builder.sections);
        fs::write(&self.config, text).doing(|| format!("write {}", self.config.display()))
    }
}
