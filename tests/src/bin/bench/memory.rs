//! What a connection costs in memory: what the kernel says of the maps, shared among the connections that they
//! have room for.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use aya::maps::{Map, MapInfo};
use lb_lab::Lab;
use serde::Serialize;

use crate::Result;
use crate::per_frame::Bench;
use crate::plane::Plane;
use crate::setting::{CONNECTIONS, Setting};
use crate::testbed::{REFERENCE_CONNECTIONS, Selection, Testbed};

/// A connection table's memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Memory {
    pub(crate) id: String,
    pub(crate) label: String,
    /// How many connections there is room for.
    pub(crate) connections: u32,
    /// Bytes of all maps.
    pub(crate) bytes: u64,
    /// Bytes for each connection.
    pub(crate) per_connection: f64,
}

/// The rows that there are.
pub(crate) const IDS: [&str; 3] = ["memory/ipv4", "memory/ipv6", "memory/reference"];

/// Asks the kernel.
pub(crate) fn measure(lab: &Lab, bench: &Bench) -> Result<Vec<Memory>> {
    let own;
    let plane = match bench.plane(Setting::Usual) {
        Some(plane) => plane,
        None => {
            own = Plane::open(lab, Setting::Usual)?;
            &own
        }
    };
    let of = |maps: [&str; 2]| -> Result<u64> {
        let bytes = |map: &str| {
            let info = MapInfo::from_pin(plane.dataplane().directory().join(map))?;
            bytes(info.fd()?.as_fd())
        };
        maps.into_iter().map(bytes).sum()
    };
    let [ipv4, ipv6, reference] = IDS;
    let connections = plane.max_connections();
    let testbed = Testbed::load(plane, &Selection { programs: &["reference"], ..Selection::default() })?;
    let Some(Map::LruHashMap(map)) = testbed.maps().map(REFERENCE_CONNECTIONS) else {
        return Err(format!("the testbed has no map {REFERENCE_CONNECTIONS}").into());
    };
    Ok(vec![
        Memory::new(ipv4, "lb, IPv4", connections, of(["CONNECTIONS_V4", "HALF_OPEN_V4"])?),
        Memory::new(ipv6, "lb, IPv6", connections, of(["CONNECTIONS_V6", "HALF_OPEN_V6"])?),
        Memory::new(reference, "reference, IPv4 (LRU_HASH)", CONNECTIONS, bytes(map.fd().as_fd())?),
    ])
}

impl Memory {
    fn new(id: &str, label: &str, connections: u32, bytes: u64) -> Self {
        let per_connection = bytes as f64 / f64::from(connections.max(1));
        Self { id: id.to_owned(), label: label.to_owned(), connections, bytes, per_connection }
    }
}

/// Bytes of a map, as the kernel accounts for them (`bpf_map_show_fdinfo`).
fn bytes(map: BorrowedFd<'_>) -> Result<u64> {
    let file = format!("/proc/self/fdinfo/{}", map.as_raw_fd());
    memlock(&fs::read_to_string(&file)?)
        .ok_or_else(|| format!("{file} does not tell the size of a map").into())
}

fn memlock(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Memory, memlock};

    #[test]
    fn the_kernels_figure_is_found_and_shared_out() {
        let fdinfo = "pos:\t0\nmap_type:\t2\nmax_entries:\t2\nmemlock:\t67108864\nmap_id:\t3\n";
        assert_eq!(memlock(fdinfo), Some(64 << 20));
        assert_eq!(memlock("pos:\t0\n"), None);
        assert!((Memory::new("", "", 1 << 20, 64 << 20).per_connection - 64.0).abs() < 1e-9);
    }
}
