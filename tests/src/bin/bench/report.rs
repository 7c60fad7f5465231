//! The figures of one run, and what they mean.

use serde::Serialize;

use crate::beside::Beside;
use crate::cases::{Case, Group, ids};
use crate::failover::Failover;
use crate::goals::{Goal, goals};
use crate::live::Live;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::per_frame::Nanoseconds;
use crate::sweeping::Sweeping;

/// All figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    /// The most frames of one measurement.
    pub(crate) frames: u32,
    pub(crate) per_frame: Vec<Row>,
    pub(crate) live: Vec<Live>,
    pub(crate) beside: Vec<Beside>,
    pub(crate) sweeping: Vec<Sweeping>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) failover: Vec<Failover>,
    pub(crate) goals: Vec<Goal>,
}

/// What a frame costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) group: Group,
    pub(crate) label: String,
    pub(crate) nanoseconds: Nanoseconds,
    /// How much more than an empty program, least to least.
    pub(crate) above: Option<i64>,
    /// The share of what the reference costs above it; or, of a program of the other object, of what this build's does.
    pub(crate) of_reference: Option<f64>,
}

/// What the report is made of.
pub(crate) struct Figures {
    pub(crate) per_frame: Vec<(Case, Nanoseconds)>,
    pub(crate) live: Vec<Live>,
    pub(crate) beside: Vec<Beside>,
    pub(crate) sweeping: Vec<Sweeping>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) failover: Vec<Failover>,
}

impl Report {
    pub(crate) fn new(machine: Machine, rounds: u32, frames: u32, figures: Figures) -> Self {
        let per_frame = rows(&figures.per_frame);
        let goals = goals(&per_frame, &figures);
        let Figures { live, beside, sweeping, memory, failover, .. } = figures;
        Self { machine, rounds, frames, per_frame, live, beside, sweeping, memory, failover, goals }
    }

    /// The row with an id.
    pub(crate) fn row(&self, id: &str) -> Option<&Row> {
        self.per_frame.iter().find(|row| row.id == id)
    }

    /// The rows of a group.
    pub(crate) fn of(&self, group: Group) -> impl Iterator<Item = &Row> {
        self.per_frame.iter().filter(move |row| row.group == group)
    }

    /// The rows of new flows with so many real servers, each with its scheduler.
    pub(crate) fn new_flow(&self, scheduler: &str, servers: u32) -> Option<&Row> {
        self.row(&ids::new_flow(scheduler, servers))
    }
}

fn rows(measured: &[(Case, Nanoseconds)]) -> Vec<Row> {
    let least = |id: &str| {
        let (_, nanoseconds) = measured.iter().find(|(case, _)| case.id == id)?;
        i64::try_from(nanoseconds.least).ok()
    };
    let above = |case: &Case| Some(least(&case.id)? - least(case.base?)?);
    let row = |(case, nanoseconds): &(Case, Nanoseconds)| {
        let reference = case.reference.as_deref();
        let reference = reference.and_then(|id| measured.iter().find(|(case, _)| case.id == id));
        let of_reference = reference.and_then(|(reference, _)| {
            let reference = above(reference).filter(|above| *above > 0)?;
            Some(above(case)? as f64 / reference as f64)
        });
        Row {
            id: case.id.clone(),
            group: case.group,
            label: case.label.clone(),
            nanoseconds: *nanoseconds,
            above: above(case),
            of_reference,
        }
    };
    measured.iter().map(row).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Figures, Report};
    use crate::beside::Beside;
    use crate::cases::{Case, Group, Program, all, choose};
    use crate::failover::Failover;
    use crate::live::Live;
    use crate::machine::tests::machine;
    use crate::memory::Memory;
    use crate::per_frame::Nanoseconds;
    use crate::sweeping::Sweeping;

    /// Figures such as a run gives, made up from the rows' places.
    pub(crate) fn report(words: &[&str], other: bool) -> Report {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let cases = choose(&all(other).unwrap(), &words);
        let per_frame = cases.into_iter().map(|case| (case.clone(), nanoseconds(&case))).collect();
        let live = |program: &str, label: &str, millions: f64| Live {
            id: crate::live::id(program, 1),
            label: label.to_owned(),
            flows: 1,
            frames_per_second: millions * 1e6,
            median: millions * 0.9e6,
            nanoseconds: 60.0,
            lost: 0,
        };
        let figures = Figures {
            per_frame,
            live: vec![
                live("swap", "MAC swap", 4.2),
                live("lb", "lb", 3.9),
                live("reference", "reference", 3.0),
            ],
            beside: vec![Beside {
                id: crate::beside::id("syn", 1 << 16),
                label: "SYNs, 65,536 flows".into(),
                flows: 1 << 16,
                alone: 200.0,
                beside: 230.0,
                fewer: 0.13,
                flood: 600.0,
                evicted: 0,
            }],
            sweeping: vec![Sweeping {
                id: crate::sweeping::IDS[1].into(),
                label: "all expired".into(),
                freed: 1 << 20,
                milliseconds: 100.0,
                share: 0.01,
                forwarding: 60,
                undisturbed: 36,
            }],
            memory: vec![Memory {
                id: "memory/ipv4".into(),
                label: "lb, IPv4".into(),
                connections: 1 << 20,
                bytes: 66_846_720,
                per_connection: 63.75,
            }],
            failover: vec![Failover {
                id: "failover/killed-100ms".into(),
                label: "kill -9, 100 ms".into(),
                runs: 20,
                median: 330.0,
                worst: 360.0,
            }],
        };
        Report::new(machine(), 7, 1_000_000, figures)
    }

    fn nanoseconds(case: &Case) -> Nanoseconds {
        let least = match (case.group, case.program) {
            (_, Program::Other) => 37,
            (Group::Floor, _) => 21,
            (_, Program::Testbed("reference")) => 114,
            (Group::Flows | Group::Flood, Program::Testbed("vary_reference")) => 321,
            (Group::Flows | Group::Flood, _) => 171,
            (Group::NewFlow, _) => 121,
            (Group::Others, _) => 32,
            (Group::Unusual, _) => 80,
            _ => 35,
        };
        Nanoseconds { least, median: least + 2, most: least + 9 }
    }

    #[test]
    fn rows_say_what_they_cost_above_their_floor_and_of_the_reference() {
        let report = report(&[], false);
        let row = report.row("established/ipv4").unwrap();
        assert_eq!(row.above, Some(14));
        assert!((row.of_reference.unwrap() - 14.0 / 93.0).abs() < 1e-9);
        assert!((report.row("flows/ipv4-65536").unwrap().of_reference.unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(report.row("floor/empty").unwrap().above, None);
    }

    #[test]
    fn json_has_the_machine_every_row_and_every_goal() {
        let json: serde_json::Value = serde_json::to_value(report(&[], true)).unwrap();
        assert_eq!(json["machine"]["kernel"], "6.18.0");
        let rows = json["per_frame"].as_array().unwrap();
        assert_eq!(rows.len(), all(true).unwrap().len());
        assert_eq!(rows[0]["id"], "floor/empty");
        assert_eq!(rows[0]["group"], "floor");
        assert_eq!(rows[0]["nanoseconds"], serde_json::json!({"least": 21, "median": 23, "most": 30}));
        assert_eq!(rows[0]["above"], serde_json::Value::Null);
        assert_eq!(json["live"][1]["frames_per_second"], 3.9e6);
        assert_eq!(json["memory"][0]["per_connection"], 63.75);
        assert!(json["goals"].as_array().unwrap().iter().all(|goal| goal["reached"].is_boolean()));
    }
}
