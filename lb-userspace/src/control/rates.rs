//! Rates as IPVS estimates them (`net/netfilter/ipvs/ip_vs_est.c`): every two seconds the average moves a
//! quarter of the way towards what was counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lb_common::counter::RealServerStats;

use super::api::Rate;

/// How often [`Rates::sample`] is to be called.
pub(super) const PERIOD: Duration = Duration::from_secs(2);

/// The estimates of all destinations.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<u32, Estimate>>);

#[derive(Clone, Copy, Debug)]
struct Estimate {
    counted: RealServerStats,
    rate: Rate,
}

impl Rates {
    /// Takes in what has been counted by now; forgets destinations that are not among it.
    pub fn sample(&self, counted: impl IntoIterator<Item = (u32, RealServerStats)>) {
        let mut estimates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::new();
        for (destination, counted) in counted {
            let estimate = match estimates.get(&destination) {
                None => Estimate { counted, rate: Rate::default() },
                Some(before) => before.moved_towards(counted),
            };
            next.insert(destination, estimate);
        }
        *estimates = next;
    }

    /// Begins anew for destinations whose counters do.
    pub fn forget(&self, destinations: impl IntoIterator<Item = u32>) {
        let mut estimates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for destination in destinations {
            estimates.remove(&destination);
        }
    }

    /// The estimate for a destination.
    #[must_use]
    pub fn of(&self, destination: u32) -> Rate {
        let estimates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        estimates.get(&destination).map(|estimate| estimate.rate).unwrap_or_default()
    }
}

impl Estimate {
    fn moved_towards(self, counted: RealServerStats) -> Self {
        let moved = |average: f64, now: u64, before: u64| {
            let rate = now.saturating_sub(before) as f64 / PERIOD.as_secs_f64();
            average + (rate - average) / 4.0
        };
        let before = self.counted;
        let rate = Rate {
            connections: moved(self.rate.connections, counted.connections, before.connections),
            packets: moved(self.rate.packets, counted.packets, before.packets),
            bytes: moved(self.rate.bytes, counted.bytes, before.bytes),
        };
        Self { counted, rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(packets: u64) -> RealServerStats {
        RealServerStats { packets, ..RealServerStats::default() }
    }

    #[test]
    fn an_estimate_approaches_what_is_counted() {
        let rates = Rates::default();
        for n in 0..40 {
            rates.sample([(1, packets(n * 200)), (2, packets(5))]);
        }
        assert!((rates.of(1).packets - 100.0).abs() < 0.1, "{}", rates.of(1).packets);
        assert_eq!(rates.of(2).packets, 0.0);
        assert_eq!(rates.of(3), Rate::default());
    }

    /// As `ip_vs_zero_estimator` does.
    #[test]
    fn what_is_zeroed_begins_anew() {
        let rates = Rates::default();
        rates.sample([(1, packets(0)), (2, packets(0))]);
        rates.sample([(1, packets(200)), (2, packets(200))]);
        assert_eq!((rates.of(1).packets, rates.of(2).packets), (25.0, 25.0));
        rates.forget([1]);
        assert_eq!((rates.of(1).packets, rates.of(2).packets), (0.0, 25.0));
        rates.sample([(1, packets(40)), (2, packets(400))]);
        assert_eq!(rates.of(1).packets, 0.0, "what came meanwhile is no burst");
        rates.sample([(1, packets(240)), (2, packets(600))]);
        assert_eq!(rates.of(1).packets, 25.0);
    }

    #[test]
    fn the_first_sample_is_no_burst() {
        let rates = Rates::default();
        rates.sample([(1, packets(1_000_000))]);
        assert_eq!(rates.of(1), Rate::default());
    }
}
