//! Commands that are told of something, such as keepalived's notify scripts.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::process;

/// How long a command may run.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many commands wait behind one another.
const QUEUE: usize = 256;

/// Runs commands: those of one subject in order, one after another, and those of different ones beside each other.
#[derive(Debug, Default)]
pub struct Commands {
    queues: HashMap<String, mpsc::Sender<Order>>,
    workers: JoinSet<()>,
}

#[derive(Debug)]
struct Order {
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Commands {
    /// Has a command run, its program first, behind those of the same subject. An empty one is none.
    pub fn run(&mut self, subject: &str, command: Vec<String>, environment: Vec<(&'static str, String)>) {
        if command.is_empty() {
            return;
        }
        let queue = self.queues.entry(subject.to_owned()).or_insert_with(|| {
            let (queue, orders) = mpsc::channel(QUEUE);
            self.workers.spawn(work(orders));
            queue
        });
        if let Err(refused) = queue.try_send(Order { command, environment }) {
            let Order { command, .. } = refused.into_inner();
            tracing::error!("{}: not run: {QUEUE} others wait before it", command.join(" "));
        }
    }

    /// Waits until all have run. Cancel-safe.
    pub async fn finish(&mut self) {
        self.queues.clear();
        while self.workers.join_next().await.is_some() {}
    }
}

async fn work(mut orders: mpsc::Receiver<Order>) {
    while let Some(Order { command, environment }) = orders.recv().await {
        let shown = command.join(" ");
        match tokio::time::timeout(PATIENCE, run(&command, environment)).await {
            Ok(Ok(status)) if status.success() => tracing::debug!("{shown}: done"),
            Ok(Ok(status)) => tracing::warn!("{shown}: {status}"),
            Ok(Err(error)) => tracing::error!("{shown}: {error}; is it there, and executable?"),
            Err(_) => tracing::error!("{shown}: killed: it ran for more than {PATIENCE:?}"),
        }
    }
}

async fn run(
    command: &[String],
    environment: Vec<(&'static str, String)>,
) -> std::io::Result<std::process::ExitStatus> {
    let (program, arguments) = command.split_first().unwrap_or((const { &String::new() }, &[]));
    let mut command = Command::new(program);
    command.args(arguments).envs(environment).stdin(Stdio::null()).stdout(Stdio::null());
    let (mut child, mut group) = process::spawn(&mut command)?;
    let status = child.wait().await?;
    // What it started may go on.
    group.release();
    Ok(status)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn commands_of_a_subject_run_in_order_with_what_they_are_told() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let (script, log) = (directory.path().join("notify.sh"), directory.path().join("log"));
        fs::write(&script, format!("#!/bin/sh\necho \"$@ $LB_REASON\" >> {}\n", log.display()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let mut commands = Commands::default();
        for number in 0..5 {
            let command = vec![script.display().to_string(), "DOWN".to_owned(), number.to_string()];
            commands.run("web", command, vec![("LB_REASON", "no answer".to_owned())]);
        }
        commands.run("web", vec!["/nonexistent".to_owned()], Vec::new());
        commands.run(
            "web",
            vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("echo last >> {}", log.display())],
            Vec::new(),
        );
        let text = loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if text.ends_with("last\n") {
                break text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let expected: String = (0..5).map(|number| format!("DOWN {number} no answer\n")).collect();
        assert_eq!(text, expected + "last\n");
        Ok(())
    }
}
