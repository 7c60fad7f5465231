//! Frames of many flows, as fast as one core sends them, counted flow by flow where they arrive.
//!
//! ```text
//!   client: stream ──> switch ──> director ──> switch ──> real servers: tally counts and drops
//! ```
//!
//! The frames are made by the kernel (`BPF_PROG_TEST_RUN` with live frames) and differ in their source's address only,
//! which is nobody's.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::links::FdLink;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};

use nix::net::if_::if_nametoindex;

use crate::error::{Doing, Error, Result, with_causes};
use crate::frame::{Endpoint, Frame};
use crate::host::Host;
use crate::link::INTERFACE;

/// The first source, of a network for benchmarks (RFC 2544).
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The most flows: so many addresses with the same first half.
const MOST_FLOWS: u32 = 1 << 16;
const SOURCE_PORT: u16 = 1000;
/// Hosts that `tally` tells apart, by the last bits of their MACs.
const HOSTS: u32 = 16;
/// How many frames the kernel makes at a time, at most.
const BATCH: u32 = 64;
/// How often the kernel is to make one before it is looked whether all have arrived. To ask it takes 30 ms.
const RUNS: u32 = 100_000;
/// When so long none has arrived, the others are lost.
const TIME_TO_ARRIVE: Duration = Duration::from_secs(1);

// Places in the map STREAMED.
const SENT: u32 = 0;
const ARRIVED: u32 = 1;
const LIMIT: u32 = 2;

/// Flows from a host to a director's VIP. Real servers count and drop their frames, and get all others as ever.
pub struct Stream {
    programs: Ebpf,
    client: Host,
    servers: Vec<Host>,
    flows: u32,
    /// The programs on the real servers.
    _links: Vec<FdLink>,
}

/// What arrived of one flow, by real server in the order in which they were given.
pub type Received = Vec<u64>;

impl Stream {
    /// Has a client send so many flows, a power of two, to be counted at the real servers.
    ///
    /// # Panics
    /// If it is no power of two, or more than 65,536.
    pub fn new(client: &Host, servers: &[Host], flows: u32) -> Result<Self> {
        assert!(flows.is_power_of_two() && flows <= MOST_FLOWS, "{flows} flows");
        // What comes by `bpf_redirect` is taken only where a program runs.
        client.let_xdp_through()?;
        let target = client.enter(|| index(INTERFACE))??;
        let globals =
            [("SOURCE_MASK", flows - 1), ("FIRST_SOURCE", FIRST_SOURCE.to_bits()), ("TARGET", target)];
        let mut programs = crate::testbed::read(&globals, &[("TALLY", HOSTS * flows), ("STREAMED", 3)])?;
        program_mut(&mut programs, "stream")?.load().map_err(|error| wrong(&error))?;
        let tally = program_mut(&mut programs, "tally")?;
        tally.load().map_err(|error| wrong(&error))?;
        let mut links = Vec::new();
        for server in servers {
            links.push(server.enter(|| attach(tally))??);
        }
        Ok(Self { programs, client: client.clone(), servers: servers.to_vec(), flows, _links: links })
    }

    /// The first flow's frame to a port of a director's VIP; [`send`](Self::send) makes the others' from it.
    pub fn frame(&self, director: &Host, vip: Ipv4Addr, port: u16) -> Frame {
        let from = Endpoint::new(self.client.mac(), FIRST_SOURCE, SOURCE_PORT);
        // What the program `stream` makes up for other sources with.
        Frame::between(from, Endpoint::new(director.mac(), vip, port)).identification(0xffff)
    }

    /// Sends so many frames, of the flows in turn, and returns when they have arrived; how many have not, and are lost.
    pub fn send(&mut self, frame: &[u8], frames: u64) -> Result<u64> {
        let limit = self.count(SENT)? + frames;
        let map = self.programs.map_mut("STREAMED").ok_or_else(|| missing("STREAMED"))?;
        Array::try_from(map).and_then(|mut map| map.set(LIMIT, limit, 0)).map_err(|error| wrong(&error))?;
        let mut last = (self.count(ARRIVED)?, Instant::now());
        while last.0 < limit && last.1.elapsed() < TIME_TO_ARRIVE {
            self.client.enter(|| self.run(frame))??;
            let arrived = self.count(ARRIVED)?;
            if arrived > last.0 {
                last = (arrived, Instant::now());
            }
        }
        Ok(limit - last.0)
    }

    /// Makes frames, as many as there is room for on the way.
    fn run(&self, frame: &[u8]) -> Result<()> {
        let attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let options = TestRunOptions { data_in: Some(frame), repeat: RUNS, attrs, ..TestRunOptions::new() };
        let program = self.programs.program("stream").ok_or_else(|| missing("stream"))?;
        let program: &Xdp = program.try_into().map_err(|error| wrong(&error))?;
        program.test_run(options).map(drop).map_err(|error| wrong(&error))
    }

    /// What has arrived of each flow.
    pub fn received(&self) -> Result<Vec<Received>> {
        let tally: Array<_, u64> = self.array("TALLY")?;
        let of = |flow: u32, server: &Host| {
            let [.., last] = server.mac().0;
            tally.get(&(u32::from(last) % HOSTS * self.flows + flow), 0).map_err(|error| wrong(&error))
        };
        (0..self.flows).map(|flow| self.servers.iter().map(|server| of(flow, server)).collect()).collect()
    }

    fn count(&self, place: u32) -> Result<u64> {
        self.array("STREAMED")?.get(&place, 0).map_err(|error| wrong(&error))
    }

    fn array(&self, name: &str) -> Result<Array<&MapData, u64>> {
        Array::try_from(self.programs.map(name).ok_or_else(|| missing(name))?).map_err(|error| wrong(&error))
    }
}

/// The number of an interface of the calling thread.
fn index(interface: &str) -> Result<u32> {
    if_nametoindex(interface).doing(|| format!("find the interface {interface}"))
}

fn attach(program: &mut Xdp) -> Result<FdLink> {
    let link =
        program.attach_to_if_index(index(INTERFACE)?, XdpMode::Driver).map_err(|error| wrong(&error))?;
    let link = program.take_link(link).map_err(|error| wrong(&error))?;
    FdLink::try_from(link).map_err(|error| wrong(&error))
}

fn program_mut<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    programs.program_mut(name).ok_or_else(|| missing(name))?.try_into().map_err(|error| wrong(&error))
}

fn missing(name: &str) -> Error {
    let reason = format!("the testbed has no {name}");
    Error::Ebpf { doing: "stream frames".into(), reason }
}

fn wrong(error: &dyn std::error::Error) -> Error {
    Error::Ebpf { doing: "stream frames".into(), reason: with_causes(error) }
}
