//! Nanoseconds per frame, by BPF_PROG_TEST_RUN.

use std::net::Ipv4Addr;

use lb_lab::Lab;
use lb_userspace::scheduler;
use serde::Serialize;

use crate::plane::{FIRST_UDP, Plane, VIP, WEB};
use crate::testbed::{Testbed, Transport, frame, jumbo, nanoseconds};
use crate::{Arguments, Result};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// What it is called.
    pub(crate) name: String,
    /// How many flows took turns.
    pub(crate) flows: u32,
    /// The median of the rounds.
    pub(crate) nanoseconds: u64,
    /// The least and the most of the rounds.
    pub(crate) range: (u64, u64),
}

/// One program on one frame.
struct Case<'a> {
    name: String,
    flows: u32,
    testbed: &'a Testbed,
    program: &'static str,
    frame: &'a [u8],
}

/// Names that the report refers to.
pub(crate) mod names {
    /// A program that returns at once.
    pub(crate) const EMPTY: &str = "empty program";
    /// Both MACs swapped, XDP_TX.
    pub(crate) const SWAP: &str = "MAC swap";
    /// A packet of an established connection.
    pub(crate) const ESTABLISHED: &str = "established";
    /// The same with 9000 bytes, most of them behind the first buffer.
    pub(crate) const ESTABLISHED_JUMBO: &str = "established, jumbo frame";
    /// An established connection's with 4096 virtual servers.
    pub(crate) const ESTABLISHED_4096: &str = "established, 4096 services";
    /// A frame to an address that is no VIP.
    pub(crate) const MISS: &str = "not a VIP";
    /// The same where other addresses have prefixes and ranges of ports.
    pub(crate) const MISS_BESIDE_FORMS: &str = "not a VIP, beside 64 prefixes and ranges";
    /// Hash map, LRU map, clock.
    pub(crate) const REFERENCE: &str = "reference: HASH + LRU_HASH + ktime";
    /// A datagram of a flow nobody has seen, with a place for it.
    pub(crate) const NEW_FLOW: &str = "new flow, ";
    /// The same when every place is taken by another flow that lives.
    pub(crate) const FLOOD: &str = "flood of new flows";
}

const MANY: [u32; 2] = [1 << 16, 1 << 20];

/// Runs all cases, round by round.
pub(crate) fn measure(lab: &Lab, arguments: &Arguments) -> Result<Vec<Measured>> {
    let established = frame(VIP, WEB, Transport::TcpAck)?;
    let jumbo = jumbo(&established);
    let miss = frame(Ipv4Addr::new(192, 0, 2, 77), WEB, Transport::TcpAck)?;
    let udp = |n: u16| frame(VIP, FIRST_UDP + n, Transport::Udp);
    let new: Vec<Vec<u8>> = (0u16..).take(scheduler::ALL.len()).map(udp).collect::<Result<_>>()?;

    // New flows on tables that fit into a cache, where a flow is forgotten at once: there is always room.
    let small = Plane::open(lab, "small", 1024, 1, 0)?;
    let plane = Plane::open(lab, "default", 1 << 20, 1, 300)?;
    let services = Plane::open(lab, "services", 1024, 4096, 300)?;
    plane.establish(1)?;
    services.establish(1)?;

    let one = Testbed::load(&plane, 1, 0, &["empty", "swap", "lb", "reference"])?;
    let among_4096 = Testbed::load(&services, 1, 0, &["lb"])?;
    let fresh = Testbed::load(&small, 1 << 24, 0, &["vary_lb"])?;
    // Each table holds the flows that take turns, and no others: ours and the reference's.
    let load_many = |flows: u32| {
        let plane = Plane::open(lab, &format!("{flows}-flows"), 1 << 20, 1, 300)?;
        plane.establish(flows)?;
        let testbed = Testbed::load(&plane, flows, 0, &["vary_swap", "vary_lb", "vary_reference"])?;
        Ok((flows, plane, testbed))
    };
    let many: Vec<(u32, Plane, Testbed)> = MANY.into_iter().map(load_many).collect::<Result<_>>()?;

    let full = many.last().map(|(_, plane, _)| Testbed::load(plane, 1 << 24, 0, &["vary_lb"])).transpose()?;
    let case = |name: &str, flows, testbed, program, frame| Case {
        name: name.to_owned(),
        flows,
        testbed,
        program,
        frame,
    };
    let mut cases = vec![
        case(names::EMPTY, 1, &one, "empty", established.as_slice()),
        case(names::SWAP, 1, &one, "swap", &established),
        case(names::ESTABLISHED, 1, &one, "lb", &established),
        case(names::ESTABLISHED_JUMBO, 1, &one, "lb", &jumbo),
        case(names::ESTABLISHED_4096, 1, &among_4096, "lb", &established),
        case(names::MISS, 1, &one, "lb", &miss),
        case(names::MISS_BESIDE_FORMS, 1, &among_4096, "lb", &miss),
        case(names::REFERENCE, 1, &one, "reference", &established),
    ];
    for (scheduler, frame) in scheduler::ALL.iter().zip(&new) {
        cases.push(case(&format!("{}{scheduler}", names::NEW_FLOW), 1, &fresh, "vary_lb", frame));
    }
    for (flows, _, testbed) in &many {
        cases.push(case(names::SWAP, *flows, testbed, "vary_swap", &established));
        cases.push(case(names::ESTABLISHED, *flows, testbed, "vary_lb", &established));
        cases.push(case(names::REFERENCE, *flows, testbed, "vary_reference", &established));
    }
    if let (Some(frame), Some(full)) = (new.first(), &full) {
        cases.push(case(names::FLOOD, 1 << 24, full, "vary_lb", frame));
    }
    // The reference records its flows, and every program comes into the caches.
    for case in &cases {
        nanoseconds(case.testbed.program(case.program)?, case.frame, case.flows.clamp(1000, 1 << 20))?;
    }
    let mut results: Vec<Vec<u64>> = vec![Vec::new(); cases.len()];
    for _ in 0..arguments.rounds {
        for (case, results) in cases.iter().zip(&mut results) {
            results.push(nanoseconds(case.testbed.program(case.program)?, case.frame, arguments.frames)?);
        }
    }
    let measured = cases.iter().zip(results).map(|(case, mut results)| {
        results.sort_unstable();
        Measured {
            name: case.name.clone(),
            flows: case.flows,
            nanoseconds: results[results.len() / 2],
            range: (results[0], results[results.len() - 1]),
        }
    });
    Ok(measured.collect())
}
