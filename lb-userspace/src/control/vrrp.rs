//! `/v1/vrrp`: the virtual routers.

use std::sync::Arc;

use super::api;
use super::failure::Failure;
use super::health::time;
use super::routes::Access;
use super::server::Shared;
use crate::vrrp::{Cause, RouterStatus, Version};

/// `GET /v1/vrrp`.
pub(super) async fn vrrp(shared: Arc<Shared>) -> Result<api::Vrrp, Failure> {
    let statuses = shared.vrrp.statuses().await;
    let mut instances: Vec<api::VrrpInstance> = statuses.iter().map(instance).collect();
    if shared.access == Access::Anybody {
        // Arguments may be passwords.
        let scripts = instances.iter_mut().flat_map(|instance| &mut instance.track_scripts);
        scripts.for_each(|script| script.command.truncate(1));
    }
    Ok(api::Vrrp { instances })
}

fn instance(router: &RouterStatus) -> api::VrrpInstance {
    let RouterStatus { config, status, counters, .. } = router;
    let rejected = Cause::ALL.iter().map(|cause| cause.name()).zip(counters.rejected);
    let rejected = rejected.chain([("own_address", counters.own)]).filter(|(_, count)| *count > 0);
    let scripts = config.track_scripts.iter().zip(&router.scripts);
    api::VrrpInstance {
        name: config.name.clone(),
        state: status.state.name().to_owned(),
        since: time(router.changed_at),
        reason: status.reason.to_string(),
        interface: config.interface.value.clone(),
        virtual_router_id: config.virtual_router_id,
        version: Version::from(config.version).number(),
        priority: status.priority,
        configured_priority: config.priority,
        held: status.is_held,
        advert_interval_ms: u64::try_from(config.advert_interval.as_millis()).unwrap_or(u64::MAX),
        master: status
            .master
            .map(|master| api::VrrpMaster { address: master.address.to_string(), priority: master.priority }),
        source: router.source.map(|source| source.to_string()),
        unicast_peers: config.unicast_peers.iter().map(ToString::to_string).collect(),
        virtual_addresses: config.virtual_addresses.iter().map(ToString::to_string).collect(),
        excluded_addresses: config.excluded_addresses.iter().map(ToString::to_string).collect(),
        split_brain: router.split.clone(),
        sync_group: router.group.clone(),
        track_scripts: scripts
            .map(|(script, is_up)| api::VrrpScript {
                command: script.command.clone(),
                weight: script.weight,
                up: *is_up,
            })
            .collect(),
        transitions: api::VrrpTransitions {
            master: status.transitions.master,
            backup: status.transitions.backup,
            fault: status.transitions.fault,
        },
        adverts: api::VrrpAdverts {
            sent: counters.sent,
            not_sent: counters.not_sent,
            received: counters.received,
            rejected: rejected.map(|(cause, count)| (cause.to_owned(), count)).collect(),
        },
    }
}
