//! Virtual servers, their real servers, and the health checks of these.

use std::fmt;

use super::super::api::{Health, HealthState, RealServer, State, VirtualServers};
use super::families::{Families, Labels, Name};

pub(super) fn encode(families: &mut Families<'_>, listed: &VirtualServers) -> fmt::Result {
    virtual_servers(families, listed)?;
    real_servers(families, listed)?;
    health_checks(families, listed)
}

fn virtual_servers(families: &mut Families<'_>, listed: &VirtualServers) -> fmt::Result {
    let services = &listed.virtual_servers;
    families.info(
        "service".into(),
        "A virtual server.",
        services.iter().map(|service| {
            [
                ("service", service.name.as_str()),
                ("protocol", service.protocol.as_str()),
                ("scheduler", service.scheduler.as_str()),
            ]
        }),
    )?;
    families.gauge(
        "service_quorum".into(),
        "Whether enough of its real servers are usable: 1 if so.",
        services.iter().map(|service| ([("service", service.name.as_str())], u32::from(service.quorum))),
    )?;
    let by_state = services.iter().flat_map(|service| {
        State::ALL.into_iter().map(move |state| {
            let count = service.real_servers.iter().filter(|server| server.state == state).count();
            ([("service", service.name.as_str()), ("state", state.name())], count as u64)
        })
    });
    families.gauge(
        "service_real_servers".into(),
        "Its real servers by state; the sorry server is none of them.",
        by_state,
    )
}

/// All real servers, sorry servers among them, with their labels.
fn servers(listed: &VirtualServers) -> impl Iterator<Item = (Labels<'_, 2>, &RealServer)> {
    listed.virtual_servers.iter().flat_map(|service| {
        let all = service.real_servers.iter().chain(&service.sorry_server);
        all.map(|server| {
            ([("service", service.name.as_str()), ("real_server", server.address.as_str())], server)
        })
    })
}

fn real_servers(families: &mut Families<'_>, listed: &VirtualServers) -> fmt::Result {
    let each = || servers(listed);
    families.states(
        "real_server_state".into(),
        "What a real server, or a sorry server, may get: 1 for the state that it is in.",
        &State::ALL.map(State::name),
        each().map(|(labels, server)| (labels, server.state.name())),
    )?;
    families.gauge(
        "real_server_weight".into(),
        "Its weight.",
        each().map(|(labels, server)| (labels, server.weight)),
    )?;
    families.gauge(
        "real_server_active_connections".into(),
        "Its live connections in states that IPVS calls active.",
        each().map(|(labels, server)| (labels, server.active_connections)),
    )?;
    families.gauge(
        "real_server_inactive_connections".into(),
        "Its other live connections.",
        each().map(|(labels, server)| (labels, server.inactive_connections)),
    )?;
    families.gauge(
        "real_server_upper_threshold".into(),
        "How many connections it gets at most; of those that have a threshold.",
        each()
            .filter(|(_, server)| server.upper_threshold > 0)
            .map(|(labels, server)| (labels, server.upper_threshold)),
    )?;
    families.counter(
        "real_server_connections".into(),
        "Connections scheduled to it, since the maps were made or last zeroed.",
        each().map(|(labels, server)| (labels, server.stats.connections)),
    )?;
    families.counter(
        "real_server_packets".into(),
        "Frames forwarded to it, since the maps were made or last zeroed.",
        each().map(|(labels, server)| (labels, server.stats.packets)),
    )?;
    families.counter(
        Name::bytes("real_server"),
        "Bytes of their IP packets, since the maps were made or last zeroed.",
        each().map(|(labels, server)| (labels, server.stats.bytes)),
    )
}

fn health_checks(families: &mut Families<'_>, listed: &VirtualServers) -> fmt::Result {
    let each = || {
        servers(listed).filter_map(|([service, server], found)| {
            let health = found.health.as_ref()?;
            Some(([service, server, ("check", health.check.as_str())], health))
        })
    };
    let last = || each().filter_map(|(labels, health)| Some((labels, health.last.as_ref()?)));
    families.states(
        "health_check_state".into(),
        "What the health check of a real server says: 1 for the state that it is in.",
        &HealthState::ALL.map(HealthState::name),
        each().map(|(labels, health): (_, &Health)| (labels, health.state.name())),
    )?;
    families.gauge(
        "health_check_success".into(),
        "Whether its last probe succeeded: 1 if so.",
        last().map(|(labels, probed)| (labels, u32::from(probed.error.is_none()))),
    )?;
    families.gauge(
        Name::seconds("health_check_latency"),
        "How long its last probe took.",
        last().map(|(labels, probed)| (labels, probed.latency_ms / 1e3)),
    )?;
    families.gauge(
        Name::seconds("health_check_late"),
        "How much later its last probe began than it should have: the daemon is busy.",
        last().map(|(labels, probed)| (labels, probed.late_ms / 1e3)),
    )
}
