//! The testbed's programs, loaded against a plane's maps.

use std::env;
use std::fs;
use std::net::Ipv4Addr;

use aya::maps::{Array, HashMap, PerCpuArray};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};

use crate::Result;
use crate::plane::{MAC, Plane, VIP, WEB};

const VARIABLE: &str = "LB_TESTBED_OBJECT";

/// Maps that the testbed's programs share with the product's.
const SHARED: [&str; 15] = [
    "SETTINGS",
    "SERVICES_V4",
    "SERVICES_V6",
    "SERVICES",
    "SLOTS",
    "DESTINATIONS",
    "CONNECTIONS_V4",
    "HALF_OPEN_V4",
    "CONNECTIONS_V6",
    "HALF_OPEN_V6",
    "FRAGMENTS",
    "DEVICES",
    "HELD",
    "COUNTERS",
    "REAL_STATS",
];

/// Loaded programs.
pub(crate) struct Testbed(Ebpf);

/// `Address` in the reference's service map.
#[repr(C)]
#[derive(Clone, Copy)]
struct Address {
    vip: u32,
    port: u16,
    protocol: u16,
}
// SAFETY: three integers without padding.
unsafe impl Pod for Address {}

/// `RealServer` in the reference's map.
#[repr(C)]
#[derive(Clone, Copy)]
struct RealServer {
    macs: [u8; 12],
    unused: [u8; 4],
}
// SAFETY: bytes.
unsafe impl Pod for RealServer {}

impl Testbed {
    /// Loads the programs whose sources step through `sources` addresses, a power of two, and send to the
    /// interface `target`.
    pub(crate) fn load(plane: &Plane, sources: u32, target: u32, programs: &[&str]) -> Result<Self> {
        let path = env::var_os(VARIABLE).ok_or_else(|| {
            format!("{VARIABLE} is not set: run `cargo xtask bench`, which builds it and sets it")
        })?;
        let object = fs::read(&path)?;
        let (mask, constants) = (sources - 1, plane.dataplane().constants());
        let mut loader = EbpfLoader::new();
        loader.btf(None).override_global("SOURCE_MASK", &mask, true).override_global("TARGET", &target, true);
        constants.set(&mut loader);
        for map in SHARED {
            loader.map_pin_path(map, plane.dataplane().directory().join(map));
        }
        let mut testbed = Self(loader.load(&object)?);
        for program in programs {
            testbed.program_mut(program)?.load()?;
        }
        testbed.fill_reference()?;
        Ok(testbed)
    }

    /// One service with one real server.
    fn fill_reference(&mut self) -> Result<()> {
        let map = |name| format!("the testbed has no map {name}");
        let services = self.0.map_mut("REFERENCE_SERVICES").ok_or_else(|| map("REFERENCE_SERVICES"))?;
        let mut services: HashMap<_, Address, u32> = HashMap::try_from(services)?;
        let vip = u32::from_le_bytes(VIP.octets());
        services.insert(Address { vip, port: WEB.to_be(), protocol: 6 }, 1, 0)?;
        let servers =
            self.0.map_mut("REFERENCE_REAL_SERVERS").ok_or_else(|| map("REFERENCE_REAL_SERVERS"))?;
        let mut servers: Array<_, RealServer> = Array::try_from(servers)?;
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&MAC.into_array());
        macs[6..].copy_from_slice(&MAC.into_array());
        servers.set(0, RealServer { macs, unused: [0; 4] }, 0)?;
        Ok(())
    }

    /// A loaded program.
    pub(crate) fn program(&self, name: &str) -> Result<&Xdp> {
        let program = self.0.program(name).ok_or_else(|| format!("the testbed has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// A program to load or attach.
    pub(crate) fn program_mut(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.0.program_mut(name).ok_or_else(|| format!("the testbed has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Frames that `sink` has counted.
    pub(crate) fn sunk(&self) -> Result<u64> {
        let map = self.0.map("SUNK").ok_or("the testbed has no map SUNK")?;
        let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        Ok(counts.get(&0, 0)?.iter().sum())
    }
}

/// Nanoseconds for each of `frames` runs of a program on a frame.
pub(crate) fn nanoseconds(program: &Xdp, frame: &[u8], frames: u32) -> Result<u64> {
    let options = TestRunOptions { data_in: Some(frame), repeat: frames, ..TestRunOptions::new() };
    Ok(u64::try_from(program.test_run(options)?.duration.as_nanos())?)
}

/// Sends `frames` live frames through a program.
pub(crate) fn send(program: &Xdp, frame: &[u8], frames: u32) -> Result<()> {
    let attrs = TestRunAttrs::new().xdp_live_frames(64);
    program.test_run(TestRunOptions {
        data_in: Some(frame),
        repeat: frames,
        attrs,
        ..TestRunOptions::new()
    })?;
    Ok(())
}

/// An IPv4 frame of 60 bytes from the first source.
pub(crate) fn frame(destination: Ipv4Addr, port: u16, transport: Transport) -> Result<Vec<u8>> {
    use etherparse::PacketBuilder;

    use crate::plane::{SOURCE_PORT, SOURCES};

    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], MAC.into_array()).ipv4(
        SOURCES.octets(),
        destination.octets(),
        64,
    );
    let mut frame = Vec::new();
    match transport {
        Transport::TcpAck => builder.tcp(SOURCE_PORT, port, 1, 1024).ack(1).write(&mut frame, &[])?,
        Transport::Udp => builder.udp(SOURCE_PORT, port).write(&mut frame, &[])?,
    }
    frame.resize(60, 0);
    Ok(frame)
}

/// A frame's packet, filled up to 9000 bytes.
pub(crate) fn jumbo(frame: &[u8]) -> Vec<u8> {
    const MTU: u16 = 9000;
    const ETHERNET: usize = 14;
    let mut jumbo = frame.to_vec();
    jumbo.resize(ETHERNET + usize::from(MTU), 0);
    // The total length; nobody looks at the checksum.
    jumbo[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&MTU.to_be_bytes());
    jumbo
}

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    /// A segment of an established connection.
    TcpAck,
    /// A datagram.
    Udp,
}
