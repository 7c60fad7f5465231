//! Observations instead of sleeps: ask again, soon, until the answer is yes.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(1);

/// The answer to a look: yes with a value, or not yet with what was seen.
///
/// A `bool`, an `Option` and a `Result` are answers; a `Result` says most when time is up.
pub trait Answer {
    /// What a yes carries.
    type Value;
    /// The value, or what was seen instead.
    fn answer(self) -> std::result::Result<Self::Value, String>;
}

impl Answer for bool {
    type Value = ();
    fn answer(self) -> std::result::Result<(), String> {
        if self { Ok(()) } else { Err("it was never so".into()) }
    }
}

impl<T> Answer for Option<T> {
    type Value = T;
    fn answer(self) -> std::result::Result<T, String> {
        self.ok_or_else(|| "it never came".into())
    }
}

impl<T, E: Display> Answer for std::result::Result<T, E> {
    type Value = T;
    fn answer(self) -> std::result::Result<T, String> {
        self.map_err(|error| format!("last seen: {error}"))
    }
}

/// Looks until the answer is yes, and returns its value.
///
/// # Panics
/// When the answer is still no after `timeout`: with `what` and what was seen last.
#[track_caller]
pub fn wait_until<A: Answer>(what: &str, timeout: Duration, look: impl FnMut() -> A) -> A::Value {
    match try_wait_until(what, timeout, look) {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// [`wait_until`] that returns an error instead of panicking.
pub fn try_wait_until<A: Answer>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> A,
) -> Result<A::Value> {
    let end = Instant::now() + timeout;
    loop {
        match look().answer() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= end => {
                return Err(Error::Timeout { what: what.into(), timeout, last });
            }
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}
