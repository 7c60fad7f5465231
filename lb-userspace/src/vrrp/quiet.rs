//! How often the same complaint is written to the log.

use std::time::{Duration, Instant};

/// So long nothing more is said of it.
const QUIET: Duration = Duration::from_secs(60);

/// When something was last said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quiet(Option<Instant>);

impl Quiet {
    /// Whether it is to be said now; whoever asks says it.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let is_over = self.0.is_none_or(|at| now.duration_since(at) >= QUIET);
        if is_over {
            self.0 = Some(now);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn the_same_is_said_once_a_minute() {
        let (mut quiet, begin) = (Quiet::default(), Instant::now());
        let said: Vec<u64> =
            (0..150).filter(|seconds| quiet.is_over(begin + Duration::from_secs(*seconds))).collect();
        assert_eq!(said, [0, 60, 120]);
    }
}
