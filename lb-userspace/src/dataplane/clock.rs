//! The kernel's tick, as the data plane counts it, computed from this process's clock.

use std::io;
use std::time::Duration;

use lb_common::clock;
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::DataplaneError;

/// Turns `CLOCK_MONOTONIC` into the seconds that entries of the connection table carry.
///
/// Jiffies advance by one for each tick of `CLOCK_MONOTONIC` (`tick_do_update_jiffies64`), so the two differ by a
/// constant, which is measured once.
#[derive(Clone, Copy, Debug)]
pub struct KernelClock {
    hz: u32,
    /// Jiffies when `CLOCK_MONOTONIC` was 0.
    offset: u64,
}

impl KernelClock {
    /// A clock that begins with the machine, for tables that no kernel shares.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn in_process() -> Result<Self, DataplaneError> {
        Ok(Self { hz: ticks_per_second()?, offset: 0 })
    }

    /// Measures the difference: `jiffies` reads the kernel's counter.
    pub(super) fn measure(jiffies: impl FnOnce() -> io::Result<u64>) -> Result<Self, DataplaneError> {
        let hz = ticks_per_second()?;
        let now = monotonic().map_err(DataplaneError::Clock)?;
        let offset = jiffies().map_err(DataplaneError::Clock)?.wrapping_sub(ticks(now, hz));
        Ok(Self { hz, offset })
    }

    /// [`clock::reciprocal`] of the kernel's HZ.
    pub(super) fn reciprocal(self) -> u64 {
        clock::reciprocal(self.hz)
    }

    /// The current second, as in an entry.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn now(self) -> Result<u32, DataplaneError> {
        let now = monotonic().map_err(DataplaneError::Clock)?;
        Ok(clock::seconds(self.offset.wrapping_add(ticks(now, self.hz)), self.reciprocal()))
    }
}

fn ticks(time: Duration, hz: u32) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(hz) / 1_000_000_000).unwrap_or(u64::MAX)
}

fn monotonic() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// The kernel's HZ: its coarse clocks advance once a tick.
fn ticks_per_second() -> Result<u32, DataplaneError> {
    let tick =
        clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_err(|errno| DataplaneError::Clock(errno.into()))?;
    let nanoseconds = Duration::from(tick).as_nanos();
    let hz = 1_000_000_000u128.checked_div(nanoseconds).and_then(|hz| u32::try_from(hz).ok());
    hz.filter(|hz| *hz > 0).ok_or_else(|| DataplaneError::Clock(io::ErrorKind::Unsupported.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_is_one_that_kernels_have() {
        let hz = ticks_per_second().expect("this kernel has a tick");
        assert!((24..=1200).contains(&hz), "{hz}");
    }

    #[test]
    fn seconds_pass() {
        let clock = KernelClock::measure(|| Ok(1 << 40)).expect("the clock works");
        let first = clock.now().expect("the clock works");
        let now = clock.now().expect("the clock works");
        assert!(clock::age(now, first) <= 1);
    }
}
