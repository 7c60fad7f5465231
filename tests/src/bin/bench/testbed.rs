//! The testbed's programs, and the object to compare with, loaded against a plane's maps.

use std::env;
use std::fs;
use std::io;
use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapInfo, PerCpuArray};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use aya_obj::Object;

use crate::Result;
use crate::frames::{SOURCE_V4, order_at, port_at};
use crate::plane::Plane;
use crate::setting::{MAC, SOURCE_PORT, VIP, WEB};

const VARIABLE: &str = "LB_TESTBED_OBJECT";
/// The reference's large map.
pub(crate) const REFERENCE_CONNECTIONS: &str = "REFERENCE_CONNECTIONS";

/// Loaded programs.
pub(crate) struct Testbed(Ebpf);

/// Which programs, and what they are told.
pub(crate) struct Selection<'a> {
    pub(crate) programs: &'a [&'static str],
    /// How many sources they step through, a power of two.
    pub(crate) sources: u32,
    /// Where the last four bytes of the source address lie.
    pub(crate) source_at: u32,
    /// The interface that `generate` sends to.
    pub(crate) target: u32,
}

impl Default for Selection<'_> {
    fn default() -> Self {
        Self { programs: &[], sources: 1, source_at: SOURCE_V4, target: 0 }
    }
}

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

/// The names of all that a plane has pinned.
fn pins(plane: &Plane) -> Result<Vec<String>> {
    let name = |pin: io::Result<fs::DirEntry>| Ok(pin?.file_name().to_string_lossy().into_owned());
    fs::read_dir(plane.dataplane().directory())?.map(name).collect()
}

/// Has an object that is about to be loaded share every map that the plane has pinned.
fn share<'a>(loader: &mut EbpfLoader<'a>, plane: &'a Plane, pins: &'a [String]) {
    let dataplane = plane.dataplane();
    dataplane.constants().set(loader);
    for name in pins {
        loader.map_pin_path(name, dataplane.directory().join(name));
    }
}

impl Testbed {
    /// Loads programs of the testbed.
    pub(crate) fn load(plane: &Plane, selection: &Selection<'_>) -> Result<Self> {
        let path = env::var_os(VARIABLE).ok_or_else(|| {
            format!("{VARIABLE} is not set: run `cargo xtask bench`, which builds it and sets it")
        })?;
        let object = fs::read(&path)?;
        let mask = selection.sources - 1;
        let (order_at, port_at) = (order_at(selection.source_at), port_at(selection.source_at));
        let pins = pins(plane)?;
        let mut loader = EbpfLoader::new();
        loader
            .btf(None)
            .override_global("SOURCE_MASK", &mask, true)
            .override_global("SOURCE_AT", &selection.source_at, true)
            .override_global("ORDER_AT", &order_at, true)
            .override_global("PORT_AT", &port_at, true)
            .override_global("FIRST_PORT", &SOURCE_PORT, true)
            .override_global("TARGET", &selection.target, true);
        share(&mut loader, plane, &pins);
        let has_reference = selection.programs.iter().any(|program| program.contains("reference"));
        if !has_reference {
            // It would take its memory all the same.
            loader.map_max_entries(REFERENCE_CONNECTIONS, 1);
        }
        let mut testbed = Self(loader.load(&object)?);
        for program in selection.programs {
            testbed.program_mut(program)?.load()?;
        }
        if has_reference {
            testbed.fill_reference()?;
        }
        Ok(testbed)
    }

