//! A data plane to measure: the product's maps, filled by the product.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;

use lb_common::connection::{Inserted, Meta, State, Timeouts, insert, key_v4};
use lb_common::hash::FlowHash;
use lb_lab::Lab;
use lb_userspace::config::Protocol;
use lb_userspace::dataplane::{AclView, Capacity, InterfaceView, Options, ServiceAddress, Way};
use lb_userspace::forms::{Ports, Prefix, VirtualAddress};
use lb_userspace::scheduler::{self, Parameters, Server};
use lb_userspace::state::{Desired, DesiredServer, DesiredService};
use macaddr::MacAddr6;

use crate::Result;

/// The NIC's MAC, and the real servers': a frame that is fed back stays one that the director accepts.
pub(crate) const MAC: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 1);
/// The one VIP.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The TCP service whose connections are established.
pub(crate) const WEB: u16 = 80;
/// The UDP services, one for each scheduler, have ports from here on.
pub(crate) const FIRST_UDP: u16 = 5000;
/// Sources of frames begin here.
pub(crate) const SOURCES: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// The source port of every frame.
pub(crate) const SOURCE_PORT: u16 = 1000;

const REAL_SERVERS: u8 = 16;

/// Maps with services in them.
pub(crate) struct Plane(lb_lab::Plane);

impl Deref for Plane {
    type Target = lb_lab::Plane;

    fn deref(&self) -> &lb_lab::Plane {
        &self.0
    }
}

impl Plane {
    /// Maps of their own for so many connections, with the TCP service, a UDP service for each scheduler, and
    /// `services` in all. UDP flows are forgotten after `udp_timeout` seconds.
    pub(crate) fn open(
        lab: &Lab,
        name: &str,
        max_connections: u32,
        services: u16,
        udp_timeout: u32,
    ) -> Result<Self> {
        let options = Options {
            bpffs: lab.bpffs().join(name),
            capacity: Capacity { max_connections, has_ipv6: true },
            log_flows: false,
        };
        let mut plane = lb_lab::Plane::open(&options)?;
        plane.reconcile(&desired(services, udp_timeout))?;
        Ok(Self(plane))
    }

    /// Records established connections to the TCP service, from `count` sources.
    pub(crate) fn establish(&self, count: u32) -> Result<()> {
        let view = self.view();
        let destination = view.destinations.keys().next().copied().unwrap_or_default();
        let now = self.dataplane().clock().now()?;
        let timeouts = Timeouts::ipvs();
        let table = self.dataplane().memory().connections_v4();
        for source in 0..count {
            let key = flow(source);
            let hash = FlowHash::new(&key, self.dataplane().flow_seed());
            let meta = Meta::new(destination, State::Established, now);
            match insert(table, &key, hash, meta, now, &timeouts, &timeouts) {
                Inserted::Stored | Inserted::EvictedLive | Inserted::Existing(_) => {}
                Inserted::Lost => return Err("a connection could not be recorded".into()),
            }
        }
        Ok(())
    }
}

/// The key of the TCP flow from the `n`th source.
fn flow(n: u32) -> [u64; 2] {
    let source = u32::from_le_bytes(Ipv4Addr::from_bits(SOURCES.to_bits() | n).octets());
    let addresses = u64::from(source) | u64::from(u32::from_le_bytes(VIP.octets())) << 32;
    key_v4(addresses, u32::from(SOURCE_PORT.to_be()) | u32::from(WEB.to_be()) << 16, Protocol::Tcp.number())
}

/// The addresses of a service with 32 prefixes, each with a range of ports and any port.
fn forms() -> Option<Vec<ServiceAddress>> {
    let of =
        |n: u8| {
            let vips = Prefix::new(Ipv4Addr::new(203, 0, n, 0).into(), 28)?;
            Some([Ports { first: 8000, last: 8100 }, Ports::ANY].map(|ports| ServiceAddress {
                address: VirtualAddress { vips, ports },
                protocol: Protocol::Tcp,
            }))
        };
    Some((0..32).map(of).collect::<Option<Vec<_>>>()?.concat())
}

fn desired(services: u16, udp_timeout: u32) -> Desired {
    let service = |address: ServiceAddress, scheduler: scheduler::Scheduler| {
        let server = |n: u8| DesiredServer {
            address: Ipv4Addr::new(172, 16, 0, n).into(),
            weight: u32::from(n % 4 + 1),
            last_weight: u32::from(n % 4 + 1),
            way: Some(Way::to(MAC)),
            is_reachable: true,
        };
        let servers: Vec<DesiredServer> = (0..REAL_SERVERS).map(server).collect();
        let scheduled: Vec<Server> = servers
            .iter()
            .map(|server| Server {
                address: server.address,
                weight: server.weight,
                weight_before: server.last_weight,
                usable: true,
            })
            .collect();
        let parameters = Parameters::default();
        DesiredService {
            addresses: vec![address],
            selector: scheduler.selector(),
            options: scheduler.options(&parameters),
            slots: scheduler.slots(&scheduled, &parameters),
            servers,
            acl: AclView::default(),
        }
    };
    let [rr, ..] = scheduler::ALL;
    let tcp =
        |port| ServiceAddress { address: SocketAddr::new(VIP.into(), port).into(), protocol: Protocol::Tcp };
    let udp =
        |port| ServiceAddress { address: SocketAddr::new(VIP.into(), port).into(), protocol: Protocol::Udp };
    let mut all = vec![service(tcp(WEB), rr)];
    all.extend((FIRST_UDP..).zip(scheduler::ALL).map(|(port, scheduler)| service(udp(port), scheduler)));
    let others = usize::from(services).saturating_sub(all.len() + 1);
    let other = |port| DesiredService { servers: Vec::new(), slots: Vec::new(), ..service(tcp(port), rr) };
    all.extend((10_000..).take(others).map(other));
    if others > 0 {
        all.extend(forms().map(|addresses| DesiredService { addresses, ..other(0) }));
    }
    Desired {
        interfaces: BTreeMap::from([(0, InterfaceView { mac: Some(MAC), peers: BTreeSet::new() })]),
        timeouts: Timeouts::with(900, 120, udp_timeout),
        acl: AclView::default(),
        services: all,
    }
}
