//! Changes of what is configured, while the daemon runs: each becomes part of the configuration in memory, and reaches
//! the maps as what the file says does.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::clock::MAX_TIMEOUT_SECONDS;
use lb_common::limits::MAX_WEIGHT;
use thiserror::Error;

use super::acl::{AclChange, AclError};
use super::names::{NameError, find_service, unknown_server};
use super::reconcile::Published;
use crate::config::{Config, Timeouts, VirtualServer};

/// A change of what is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of the rules for clients.
    Acl(AclChange),
    /// Of timeouts of connections.
    Timeouts(TimeoutsChange),
    /// Of a real server's weight.
    Weight(WeightChange),
}

/// Other timeouts of connections, in whole seconds; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutsChange {
    /// An established TCP connection.
    pub tcp: Option<Duration>,
    /// A TCP connection after a FIN.
    pub tcp_fin: Option<Duration>,
    /// UDP.
    pub udp: Option<Duration>,
}

/// Another weight of a real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightChange {
    /// The virtual server, by its name, or by an address that only it has.
    pub service: String,
    /// The real server.
    pub server: IpAddr,
    /// Its weight from now on.
    pub weight: u32,
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Whether anything is different now.
    pub is_different: bool,
    /// What was done before.
    pub before: Arc<Published>,
    /// What is done now.
    pub after: Arc<Published>,
}

/// Why a change was not made; everything is as before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// What is to be changed does not exist.
    #[error(transparent)]
    Name(#[from] NameError),
    /// See [`AclError`].
    #[error(transparent)]
    Acl(#[from] AclError),
    /// A timeout is out of range.
    #[error("{} is no timeout; it takes whole seconds, from 1s to {}days", humantime::format_duration(*.0), MAX_TIMEOUT_SECONDS / (24 * 60 * 60))]
    Timeout(Duration),
    /// A weight is out of range.
    #[error("{0} is no weight; the largest is {MAX_WEIGHT}, and 0 takes no new connections")]
    Weight(u32),
    /// The maps could not be changed.
    #[error("{0}")]
    Failed(String),
}

impl Change {
    /// Changes what is configured; whether anything is different now.
    ///
    /// # Errors
    /// Every variant of [`ChangeError`] but `Failed`; nothing changed then.
    pub(super) fn apply(&self, config: &mut Config) -> Result<bool, ChangeError> {
        match self {
            Self::Acl(change) => change.apply(config),
            Self::Timeouts(change) => change.apply(&mut config.timeouts),
            Self::Weight(change) => change.apply(config),
        }
    }
}

impl TimeoutsChange {
    fn apply(self, timeouts: &mut Timeouts) -> Result<bool, ChangeError> {
        let before = *timeouts;
        for timeout in [self.tcp, self.tcp_fin, self.udp].into_iter().flatten() {
            let is_in_range = (1..=u64::from(MAX_TIMEOUT_SECONDS)).contains(&timeout.as_secs());
            if !is_in_range || timeout.subsec_nanos() != 0 {
                return Err(ChangeError::Timeout(timeout));
            }
        }
        *timeouts = Timeouts {
            tcp: self.tcp.unwrap_or(before.tcp),
            tcp_fin: self.tcp_fin.unwrap_or(before.tcp_fin),
            udp: self.udp.unwrap_or(before.udp),
        };
        Ok(*timeouts != before)
    }
}

impl WeightChange {
    fn apply(&self, config: &mut Config) -> Result<bool, ChangeError> {
        let service = service(config, &self.service)?;
        let known: Vec<String> =
            service.real_servers.iter().map(|server| server.address.to_string()).collect();
        let Some(server) = service.real_servers.iter_mut().find(|server| server.address == self.server)
        else {
            return Err(unknown_server(&service.name, &self.server.to_string(), &known).into());
        };
        if self.weight > MAX_WEIGHT {
            return Err(ChangeError::Weight(self.weight));
        }
        let before = std::mem::replace(&mut server.weight, self.weight);
        Ok(server.weight != before)
    }
}

/// The virtual server that is meant.
pub(super) fn service<'a>(config: &'a mut Config, wanted: &str) -> Result<&'a mut VirtualServer, NameError> {
    let known = config.virtual_servers.iter().map(|server| (server.name.as_str(), &server.addresses[..]));
    let place = find_service(known, wanted)?;
    Ok(&mut config.virtual_servers[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = r#"
            director.interfaces = ["eth0"]
            [[virtual_server]]
            name = "web"
            addresses = ["192.0.2.1:80"]
            scheduler = "rr"
            real_server = [{ address = "192.0.2.10" }, { address = "192.0.2.11", weight = 3 }]
        "#;
        crate::config::parse("lb.toml", text).expect("it is valid").config
    }

    fn weight(service: &str, server: [u8; 4], weight: u32) -> Change {
        Change::Weight(WeightChange { service: service.to_owned(), server: server.into(), weight })
    }

    fn tcp(seconds: u64) -> Change {
        let tcp = Some(Duration::from_secs(seconds));
        Change::Timeouts(TimeoutsChange { tcp, ..TimeoutsChange::default() })
    }

    #[test]
    fn what_is_named_changes_and_nothing_else() {
        let mut changed = config();
        assert_eq!(weight("web", [192, 0, 2, 11], 0).apply(&mut changed), Ok(true));
        assert_eq!(weight("192.0.2.1:80", [192, 0, 2, 11], 0).apply(&mut changed), Ok(false));
        assert_eq!(tcp(60).apply(&mut changed), Ok(true));
        assert_eq!(tcp(60).apply(&mut changed), Ok(false));
        let mut expected = config();
        expected.virtual_servers[0].real_servers[1].weight = 0;
        expected.timeouts.tcp = Duration::from_secs(60);
        assert_eq!(changed, expected);
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let mut changed = config();
        let fraction = TimeoutsChange { udp: Some(Duration::from_millis(1500)), ..TimeoutsChange::default() };
        for (change, error) in [
            (weight("web", [192, 0, 2, 12], 1), "\"web\" has no real server 192.0.2.12; did you mean"),
            (weight("wbe", [192, 0, 2, 10], 1), "there is no virtual server \"wbe\"; did you mean \"web\"?"),
            (weight("web", [192, 0, 2, 10], 65_536), "65536 is no weight; the largest is 65535"),
            (tcp(0), "0s is no timeout"),
            (tcp(4_194_305), "from 1s to 48days"),
            (Change::Timeouts(fraction), "1s 500ms is no timeout; it takes whole seconds"),
        ] {
            let refused = change.apply(&mut changed).expect_err("it makes no sense").to_string();
            assert!(refused.contains(error), "{refused}");
        }
        assert_eq!(changed, config());
    }
}
