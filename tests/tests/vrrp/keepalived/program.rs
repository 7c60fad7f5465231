//! keepalived on a host, and what it writes into its log.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lb_lab::{Error, Host, Lab, Process, Result, try_wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Enough for three adverts that are five seconds apart, as slow as any here.
const PATIENCE: Duration = Duration::from_secs(20);

/// What keepalived writes when all is well. Whatever else it writes is a complaint.
const NORMAL: [&str; 27] = [
    "Starting Keepalived ",
    "Running on Linux ",
    "Command line: ",
    "              '",
    "Opening file ",
    "Configuration file ",
    "NOTICE: setting config option max_auto_priority ",
    "Starting VRRP child process",
    "Registering Kernel netlink ",
    "Registering gratuitous ",
    "Assigned address ",
    "Startup complete",
    ") removing VIPs.",
    ") setting VIPs.",
    ") Entering ",
    "VRRP sockpool: ",
    ") Receive advertisement timeout",
    ") Backup received priority 0 advertisement",
    "gratuitous ARP",
    "nsolicited Neighbour Advert",
    " sent 0 priority",
    "Syncing instances to ",
    "Stopping",
    "Stopped - used ",
    "CPU usage ",
    "Stopped Keepalived ",
    "Reload",
];

/// What it also writes when a master of a higher priority comes, or when it is that master.
pub(super) const PREEMPTION: [&str; 2] = [") Master received advert from ", ") received lower priority "];

/// keepalived on a host of a lab. Dropping it kills it; its children go with the lab.
pub(super) struct Keepalived {
    host: Host,
    config: PathBuf,
    /// The file with the id of the process that speaks VRRP.
    child: PathBuf,
    process: Option<Process>,
    /// What earlier runs wrote.
    earlier: String,
}

impl Keepalived {
    /// Starts it with this configuration, and waits until it takes part.
    pub(super) fn start(lab: &Lab, host: &str, config: &impl Display) -> Result<Self> {
        let file = |ending: &str| lab.directory().join(format!("{host}.keepalived.{ending}"));
        let (host, child) = (lab.host(host), file("vrrp.pid"));
        let mut keepalived =
            Self { host, config: file("conf"), child, process: None, earlier: String::new() };
        keepalived.configure(config)?;
        keepalived.run()?;
        Ok(keepalived)
    }

    /// The host that it runs on.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Replaces its configuration, which it reads when it is started, or told with SIGHUP.
    pub(super) fn configure(&self, config: &impl Display) -> Result<()> {
        fs::write(&self.config, config.to_string()).map_err(|error| failed("write its configuration", &error))
    }

    /// Starts it again.
    pub(super) fn run(&mut self) -> Result<()> {
        self.earlier = self.log();
        // In the foreground, VRRP only, with details, and its log to where labs keep it.
        let command = self.host.command("keepalived").args(["-n", "-P", "-D", "-l", "-G", "-f"]);
        let command = command.arg(&self.config).arg("-p").arg(self.config.with_extension("pid"));
        let process = self.process.insert(command.arg("-r").arg(&self.child).spawn()?);
        process.wait_for_line("Startup complete", PATIENCE).map(drop)
    }

    /// Ends it as a service manager does.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.process()?.stop().map(drop)
    }

    /// Ends it so that it cannot say so, neither it nor the child that speaks VRRP.
    pub(super) fn kill(&mut self) -> Result<()> {
        // Or it would start another child.
        self.process()?.signal(Signal::SIGSTOP)?;
        let text = fs::read_to_string(&self.child).map_err(|error| failed("read its child's id", &error))?;
        let id = text.trim().parse().map_err(|error| failed("read its child's id", &error))?;
        kill(Pid::from_raw(id), Signal::SIGKILL).map_err(|error| failed("kill its child", &error))?;
        self.process()?.kill()?;
        // A zombie has no command line.
        let command_line = Path::new("/proc").join(text.trim()).join("cmdline");
        try_wait_until("keepalived's child ends", PATIENCE, || {
            !fs::read(&command_line).is_ok_and(|words| !words.is_empty())
        })?;
        // It could not remove them.
        for file in [&self.child, &self.config.with_extension("pid")] {
            fs::remove_file(file).map_err(|error| failed("remove its file", &error))?;
        }
        Ok(())
    }

    /// Has it read its configuration again.
    pub(super) fn reload(&mut self) -> Result<()> {
        self.process()?.signal(Signal::SIGHUP)
    }

    /// What it wrote, in all of its runs.
    pub(super) fn log(&self) -> String {
        self.earlier.clone() + &self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Its log's messages, without their times.
    fn messages(&self) -> Vec<String> {
        let message = |line: &str| line.split_once(": ").map_or(line, |(_, message)| message).to_owned();
        self.log().lines().map(message).collect()
    }

    /// How many of its messages contain this.
    pub(super) fn count(&self, pattern: &str) -> usize {
        self.messages().iter().filter(|message| message.contains(pattern)).count()
    }

    /// All its messages are [normal](NORMAL), or contain one of these.
    #[track_caller]
    pub(super) fn assert_content(&self, expected: &[&str]) {
        let is_complaint =
            |message: &String| !NORMAL.iter().chain(expected).any(|pattern| message.contains(pattern));
        let complaints: Vec<_> = self.messages().into_iter().filter(is_complaint).collect();
        assert_eq!(complaints, [""; 0], "keepalived complains");
    }

    /// The state that its instance, or all of its sync group, entered last.
    pub(super) fn state(&self, instance: &str) -> Option<String> {
        let begins = format!("({instance}) Entering ");
        let messages = self.messages();
        let entered = messages.iter().rev().find_map(|message| message.strip_prefix(&begins))?;
        entered.split(' ').next().map(str::to_owned)
    }

    /// Waits until its instance is in this state.
    pub(super) fn wait_for_state(&self, instance: &str, state: &str) -> Result<()> {
        try_wait_until(&format!("keepalived's {instance} is {state}"), PATIENCE, || {
            match self.state(instance) {
                Some(found) if found == state => Ok(()),
                _ => Err(self.log()),
            }
        })
    }

    /// Waits until so many of its messages contain this.
    pub(super) fn wait_for_lines(&self, count: usize, pattern: &str) -> Result<()> {
        try_wait_until(&format!("keepalived writes {pattern:?}"), PATIENCE, || {
            if self.count(pattern) >= count { Ok(()) } else { Err(self.log()) }
        })
    }

    fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().ok_or_else(|| Error::Description("keepalived was not started".to_owned()))
    }
}

fn failed(doing: &str, error: &dyn Display) -> Error {
    Error::Description(format!("keepalived: {doing}: {error}"))
}
