//! A data plane to measure: the product's maps, filled by the product from a configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::time::Instant;

use lb_common::connection::{Buckets, Inserted, Meta, State, Terms, Timeouts, insert, key_v4, key_v6};
use lb_common::hash::FlowHash;
use lb_lab::Lab;
use lb_userspace::config::{self, Config, Protocol};
use lb_userspace::dataplane::{Capacity, Options, ServiceAddress};
use lb_userspace::health::Verdicts;
use lb_userspace::neighbour::Resolutions;
use lb_userspace::state::{Circumstances, Network, desired};

use crate::Result;
use crate::frames::{source_v4, source_v6};
use crate::setting::{MAC, SOURCE_PORT, Setting, TRUNK, VIP, VIP_V6, WEB};

/// Maps with services and connections in them.
pub(crate) struct Plane {
    plane: lb_lab::Plane,
    config: Config,
}

impl Deref for Plane {
    type Target = lb_lab::Plane;

    fn deref(&self) -> &lb_lab::Plane {
        &self.plane
    }
}

impl Plane {
    /// Maps of their own, filled as the setting says.
    pub(crate) fn open(lab: &Lab, setting: Setting) -> Result<Self> {
        Self::open_as(lab, setting, &setting.name())
    }

    /// The same in a directory of this name.
    pub(crate) fn open_as(lab: &Lab, setting: Setting, name: &str) -> Result<Self> {
        let config = config::parse(name, &setting.text()).map_err(|errors| errors.to_string())?.config;
        let max_connections = config.director.max_connections;
        let options = Options {
            bpffs: lab.bpffs().join(name),
            capacity: Capacity { max_connections, has_ipv6: setting.has_ipv6() },
            log_flows: false,
        };
        let mut plane = lb_lab::Plane::open(&options)?;
        let circumstances = Circumstances {
            network: &Network::of_one(MAC),
            resolutions: &Resolutions::new(),
            verdicts: &Verdicts::default(),
            without_quorum: &BTreeSet::new(),
            view: &plane.view(),
            now: Instant::now(),
        };
        let mut desired = desired(&config, &circumstances);
        if setting == Setting::Schedulers {
            // Less than can be configured: an entry holds for no time at all.
            desired.timeouts = Timeouts::with(900, 120, 0);
        }
        plane.reconcile(&desired)?;
        let plane = Self { plane, config };
        plane.establish(setting.flows())?;
        // As the daemon's: what is in use of a table is what its connections need.
        plane.dataplane().sweeper().sweep()?;
        Ok(plane)
    }

    /// Records established connections to the TCP services whose established frames are measured, from `flows` sources.
    pub(crate) fn establish(&self, flows: u32) -> Result<()> {
        let dataplane = self.dataplane();
        let (v4, v6) = (dataplane.memory().connections_v4(), dataplane.memory().connections_v6());
        for (vip, port) in [(VIP.into(), WEB), (VIP.into(), TRUNK), (IpAddr::from(VIP_V6), WEB)] {
            let Some(destination) = self.first_real_server(SocketAddr::new(vip, port)) else { continue };
            // The others fill a table.
            let flows = if port == TRUNK { flows.min(1) } else { flows };
            for source in 0..flows {
                match vip {
                    IpAddr::V4(vip) => self.record(v4, flow_v4(source, vip, port), destination)?,
                    IpAddr::V6(vip) => self.record(v6, flow_v6(source, vip, port), destination)?,
                }
            }
        }
        Ok(())
    }

    fn record<const K: usize>(&self, table: &impl Buckets<K>, key: [u64; K], destination: u32) -> Result<()> {
        let now = self.dataplane().clock().now()?;
        let timeouts = Timeouts::ipvs();
        let hash = FlowHash::new(&key, self.dataplane().flow_seed());
        let meta = Meta::new(destination, State::Established, now);
        let terms = Terms { now, timeouts: &timeouts, ranks: &timeouts };
        match insert(table, &key, hash, meta, terms, |_, _| {}) {
            Inserted::Stored | Inserted::EvictedLive | Inserted::Existing(_) => Ok(()),
            Inserted::Lost => Err("a connection could not be recorded".into()),
        }
    }

    /// The number of the first real server of the TCP service at an address, if there is such a service.
    pub(crate) fn first_real_server(&self, address: SocketAddr) -> Option<u32> {
        let view = self.view();
        let is_it =
            |found: &ServiceAddress| found.protocol == Protocol::Tcp && found.address == address.into();
        let service = view.addresses.iter().find_map(|(found, number)| is_it(found).then_some(*number))?;
        let mut destinations = view.destinations.iter();
        destinations.find_map(|(number, found)| (found.service == service).then_some(*number))
    }

    /// How many connections of one family there is room for.
    pub(crate) fn max_connections(&self) -> u32 {
        self.config.director.max_connections
    }
}

/// The key of the TCP flow from the `n`th source.
fn flow_v4(n: u32, vip: Ipv4Addr, port: u16) -> [u64; 2] {
    let word = |address: Ipv4Addr| u64::from(u32::from_le_bytes(address.octets()));
    key_v4(word(source_v4(n)) | word(vip) << 32, ports(n, port), Protocol::Tcp.number())
}

fn flow_v6(n: u32, vip: Ipv6Addr, port: u16) -> [u64; 5] {
    let words = |address: Ipv6Addr| {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| address.octets()[at + i]));
        [word(0), word(8)]
    };
    let ([a, b], [c, d]) = (words(source_v6(n)), words(vip));
    key_v6([a, b, c, d], ports(n, port), Protocol::Tcp.number())
}

/// Source port of the `n`th source and destination port, as they lie in the frame.
fn ports(n: u32, port: u16) -> u32 {
    let [_, _, high, low] = n.to_be_bytes();
    let source = SOURCE_PORT ^ u16::from_be_bytes([high, low]);
    u32::from(source.to_be()) | u32::from(port.to_be()) << 16
}
