//! What there is to know of virtual routers, for those who ask.

use std::net::IpAddr;
use std::time::SystemTime;

use super::machine::Status;
use super::packet::Cause;
use crate::config::VrrpInstance;

/// A virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterStatus {
    /// What is configured.
    pub config: VrrpInstance,
    /// Its sync group.
    pub group: Option<String>,
    /// Where its adverts come from, if it can send any.
    pub source: Option<IpAddr>,
    /// Its state.
    pub status: Status,
    /// Since when it has that.
    pub changed_at: SystemTime,
    /// What was counted.
    pub counters: Counters,
    /// Who else has the addresses, as a sentence, if anybody has.
    pub split: Option<String>,
    /// What each of its scripts says; none before the first run.
    pub scripts: Vec<Option<bool>>,
}

/// What a virtual router counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Adverts sent.
    pub sent: u64,
    /// Adverts that could not be sent.
    pub not_sent: u64,
    /// Adverts received and listened to.
    pub received: u64,
    /// Adverts from this director's own address, which are not listened to.
    pub own: u64,
    /// Messages that were not listened to, in the order of [`Cause::ALL`].
    pub rejected: [u64; Cause::ALL.len()],
}

impl Counters {
    pub(super) fn reject(&mut self, cause: Cause) {
        self.rejected[cause as usize] += 1;
    }
}
