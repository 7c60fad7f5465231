//! The ways of probes that go to VIPs: kept as links, addresses, routes and neighbours are, while some check needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::dataplane::ProbeReplies;
use crate::health::checks;
use crate::health::vip::Ways;
use crate::neighbour::Resolutions;
use crate::net::{Events, NetError, Netlink};
use crate::state::{Followed, Network, addresses_to_locate, vips, ways};

/// How long changes of the network are collected.
const SETTLE: Duration = Duration::from_millis(50);

/// Whoever keeps the ways.
pub(super) struct WayKeeper {
    pub(super) netlink: Netlink,
    pub(super) configs: watch::Receiver<Followed>,
    pub(super) networks: watch::Receiver<Network>,
    pub(super) resolutions: watch::Receiver<Resolutions>,
    /// Has answers dropped that the kernel must not see.
    pub(super) replies: ProbeReplies,
    pub(super) ways: watch::Sender<Arc<Ways>>,
}

impl WayKeeper {
    /// Runs until what it follows is gone.
    pub(super) async fn run(mut self) {
        let Ok(mut events) = Events::of_topology() else { return };
        loop {
            if let Err(error) = self.keep().await {
                tracing::error!("health checks of VIPs: {error}");
            }
            let changed = tokio::select! {
                changed = self.configs.changed() => changed.is_ok(),
                changed = self.networks.changed() => changed.is_ok(),
                changed = self.resolutions.changed() => changed.is_ok(),
                event = events.next() => event.is_some(),
            };
            if !changed || !events.settle(SETTLE).await {
                return;
            }
        }
    }

    async fn keep(&mut self) -> Result<(), super::RunError> {
        let configs: Vec<Arc<Config>> = self.configs.borrow_and_update().configs().map(Arc::clone).collect();
        let all_checks = configs.iter().flat_map(|config| checks(config));
        let probed: BTreeSet<IpAddr> = all_checks.filter_map(|check| check.vip).collect();
        let found = if probed.is_empty() { Ways::new() } else { self.find(&configs).await? };
        let interfaces: BTreeMap<u32, String> =
            found.values().flatten().map(|way| (way.interface, way.name.clone())).collect();
        // Before the first probe, or the kernel would answer its answers.
        let following = self.replies.follow(&interfaces, &probed);
        self.ways.send_if_modified(|known| {
            let is_new = **known != found;
            *known = Arc::new(found);
            is_new
        });
        Ok(following?)
    }

    async fn find(&mut self, configs: &[Arc<Config>]) -> Result<Ways, NetError> {
        let servers = configs.iter().flat_map(|config| addresses_to_locate(config).into_keys()).collect();
        let vips = configs.iter().flat_map(|config| vips(config)).collect();
        let network = self.networks.borrow_and_update().clone();
        let resolutions = self.resolutions.borrow_and_update().clone();
        let links = self.netlink.link_details().await?;
        let mut addresses = BTreeMap::new();
        for details in &links {
            let index = details.link.index;
            addresses.insert(index, self.netlink.addresses(index).await?);
        }
        Ok(ways(&servers, &network, &resolutions, &links, &addresses, &vips))
    }
}
