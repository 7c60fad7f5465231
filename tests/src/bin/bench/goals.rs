//! What the project wants to reach.

use serde::Serialize;

use crate::cases::{FLOWS, Group, SERVICES, ids};
use crate::failover::Failover;
use crate::memory::IDS;
use crate::report::{Figures, Row};

/// Something to reach, and how far it is.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) text: String,
    pub(crate) value: f64,
    pub(crate) limit: f64,
    pub(crate) reached: bool,
}

/// Schedulers that only look into a table that userspace made: a new flow costs one look-up. All others compare real
/// servers with each other.
const BY_TABLE: [&str; 5] = ["rr", "wrr", "sh", "dh", "mh"];
/// Real servers of the services by which new flows are judged.
const SERVERS: u32 = 16;

/// Established flows by which floods are judged: what a director has to do when a flood comes.
const FLOODED: u32 = FLOWS[0];

/// The goals for which there are figures.
pub(crate) fn goals(rows: &[Row], figures: &Figures) -> Vec<Goal> {
    let find = |id: &str| rows.iter().find(|row| row.id == id);
    let above = |id: &str| find(id)?.above.map(|above| above as f64);
    let least = |id: &str| find(id).map(|row| row.nanoseconds.least as f64);
    let more = |id: &str, than: &str| Some(least(id)? - least(than)?);
    let share = |id: &str| find(id)?.of_reference;
    let by_table = |row: &&Row| BY_TABLE.contains(&row.label.as_str());
    let dearest = |is_table: bool| {
        let new = |row: &&Row| row.group == Group::NewFlow && row.id == ids::new_flow(&row.label, SERVERS);
        let rows = rows.iter().filter(new).filter(|row| by_table(row) == is_table);
        rows.filter_map(|row| row.above).max().map(|above| above as f64)
    };
    let flooded = figures.beside.iter().filter(|beside| beside.flows == FLOODED).map(|beside| beside.fewer);
    let evicted = figures.beside.iter().map(|beside| beside.evicted as f64);
    let swept = figures.sweeping.iter().map(|sweeping| sweeping.share);
    let bytes = figures.memory.iter().find(|memory| memory.id == IDS[0]).map(|memory| memory.per_connection);
    let failover = |id: &str| figures.failover.iter().find(|failover| failover.id == id);
    let [median, worst] = [
        |id: Option<&Failover>| id.map(|failover| failover.median),
        |id: Option<&Failover>| id.map(|failover| failover.worst),
    ];
    let [few, _, many] = SERVICES.map(ids::services);
    let [flows, most_flows] = FLOWS.map(|flows| share(&ids::flows("ipv4", flows)));
    let all = [
        ("established IPv4, ns above the empty program", above(ids::ESTABLISHED), 20.0),
        ("established IPv4, share of the reference", share(ids::ESTABLISHED), 0.25),
        ("established IPv6, ns more than IPv4", more(ids::ESTABLISHED_V6, ids::ESTABLISHED), 10.0),
        ("not a VIP, ns above the empty program", above(ids::NOT_A_VIP), 10.0),
        ("4096 services instead of 1, ns more", more(&many, &few), 3.0),
        ("65,536 flows, share of the reference", flows, 0.5),
        ("1,048,576 flows, share of the reference", most_flows, 0.5),
        ("new flow of 16 real servers, by table: the dearest, ns above", dearest(true), 80.0),
        ("new flow of 16 real servers, compared: the dearest, ns above", dearest(false), 200.0),
        ("65,536 flows beside a flood: share of throughput lost, most", flooded.reduce(f64::max), 0.2),
        ("established flows that gave way to a flood", evicted.reduce(f64::max), 0.0),
        ("1,048,576 entries that are swept, share of a core", swept.reduce(f64::max), 0.05),
        ("memory for an IPv4 connection, bytes", bytes, 64.0),
        (
            "orderly end of a master, ms without answers, worst",
            worst(failover("failover/orderly-100ms")),
            50.0,
        ),
        ("killed master, adverts every 100 ms: the same", worst(failover("failover/killed-100ms")), 400.0),
        (
            "killed master, adverts every 10 ms: the same, median",
            median(failover("failover/killed-10ms")),
            60.0,
        ),
        (
            "killed master, adverts every 10 ms: the same, worst",
            worst(failover("failover/killed-10ms")),
            100.0,
        ),
        // The kernel tells whole nanoseconds.
        ("established IPv4, ns more than the other object", more(ids::ESTABLISHED, ids::AGAINST), 1.0),
    ];
    let goal = |(text, value, limit): (&str, Option<f64>, f64)| {
        let value = value?;
        Some(Goal { text: text.to_owned(), value, limit, reached: value <= limit })
    };
    all.into_iter().filter_map(goal).collect()
}

#[cfg(test)]
mod tests {
    use crate::report::tests::report;

    #[test]
    fn goals_are_judged_by_what_was_measured() {
        let report = report(&[], true);
        let goal = |text: &str| {
            let goal = report.goals.iter().find(|goal| goal.text.starts_with(text)).unwrap();
            (goal.value, goal.reached)
        };
        assert_eq!(goal("established IPv4, ns above the empty"), (14.0, true));
        assert_eq!(goal("not a VIP"), (11.0, false));
        assert_eq!(goal("new flow of 16 real servers, by table"), (100.0, false));
        assert_eq!(goal("memory"), (63.75, true));
        assert_eq!(goal("established IPv4, ns more than the other"), (-2.0, true));
    }

    #[test]
    fn what_was_not_measured_is_no_goal() {
        let report = report(&["others/not-a-vip"], false);
        let texts: Vec<&str> = report.goals.iter().map(|goal| goal.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "not a VIP, ns above the empty program",
                "65,536 flows beside a flood: share of throughput lost, most",
                "established flows that gave way to a flood",
                "1,048,576 entries that are swept, share of a core",
                "memory for an IPv4 connection, bytes",
                "killed master, adverts every 100 ms: the same"
            ]
        );
    }
}
