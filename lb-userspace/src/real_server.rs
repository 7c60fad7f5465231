//! A real server's side of direct routing: it accepts the VIP's traffic and does not say on the network that it
//! has the VIP.
//!
//! The VIP is an address of `lo`. For IPv4, `arp_ignore = 1` keeps the kernel from answering for addresses of
//! other interfaces than the one a request came in on, `arp_announce = 2` from naming the VIP as the sender of
//! its own requests (Documentation/networking/ip-sysctl.rst). What was changed is remembered in a file, so that
//! it can be undone.
//!
//! IPv6 needs no settings: a solicited address is looked for on the interface that the solicitation came in on
//! (`ndisc_recv_ns` in net/ipv6/ndisc.c), and only an address of the interface that it leaves by is the source of
//! a solicitation (`ndisc_solicit`).
//!
//! A prefix of VIPs is a local route of `lo` in either family: its addresses are accepted, and since none of them is
//! an interface's, the same rules keep the machine quiet about them.

mod persistent;
mod quiet;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use persistent::{Format, persistent};
pub use status::{Finding, status};

use crate::files;
use crate::forms::Prefix;
use crate::net::{Link, NetError, Netlink, SysctlError, host_text, sysctl_name, write_sysctl};
use quiet::Setting;

/// A real server could not be set up, or looked at.
#[derive(Debug, Error)]
pub enum RealServerError {
    /// See [`NetError`].
    #[error("{0}; setting up a real server takes root")]
    Net(#[from] NetError),
    /// A machine without loopback.
    #[error("this machine has no interface `lo`")]
    NoLoopback,
    /// A setting could not be read or changed.
    #[error("{0}; setting up a real server takes root")]
    Sysctl(#[from] SysctlError),
    /// What was changed could not be remembered, or what was remembered is damaged.
    #[error("{path}: {source}; what `up` changes is remembered there, choose another place with --state-file", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Keeps other instances waiting: at boot there is one for each VIP, and all have one state file.
fn take_turn(state_file: &Path) -> Result<Flock<File>, RealServerError> {
    let path = state_file.with_extension("lock");
    let failed = |source| RealServerError::State { path: path.clone(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let file = File::create(&path).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
}

/// What [`up`] changed, so that [`down`] can undo it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Changes {
    vips: BTreeSet<Prefix>,
    /// What settings were before.
    sysctls: BTreeMap<String, String>,
}

impl Changes {
    fn read(path: &Path) -> Result<Self, RealServerError> {
        let failed = |source| RealServerError::State { path: path.to_owned(), source };
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes the file as a whole or not at all.
    fn write(&self, path: &Path) -> Result<(), RealServerError> {
        let failed = |source| RealServerError::State { path: path.to_owned(), source };
        if self.vips.is_empty() && self.sysctls.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        files::replace(path, &text).map_err(failed)
    }
}

/// Accepts the traffic of `vips` and keeps quiet about them. Returns what was changed, one line each.
///
/// # Errors
/// [`RealServerError`]; what was changed until then is remembered.
pub async fn up(vips: &BTreeSet<Prefix>, state_file: &Path) -> Result<Vec<String>, RealServerError> {
    let _turn = take_turn(state_file)?;
    let netlink = Netlink::open()?;
    let lo = loopback(&netlink).await?;
    let mut changes = Changes::read(state_file)?;
    let mut done = Vec::new();
    // Quiet first: not a single ARP request for the VIP is to be answered here.
    if vips.iter().any(Prefix::is_ipv4) {
        for setting in Setting::ALL {
            for (path, found) in setting.read(&netlink.links().await?)?.to_change() {
                changes.sysctls.entry(path.clone()).or_insert_with(|| found.to_string());
                changes.write(state_file)?;
                write_sysctl(&path, setting.value())?;
                done.push(format!("{} = {} (was {found})", sysctl_name(&path), setting.value()));
            }
        }
    }
    // Addresses of an interface that is down are nobody's.
    if !lo.is_up {
        netlink.set_up(lo.index).await?;
        done.push("took lo up".to_owned());
    }
    let present = local(&netlink, &lo).await?;
    for vip in vips.iter().filter(|vip| !present.contains(vip)) {
        changes.vips.insert(*vip);
        changes.write(state_file)?;
        match vip.host() {
            Some(host) => netlink.add_vip(lo.index, host).await?,
            None => netlink.add_local_prefix(lo.index, *vip).await?,
        }
        done.push(format!("added {} to lo", text(*vip)));
    }
    Ok(done)
}

/// Undoes [`up`] for `vips`; with the last one of IPv4 the settings become what they were. Returns what was
/// changed, one line each.
///
/// # Errors
/// [`RealServerError`].
pub async fn down(vips: &BTreeSet<Prefix>, state_file: &Path) -> Result<Vec<String>, RealServerError> {
    let _turn = take_turn(state_file)?;
    let netlink = Netlink::open()?;
    let lo = loopback(&netlink).await?;
    let mut changes = Changes::read(state_file)?;
    let mut done = Vec::new();
    let present = local(&netlink, &lo).await?;
    for vip in vips {
        if present.contains(vip) {
            match vip.host() {
                Some(host) => netlink.remove_vip(lo.index, host).await?,
                None => netlink.remove_local_prefix(lo.index, *vip).await?,
            }
            done.push(format!("removed {} from lo", text(*vip)));
        }
        changes.vips.remove(vip);
    }
    if vips.iter().any(Prefix::is_ipv4) && !changes.vips.iter().any(Prefix::is_ipv4) {
        for (setting, before) in std::mem::take(&mut changes.sysctls) {
            match write_sysctl(&setting, &before) {
                // The interface is gone, and its setting with it.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                written => {
                    written?;
                    done.push(format!("{} = {before}", sysctl_name(&setting)));
                }
            }
        }
    }
    changes.write(state_file)?;
    Ok(done)
}

async fn loopback(netlink: &Netlink) -> Result<Link, RealServerError> {
    let links = netlink.links().await?;
    links.into_iter().find(|link| link.name == "lo").ok_or(RealServerError::NoLoopback)
}

/// The addresses and the local prefixes of an interface. The kernel makes a local route for each address: those are
/// prefixes of one.
async fn local(netlink: &Netlink, link: &Link) -> Result<BTreeSet<Prefix>, RealServerError> {
    let addresses = netlink.addresses(link.index).await?;
    let prefixes =
        netlink.local_prefixes(link.index).await?.into_iter().filter(|prefix| prefix.host().is_none());
    Ok(addresses.into_iter().map(|address| address.address.into()).chain(prefixes).collect())
}

/// As `ip address` and `ip route` show it.
fn text(vip: Prefix) -> String {
    vip.host().map_or_else(|| vip.to_string(), host_text)
}
