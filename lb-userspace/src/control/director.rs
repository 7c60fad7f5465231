//! `/v1/director`, `/v1/virtual_servers`, `/v1/explain`: what is done, and what would be.

use std::sync::Arc;

use lb_common::connection::State;
use tokio::task::spawn_blocking;

use super::connections::Clients;
use super::explain::answer;
use super::failure::Failure;
use super::routes::Access;
use super::server::Shared;
use super::{acl, api, connections, explain, health};
use crate::dataplane::{Occupancy, ProgramRuns, TableOccupancy};
use crate::net::mac_text;

/// `GET /v1/virtual_servers`.
pub(super) async fn virtual_servers(
    shared: Arc<Shared>,
    asked: api::ListOptions,
) -> Result<api::VirtualServers, Failure> {
    // For that the connection tables are walked over.
    if asked.persistent_connections && shared.access == Access::Anybody {
        return Err(Failure::read_only());
    }
    let clients =
        if asked.persistent_connections { Some(connections::clients(&shared).await?) } else { None };
    reading(&shared, move |shared| list(shared, clients.as_ref())).await
}

/// Reads many records: few at a time, and where nobody waits for the thread.
pub(super) async fn reading<T: Send + 'static>(
    shared: &Arc<Shared>,
    read: impl FnOnce(&Shared) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let turn = shared.turns.reading(&shared.limits).await?;
    let shared = Arc::clone(shared);
    let reading = spawn_blocking(move || {
        let read = read(&shared);
        drop(turn);
        read
    });
    reading.await.map_err(|_| Failure::stopping())?
}

/// What is done, and what came of it.
pub(super) fn list(shared: &Shared, clients: Option<&Clients>) -> Result<api::VirtualServers, Failure> {
    let published = Arc::clone(&shared.published.borrow());
    let mut virtual_servers = Vec::new();
    for service in &published.services {
        let mut real_servers = Vec::new();
        for server in service.all_servers() {
            let number = server.destination;
            let stats = match number {
                Some(number) => shared.observer.stats(number)?,
                None => Default::default(),
            };
            let connections = number.map(|number| shared.observer.connections(number)).unwrap_or_default();
            real_servers.push(api::RealServer {
                address: server.address.to_string(),
                weight: server.weight,
                upper_threshold: server.thresholds.upper,
                lower_threshold: server.thresholds.lower,
                persistent_connections: clients.map(|clients| {
                    let of = service.number.map(|number| (number, server.address));
                    of.and_then(|of| clients.get(&of)).copied().unwrap_or(0)
                }),
                state: server.state,
                since: shared.since.of(&service.name, server).map(health::time),
                runtime: server.is_runtime,
                mac: server.mac.map(mac_text),
                active_connections: connections.active.into(),
                inactive_connections: connections.inactive.into(),
                stats: api::Stats {
                    connections: stats.connections,
                    packets: stats.packets,
                    bytes: stats.bytes,
                },
                rate: number.map(|number| shared.rates.of(number)).unwrap_or_default(),
                health: server.check.as_ref().map(|check| health::shown(shared, check)),
            });
        }
        let stats = real_servers.iter().map(|server: &api::RealServer| server.stats).sum();
        let rate = real_servers.iter().map(|server| server.rate).sum();
        let sorry_server = service.sorry_server.as_ref().and_then(|_| real_servers.pop());
        virtual_servers.push(api::VirtualServer {
            name: service.name.clone(),
            addresses: service.addresses.iter().map(ToString::to_string).collect(),
            fwmark: service.fwmark,
            protocol: service.protocol.to_string(),
            scheduler: service.scheduler.name().to_owned(),
            stats,
            rate,
            scheduler_flags: service.scheduler_flags.iter().map(ToString::to_string).collect(),
            real_servers,
            sorry_server,
            on_down: service.on_down.name().to_owned(),
            one_packet: service.one_packet,
            runtime: service.is_runtime,
            quorum: service.has_quorum,
            acl: acl::shown(&service.acl),
            persistence: service.persistence.map(|persistence| api::Persistence {
                timeout: persistence.timeout.as_secs(),
                mask: persistence.mask(service.addresses.first().is_some_and(|address| address.is_ipv6())),
            }),
        });
    }
    Ok(api::VirtualServers { virtual_servers })
}

/// `GET /v1/director`.
pub(super) async fn director(shared: Arc<Shared>) -> Result<api::Director, Failure> {
    let counters = shared.observer.counters()?;
    let facts = &shared.facts;
    Ok(api::Director {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since: health::time(shared.since.started()),
        interface: facts.interfaces.names(),
        xdp_mode: facts.xdp_mode.clone(),
        max_connections: facts.max_connections,
        counters: counters.into_iter().map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
        connection_tables: connection_tables(shared.observer.occupancy()),
        xdp_runs: shared.observer.program_runs().into_iter().map(|runs| xdp_runs(&shared, runs)).collect(),
    })
}

fn connection_tables(Occupancy { states, tables, sweeps, freed }: Occupancy) -> api::ConnectionTables {
    let table = |TableOccupancy { table, entries, capacity, places }| api::ConnectionTable {
        table: String::from(table),
        entries,
        capacity,
        places,
    };
    api::ConnectionTables {
        // An entry without a state is being written.
        states: State::ALL
            .iter()
            .zip(states)
            .skip(1)
            .map(|(state, n)| (state.name().to_owned(), n))
            .collect(),
        tables: tables.into_iter().map(table).collect(),
        sweeps,
        freed,
    }
}

fn xdp_runs(shared: &Shared, ProgramRuns { place, runs, time }: ProgramRuns) -> api::XdpRuns {
    let interfaces = &shared.facts.interfaces.0;
    let interface = interfaces.iter().find(|(at, _)| *at == place).map(|(_, name)| name.clone());
    api::XdpRuns {
        interface: interface.unwrap_or_default(),
        runs,
        time_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
    }
}

/// `POST /v1/explain`.
pub(super) async fn explain(
    shared: Arc<Shared>,
    asked: explain::Question,
) -> Result<explain::Explanation, Failure> {
    let question =
        asked.parse(&shared.facts.interfaces).map_err(|error| Failure::bad_request(error.to_string()))?;
    let found = shared.explainer.explain(&question)?;
    let published = Arc::clone(&shared.published.borrow());
    Ok(answer(&asked, &found, &published, &shared.facts.interfaces))
}
