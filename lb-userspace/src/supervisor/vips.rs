//! The VIPs on the director's interface: added, announced, and taken away again (`director.manage_vips`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::config::Config;
use crate::net::{Link, NetError, Netlink, announce};
use crate::state;

/// When VIPs are announced after the first time: a switch or a neighbour may have missed it.
const ANNOUNCE_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The VIPs, if they are ours to manage.
#[derive(Clone, Debug)]
pub(super) struct Vips {
    netlink: Netlink,
    link: Link,
    vips: BTreeSet<Ipv4Addr>,
    managed: bool,
}

impl Vips {
    pub(super) fn new(netlink: Netlink, link: Link, config: &Config) -> Self {
        Self { netlink, link, vips: state::vips(config), managed: config.director.manage_vips }
    }

    /// Adds the VIPs that the interface lacks, removes those that an earlier daemon left there, and announces
    /// where they are.
    pub(super) async fn bring_up(&self) -> Result<(), NetError> {
        if !self.managed {
            return Ok(());
        }
        let present = self.netlink.addresses(self.link.index).await?;
        for left_over in present.iter().filter(|address| address.is_ours) {
            if let IpAddr::V4(address) = left_over.address
                && !self.vips.contains(&address)
            {
                self.netlink.remove_vip(self.link.index, address).await?;
                tracing::info!(
                    "removed {address} from {}: no virtual server has it any more",
                    self.link.name
                );
            }
        }
        for vip in &self.vips {
            if !present.iter().any(|address| address.address == IpAddr::V4(*vip)) {
                self.netlink.add_vip(self.link.index, *vip).await?;
                tracing::info!("added {vip}/32 to {}", self.link.name);
            }
        }
        self.announce(&self.link);
        let again = self.clone();
        tokio::spawn(async move {
            for pause in ANNOUNCE_AGAIN {
                tokio::time::sleep(pause).await;
                again.announce(&again.link);
            }
        });
        Ok(())
    }

    /// Removes the VIPs that an earlier daemon left on another interface, which it may be gone with.
    pub(super) async fn leave(&self, interface: u32) {
        if self.managed {
            self.remove_ours(interface).await;
        }
    }

    /// Tells the segment that the VIPs are at `link`'s MAC.
    pub(super) fn announce(&self, link: &Link) {
        if !self.managed || self.vips.is_empty() {
            return;
        }
        let vips: Vec<Ipv4Addr> = self.vips.iter().copied().collect();
        if let Err(error) = announce(link, &vips) {
            tracing::warn!("{error}; clients find the VIP when their ARP entry expires");
        }
    }

    /// Removes the VIPs that we added; those an administrator added stay.
    pub(super) async fn take_down(&self) {
        if self.managed {
            self.remove_ours(self.link.index).await;
        }
    }

    async fn remove_ours(&self, interface: u32) {
        let present = match self.netlink.addresses(interface).await {
            Ok(present) => present,
            Err(error) => {
                tracing::warn!("{error}");
                return;
            }
        };
        for ours in present.iter().filter(|address| address.is_ours) {
            if let IpAddr::V4(address) = ours.address
                && let Err(error) = self.netlink.remove_vip(interface, address).await
            {
                tracing::warn!("{error}");
            }
        }
    }
}
