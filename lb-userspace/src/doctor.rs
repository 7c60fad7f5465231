//! What is wrong with a director, its network and its real servers, and the command that mends it.
//!
//! ```text
//!   gather (kernel, netlink, sysfs, frames on the segment) ─> facts ─> judge (pure) ─> findings ─> repair
//! ```
//!
//! Each family of checks is one file with its facts and a pure function that judges them. It works with or without a
//! running daemon, changes nothing unless told to, and what the caller may not look at is a finding too.

mod addresses;
mod code;
mod finding;
mod interface;
mod kernel;
mod repair;
mod segment;

use std::net::IpAddr;

pub use code::Code;
pub use finding::{Finding, Remedy, Severity};
pub use repair::Repair;

use crate::config::{self, Config};
use crate::net::{LinkDetails, NetError, Netlink};

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Patient {
    /// The director's configuration, or one with nothing but its interfaces.
    pub config: Config,
    /// Whether frames are sent to ask the real servers.
    pub real_servers: bool,
}

impl Patient {
    /// A director that has no configuration yet.
    ///
    /// # Errors
    /// One of the interfaces has a name that none can have.
    pub fn with_interfaces(names: &[String]) -> Result<Config, config::Diagnostics> {
        let names: Vec<String> =
            names.iter().map(|name| toml::Value::from(name.as_str()).to_string()).collect();
        let text = format!("[director]\ninterfaces = [{}]\n", names.join(", "));
        config::parse("--interface", &text).map(|checked| checked.config)
    }
}

/// The interfaces of this machine, as all families of checks see them.
#[derive(Clone, Debug)]
struct Machine {
    links: Vec<LinkDetails>,
}

impl Machine {
    fn named(&self, name: &str) -> Option<&LinkDetails> {
        self.links.iter().find(|details| details.link.name == name)
    }

    fn name(&self, index: u32) -> String {
        let found = self.links.iter().find(|details| details.link.index == index);
        found.map_or_else(|| format!("interface {index}"), |details| details.link.name.clone())
    }
}

/// Looks at everything, and says what it found: problems first.
///
/// # Errors
/// [`NetError`]: the kernel does not even list interfaces.
pub async fn examine(patient: &Patient) -> Result<Vec<Finding>, NetError> {
    let netlink = Netlink::open()?;
    let machine = Machine { links: netlink.link_details().await? };
    let config = &patient.config;
    let mut findings = kernel::judge(&kernel::gather(config));
    for name in &config.director.interfaces {
        findings.extend(interface::judge(&interface::gather(&name.value, config, &machine)));
    }
    let surroundings = segment::Surroundings::gather(&netlink, config, &machine).await?;
    let mut addresses = addresses::gather(&netlink, config, &machine, &surroundings).await?;
    let asks_for_vips = addresses.vips.iter().any(|vip| vip.is_missing());
    if patient.real_servers || asks_for_vips {
        let segments = segment::gather(surroundings, config, patient.real_servers).await;
        addresses.owners = segments.owners.clone();
        findings.extend(addresses::judge(&addresses));
        findings.extend(segment::judge(&segments));
    } else {
        findings.extend(addresses::judge(&addresses));
    }
    // Stable: within a severity, from the kernel outwards.
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

/// The host part of a text about an address: `192.0.2.1`, and IPv6 in brackets where something follows.
fn with_port(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
