//! The XDP programs that labs need, from the object that LB_TESTBED_OBJECT names.

use std::collections::HashMap;
use std::env;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;
use aya_obj::generated::bpf_map_type as map_type;
use nix::net::if_::if_nametoindex;

use crate::error::{Doing, Error, Result, with_causes};
use crate::namespace::Namespace;

/// The variable that names the object.
const VARIABLE: &str = "LB_TESTBED_OBJECT";

/// An XDP program on an interface; it goes when this is dropped.
pub struct Attachment {
    link: XdpLink,
}

impl Attachment {
    /// Attaches a program of the testbed in native mode.
    pub(crate) fn new(namespace: &Namespace, interface: &str, program: &str) -> Result<Self> {
        let doing = || format!("attach XDP program {program} to {interface} of {}", namespace.name);
        let failed = |error: ProgramError| Error::Ebpf { doing: doing(), reason: with_causes(&error) };
        let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
        let program = load(&mut programs, program)?;
        let link = namespace.enter(|| -> Result<_> {
            let index = if_nametoindex(interface).doing(doing)?;
            program.attach_to_if_index(index, XdpMode::Driver).map_err(failed)
        })??;
        Ok(Self { link: program.take_link(link).map_err(failed)? })
    }

    /// Has the program stay as long as the pin.
    pub(crate) fn pin(self, path: &Path) -> Result<()> {
        let doing = || format!("pin an XDP link at {}", path.display());
        let link = FdLink::try_from(self.link)
            .map_err(|error| Error::Ebpf { doing: doing(), reason: with_causes(&error) })?;
        link.pin(path).map_err(|error| Error::Ebpf { doing: doing(), reason: with_causes(&error) })?;
        Ok(())
    }
}

/// The object, read once in a process. Programs do not belong to a namespace, only their links do.
static PROGRAMS: Mutex<Option<Ebpf>> = Mutex::new(None);

fn load<'a>(programs: &'a mut Option<Ebpf>, name: &str) -> Result<&'a mut Xdp> {
    let programs = match programs {
        Some(programs) => programs,
        None => programs.insert(read(&[], &[])?),
    };
    let doing = || format!("load XDP program {name} of the testbed");
    let program = programs
        .program_mut(name)
        .ok_or_else(|| Error::Ebpf { doing: doing(), reason: "there is no such program".into() })?;
    let failed = |error: ProgramError| Error::Ebpf { doing: doing(), reason: with_causes(&error) };
    let program: &mut Xdp = program.try_into().map_err(failed)?;
    if program.fd().is_err() {
        program.load().map_err(failed)?;
    }
    Ok(program)
}

/// Reads the object, with these globals and sizes of maps.
pub(crate) fn read(globals: &[(&str, u32)], sizes: &[(&str, u32)]) -> Result<Ebpf> {
    let path = env::var_os(VARIABLE)
        .ok_or(Error::NotSet { variable: VARIABLE, names: "the object with the XDP programs of the labs" })?;
    let doing = || format!("load {} (from {VARIABLE})", Path::new(&path).display());
    let bytes = std::fs::read(&path).doing(doing)?;
    let object =
        Object::parse(&bytes).map_err(|error| Error::Ebpf { doing: doing(), reason: with_causes(&error) })?;
    let mut loader = EbpfLoader::new();
    // The programs used here need no relocation against the kernel's types, which take long to read.
    loader.btf(None);
    for name in large_maps(&object.maps) {
        loader.map_max_entries(name, 1);
    }
    for (name, size) in sizes {
        loader.map_max_entries(name, *size);
    }
    for (name, value) in globals {
        loader.override_global(name, value, true);
    }
    loader.load(&bytes).map_err(|error| Error::Ebpf { doing: doing(), reason: with_causes(&error) })
}

/// Maps that could take much memory although no program of a lab uses them: the balancer's tables.
fn large_maps(maps: &HashMap<String, aya_obj::Map>) -> impl Iterator<Item = &str> {
    const SIZEABLE: [map_type; 6] = [
        map_type::BPF_MAP_TYPE_HASH,
        map_type::BPF_MAP_TYPE_ARRAY,
        map_type::BPF_MAP_TYPE_PERCPU_HASH,
        map_type::BPF_MAP_TYPE_PERCPU_ARRAY,
        map_type::BPF_MAP_TYPE_LRU_HASH,
        map_type::BPF_MAP_TYPE_LRU_PERCPU_HASH,
    ];
    let sizeable = |map: &aya_obj::Map| SIZEABLE.iter().any(|kind| map.map_type() == *kind as u32);
    maps.iter().filter(move |(_, map)| sizeable(map) && map.max_entries() > 1).map(|(name, _)| name.as_str())
}
