//! The VIPs on the director's interface: added, announced, and taken away again (`director.manage_vips`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::net::{Link, NetError, Netlink, announce, host_text};
use crate::state;

/// When VIPs are announced after the first time: a switch or a neighbour may have missed it.
const ANNOUNCE_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The VIPs, if they are ours to manage. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Vips {
    netlink: Netlink,
    /// The interface as it was last seen.
    link: Arc<watch::Sender<Link>>,
    vips: BTreeSet<IpAddr>,
    managed: bool,
}

impl Vips {
    pub(super) fn new(netlink: Netlink, link: Link, config: &Config) -> Self {
        let (link, vips) = (Arc::new(watch::Sender::new(link)), state::vips(config));
        Self { netlink, link, vips, managed: config.director.manage_vips }
    }

    /// Adds the VIPs that the interface lacks, removes those that an earlier daemon left there, and announces
    /// where they are.
    pub(super) async fn bring_up(&self) -> Result<(), NetError> {
        if !self.managed {
            return Ok(());
        }
        let Link { index, name, .. } = self.link.borrow().clone();
        let present = self.netlink.addresses(index).await?;
        for left_over in present.iter().filter(|address| address.is_ours) {
            let address = left_over.address;
            if !self.vips.contains(&address) {
                self.netlink.remove_vip(index, address).await?;
                tracing::info!("removed {address} from {name}: no virtual server has it any more");
            }
        }
        for vip in &self.vips {
            if !present.iter().any(|address| address.address == *vip) {
                self.netlink.add_vip(index, *vip).await?;
                tracing::info!("added {} to {name}", host_text(*vip));
            }
        }
        self.announce();
        let again = self.clone();
        tokio::spawn(async move {
            for pause in ANNOUNCE_AGAIN {
                tokio::time::sleep(pause).await;
                again.announce();
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

    /// Follows the interface, which is now as `link` says. The kernel removes addresses of IPv6 from an interface
    /// that goes down (Documentation/networking/ip-sysctl.rst, keep_addr_on_down), and neighbours know its old MAC.
    pub(super) async fn follow(&self, link: &Link) {
        let before = self.link.send_replace(link.clone());
        if link.is_up && !before.is_up {
            if let Err(error) = self.bring_up().await {
                tracing::error!("{error}");
            }
        } else if link.mac != before.mac {
            self.announce();
        }
    }

    /// Tells the segment that the VIPs are at the interface's MAC.
    fn announce(&self) {
        if !self.managed || self.vips.is_empty() {
            return;
        }
        let link = self.link.borrow().clone();
        let vips: Vec<IpAddr> = self.vips.iter().copied().collect();
        if let Err(error) = announce(&link, &vips) {
            tracing::warn!("{error}; clients find the VIP when their neighbour entry expires");
        }
    }

    /// Removes the VIPs that we added; those an administrator added stay.
    pub(super) async fn take_down(&self) {
        if self.managed {
            let index = self.link.borrow().index;
            self.remove_ours(index).await;
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
            if let Err(error) = self.netlink.remove_vip(interface, ours.address).await {
                tracing::warn!("{error}");
            }
        }
    }
}
