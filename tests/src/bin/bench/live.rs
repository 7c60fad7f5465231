//! Frames per second through a pair of interfaces, with frames that were never socket buffers.
//!
//! ```text
//!   generate ──bpf_redirect──> g0 ════ d0: the program, XDP_TX
//!                              g0 <═══ d0
//!                              └─ sink counts and drops
//! ```

use std::time::{Duration, Instant};

use aya::programs::XdpMode;
use lb_lab::{Lab, try_wait_until};
use lb_userspace::net::Netlink;
use serde::Serialize;

use crate::plane::{Plane, VIP, WEB};
use crate::testbed::{Testbed, Transport, frame, send};
use crate::{Arguments, Result};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Live {
    /// The program on d0.
    pub(crate) name: String,
    /// How many flows took turns.
    pub(crate) flows: u32,
    /// Frames that came back, per second: the median of the rounds.
    pub(crate) frames_per_second: f64,
    /// Frames that did not come back, over all rounds.
    pub(crate) lost: u64,
}

const PROGRAMS: [(&str, &str); 3] =
    [("MAC swap", "swap"), ("lb", "lb"), ("reference: HASH + LRU_HASH + ktime", "reference")];
const FLOWS: [u32; 2] = [1, 1 << 16];

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
    let plane = Plane::open(lab, "live", 1 << 20, 1, 300)?;
    plane.establish(FLOWS[1])?;
    let frame = frame(VIP, WEB, Transport::TcpAck)?;
    let names = PROGRAMS.map(|(_, program)| program);
    let mut results = Vec::new();
    for flows in FLOWS {
        let mut testbed = Testbed::load(&plane, flows, g0, &["generate", "sink"])?;
        for name in names {
            testbed.program_mut(name)?.load()?;
        }
        testbed.program_mut("sink")?.attach_to_if_index(g0, XdpMode::Driver)?;
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); PROGRAMS.len()];
        let mut lost = [0; PROGRAMS.len()];
        for _ in 0..arguments.rounds {
            for (i, name) in names.into_iter().enumerate() {
                let program = testbed.program_mut(name)?;
                let link = program.attach_to_if_index(d0, XdpMode::Driver)?;
                let before = testbed.sunk()?;
                let begin = Instant::now();
                send(testbed.program("generate")?, &frame, arguments.frames)?;
                let expected = before + u64::from(arguments.frames);
                // The last frames are still under way; what is lost never comes.
                let all = try_wait_until("the frames are back", Duration::from_millis(200), || {
                    testbed.sunk().is_ok_and(|sunk| sunk >= expected)
                });
                let elapsed = begin.elapsed();
                let back = testbed.sunk()? - before;
                if all.is_err() {
                    lost[i] += u64::from(arguments.frames).saturating_sub(back);
                }
                rates[i].push(back as f64 / elapsed.as_secs_f64());
                testbed.program_mut(name)?.detach(link)?;
            }
        }
        for (i, (name, _)) in PROGRAMS.into_iter().enumerate() {
            rates[i].sort_by(f64::total_cmp);
            let frames_per_second = rates[i][rates[i].len() / 2];
            results.push(Live { name: name.to_owned(), flows, frames_per_second, lost: lost[i] });
        }
    }
    Ok(results)
}

fn index(name: &str) -> Result<u32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let links = runtime.block_on(async { Netlink::open()?.links().await })?;
    let link = links.into_iter().find(|link| link.name == name);
    Ok(link.ok_or_else(|| format!("there is no {name}"))?.index)
}
