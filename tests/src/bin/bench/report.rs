//! The figures, as a table and as what they mean.

use std::fmt;

use serde::Serialize;

use crate::live::Live;
use crate::per_frame::{Measured, names};

/// All figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    per_frame: Vec<Measured>,
    live: Vec<Live>,
    goals: Vec<Goal>,
}

/// What the project wants to reach.
#[derive(Debug, Serialize)]
struct Goal {
    text: String,
    value: f64,
    limit: f64,
    reached: bool,
}

impl Report {
    pub(crate) fn new(per_frame: Vec<Measured>, live: Vec<Live>) -> Self {
        let goals = goals(&per_frame);
        Self { per_frame, live, goals }
    }
}

fn goals(measured: &[Measured]) -> Vec<Goal> {
    let find = |name: &str, flows: u32| {
        let found = measured.iter().find(|measured| measured.name == name && measured.flows == flows);
        found.map_or(f64::NAN, |measured| measured.nanoseconds as f64)
    };
    let empty = find(names::EMPTY, 1);
    let above = |name: &str, flows: u32, base: f64| find(name, flows) - base;
    let many = |flows: u32| {
        let base = find(names::SWAP, flows);
        above(names::ESTABLISHED, flows, base) / above(names::REFERENCE, flows, base)
    };
    let goal = |text: &str, value: f64, limit: f64| Goal {
        text: text.to_owned(),
        value,
        limit,
        reached: value <= limit,
    };
    let established = above(names::ESTABLISHED, 1, empty);
    vec![
        goal("established, ns above the empty program", established, 25.0),
        goal(
            "established, share of what the reference costs above it",
            established / above(names::REFERENCE, 1, empty),
            1.0 / 3.0,
        ),
        goal("the same with 65,536 flows, above the MAC swap", many(1 << 16), 0.5),
        goal("not a VIP, ns above the empty program", above(names::MISS, 1, empty), 10.0),
        goal(
            "4096 services instead of 6, ns more",
            find(names::ESTABLISHED_4096, 1) - find(names::ESTABLISHED, 1),
            3.0,
        ),
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let empty = self.per_frame.first().map_or(0, |measured| measured.nanoseconds);
        writeln!(f, "Nanoseconds per frame (median of the rounds; least and most)\n")?;
        writeln!(f, "{:<38} {:>10} {:>6} {:>13} {:>7}", "", "flows", "ns", "range", "above")?;
        for measured in &self.per_frame {
            let (least, most) = measured.range;
            let above = i128::from(measured.nanoseconds) - i128::from(empty);
            writeln!(
                f,
                "{:<38} {:>10} {:>6} {:>13} {above:>+7}",
                measured.name,
                measured.flows,
                measured.nanoseconds,
                format!("{least}–{most}")
            )?;
        }
        writeln!(f, "\nFrames per second, one core, there and back through a veth pair\n")?;
        writeln!(f, "{:<38} {:>10} {:>8} {:>8}", "", "flows", "Mpps", "lost")?;
        for live in &self.live {
            let millions = live.frames_per_second / 1e6;
            writeln!(f, "{:<38} {:>10} {millions:>8.2} {:>8}", live.name, live.flows, live.lost)?;
        }
        writeln!(f, "\nGoals\n")?;
        for goal in &self.goals {
            let mark = if goal.reached { "reached" } else { "MISSED" };
            writeln!(f, "{mark:<8} {:<58} {:>6.2} of {:.2}", goal.text, goal.value, goal.limit)?;
        }
        Ok(())
    }
}
