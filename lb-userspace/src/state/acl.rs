//! Changes of the rules for clients while the daemon runs.

use lb_common::limits::MAX_ACL_PREFIXES;
use thiserror::Error;

use crate::config::{Acl, Config};
use crate::forms::Prefix;

/// A change of the rules for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclChange {
    /// What to do with the prefix.
    pub action: AclAction,
    /// The clients.
    pub prefix: Prefix,
    /// The name of the virtual server; none for the rules for all.
    pub service: Option<String>,
}

/// What to do with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclAction {
    /// Refuse its clients, whatever was said of them before.
    Deny,
    /// Let its clients in, and others only if they are allowed as well.
    Allow,
    /// Say nothing of it any more.
    Remove,
}

/// Why rules could not be changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AclError {
    /// Nothing has this name.
    #[error("there is no virtual server {0:?}; `lb acl list` names those that there are")]
    NoSuchService(String),
    /// Nothing is said of this prefix.
    #[error("{0} is neither denied nor allowed; `lb acl list` shows what is")]
    NoSuchPrefix(Prefix),
    /// The virtual server is of the other family.
    #[error("no client of {service} is in {prefix}: they are of another family")]
    OtherFamily {
        /// Its name.
        service: String,
        /// Whoever was meant.
        prefix: Prefix,
    },
    /// There is no room.
    #[error(
        "there are {MAX_ACL_PREFIXES} {0} prefixes already, which is as many as lb holds; remove some, or use one shorter prefix instead of neighbouring ones"
    )]
    Full(&'static str),
    /// The maps could not be changed.
    #[error("{0}")]
    Failed(String),
}

impl AclChange {
    /// Changes what is configured; whether anything is different now.
    ///
    /// # Errors
    /// Every variant of [`AclError`] but `Failed`; nothing changed then.
    pub(super) fn apply(&self, config: &mut Config) -> Result<bool, AclError> {
        let before = self.acl(config)?.clone();
        let is_new = before.prefixes().all(|known| known != self.prefix);
        if self.action == AclAction::Remove && is_new {
            return Err(AclError::NoSuchPrefix(self.prefix));
        }
        let is_ipv4 = self.prefix.is_ipv4();
        let all = config.virtual_servers.iter().map(|server| &server.acl).chain([&config.acl]);
        let of_family = all.flat_map(Acl::prefixes).filter(|prefix| prefix.is_ipv4() == is_ipv4);
        let is_full = of_family.count() >= MAX_ACL_PREFIXES as usize;
        if is_new && is_full {
            return Err(AclError::Full(if is_ipv4 { "IPv4" } else { "IPv6" }));
        }
        let acl = self.acl(config)?;
        acl.deny.remove(&self.prefix);
        acl.allow.remove(&self.prefix);
        match self.action {
            AclAction::Deny => _ = acl.deny.insert(self.prefix),
            AclAction::Allow => _ = acl.allow.insert(self.prefix),
            AclAction::Remove => {}
        }
        Ok(*acl != before)
    }

    fn acl<'a>(&self, config: &'a mut Config) -> Result<&'a mut Acl, AclError> {
        let Some(name) = &self.service else { return Ok(&mut config.acl) };
        let server = config.virtual_servers.iter_mut().find(|server| server.name == *name);
        let server = server.ok_or_else(|| AclError::NoSuchService(name.clone()))?;
        let is_ipv4 = !server.addresses.iter().any(|address| address.is_ipv6());
        if is_ipv4 != self.prefix.is_ipv4() {
            return Err(AclError::OtherFamily { service: name.clone(), prefix: self.prefix });
        }
        Ok(&mut server.acl)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn config() -> Config {
        let text = r#"
            director.interfaces = ["eth0"]
            acl.deny = ["198.51.100.0/24"]
            [[virtual_server]]
            name = "web"
            addresses = ["192.0.2.1:80"]
            scheduler = "rr"
            real_server = [{ address = "192.0.2.10" }]
        "#;
        crate::config::parse("lb.toml", text).expect("it is valid").config
    }

    fn change(action: AclAction, prefix: &str, service: Option<&str>) -> AclChange {
        let prefix = prefix.parse().expect("it is a prefix");
        AclChange { action, prefix, service: service.map(str::to_owned) }
    }

    #[test]
    fn a_prefix_is_denied_or_allowed_but_not_both() {
        let mut config = config();
        assert_eq!(change(AclAction::Deny, "198.51.100.0/24", None).apply(&mut config), Ok(false));
        assert_eq!(change(AclAction::Allow, "198.51.100.0/24", None).apply(&mut config), Ok(true));
        assert_eq!((config.acl.deny.len(), config.acl.allow.len()), (0, 1));
        assert_eq!(change(AclAction::Remove, "198.51.100.0/24", None).apply(&mut config), Ok(true));
        assert!(config.acl.is_empty());
        assert_eq!(change(AclAction::Deny, "10.0.0.0/8", Some("web")).apply(&mut config), Ok(true));
        assert!(config.acl.is_empty() && config.virtual_servers[0].acl.deny.len() == 1);
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let mut changed = config();
        for (change, error) in [
            (change(AclAction::Remove, "10.0.0.0/8", None), "10.0.0.0/8 is neither denied nor allowed"),
            (change(AclAction::Deny, "10.0.0.0/8", Some("mail")), "there is no virtual server \"mail\""),
            (change(AclAction::Deny, "2001:db8::/32", Some("web")), "of another family"),
        ] {
            let refused = change.apply(&mut changed).expect_err("it makes no sense").to_string();
            assert!(refused.contains(error), "{refused}");
        }
        assert_eq!(changed, config());
    }

    #[test]
    fn there_are_no_more_prefixes_than_the_maps_hold() {
        let mut config = config();
        let many = (1..MAX_ACL_PREFIXES).map(|i| Prefix::from(IpAddr::from((0x0A00_0000 + i).to_be_bytes())));
        config.virtual_servers[0].acl.deny.extend(many);
        let full = change(AclAction::Deny, "203.0.113.0/24", None).apply(&mut config);
        assert_eq!(full, Err(AclError::Full("IPv4")));
        assert_eq!(change(AclAction::Deny, "2001:db8::/32", None).apply(&mut config), Ok(true));
        assert_eq!(
            change(AclAction::Allow, "198.51.100.0/24", None).apply(&mut config),
            Ok(true),
            "it moved"
        );
    }
}
