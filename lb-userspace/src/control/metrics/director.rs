//! The daemon, what became of frames, the connection tables, the programs.

use std::fmt;

use lb_common::connection::State;
use lb_common::counter::{Kind, Reason};

use super::super::api::Director;
use super::families::{Families, Name};

pub(super) fn encode(families: &mut Families<'_>, director: &Director) -> fmt::Result {
    families.info(
        "build".into(),
        "The version of the daemon.",
        [[("version", director.version.as_str())]],
    )?;
    families.info(
        "director".into(),
        "Where frames come in and go out, and how programs are attached: native or generic.",
        [[("interface", director.interface.as_str()), ("xdp_mode", director.xdp_mode.as_str())]],
    )?;
    for (kind, name, help) in [
        (
            Kind::Pass,
            "frames_passed",
            "Frames handed to the local network stack unchanged, by reason, since the maps were made.",
        ),
        (Kind::Drop, "frames_dropped", "Frames dropped, by reason, since the maps were made."),
        (
            Kind::Event,
            "dataplane_events",
            "Events in the data plane, such as evictions from the connection table, by reason, since the maps were made.",
        ),
    ] {
        let reasons = Reason::ALL.iter().map(|reason| reason.name()).zip(Reason::ALL);
        let of_kind = reasons.filter(|(_, reason)| reason.kind() == kind);
        families.counter(
            name.into(),
            help,
            of_kind.map(|(name, _)| ([("reason", name)], director.counters.get(name).copied().unwrap_or(0))),
        )?;
    }
    tables(families, director)?;
    let runs = &director.xdp_runs;
    families.counter(
        "xdp_runs".into(),
        "How often the program of an interface ran, while kernel.bpf_stats_enabled was 1.",
        runs.iter().map(|runs| ([("interface", runs.interface.as_str())], runs.runs)),
    )?;
    families.counter(
        Name::seconds("xdp_run"),
        "How long it ran.",
        runs.iter().map(|runs| ([("interface", runs.interface.as_str())], runs.time_ns as f64 / 1e9)),
    )
}

fn tables(families: &mut Families<'_>, director: &Director) -> fmt::Result {
    families.gauge(
        "connections_max".into(),
        "Connections that there is room for in each family of addresses (director.max_connections).",
        [([], director.max_connections)],
    )?;
    let found = &director.connection_tables;
    let template = State::Template.name();
    let connections = found.states.iter().filter(|(state, _)| *state != template);
    families.gauge(
        "connections".into(),
        "Connections by state, as the last sweep of the tables found them.",
        connections.map(|(state, count)| ([("state", state.as_str())], *count)),
    )?;
    families.gauge(
        "persistence_templates".into(),
        "Clients that keep their real server, as the last sweep of the tables found them.",
        [([], found.states.get(template).copied().unwrap_or(0))],
    )?;
    let each = || found.tables.iter().map(|found| ([("table", found.table.as_str())], found));
    families.gauge(
        "table_entries".into(),
        "Live entries of a connection table, as its last sweep found them.",
        each().map(|(labels, found)| (labels, found.entries)),
    )?;
    families.gauge(
        "table_capacity".into(),
        "Entries that it holds while fewer than one new flow in 10,000 takes the place of a live one.",
        each().map(|(labels, found)| (labels, found.capacity)),
    )?;
    families.counter(
        "table_sweeps".into(),
        "Sweeps of the connection tables since the daemon began.",
        [([], found.sweeps)],
    )?;
    families.counter(
        "table_entries_freed".into(),
        "Entries that sweeps freed: expired, or of clients and real servers that are gone.",
        [([], found.freed)],
    )
}
