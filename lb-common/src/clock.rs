//! Whole seconds of the kernel's tick, the only clock the data plane reads.
//!
//! `bpf_jiffies64` is inlined by the verifier, `ktime_get_ns` is a call. A jiffy is 1/HZ second; HZ is fixed
//! when the kernel is built, so userspace learns it (`clock_getres(CLOCK_MONOTONIC_COARSE)`) and hands the
//! data plane its reciprocal.

/// Seconds are counted modulo 2^24 (194 days); ages are differences in this ring.
pub const SECONDS_BITS: u32 = 24;
pub(crate) const SECONDS_MASK: u32 = (1 << SECONDS_BITS) - 1;

/// The longest timeout that may be configured: a quarter of the ring, so that an age is never ambiguous.
pub const MAX_TIMEOUT_SECONDS: u32 = 1 << (SECONDS_BITS - 2);

/// 2^32 / HZ, rounded up: what [`seconds`] multiplies by.
#[must_use]
pub const fn reciprocal(hz: u32) -> u64 {
    (1u64 << 32).div_ceil(hz as u64)
}

/// Jiffies as seconds in the ring. `reciprocal` is [`reciprocal`] of the kernel's HZ.
///
/// Kernel and userspace use this one function, so its rounding (less than a second in 40 days) cancels out.
#[inline(always)]
#[must_use]
pub const fn seconds(jiffies: u64, reciprocal: u64) -> u32 {
    (jiffies.wrapping_mul(reciprocal) >> 32) as u32 & SECONDS_MASK
}

/// Seconds from `then` to `now`, both in the ring.
///
/// A `then` that lies a little ahead of `now` (another CPU's clock was read later) has age 0.
#[inline(always)]
#[must_use]
pub const fn age(now: u32, then: u32) -> u32 {
    let age = now.wrapping_sub(then) & SECONDS_MASK;
    if age > SECONDS_MASK / 2 { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_hz_jiffies() {
        for hz in [100, 250, 300, 1000] {
            let start = 1u64 << 33;
            let begin = seconds(start, reciprocal(hz));
            assert_eq!(age(seconds(start + u64::from(hz) * 3600, reciprocal(hz)), begin), 3600, "HZ {hz}");
        }
    }

    #[test]
    fn an_age_crosses_the_end_of_the_ring() {
        assert_eq!(age(3, SECONDS_MASK - 1), 5);
    }

    #[test]
    fn a_time_just_ahead_of_now_has_age_zero() {
        assert_eq!(age(10, 11), 0);
    }

    #[test]
    fn the_longest_timeout_fits_in_half_the_ring() {
        assert_eq!(age(MAX_TIMEOUT_SECONDS, 0), MAX_TIMEOUT_SECONDS);
    }
}
