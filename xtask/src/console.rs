//! What a person sees. Progress goes to stderr, results to stdout; a closed pipe is no reason to stop.

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Announces something before it is done.
pub(crate) fn step(area: &str, what: impl Display) {
    line_to_stderr(format_args!("{area}: {what}"));
}

/// One line of a command's result.
pub(crate) fn result(line: impl Display) {
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone (`| head`) is its own choice.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// One line about what went wrong.
pub(crate) fn error(line: impl Display) {
    line_to_stderr(format_args!("error: {line}"));
}

fn line_to_stderr(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Measures how long a step took, for the person who waited for it.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "xtask times real steps for its summaries")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A duration as a person says it: `0.4 s`, `41 s`, `3 min 05 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn durations_are_short_and_exact_enough() {
        assert_eq!(duration(Duration::from_millis(440)), "0.4 s");
        assert_eq!(duration(Duration::from_millis(41_900)), "41 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }
}
