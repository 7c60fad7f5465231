//! `/v1/acl`: which clients are let in, and changes of that.

use std::sync::Arc;

use super::api;
use super::change::make;
use super::failure::Failure;
use super::server::Shared;
use crate::config::Acl;
use crate::forms::Prefix;
use crate::state::{Change, Published};

pub(super) async fn list(shared: Arc<Shared>) -> Result<api::Acls, Failure> {
    let published = Arc::clone(&shared.published.borrow());
    let virtual_servers = published
        .services
        .iter()
        .map(|service| api::ServiceAcl { name: service.name.clone(), acl: shown(&service.acl) })
        .collect();
    Ok(api::Acls { all: shown(&published.acl), virtual_servers })
}

pub(super) async fn change(shared: Arc<Shared>, asked: api::AclChange) -> Result<api::AclChanged, Failure> {
    let prefix: Prefix = asked
        .prefix
        .parse()
        .map_err(|error| Failure::bad_request(format!("{:?} is not a prefix: {error}", asked.prefix)))?;
    let change = Change::Acl { action: asked.action, prefix, service: asked.service.clone() };
    let changed = make(&shared, vec![change]).await?;
    let acl = rules(&changed.after, asked.service.as_deref());
    Ok(api::AclChanged { prefix: prefix.to_string(), changed: changed.is_different, acl })
}

fn rules(published: &Published, service: Option<&str>) -> api::Acl {
    let Some(name) = service else { return shown(&published.acl) };
    published.find_service(name).map(|service| shown(&service.acl)).unwrap_or_default()
}

pub(super) fn shown(acl: &Acl) -> api::Acl {
    let texts =
        |prefixes: &std::collections::BTreeSet<Prefix>| prefixes.iter().map(Prefix::to_string).collect();
    api::Acl { deny: texts(&acl.deny), allow: texts(&acl.allow) }
}
