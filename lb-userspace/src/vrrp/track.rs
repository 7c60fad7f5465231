//! Programs that say whether an instance is to be master (keepalived's `vrrp_script`), and what their results mean.

use std::process::Stdio;
use std::time::Instant;

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::machine::Tracking;
use crate::config::TrackScript;
use crate::process;

/// What the runs of a script say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether it counts as succeeding; not known before its first run has ended.
    pub(super) is_up: Option<bool>,
    /// How many runs in a row said otherwise.
    against: u32,
}

impl Verdict {
    /// A run has ended. The first counts at once; then `fall` or `rise` in a row are needed for another verdict.
    pub(super) fn observe(&mut self, script: &TrackScript, has_succeeded: bool) {
        let needed = if has_succeeded { script.rise } else { script.fall };
        self.against = if self.is_up == Some(has_succeeded) { 0 } else { self.against + 1 };
        if self.is_up.is_none() || self.against >= needed {
            (self.is_up, self.against) = (Some(has_succeeded), 0);
        }
    }
}

/// What scripts and interfaces mean together (`vrrp_script_weight` and the like of keepalived/vrrp/vrrp_track.c): a positive
/// weight counts while its script succeeds, a negative one while it fails, and without weight a failure is a fault.
#[must_use]
pub(super) fn effect<'a>(
    scripts: impl IntoIterator<Item = (&'a TrackScript, Verdict)>,
    interfaces_down: &[&str],
) -> Tracking {
    let mut tracking = Tracking::default();
    if let Some(interface) = interfaces_down.first() {
        tracking.fault = Some(format!("link of {interface} is down"));
    }
    for (script, verdict) in scripts {
        match (verdict.is_up, script.weight) {
            (None, _) => tracking.is_pending = true,
            (Some(false), 0) => {
                // Its arguments may be passwords.
                let program = script.command.first().map_or("", String::as_str);
                tracking.fault.get_or_insert_with(|| format!("{program} fails"));
            }
            (Some(true), weight @ 1..) | (Some(false), weight @ ..0) => tracking.weight += i32::from(weight),
            (Some(_), _) => {}
        }
    }
    tracking
}

/// A script that is run again and again, until this is dropped.
#[derive(Debug)]
pub struct Runner(JoinHandle<()>);

impl Runner {
    /// Has a script run at once and then at its interval, and `results` told of each run, with `key`.
    #[must_use]
    pub fn start<K: Clone + Send + Sync + 'static>(
        script: TrackScript,
        key: K,
        results: mpsc::UnboundedSender<(K, bool)>,
    ) -> Self {
        Self(tokio::spawn(async move {
            let mut said = None;
            loop {
                let began = now();
                let result = run(&script).await;
                let has_succeeded = result.is_ok();
                // A script that fails for an hour says so once.
                if said.as_ref() != Some(&result)
                    && let Err(why) = &result
                {
                    tracing::warn!("{}: {why}", script.command.join(" "));
                }
                said = Some(result);
                if results.send((key.clone(), has_succeeded)).is_err() {
                    return;
                }
                tokio::time::sleep(script.interval.saturating_sub(now().saturating_duration_since(began)))
                    .await;
            }
        }))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs it once, in a process group of its own, which ends when time is up.
async fn run(script: &TrackScript) -> Result<(), String> {
    let (program, arguments) = script.command.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (mut child, _group) = process::spawn(&mut command).map_err(|error| error.to_string())?;
    match tokio::time::timeout(script.timeout, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("killed: it ran for more than {:?}", script.timeout)),
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever runs programs reads the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn script(weight: i16) -> TrackScript {
        let second = Duration::from_secs(1);
        let command = vec!["/bin/check".to_owned(), "80".to_owned()];
        TrackScript { command, interval: second, timeout: second, weight, fall: 2, rise: 3 }
    }

    #[test]
    fn the_first_run_counts_at_once_and_then_several_in_a_row() {
        let (script, mut verdict) = (script(0), Verdict::default());
        assert_eq!(verdict.is_up, None);
        let mut seen = Vec::new();
        for has_succeeded in [true, false, true, false, false, true, true, false, true, true, true] {
            verdict.observe(&script, has_succeeded);
            seen.push(verdict.is_up == Some(true));
        }
        assert_eq!(
            seen,
            [true, true, true, true, false, false, false, false, false, false, true],
            "two failures take it down, three successes bring it up"
        );
    }

    #[test]
    fn weights_count_while_their_script_says_so() {
        let verdict = |is_up| Verdict { is_up, against: 0 };
        let effect_of = |weight, is_up| effect([(&script(weight), verdict(is_up))], &[]);
        assert_eq!(effect_of(20, Some(true)).weight, 20);
        assert_eq!(effect_of(20, Some(false)).weight, 0);
        assert_eq!(effect_of(-20, Some(true)).weight, 0);
        assert_eq!(effect_of(-20, Some(false)).weight, -20);
        assert_eq!(effect_of(0, Some(true)), Tracking::default());
        assert_eq!(effect_of(0, Some(false)).fault.as_deref(), Some("/bin/check fails"));
        assert!(effect_of(0, None).is_pending);
        assert!(effect_of(-20, None).is_pending);
        let (up, down) = (script(7), script(-20));
        let both = effect([(&up, verdict(Some(true))), (&down, verdict(Some(false)))], &["eth1"]);
        assert_eq!((both.weight, both.fault.as_deref()), (-13, Some("link of eth1 is down")));
    }

    #[tokio::test]
    async fn a_script_is_run_again_and_killed_when_its_time_is_up() {
        let (results, mut received) = mpsc::unbounded_channel();
        let shell = |text: &str, timeout| TrackScript {
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(timeout),
            ..script(0)
        };
        let good = Runner::start(shell("exit 0", 5000), "good", results.clone());
        for _ in 0..3 {
            assert_eq!(received.recv().await, Some(("good", true)));
        }
        drop(good);
        let slow = Runner::start(shell("sleep 1000", 20), "slow", results.clone());
        while received.recv().await != Some(("slow", false)) {}
        drop(slow);
        let _missing = Runner::start(
            TrackScript { command: vec!["/nonexistent".to_owned()], ..script(0) },
            "missing",
            results,
        );
        while received.recv().await != Some(("missing", false)) {}
    }
}
