//! `/v1/changes`, `/v1/timeouts`, `/v1/weight`, `/v1/zero`: changes while the daemon runs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::connection::{State, Timeouts as StateTimeouts};
use tokio::sync::{oneshot, watch};

use super::admin::Administrator;
use super::api;
use super::failure::Failure;
use super::server::Shared;
use crate::config::Timeouts;
use crate::neighbour::FIRST_ANSWERS;
use crate::state::{
    Change, Changed, Happening, Input, Keys, Published, PublishedServer, PublishedService, ServerState,
};

/// Has changes made, all or none of them, and waits until they are.
pub(super) async fn make(shared: &Shared, changes: Vec<Change>) -> Result<Changed, Failure> {
    let adds = |change: &Change| matches!(change, Change::AddService { .. } | Change::AddServer { .. });
    let has_added = changes.iter().any(adds);
    let (done, answer) = oneshot::channel();
    let sent = shared.inputs.send(Input::Change { changes, done }).await;
    sent.map_err(|_| Failure::stopping())?;
    let changed = answer.await.map_err(|_| Failure::stopping())??;
    if has_added && changed.is_different {
        resolved(&mut shared.published.clone(), &changed).await;
    }
    Ok(changed)
}

/// Waits until the real servers that are new because of a change have been found, but not for long: the answer then means
/// that they get connections.
async fn resolved(published: &mut watch::Receiver<Arc<Published>>, changed: &Changed) {
    let servers = |published: &Published| -> BTreeSet<IpAddr> {
        let servers = published.services.iter().flat_map(PublishedService::all_servers);
        servers
            .filter(|server| server.state == ServerState::Unresolved)
            .map(|server| server.address)
            .collect()
    };
    let known = servers(&changed.before);
    let new: BTreeSet<IpAddr> = servers(&changed.after).difference(&known).copied().collect();
    let are_found = |published: &Arc<Published>| servers(published).is_disjoint(&new);
    // Not in time: they get connections when they answer.
    let _ = tokio::time::timeout(FIRST_ANSWERS, published.wait_for(are_found)).await;
}

pub(super) async fn change(shared: Arc<Shared>, asked: api::Changes) -> Result<api::ChangesMade, Failure> {
    let (api::Changes { changes }, most) = (asked, shared.limits.changes_at_once);
    if changes.len() > most {
        let reason = format!(
            "{} changes are too many for one request; make no more than {most} at once",
            changes.len()
        );
        return Err(Failure::bad_request(reason));
    }
    let changed = make(&shared, changes).await?;
    Ok(api::ChangesMade { changed: changed.is_different })
}

pub(super) async fn timeouts(shared: Arc<Shared>) -> Result<api::Timeouts, Failure> {
    Ok(shown(shared.published.borrow().timeouts))
}

pub(super) async fn set_timeouts(
    shared: Arc<Shared>,
    asked: api::TimeoutsChange,
) -> Result<api::TimeoutsChanged, Failure> {
    let api::TimeoutsChange { tcp, tcp_fin, udp } = asked;
    let given = [("tcp", tcp), ("tcp_fin", tcp_fin), ("udp", udp)];
    let set = given
        .into_iter()
        .filter_map(|(key, seconds)| Some((key.to_owned(), format!("{}s", seconds?).into())));
    let changed = make(&shared, vec![Change::SetTimeouts { set: set.collect() }]).await?;
    Ok(api::TimeoutsChanged { changed: changed.is_different, timeouts: shown(changed.after.timeouts) })
}

fn shown(timeouts: Timeouts) -> api::Timeouts {
    let Timeouts { tcp, tcp_fin, udp } = timeouts;
    let of_states = StateTimeouts::from(&timeouts);
    let state = |state: State| api::StateTimeout {
        state: state.name().to_owned(),
        timeout: of_states.of(state as u32).into(),
        setting: match state {
            State::Established => Some("tcp".to_owned()),
            State::FinWait => Some("tcp_fin".to_owned()),
            State::Udp => Some("udp".to_owned()),
            _ => None,
        },
    };
    api::Timeouts {
        tcp: tcp.as_secs(),
        tcp_fin: tcp_fin.as_secs(),
        udp: udp.as_secs(),
        // A template is no connection, and each virtual server has its own timeout for them.
        states: State::ALL.into_iter().filter(|state| *state != State::Template).map(state).collect(),
    }
}

pub(super) async fn set_weight(
    shared: Arc<Shared>,
    administrator: Option<Administrator>,
    asked: api::WeightChange,
) -> Result<api::WeightChanged, Failure> {
    let api::WeightChange { service, server, weight } = asked;
    let address: IpAddr = server.parse().map_err(|_| {
        Failure::bad_request(format!("{server:?} is not a real server's address, such as 192.168.2.212"))
    })?;
    let set = Keys::from_iter([("weight".to_owned(), weight.into())]);
    let changed =
        make(&shared, vec![Change::EditServer { service: service.clone(), server: address, set }]).await?;
    let find = |published: &Published| -> Option<(String, PublishedServer)> {
        let service = published.find_service(&service).ok()?;
        let server = service.servers.iter().find(|server| server.address == address)?;
        Some((service.name.clone(), server.clone()))
    };
    let (before, after) = (find(&changed.before), find(&changed.after));
    let done = api::WeightChanged {
        service: after.map_or(service.clone(), |(name, _)| name),
        server: address.to_string(),
        changed: changed.is_different,
        before: before.map_or(weight, |(_, server)| server.weight),
        weight,
    };
    if let Some(administrator) = administrator.filter(|_| done.changed) {
        tell(&shared, administrator, &done);
    }
    Ok(done)
}

/// That the event before was an administrator's doing.
fn tell(shared: &Shared, Administrator { client }: Administrator, done: &api::WeightChanged) {
    let api::WeightChanged { service, server, before, weight: after, .. } = done.clone();
    tracing::info!("{client} gave {server} of {service:?} weight {after} at director.http; it had {before}");
    shared.events.report(Happening::AdminChange { client, service, server, before, after });
}

pub(super) async fn zero(shared: Arc<Shared>, asked: api::Zero) -> Result<api::Zeroed, Failure> {
    let api::Zero { service } = asked;
    let (done, answer) = oneshot::channel();
    let sent = shared.inputs.send(Input::Zero { service, done }).await;
    sent.map_err(|_| Failure::stopping())?;
    let zeroed = answer.await.map_err(|_| Failure::stopping())??;
    shared
        .rates
        .forget(zeroed.iter().flat_map(|service| &service.servers).filter_map(|server| server.destination));
    Ok(api::Zeroed { virtual_servers: zeroed.into_iter().map(|service| service.name).collect() })
}
