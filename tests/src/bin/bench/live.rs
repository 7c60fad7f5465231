//! Frames per second through a pair of interfaces, with frames that were never socket buffers.
//!
//! ```text
//!   generate ──bpf_redirect──> g0 ════ d0: the program, XDP_TX
//!                              g0 <═══ d0
//!                              └─ sink counts and drops
//! ```

use std::time::{Duration, Instant};

use aya::programs::XdpMode;
use aya::programs::xdp::XdpLinkId;
use aya::sys::{Stats, enable_stats};
use lb_lab::frame::ACK;
use lb_lab::{Lab, try_wait_until};
use lb_userspace::net::Netlink;
use serde::Serialize;

use crate::plane::Plane;
use crate::setting::{Setting, WEB};
use crate::testbed::{Selection, Testbed, send};
use crate::{Arguments, Result, frames};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Live {
    pub(crate) id: String,
    /// The program on d0.
    pub(crate) label: String,
    /// How many flows took turns.
    pub(crate) flows: u32,
    /// Frames that came back, per second: the most of the rounds.
    pub(crate) frames_per_second: f64,
    /// The median of the rounds.
    pub(crate) median: f64,
    /// What the kernel counts for a run of the program (`bpf_stats`), in a round of its own: reading the clock is in
    /// it.
    pub(crate) nanoseconds: f64,
    /// Frames that did not come back, over all rounds.
    pub(crate) lost: u64,
}

/// Label and name of the programs that run on d0.
const PROGRAMS: [(&str, &str); 3] =
    [("MAC swap", "swap"), ("lb", "lb"), ("reference: HASH, LRU_HASH, ktime", "reference")];
const FLOWS: [u32; 2] = [1, 1 << 16];

/// The rows that there are.
pub(crate) fn ids() -> Vec<String> {
    let id = |flows| PROGRAMS.map(|(_, program)| id(program, flows));
    FLOWS.into_iter().flat_map(id).collect()
}

pub(crate) fn id(program: &str, flows: u32) -> String {
    format!("veth/{program}-{flows}")
}

/// Runs all programs, round by round.
pub(crate) fn measure(lab: &Lab, arguments: &Arguments) -> Result<Vec<Live>> {
    let host = lab.host("bench");
    host.run(["ip", "link", "add", "g0", "type", "veth", "peer", "name", "d0"])?;
    for link in ["g0", "d0"] {
        host.run(["ip", "link", "set", "dev", link, "up"])?;
    }
    host.enter(|| run(lab, arguments))?
}

fn run(lab: &Lab, arguments: &Arguments) -> Result<Vec<Live>> {
    let (g0, d0) = (index("g0")?, index("d0")?);
    let plane = Plane::open_as(lab, Setting::Flows(FLOWS[1]), "live")?;
    let frame = frames::tcp(WEB, ACK);
    let mut results = Vec::new();
    for flows in FLOWS {
        let programs = ["generate", "sink", "swap", "lb", "reference"];
        let selection = Selection { programs: &programs, sources: flows, target: g0, ..Selection::default() };
        let mut testbed = Testbed::load(&plane, &selection)?;
        testbed.program_mut("sink")?.attach_to_if_index(g0, XdpMode::Driver)?;
        let mut veth = Veth { testbed, d0, frame: &frame, frames: arguments.frames };
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); PROGRAMS.len()];
        let mut lost = [0; PROGRAMS.len()];
        for _ in 0..arguments.rounds {
            for (i, (_, program)) in PROGRAMS.into_iter().enumerate() {
                let (rate, missing) = veth.round(program)?;
                rates[i].push(rate);
                lost[i] += missing;
            }
        }
        for (i, (label, program)) in PROGRAMS.into_iter().enumerate() {
            rates[i].sort_by(f64::total_cmp);
            results.push(Live {
                id: id(program, flows),
                label: label.to_owned(),
                flows,
                frames_per_second: rates[i].last().copied().unwrap_or_default(),
                median: rates[i].get(rates[i].len() / 2).copied().unwrap_or_default(),
                nanoseconds: veth.nanoseconds(program)?,
                lost: lost[i],
            });
        }
    }
    Ok(results)
}

/// The pair of interfaces, with `sink` on one of them.
struct Veth<'a> {
    testbed: Testbed,
    d0: u32,
    frame: &'a [u8],
    frames: u32,
}

impl Veth<'_> {
    /// Sends all frames through a program: how many came back in a second, and how many did not.
    fn round(&mut self, program: &str) -> Result<(f64, u64)> {
        let link = self.attach(program)?;
        let before = self.testbed.sunk()?;
        let begin = Instant::now();
        send(self.testbed.program("generate")?, self.frame, self.frames)?;
        let expected = before + u64::from(self.frames);
        // The last frames are still under way; what is lost never comes.
        let all = try_wait_until("the frames are back", Duration::from_millis(200), || {
            self.testbed.sunk().is_ok_and(|sunk| sunk >= expected)
        });
        let elapsed = begin.elapsed();
        let back = self.testbed.sunk()? - before;
        self.testbed.program_mut(program)?.detach(link)?;
        let lost = if all.is_err() { u64::from(self.frames).saturating_sub(back) } else { 0 };
        Ok((back as f64 / elapsed.as_secs_f64(), lost))
    }

    /// What the kernel counts for each run of a program.
    fn nanoseconds(&mut self, program: &str) -> Result<f64> {
        let _counting = enable_stats(Stats::RunTime)?;
        let before = self.testbed.program(program)?.info()?;
        self.round(program)?;
        let after = self.testbed.program(program)?.info()?;
        let time = after.run_time().saturating_sub(before.run_time());
        Ok(time.as_nanos() as f64 / after.run_count().saturating_sub(before.run_count()).max(1) as f64)
    }

    fn attach(&mut self, program: &str) -> Result<XdpLinkId> {
        Ok(self.testbed.program_mut(program)?.attach_to_if_index(self.d0, XdpMode::Driver)?)
    }
}

fn index(name: &str) -> Result<u32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let links = runtime.block_on(async { Netlink::open()?.links().await })?;
    let link = links.into_iter().find(|link| link.name == name);
    Ok(link.ok_or_else(|| format!("there is no {name}"))?.index)
}
