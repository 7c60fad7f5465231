//! Programs that are started, and whatever they start: in a process group that ends as a whole.

use std::io;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// What tells a service of systemd how to speak to it, and no child of one.
const FOR_THE_DAEMON_ONLY: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// Starts a program as the leader of a group.
///
/// # Errors
/// Those of the operating system: it is not there, or cannot be executed.
pub fn spawn(command: &mut Command) -> io::Result<(Child, Group)> {
    for name in FOR_THE_DAEMON_ONLY {
        command.env_remove(name);
    }
    let child = command.process_group(0).kill_on_drop(true).spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let group = Group(id.filter(|&id| id > 1).map(Pid::from_raw));
    Ok((child, group))
}

/// A process group that is killed when this is dropped. To be dropped before its leader is reaped, or while somebody else
/// is still in it: then its number is still its own.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// Lets it go on, or have ended.
    pub fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    #[tokio::test]
    async fn who_is_dropped_goes_with_all_it_started() -> io::Result<()> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' TERM; sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
        let (mut child, group) = spawn(&mut command)?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let status = format!("/proc/{}/stat", line.trim());
        assert!(std::fs::exists(&status)?);
        drop(group);
        let is_gone = || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
        for _ in 0..1000 {
            if is_gone() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the grandchild is alive");
    }
}
