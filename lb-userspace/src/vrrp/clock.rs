//! The clock of those who drive virtual routers.

use std::time::{Instant, SystemTime};

/// Now.
#[expect(clippy::disallowed_methods, reason = "the driver reads the clock for its machines")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Now, by the wall clock.
#[expect(clippy::disallowed_methods, reason = "since when something is so is said by the wall clock")]
pub(super) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Until a time, or for ever.
pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
