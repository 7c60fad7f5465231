//! Nanoseconds per frame, by BPF_PROG_TEST_RUN.
//!
//! ```text
//!   cases ──> planes, testbeds (those that a case needs)
//!     round 1: case, case, case …
//!     round 2: case, case, case …      the least of a case's rounds counts
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use aya::programs::Xdp;
use indicatif::ProgressBar;
use lb_lab::Lab;
use serde::Serialize;

use crate::cases::{Case, IN_TURN, Program};
use crate::frames::order_at;
use crate::plane::Plane;
use crate::setting::Setting;
use crate::testbed::{Selection, Testbed, run};
use crate::{Arguments, Result};

/// What a row cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Nanoseconds {
    /// The least of the rounds: what the machine does while nobody disturbs it.
    pub(crate) least: u64,
    pub(crate) median: u64,
    pub(crate) most: u64,
}

/// Nobody learns more from a longer measurement.
const LONGEST_NANOSECONDS: u64 = 200_000_000;
const FEWEST_FRAMES: u32 = 1000;
/// What the programs of a testbed were told: where, how many sources, and where those lie.
type Place = (Setting, u32, u32);

/// Loaded programs and the maps they work on.
pub(crate) struct Bench {
    planes: BTreeMap<Setting, Plane>,
    testbeds: BTreeMap<Place, Testbed>,
    other: Option<Testbed>,
}

impl Bench {
    /// Opens what the cases need.
    pub(crate) fn open(lab: &Lab, cases: &[Case], other: Option<&Path>) -> Result<Self> {
        let mut planes = BTreeMap::new();
        for case in cases {
            if let Entry::Vacant(vacant) = planes.entry(case.setting) {
                vacant.insert(Plane::open(lab, case.setting)?);
            }
        }
        let mut programs: BTreeMap<Place, Vec<&'static str>> = BTreeMap::new();
        for case in cases {
            if let Program::Testbed(name) = case.program {
                let names = programs.entry(place(case)).or_default();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let mut testbeds = BTreeMap::new();
        for (place, programs) in programs {
            let (setting, sources, source_at) = place;
            let selection = Selection { programs: &programs, sources, source_at, target: 0 };
            testbeds.insert(place, Testbed::load(&planes[&setting], &selection)?);
        }
        let of_other = cases.iter().find(|case| case.program == Program::Other);
        let other = match (of_other, other) {
            (Some(case), Some(path)) => Some(Testbed::load_other(&planes[&case.setting], path)?),
            _ => None,
        };
        Ok(Self { planes, testbeds, other })
    }

    fn program(&self, case: &Case) -> Result<&Xdp> {
        match case.program {
            Program::Product => Ok(self.planes[&case.setting].dataplane().program()?),
            Program::Testbed(name) => self.testbeds[&place(case)].program(name),
            Program::Other => self.other.as_ref().ok_or("there is no other object")?.program("lb"),
        }
    }

    /// The maps of a setting, if any case needed it.
    pub(crate) fn plane(&self, setting: Setting) -> Option<&Plane> {
        self.planes.get(&setting)
    }

    /// Runs all cases, round by round.
    pub(crate) fn measure(&self, cases: &[Case], arguments: &Arguments) -> Result<Vec<Nanoseconds>> {
        let mut turns =
            cases.iter().map(|case| self.warm_up(case, arguments.frames)).collect::<Result<Vec<_>>>()?;
        let progress = ProgressBar::new(u64::from(arguments.rounds));
        for _ in 0..arguments.rounds {
            for turn in &mut turns {
                let nanoseconds = turn.run(turn.frames)?;
                turn.results.push(nanoseconds);
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(turns.into_iter().map(|turn| Nanoseconds::of(turn.results)).collect())
    }

    /// Brings a program into the caches, lets the reference record its flows, and finds out how many frames are
    /// enough.
    fn warm_up<'a>(&'a self, case: &'a Case, frames: u32) -> Result<Turn<'a>> {
        let mut turn = Turn {
            case,
            program: self.program(case)?,
            next: 0,
            order: IN_TURN,
            frames: FEWEST_FRAMES,
            results: Vec::new(),
        };
        let mut nanoseconds = turn.run(FEWEST_FRAMES)?;
        if case.warm_up > 0 {
            nanoseconds = turn.run(case.warm_up)?;
        }
        turn.order = case.order;
        let affordable = frames_in(LONGEST_NANOSECONDS, nanoseconds);
        turn.frames = affordable.clamp(FEWEST_FRAMES, frames).max(case.fewest_frames);
        Ok(turn)
    }
}

fn place(case: &Case) -> Place {
    (case.setting, case.sources, case.source_at)
}

/// How many frames of so many nanoseconds fit.
fn frames_in(time: u64, nanoseconds: u64) -> u32 {
    u32::try_from(time / nanoseconds.max(1)).unwrap_or(u32::MAX)
}

/// A case, and how far it is.
struct Turn<'a> {
    case: &'a Case,
    program: &'a Xdp,
    /// The first source of the next run: a flow that was seen is not new.
    next: u32,
    order: u16,
    frames: u32,
    results: Vec<u64>,
}

impl Turn<'_> {
    fn run(&mut self, frames: u32) -> Result<u64> {
        if let Some(before) = &self.case.before {
            run(self.program, before, 1)?;
        }
        let mut frame = self.case.frame.clone();
        let at = self.case.source_at as usize;
        if let Some(source) = frame.get_mut(at..).and_then(|source| source.first_chunk_mut::<4>()) {
            let first = u32::from_be_bytes(*source) | self.next;
            *source = first.to_be_bytes();
        }
        let at = order_at(self.case.source_at) as usize;
        if self.case.sources > 1
            && let Some(order) = frame.get_mut(at..).and_then(|order| order.first_chunk_mut())
        {
            *order = self.order.to_le_bytes();
        }
        self.next = self.next.wrapping_add(frames) & (self.case.sources - 1);
        let ran = run(self.program, &frame, frames)?;
        if ran.verdict == self.case.verdict {
            return Ok(ran.nanoseconds);
        }
        let Case { id, verdict, .. } = self.case;
        Err(format!(
            "{id}: the program's verdict is {}, not {verdict}: that is not what was to be measured",
            ran.verdict
        )
        .into())
    }
}

impl Nanoseconds {
    fn of(mut results: Vec<u64>) -> Self {
        results.sort_unstable();
        let at = |i: usize| results.get(i).copied().unwrap_or_default();
        Self { least: at(0), median: at(results.len() / 2), most: at(results.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Nanoseconds, frames_in};

    #[test]
    fn rounds_become_least_median_and_most() {
        let of = |rounds: &[u64]| Nanoseconds::of(rounds.to_vec());
        assert_eq!(of(&[40, 35, 90]), Nanoseconds { least: 35, median: 40, most: 90 });
        assert_eq!(of(&[7]), Nanoseconds { least: 7, median: 7, most: 7 });
    }

    #[test]
    fn slow_programs_run_on_fewer_frames() {
        assert_eq!(frames_in(200_000_000, 200), 1_000_000);
        assert_eq!(frames_in(200_000_000, 0), 200_000_000);
    }
}
