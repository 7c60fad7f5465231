//! QEMU: how it is started, watched and ended.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use super::packages::Parts;
use crate::console::{self, Stopwatch};
use crate::failure::{Failure, Outcome};
use crate::process;

/// How long the kernel may take to start.
const TIME_TO_START: Duration = Duration::from_secs(60);
/// How long a machine may run.
const TIME_TO_RUN: Duration = Duration::from_secs(20 * 60);
/// How often to look for Ctrl-C.
const GLANCE: Duration = Duration::from_millis(200);

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processor {
    Kvm,
    Emulated,
}

impl Processor {
    /// What is worth trying, the best first.
    pub(super) fn usable() -> &'static [Self] {
        // Being there is not enough: it belongs to root and the group kvm.
        match File::options().read(true).write(true).open("/dev/kvm") {
            Ok(_) => &[Self::Kvm, Self::Emulated],
            Err(_) => &[Self::Emulated],
        }
    }

    fn options(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Emulated => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "the processor is this machine's (KVM)",
            Self::Emulated => "the processor is emulated (no KVM): slow",
        })
    }
}

/// How a machine ended.
pub(super) enum End {
    /// Its programs have run; the last failure's status, or 0.
    Status(i32),
    /// The kernel did not get as far as init.sh.
    NotStarted,
    /// It stopped on the way.
    Broken,
}

pub(super) fn command(parts: &Parts, initramfs: &Path, processor: Processor, directory: &Path) -> Command {
    let mut command = parts.qemu();
    let processors = available_parallelism().map_or(2, usize::from).clamp(2, 4).to_string();
    command
        .current_dir(directory)
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"])
        .args(processor.options())
        .args(["-smp", &processors, "-m", "6144", "-serial", "stdio"])
        .args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"])
        .args(["-append", "console=ttyS0 panic=-1 quiet", "-kernel"])
        .arg(parts.guest.join("vmlinuz"))
        .arg("-initrd")
        .arg(initramfs);
    command
}

/// Runs a machine to its end, which is Ctrl-C's or the time limit's if need be.
///
/// # Errors
/// QEMU does not start, it took too long, or Ctrl-C.
pub(super) fn run(mut command: Command, on_line: &mut impl FnMut(&str)) -> Outcome<End> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| process::cannot_start(&command, &error))?;
    let end = match child.stdout.take().map(lines) {
        Some(lines) => follow(&lines, on_line),
        None => Err(Failure::new("QEMU has no output")),
    };
    stop(&mut child);
    if process::interrupted() { Err(Failure::interrupted()) } else { end }
}

fn follow(lines: &Receiver<String>, on_line: &mut impl FnMut(&str)) -> Outcome<End> {
    let watch = Stopwatch::start();
    let mut has_started = false;
    loop {
        let stopped = if has_started { End::Broken } else { End::NotStarted };
        match lines.recv_timeout(GLANCE) {
            Ok(line) => match Word::of(&line) {
                Word::Started(kernel) => {
                    has_started = true;
                    let took = console::duration(watch.elapsed());
                    console::step("vm", format_args!("Linux {kernel} has started in {took}"));
                }
                Word::Ended(status) => return Ok(End::Status(status)),
                Word::Other => on_line(&line),
            },
            Err(RecvTimeoutError::Disconnected) => return Ok(stopped),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if process::interrupted() || (!has_started && watch.elapsed() > TIME_TO_START) {
            return Ok(stopped);
        }
        if watch.elapsed() > TIME_TO_RUN {
            let limit = console::duration(TIME_TO_RUN);
            return Err(Failure::new(format!("the virtual machine ran for {limit} and was ended"))
                .remedy("choose tests: cargo xtask test vm FILTER"));
        }
    }
}

/// What a line of the guest's console says.
#[derive(Debug, PartialEq, Eq)]
enum Word<'a> {
    /// init.sh is about to run the programs; the kernel's release.
    Started(&'a str),
    /// They have run.
    Ended(i32),
    Other,
}

impl<'a> Word<'a> {
    fn of(line: &'a str) -> Self {
        let ended = |line: &'a str| line.strip_prefix("lb-vm: ended ")?.parse().ok().map(Self::Ended);
        line.strip_prefix("lb-vm: started ").map(Self::Started).or_else(|| ended(line)).unwrap_or(Self::Other)
    }
}

/// The lines of the guest's console, read by a thread that ends with QEMU.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// It holds nothing that would be lost: its root is read-only.
fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::Word;

    #[test]
    fn the_guests_own_words_are_told_from_its_programs() {
        assert_eq!(Word::of("lb-vm: started 6.1.0-56-amd64"), Word::Started("6.1.0-56-amd64"));
        assert_eq!(Word::of("lb-vm: ended 101"), Word::Ended(101));
        assert_eq!(Word::of("test lb-vm: ended 101"), Word::Other);
        assert_eq!(Word::of("lb-vm: ended soon"), Word::Other);
    }
}
