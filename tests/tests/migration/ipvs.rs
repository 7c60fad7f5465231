//! What the kernel's IPVS has, as ipvsadm shows it.

use std::net::Ipv4Addr;

use lb_lab::{Host, Result};

/// A virtual service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) vip: Ipv4Addr,
    pub(crate) real_servers: usize,
    /// Established connections of all its real servers.
    pub(crate) active: u64,
    /// Connections that it scheduled.
    pub(crate) connections: u64,
    /// Packets that it forwarded.
    pub(crate) packets: u64,
}

/// All of a host's, in the order of their VIPs.
///
/// # Panics
/// If the kernel has no IPVS.
pub(crate) fn services(host: &Host) -> Result<Vec<Service>> {
    let listed = list(host, &["-Ln"])?;
    let counted = list(host, &["-Ln", "--stats", "--exact"])?;
    let mut services: Vec<Service> = Vec::new();
    for words in listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        match words[..] {
            // `TCP  192.168.2.240:80 rr`
            ["TCP", address, ..] => {
                let [connections, packets] = totals(&counted, address);
                services.push(Service {
                    vip: vip(address),
                    real_servers: 0,
                    active: 0,
                    connections,
                    packets,
                });
            }
            // `  -> 192.168.2.212:80 Route 1 0 37`: weight, active, inactive.
            ["->", _, "Route", _, active, _] => {
                let service = services.last_mut().expect("a virtual service comes before its real servers");
                service.real_servers += 1;
                service.active += number(active);
            }
            _ => {}
        }
    }
    services.sort_by_key(|service| service.vip);
    Ok(services)
}

/// The one of a VIP.
pub(crate) fn service(host: &Host, vip: Ipv4Addr) -> Result<Service> {
    let found = services(host)?.into_iter().find(|service| service.vip == vip);
    Ok(found.unwrap_or_else(|| panic!("IPVS has no virtual service of {vip}")))
}

/// `TCP 192.168.2.240:80 CONNS INPKTS OUTPKTS INBYTES OUTBYTES`
fn totals(counted: &str, address: &str) -> [u64; 2] {
    let mut lines = counted.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| words.first() == Some(&"TCP") && words.get(1) == Some(&address));
    line.map(|words| [number(words[2]), number(words[3])]).unwrap_or_default()
}

fn list(host: &Host, options: &[&str]) -> Result<String> {
    let done = host.command("ipvsadm").args(options).run()?;
    assert!(
        !done.stderr.contains("Can't initialize ipvs"),
        "this kernel has no IPVS: `cargo xtask test vm migration` runs this on one that has, or load the modules ip_vs, ip_vs_rr and \
         ip_vs_sh"
    );
    done.success()
}

fn vip(address: &str) -> Ipv4Addr {
    address.split(':').next().and_then(|vip| vip.parse().ok()).expect("an address with a port")
}

fn number(word: &str) -> u64 {
    word.parse().expect("ipvsadm shows a number")
}
