//! Programs that are started, and whatever they start: in a process group that ends as a whole.

use std::io;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// A program and its descendants. Dropping it before it has ended kills them all.
#[derive(Debug)]
pub struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    /// Starts a program as the leader of a group.
    ///
    /// # Errors
    /// Those of the operating system: it is not there, or cannot be executed.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Self { child, leader })
    }

    /// Its ends of pipes, if it has any.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until the program has ended. Its descendants may go on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // From now on its number may be another's.
        self.leader = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It has not been waited for, so the number is still its own. The runtime reaps it.
        if let Some(leader) = self.leader {
            let _ = killpg(leader, Signal::SIGKILL);
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
        let mut group = Group::spawn(&mut command)?;
        let stdout = group.child().stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
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
