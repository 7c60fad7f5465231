//! Random numbers that can be had again.

use std::env;
use std::hash::{BuildHasher as _, RandomState};

/// splitmix64.
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// From the seed in `LB_SEED`, or else another one each time.
    pub(crate) fn from_environment() -> Self {
        let given = env::var("LB_SEED").ok();
        let given = given.map(|text| text.parse().expect("LB_SEED is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        Self { seed, state: seed }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        (((self.word() >> 32) * u64::from(limit)) >> 32) as u32
    }

    /// Once in `times`.
    pub(crate) fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}
