//! `/metrics`: what other operations answer, in the text format of OpenMetrics 1.0.0, for Prometheus.
//!
//! ```text
//!   /v1/director ────────┐
//!   /v1/virtual_servers ─┼─> Scrape ── Collector ──> text
//!   /v1/vrrp, /v1/sync ──┘   (pure from here on)
//! ```
//!
//! Nothing is counted for it or kept between two scrapes: what `lb list` prints and what is scraped comes out of the same
//! functions. Names and units follow OpenMetrics; `docs/metrics.md` has all of them, and a test compares.

mod director;
mod families;
mod services;
mod sync;
mod vrrp;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use self::families::Families;
use super::api;
use super::failure::Failure;
use super::server::Shared;
use crate::sync::SyncStatus;

/// What every metric's name begins with.
const PREFIX: &str = "lb";

/// `GET /metrics`.
pub(super) async fn metrics(shared: Arc<Shared>) -> Result<String, Failure> {
    let director = super::director::director(Arc::clone(&shared)).await?;
    let vrrp = super::vrrp::vrrp(Arc::clone(&shared)).await?;
    let sync = super::sync::sync(Arc::clone(&shared)).await?;
    super::director::reading(&shared, move |shared| {
        let services = super::director::list(shared, None)?;
        let sign_in_failures = shared.sessions().failed();
        Ok(Scrape { director, services, vrrp, sync, sign_in_failures }.into_text())
    })
    .await
}

/// What there is to tell at one moment.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) director: api::Director,
    pub(super) services: api::VirtualServers,
    pub(super) vrrp: api::Vrrp,
    pub(super) sync: SyncStatus,
    /// At `director.http`.
    pub(super) sign_in_failures: u64,
}

impl Scrape {
    pub(super) fn into_text(self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        director::encode(&mut families, &self.director)?;
        services::encode(&mut families, &self.services)?;
        vrrp::encode(&mut families, &self.vrrp)?;
        sync::encode(&mut families, &self.sync)?;
        families.counter(
            "http_sign_in_failures".into(),
            "Wrong secrets that came to director.http, since the daemon began.",
            [([], self.sign_in_failures)],
        )
    }
}

#[cfg(test)]
pub(super) mod tests;