    /// Loads the product's program from an object of another build.
    ///
    /// # Errors
    /// Its maps are laid out in another way than this build's, among others.
    pub(crate) fn load_other(plane: &Plane, path: &Path) -> Result<Self> {
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let bytes = fs::read(path).map_err(|error| failed(&error))?;
        let object = Object::parse(&bytes).map_err(|error| failed(&error))?;
        let pinned = |name: &str| {
            let info = MapInfo::from_pin(plane.dataplane().directory().join(name)).ok()?;
            Some(Shape { kind: info.map_type().ok()? as u32, key: info.key_size(), value: info.value_size() })
        };
        let theirs = object.maps.iter().map(|(name, map)| {
            let shape = Shape { kind: map.map_type(), key: map.key_size(), value: map.value_size() };
            (name.as_str(), shape)
        });
        if let Some(difference) = difference(theirs, pinned) {
            let advice = "only builds with the same maps can be compared in one run";
            return Err(failed(&format!("{difference}; {advice}")).into());
        }
        let pins = pins(plane)?;
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        share(&mut loader, plane, &pins);
        let mut testbed = Self(loader.load(&bytes).map_err(|error| failed(&error))?);
        testbed.program_mut("lb")?.load().map_err(|error| failed(&error))?;
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
        let program = self.0.program(name).ok_or_else(|| format!("the object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// A program to load or attach.
    pub(crate) fn program_mut(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.0.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Frames that `sink` has counted.
    pub(crate) fn sunk(&self) -> Result<u64> {
        let map = self.0.map("SUNK").ok_or("the testbed has no map SUNK")?;
        let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        Ok(counts.get(&0, 0)?.iter().sum())
    }

    /// A map to write to.
    pub(crate) fn map_mut(&mut self, name: &str) -> Result<&mut Map> {
        Ok(self.0.map_mut(name).ok_or_else(|| format!("the testbed has no map {name}"))?)
    }

    /// The maps.
    pub(crate) fn maps(&self) -> &Ebpf {
        &self.0
    }
}

/// What must be the same for a map to be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    kind: u32,
    key: u32,
    value: u32,
}

/// The first map of an object that is not like this build's map of that name, in words.
fn difference<'a>(
    theirs: impl Iterator<Item = (&'a str, Shape)>,
    ours: impl Fn(&str) -> Option<Shape>,
) -> Option<String> {
    // What is compiled into the object, and what is each process's own (lb-ebpf/src/kernel/maps.rs).
    const PRIVATE: [&str; 9] =
        ["AYA_LOGS", "HEADER", "SEARCH", "TEMPLATE", "TRACE", "WATCH", "SAMPLE", "SAMPLES", "PROBED_VIPS"];
    let is_private = |name: &str| name.starts_with('.') || PRIVATE.contains(&name);
    let mut maps: Vec<(&str, Shape)> = theirs.filter(|(name, _)| !is_private(name)).collect();
    maps.sort_unstable_by_key(|(name, _)| *name);
    let unlike = |(name, theirs): (&str, Shape)| match ours(name) {
        None => Some(format!("its map {name} does not exist in this build")),
        Some(ours) if ours == theirs => None,
        Some(ours) if ours.kind != theirs.kind => Some(format!("its map {name} is of another type")),
        Some(ours) => Some(format!(
            "its map {name} has keys of {} bytes and values of {}, this build's {} and {}",
            theirs.key, theirs.value, ours.key, ours.value
        )),
    };
    maps.into_iter().find_map(unlike)
}

/// What a run of a program on one frame was like.
pub(crate) struct Ran {
    /// For each frame.
    pub(crate) nanoseconds: u64,
    /// Of the last frame.
    pub(crate) verdict: u32,
}

/// Runs a program `frames` times on a frame, each time on what the last made of it.
pub(crate) fn run(program: &Xdp, frame: &[u8], frames: u32) -> Result<Ran> {
    let options = TestRunOptions { data_in: Some(frame), repeat: frames, ..TestRunOptions::new() };
    let result = program.test_run(options)?;
    Ok(Ran { nanoseconds: u64::try_from(result.duration.as_nanos())?, verdict: result.return_value })
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

#[cfg(test)]
mod tests {
    use super::{Shape, difference};

    const ARRAY: Shape = Shape { kind: 2, key: 4, value: 64 };

    #[test]
    fn an_object_whose_maps_are_laid_out_otherwise_is_refused_with_the_first_that_is() {
        let ours = |name: &str| (name == "SERVICES").then_some(ARRAY);
        let of = |maps: &[(&'static str, Shape)]| difference(maps.iter().copied(), ours);
        assert_eq!(
            of(&[("SERVICES", ARRAY), (".rodata", Shape { value: 1, ..ARRAY }), ("TRACE", ARRAY)]),
            None
        );
        assert_eq!(
            of(&[("SERVICES", Shape { value: 72, ..ARRAY })]).as_deref(),
            Some("its map SERVICES has keys of 4 bytes and values of 72, this build's 4 and 64")
        );
        assert_eq!(of(&[("LOAD", ARRAY)]).as_deref(), Some("its map LOAD does not exist in this build"));
        assert_eq!(
            of(&[("SERVICES", Shape { kind: 1, ..ARRAY })]).as_deref(),
            Some("its map SERVICES is of another type")
        );
    }
}
