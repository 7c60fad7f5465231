//! The machines of all addresses, the kernel's events, and the clock.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use macaddr::MacAddr6;
use tokio::sync::watch;

use super::machine::{Action, CONFIRMED_FOR, Neighbour};
use super::{Resolution, Resolutions};
use crate::net::{Event, Events, NeighbourEntry, NetError, Netlink, mac_text, question};

/// The addresses to resolve, each with the index of the interface on whose segment it is.
pub type Addresses = BTreeMap<IpAddr, u32>;

/// Resolves addresses.
///
/// One task. Dropping it ends the work; the kernel's table stays as it is.
pub struct Driver {
    netlink: Netlink,
    events: Events,
    wanted: watch::Receiver<Addresses>,
    resolutions: watch::Sender<Resolutions>,
    neighbours: BTreeMap<IpAddr, Asked>,
}

/// An address that is asked for.
struct Asked {
    /// Where.
    interface: u32,
    neighbour: Neighbour,
}

impl Driver {
    /// A driver that follows `wanted` and publishes to `resolutions`.
    ///
    /// Addresses are taken to be where they are `remembered` to be until they have been asked.
    ///
    /// # Errors
    /// [`NetError::Open`].
    pub fn new(
        netlink: Netlink,
        wanted: watch::Receiver<Addresses>,
        resolutions: watch::Sender<Resolutions>,
        remembered: &BTreeMap<IpAddr, MacAddr6>,
    ) -> Result<Self, NetError> {
        let events = Events::of_neighbours()?;
        let neighbour = |address: &IpAddr| match remembered.get(address) {
            Some(mac) => Neighbour::remembered(*mac, now()),
            None => Neighbour::new(now()),
        };
        let asked = |(address, interface): (&IpAddr, &u32)| {
            (*address, Asked { interface: *interface, neighbour: neighbour(address) })
        };
        let neighbours = wanted.borrow().iter().map(asked).collect();
        Ok(Self { netlink, events, wanted, resolutions, neighbours })
    }

    /// Works until `wanted` is closed or the netlink socket fails.
    pub async fn run(mut self) {
        self.follow_wanted();
        self.read_table().await;
        loop {
            self.ask().await;
            self.publish();
            let timeout =
                self.neighbours.values().filter_map(|asked| asked.neighbour.poll_timeout(now())).min();
            tokio::select! {
                event = self.events.next() => match event {
                    Some(Event::Neighbour(entry)) => self.handle_entry(&entry),
                    Some(Event::NeighbourGone(entry)) => self.handle_gone(&entry),
                    Some(Event::Lost) => self.read_table().await,
                    Some(_) => {}
                    None => {
                        tracing::error!("the netlink socket failed: MACs of real servers are not followed any more; restart lb");
                        return;
                    }
                },
                changed = self.wanted.changed() => match changed {
                    Ok(()) => {
                        self.follow_wanted();
                        self.read_table().await;
                    }
                    Err(_) => return,
                },
                () = sleep_until(timeout) => {}
            }
        }
    }

    fn follow_wanted(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        // What is on another segment now may be another host.
        self.neighbours.retain(|address, asked| wanted.get(address) == Some(&asked.interface));
        for (address, interface) in wanted {
            let asked = || Asked { interface, neighbour: Neighbour::new(now()) };
            self.neighbours.entry(address).or_insert_with(asked);
        }
    }

    /// Believes what the kernel knows already, or knows since messages were lost.
    async fn read_table(&mut self) {
        match self.netlink.neighbours().await {
            Ok(entries) => entries.iter().for_each(|entry| self.handle_entry(entry)),
            Err(error) => tracing::warn!("{error}; real servers are resolved anew"),
        }
    }

    fn neighbour(&mut self, entry: &NeighbourEntry) -> Option<(&mut Neighbour, Duration)> {
        let address = entry.address;
        let asked = self.neighbours.get_mut(&address).filter(|asked| asked.interface == entry.interface)?;
        Some((&mut asked.neighbour, jitter(address)))
    }

    fn handle_entry(&mut self, entry: &NeighbourEntry) {
        if let Some((neighbour, jitter)) = self.neighbour(entry) {
            neighbour.handle_entry(entry.state, entry.mac, now(), jitter);
        }
    }

    fn handle_gone(&mut self, entry: &NeighbourEntry) {
        if let Some((neighbour, _)) = self.neighbour(entry) {
            neighbour.handle_refusal(now());
        }
    }

    async fn ask(&mut self) {
        for (address, asked) in &mut self.neighbours {
            let Some(action) = asked.neighbour.poll_action(now()) else { continue };
            let done = match action {
                Action::Confirm => self.netlink.confirm_neighbour(asked.interface, *address).await,
                Action::Resolve => self.netlink.resolve_neighbour(asked.interface, *address).await,
            };
            if let Err(error) = done {
                tracing::debug!("{error}");
                asked.neighbour.handle_refusal(now());
            }
        }
    }

    fn publish(&self) {
        let resolved: Resolutions = self
            .neighbours
            .iter()
            .map(|(address, asked)| (*address, asked.neighbour.resolution(now())))
            .collect();
        self.resolutions.send_if_modified(|published| {
            if *published == resolved {
                return false;
            }
            log_changes(published, &resolved);
            *published = resolved;
            true
        });
    }
}

fn log_changes(old: &Resolutions, new: &Resolutions) {
    for (address, now) in new {
        let before = old.get(address).copied().unwrap_or_default();
        match (before, now) {
            (Resolution { mac: Some(before), .. }, Resolution { mac: Some(mac), .. }) if before != *mac => {
                tracing::info!(
                    "real server {address} is now at {}, was at {}",
                    mac_text(*mac),
                    mac_text(before)
                );
            }
            (Resolution { is_reachable: false, .. }, Resolution { mac: Some(mac), is_reachable: true }) => {
                tracing::info!("real server {address} is at {}", mac_text(*mac));
            }
            (Resolution { is_reachable: true, .. }, Resolution { is_reachable: false, .. }) => {
                tracing::warn!(
                    "real server {address} does not answer {}: no new connections for it until it does",
                    question(*address)
                );
            }
            _ => {}
        }
    }
}

/// A part of the interval, different for each address.
fn jitter(address: IpAddr) -> Duration {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    CONFIRMED_FOR / 4 * u32::try_from(hasher.finish() % 256).unwrap_or(0) / 256
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver reads the clock, so that the machine need not")]
fn now() -> Instant {
    Instant::now()
}
