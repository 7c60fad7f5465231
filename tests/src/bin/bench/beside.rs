//! What a flood of new sources costs the frames of established flows, beyond what its own frames cost: both go through
//! the program turn and turn about, and each kind's time is taken by itself.

use aya::Pod;
use aya::maps::{Array, PerCpuArray};
use lb_common::counter::Reason;
use lb_lab::Lab;
use lb_lab::frame::{ACK, SYN};
use serde::Serialize;

use crate::cases::grouped;
use crate::frames;
use crate::plane::Plane;
use crate::setting::{CONNECTIONS, DATAGRAMS, HASHED, SOURCES, Setting, WEB};
use crate::testbed::{Selection, Testbed, run};
use crate::{Arguments, Result};

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Beside {
    pub(crate) id: String,
    pub(crate) label: String,
    /// How many established flows take turns.
    pub(crate) flows: u32,
    /// A frame of an established flow when there is no flood: nanoseconds, the least of the rounds.
    pub(crate) alone: f64,
    /// The same after each frame of the flood.
    pub(crate) beside: f64,
    /// How many frames fewer there are in the same time, as a share: what a flood takes beyond its own frames' time.
    pub(crate) fewer: f64,
    /// A frame of the flood.
    pub(crate) flood: f64,
    /// Established flows that had to give way in all rounds.
    pub(crate) evicted: u64,
}

/// A kind of frames, as the program `beside` takes it.
#[derive(Clone, Copy)]
struct Kind(u64);

impl Kind {
    const NONE: Self = Self(0);

    const fn new(protocol: u8, flags: u8, port: u16) -> Self {
        Self(protocol as u64 | (flags as u64) << 8 | (port as u64) << 16)
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Id and label of each flood, and its frames.
const FLOODS: [(&str, &str, Kind); 3] = [
    ("syn", "SYNs", Kind::new(TCP, SYN, WEB)),
    ("udp", "datagrams", Kind::new(UDP, 0, DATAGRAMS)),
    ("mid-stream", "segments to sh", Kind::new(TCP, ACK, HASHED)),
];
const FLOWS: [u32; 3] = [1, 1 << 16, CONNECTIONS];

// Places in the map BESIDE.
const ESTABLISHED: u32 = 0;
const FIRST_SOURCE: u32 = 1;
const FLOOD: u32 = 2;

/// `Took` in the testbed.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Took {
    nanoseconds: u64,
    frames: u64,
    others: u64,
}
// SAFETY: three integers without padding.
unsafe impl Pod for Took {}

impl Took {
    fn of_each(self) -> f64 {
        self.nanoseconds as f64 / self.frames.max(1) as f64
    }
}

/// The rows that there are.
pub(crate) fn ids() -> Vec<String> {
    let of = |flows| FLOODS.map(|(name, ..)| id(name, flows));
    FLOWS.into_iter().flat_map(of).collect()
}

pub(crate) fn id(flood: &str, flows: u32) -> String {
    format!("beside/{flood}-{flows}")
}

/// Runs every flood beside every number of flows, round by round.
pub(crate) fn measure(lab: &Lab, arguments: &Arguments) -> Result<Vec<Beside>> {
    let plane = Plane::open_as(lab, Setting::Flows(CONNECTIONS), "beside")?;
    let testbed = Testbed::load(&plane, &Selection { programs: &["beside"], ..Selection::default() })?;
    let mut bench = Bench { plane, testbed, frames: arguments.frames };
    // The table of first packets is as full as it becomes.
    for (_, _, flood) in FLOODS {
        bench.run(1, flood, 2 * CONNECTIONS)?;
    }
    let mut rows = Vec::new();
    for flows in FLOWS {
        let mut alone = Vec::new();
        let mut floods = FLOODS.map(|_| Vec::new());
        let mut evicted = [0; FLOODS.len()];
        for _ in 0..arguments.rounds {
            alone.push(bench.measure(flows, Kind::NONE)?);
            for (i, (_, _, flood)) in FLOODS.into_iter().enumerate() {
                let before = bench.evicted()?;
                floods[i].push(bench.measure(flows, flood)?);
                evicted[i] += bench.evicted()? - before;
            }
        }
        // An empty turn takes what it takes to read the clock.
        let clock = least(alone.iter().map(|[_, empty]| *empty));
        let alone = least(alone.iter().map(|[established, _]| *established)) - clock;
        for (i, (name, label, _)) in FLOODS.into_iter().enumerate() {
            let beside = least(floods[i].iter().map(|[established, _]| *established)) - clock;
            rows.push(Beside {
                id: id(name, flows),
                label: format!("{label}, {} flow{}", grouped(flows), if flows == 1 { "" } else { "s" }),
                flows,
                alone,
                beside,
                fewer: 1.0 - alone / beside,
                flood: least(floods[i].iter().map(|[_, flood]| *flood)) - clock,
                evicted: evicted[i],
            });
        }
    }
    Ok(rows)
}

fn least(figures: impl Iterator<Item = f64>) -> f64 {
    figures.fold(f64::INFINITY, f64::min)
}

struct Bench {
    plane: Plane,
    testbed: Testbed,
    frames: u32,
}

impl Bench {
    /// What a frame of an established flow takes, and one of the flood.
    fn measure(&mut self, flows: u32, flood: Kind) -> Result<[f64; 2]> {
        // Each flow has its turn, and each kind of frames half of the runs.
        let frames = self.frames.max(2 * flows);
        Ok(self.run(flows, flood, frames)?.map(Took::of_each))
    }

    fn run(&mut self, flows: u32, flood: Kind, frames: u32) -> Result<[Took; 2]> {
        let orders = [
            (ESTABLISHED, u64::from(flows - 1)),
            (FIRST_SOURCE, u64::from(SOURCES.to_bits())),
            (FLOOD, flood.0),
        ];
        let mut map: Array<_, u64> = Array::try_from(self.testbed.map_mut("BESIDE")?)?;
        for (place, value) in orders {
            map.set(place, value, 0)?;
        }
        let before = self.took()?;
        run(self.testbed.program("beside")?, &frames::either(), frames)?;
        let after = self.took()?;
        let took: [Took; 2] = std::array::from_fn(|i| Took {
            nanoseconds: after[i].nanoseconds - before[i].nanoseconds,
            frames: after[i].frames - before[i].frames,
            others: after[i].others - before[i].others,
        });
        // A table that is full to the last place has none for one flow in some hundred thousand.
        match took.iter().map(|took| took.others).sum::<u64>() {
            few if few * 100_000 <= u64::from(frames) => Ok(took),
            others => Err(format!("beside: {others} of {frames} frames were not forwarded").into()),
        }
    }

    /// On all CPUs.
    fn took(&self) -> Result<[Took; 2]> {
        let map = self.testbed.maps().map("TOOK").ok_or("the testbed has no map TOOK")?;
        let all: PerCpuArray<_, [Took; 2]> = PerCpuArray::try_from(map)?;
        let mut sum = [Took::default(); 2];
        for cpu in all.get(&0, 0)?.iter() {
            for (sum, took) in sum.iter_mut().zip(cpu) {
                sum.nanoseconds += took.nanoseconds;
                sum.frames += took.frames;
                sum.others += took.others;
            }
        }
        Ok(sum)
    }

    fn evicted(&self) -> Result<u64> {
        let counters = self.plane.dataplane().observer().counters()?;
        let evicted = counters.into_iter().find(|(reason, _)| *reason == Reason::EvictedLive);
        Ok(evicted.map(|(_, count)| count).unwrap_or_default())
    }
}
