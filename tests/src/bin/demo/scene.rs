//! The lab of the demo: its hosts, its VIPs and the director's configuration.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use lb_lab::{Director, Host, HostSpec, Lab, LabBuilder, Request, Result, VirtualServer};

use crate::keep::Kept;

/// Enough for a request, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Weights of the real servers under wrr.
pub(crate) const WEIGHTS: [u32; 3] = [4, 3, 2];
/// How many client addresses sh is tried with, and how many VIPs dh.
pub(crate) const KEYS: usize = 4;
/// The client's first address and the first VIP, chosen so that every real server gets some of sh and of dh.
const FIRST_CLIENT: u32 = 22;
const FIRST_VIP: u32 = 103;

/// Which of the lab's VIPs are whose.
const RR: usize = 0;
const WRR: usize = 1;
const SH: usize = 2;
const DH: Range<usize> = 3..3 + KEYS;

/// A lab in which the daemon runs.
pub(crate) struct Scene {
    // Before the lab: a daemon that is killed with the lab would be reaped by nobody.
    director: Director,
    lab: Lab,
}

impl Scene {
    /// Makes the lab and starts the daemon.
    pub(crate) fn set(keep: bool) -> Result<Self> {
        let lab = Lab::builder();
        let network = lab.network();
        let client = HostSpec::client("client").address(network.address(FIRST_CLIENT));
        let vips = (FIRST_VIP..).take(DH.end).map(|number| network.address(number));
        let mut lab = vips.fold(lab.host(client), LabBuilder::vip).director("director").real_servers(3);
        if keep {
            lab = lab.keepable();
        }
        let lab = lab.build()?;
        for address in client_addresses(&lab).into_iter().skip(1) {
            lab.client().add_address(address, lab.subnet().prefix())?;
        }
        let mut director = Director::on(&lab.director());
        for service in services(&lab) {
            director = director.config(service);
        }
        Ok(Self { director: director.start()?, lab })
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) fn director(&self) -> &Director {
        &self.director
    }

    pub(crate) fn rr(&self) -> Ipv4Addr {
        self.lab.vips()[RR]
    }

    pub(crate) fn wrr(&self) -> Ipv4Addr {
        self.lab.vips()[WRR]
    }

    pub(crate) fn sh(&self) -> Ipv4Addr {
        self.lab.vips()[SH]
    }

    pub(crate) fn dh(&self) -> &[Ipv4Addr] {
        &self.lab.vips()[DH]
    }

    /// The client's addresses.
    pub(crate) fn clients(&self) -> Vec<Ipv4Addr> {
        client_addresses(&self.lab)
    }

    /// The names of the real servers.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lab.real_servers().iter().map(|server| server.name().to_owned()).collect()
    }

    /// The name of the real server that answers one request.
    pub(crate) fn ask(&self, from: Ipv4Addr, vip: Ipv4Addr) -> Result<String> {
        let request = Request::get((vip, 80)).source((from, 0)).timeout(PATIENCE);
        Ok(request.send(&self.lab.client())?.server)
    }

    /// Removes everything.
    pub(crate) fn remove(self) -> Result<()> {
        drop(self.director);
        self.lab.remove()
    }

    /// Leaves everything running.
    pub(crate) fn keep(self) -> Result<Kept> {
        let commands = Kept::commands(&self)?;
        self.director.leave_running();
        Ok(Kept { id: self.lab.keep()?, commands })
    }
}

fn client_addresses(lab: &Lab) -> Vec<Ipv4Addr> {
    let first = lab.client().address().to_bits();
    (first..).take(KEYS).map(Ipv4Addr::from_bits).collect()
}

/// One virtual server for each scheduler; that of dh has several VIPs.
fn services(lab: &Lab) -> Vec<VirtualServer> {
    let servers = lab.real_servers();
    let service =
        |scheduler: &str, vip: usize| VirtualServer::tcp(scheduler, lab.vips()[vip], 80).scheduler(scheduler);
    let weighted = |service: VirtualServer, (server, weight): (&Host, u32)| {
        service.real_server(server.address(), weight)
    };
    let several = |service: VirtualServer, vip: &Ipv4Addr| service.address(*vip, 80);
    vec![
        service("rr", RR).hosts(&servers),
        servers.iter().zip(WEIGHTS).fold(service("wrr", WRR), weighted),
        service("sh", SH).hosts(&servers),
        lab.vips()[DH].iter().skip(1).fold(service("dh", DH.start), several).hosts(&servers),
    ]
}
