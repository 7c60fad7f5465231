//! How long a backup waits: exact, for both versions.

use std::time::Duration;

use super::packet::Version;

/// How many intervals without an advert make a master dead (RFC 3768, section 6.1; RFC 9568, section 6.1).
const MISSED: u32 = 3;

/// How much longer than others a backup of this priority waits, so that the best one is first.
///
/// In version 2 a part of a second (RFC 3768, section 6.1), in version 3 a part of the master's interval (RFC 9568,
/// section 6.1); keepalived's `VRRP_TIMER_SKEW` (include/vrrp.h) is the same in whole microseconds.
#[must_use]
pub fn skew(version: Version, priority: u8, interval: Duration) -> Duration {
    let scale = match version {
        Version::V2 => Duration::from_secs(1),
        Version::V3 => interval,
    };
    scale * (256 - u32::from(priority)) / 256
}

/// How long a backup of this priority waits for an advert of a master that sends one in each interval.
#[must_use]
pub fn master_down(version: Version, priority: u8, interval: Duration) -> Duration {
    MISSED * interval + skew(version, priority, interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn version_2_skews_by_parts_of_a_second_whatever_the_interval_is() {
        for interval in [SECOND, 10 * SECOND] {
            assert_eq!(skew(Version::V2, 100, interval), Duration::from_nanos(609_375_000));
            assert_eq!(skew(Version::V2, 254, interval), Duration::from_nanos(7_812_500));
        }
        assert_eq!(master_down(Version::V2, 100, 10 * SECOND), Duration::from_nanos(30_609_375_000));
    }

    #[test]
    fn version_3_skews_by_parts_of_the_interval() {
        let interval = Duration::from_millis(10);
        assert_eq!(skew(Version::V3, 254, interval), Duration::from_nanos(78_125));
        assert_eq!(master_down(Version::V3, 150, interval), Duration::from_nanos(34_140_625));
        assert_eq!(master_down(Version::V3, 100, SECOND), master_down(Version::V2, 100, SECOND));
    }

    #[test]
    fn the_better_one_waits_less_and_nobody_waits_longer_than_an_interval() {
        for interval in [Duration::from_millis(10), SECOND, Duration::from_millis(40_950)] {
            for priority in 1..=u8::MAX {
                let this = skew(Version::V3, priority, interval);
                assert!(this < skew(Version::V3, priority - 1, interval));
                assert!(this < interval && !this.is_zero());
            }
        }
    }
}
