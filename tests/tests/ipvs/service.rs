//! A virtual server of either director.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_lab::HashTable;
use lb_userspace::scheduler::{Flag, Parameters, Scheduler, Server};

use crate::random::Random;

/// A virtual server and its real servers, some of which are given another weight later, or 0.
pub(crate) struct Service {
    scheduler: Scheduler,
    flags: Vec<Flag>,
    pub(crate) vip: SocketAddr,
    servers: Vec<RealServer>,
    table: HashTable,
}

struct RealServer {
    address: IpAddr,
    /// The weight it is added with, and those that it gets then.
    weights: Vec<u32>,
}

impl RealServer {
    fn random(is_ipv6: bool, random: &mut Random) -> Self {
        let address = if is_ipv6 {
            Ipv6Addr::from(0xfd00 << 112 | u128::from(random.word())).into()
        } else {
            Ipv4Addr::from(0xac10_0000 | random.below(1 << 20)).into()
        };
        let mut weights = vec![weight(random)];
        while random.one_in(3) {
            weights.push(if random.one_in(2) { 0 } else { weight(random) });
        }
        Self { address, weights }
    }

    /// As the product knows it in the end.
    fn server(&self) -> Server {
        let weight = self.weights.last().copied().unwrap_or_default();
        let before = self.weights.iter().rev().find(|weight| **weight > 0);
        let weight_before = before.copied().unwrap_or_default();
        Server { address: self.address, weight, weight_before, usable: true }
    }
}

/// Mostly small, sometimes as large as can be, sometimes 0.
fn weight(random: &mut Random) -> u32 {
    match random.below(10) {
        0 => 0,
        1 => 1 + random.below(65_535),
        2 | 3 => 1 + random.below(300),
        _ => 1 + random.below(5),
    }
}

impl Service {
    /// The `number`th.
    pub(crate) fn random(scheduler: &str, number: u16, random: &mut Random) -> Self {
        let scheduler = Scheduler::by_name(scheduler).expect("a scheduler");
        let is_ipv6 = random.one_in(3);
        let vip: IpAddr = if is_ipv6 {
            Ipv6Addr::from(0x2001_0db8_0001 << 80 | u128::from(random.word())).into()
        } else {
            Ipv4Addr::from(0x6440_0000 | random.below(1 << 22)).into()
        };
        let flags: Vec<Flag> = scheduler.flags().iter().copied().filter(|_| random.one_in(2)).collect();
        let mut servers: Vec<RealServer> =
            (0..1 + random.below(12)).map(|_| RealServer::random(is_ipv6, random)).collect();
        servers.sort_by_key(|server| server.address);
        servers.dedup_by_key(|server| server.address);
        // In any order.
        servers.sort_by_key(|_| random.word());
        let vip = SocketAddr::new(vip, 1000 + number);
        let parameters =
            Parameters { flags: flags.iter().copied().collect(), port: vip.port(), ..Parameters::default() };
        let known: Vec<Server> = servers.iter().map(RealServer::server).collect();
        let table = HashTable::new(scheduler, &known, &parameters).expect("a scheduler that hashes");
        Self { scheduler, flags, vip, servers, table }
    }

    /// Some client of the same family.
    pub(crate) fn client(&self, random: &mut Random) -> SocketAddr {
        let address = if self.vip.is_ipv6() {
            Ipv6Addr::from(0x2001_0db8_ffff << 80 | u128::from(random.word())).into()
        } else {
            // No address that means anything in itself.
            let network = 20 + random.below(60);
            Ipv4Addr::from(network << 24 | random.below(1 << 24)).into()
        };
        SocketAddr::new(address, u16::try_from(1 + random.below(65_535)).expect("a port"))
    }

    /// The real server that the product chooses.
    pub(crate) fn choice(&self, client: SocketAddr) -> Option<IpAddr> {
        let slot = self.table.pick(client.ip(), client.port(), self.vip.ip());
        slot.map(|i| self.servers[i].address)
    }

    /// What `ipvsadm --restore` is told.
    pub(crate) fn rules(&self) -> Vec<String> {
        let Self { scheduler, vip, .. } = self;
        let names: Vec<&str> = self.flags.iter().map(|flag| flag.name()).collect();
        let flags = if names.is_empty() { String::new() } else { format!(" -b {}", names.join(",")) };
        let mut rules = vec![format!("-A -t {vip} -s {scheduler}{flags}")];
        let real_server = |server: &RealServer| SocketAddr::new(server.address, vip.port());
        for server in &self.servers {
            rules.push(format!("-a -t {vip} -r {} -g -w {}", real_server(server), server.weights[0]));
        }
        for server in &self.servers {
            let changes = server.weights[1..].iter();
            rules.extend(
                changes.map(|weight| format!("-e -t {vip} -r {} -g -w {weight}", real_server(server))),
            );
        }
        rules
    }

    /// How `ipvsadm -L -n` begins to show it.
    pub(crate) fn listed(&self) -> String {
        let names: Vec<&str> = self.flags.iter().map(|flag| flag.name()).collect();
        let flags = if names.is_empty() { String::new() } else { format!(" ({})", names.join(",")) };
        format!("TCP  {} {}{flags}", self.vip, self.scheduler)
    }
}
