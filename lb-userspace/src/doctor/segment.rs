//! The real servers, as their segment shows them: where they are, who answers for which address, and whether they
//! accept a VIP's packets at their MAC. What is asked for that, [`gather`] knows; this is what is made of the answers.

mod gather;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use macaddr::MacAddr6;

pub(super) use gather::{Surroundings, gather};

use super::code::Code;
use super::finding::{Finding, Remedy};
use super::with_port;
use crate::net::{Route, mac_text, question};
use crate::state::Location;

#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    servers: Vec<Server>,
    /// Who answers for VIPs besides the director and the real servers.
    pub(super) owners: BTreeMap<IpAddr, BTreeSet<MacAddr6>>,
    /// Interfaces on which nothing could be asked, and why.
    failures: Vec<(String, String)>,
}

/// A real server, and what was heard of it.
#[derive(Clone, Debug)]
struct Server {
    address: IpAddr,
    location: Location,
    route: Option<Route>,
    /// The MAC in the configuration.
    pinned: Option<MacAddr6>,
    /// Who answers for its address.
    macs: BTreeSet<MacAddr6>,
    /// Where the kernel takes it to be.
    kernel: Option<MacAddr6>,
    /// Another real server that has its MAC and is another machine.
    clone: Option<IpAddr>,
    vips: Vec<ServedVip>,
    mtu: Mtu,
    /// Why it was not asked.
    unasked: Option<String>,
}

/// One of its VIPs.
#[derive(Clone, Debug)]
struct ServedVip {
    address: IpAddr,
    port: u16,
    /// Whether it says that it has it.
    is_announced: bool,
    /// What it did with packets for it.
    accepted: Option<String>,
}

/// Whether packets as long as the director's interface sends them arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mtu {
    /// It answers no echo requests, short or long.
    Unknown,
    Fits,
    /// It answers short ones only; the director's MTU.
    IsLess(u32),
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let failures = facts.failures.iter().map(|(interface, error)| {
        let found = format!("real servers behind it: open a packet socket: {error}");
        let remedy = Remedy::advice("run lb doctor as root");
        Finding::warning(Code::NotLookedAt, interface, found).fix(remedy)
    });
    failures.chain(facts.servers.iter().flat_map(of_server)).collect()
}

fn of_server(server: &Server) -> Vec<Finding> {
    let subject = server.address.to_string();
    if let Some(finding) = place(server, &subject) {
        return vec![finding];
    }
    let mut findings = Vec::new();
    findings.extend(identity(server, &subject));
    findings.extend(server.vips.iter().flat_map(|vip| of_vip(server, vip)));
    if let Mtu::IsLess(mtu) = server.mtu {
        findings.push(too_long(server, mtu));
    }
    if findings.is_empty() {
        let vips: Vec<String> = server
            .vips
            .iter()
            .filter_map(|vip| Some(format!("{} for {}", vip.accepted.as_ref()?, vip.address)))
            .collect();
        let heard = if vips.is_empty() { "has no VIP to serve".to_owned() } else { vips.join(", ") };
        let found = format!("is at {}; {heard}", list(&server.macs));
        findings.push(Finding::ok(Code::RealServer, subject, found));
    }
    findings
}

/// What keeps it from being asked at all.
fn place(server: &Server, subject: &str) -> Option<Finding> {
    match &server.location {
        Location::Local => return Some(Finding::ok(Code::RealServer, subject, "is the director itself")),
        Location::Elsewhere { interface } => {
            let found = format!("is behind {interface}, which is not among director.interfaces");
            let advice = format!("add \"{interface}\" to director.interfaces");
            return Some(
                Finding::problem(Code::RealServerElsewhere, subject, found).fix(Remedy::advice(advice)),
            );
        }
        Location::Segment { .. } => {}
    }
    if let Some(reason) = &server.unasked {
        return Some(Finding::warning(Code::NotLookedAt, subject, reason.clone()));
    }
    if !server.macs.is_empty() || server.pinned.is_some() {
        return None;
    }
    let asked = question(server.address);
    Some(if matches!(server.route, Some(Route::Through(_))) {
        let found = format!("is routed to through a router, and does not answer {asked} here");
        let advice = "put it on a network that the director is on, or give the director an interface and an address on its network";
        Finding::problem(Code::RealServerRouted, subject, found).fix(Remedy::advice(advice))
    } else {
        let found = format!("does not answer {asked}");
        let advice =
            "it is down, in another VLAN, or has another address; on it, `ip address` and `ip link` show";
        Finding::problem(Code::RealServerSilent, subject, found).fix(Remedy::advice(advice))
    })
}

/// Whether its address and its MAC are its alone.
fn identity(server: &Server, subject: &str) -> Option<Finding> {
    let macs = list(&server.macs);
    if server.macs.len() > 1 {
        let found = format!("several MACs answer for it: {macs}");
        let advice = "find the machine that must not have the address, by its MAC in the switch's table, and remove it there";
        return Some(Finding::problem(Code::DuplicateAddress, subject, found).fix(Remedy::advice(advice)));
    }
    if let Some(other) = server.clone {
        let found = format!("has the MAC {macs} of {other}, and is another machine");
        let new = mac_text(mac_of(server.address));
        let command = format!("{} address {new}", link_towards(server));
        let advice = "for good, where the virtual machine or the interface is defined";
        let remedy = Remedy::command(command).on(server.address).and_advice(advice);
        return Some(Finding::problem(Code::DuplicateMac, subject, found).fix(remedy));
    }
    if let Some(pinned) = server.pinned
        && !server.macs.is_empty()
        && !server.macs.contains(&pinned)
    {
        let found = format!("its mac is {} in the configuration, and {macs} answers", mac_text(pinned));
        let advice = format!("write mac = \"{macs}\", or leave it out: lb finds it by itself");
        return Some(Finding::problem(Code::PinnedMac, subject, found).fix(Remedy::advice(advice)));
    }
    let kernel = server.kernel.filter(|kernel| !server.macs.is_empty() && !server.macs.contains(kernel))?;
    let found = format!("the kernel takes it to be at {}, and {macs} answers", mac_text(kernel));
    let advice = "look again in a minute; if it is so again, two machines have the address";
    Some(Finding::warning(Code::NeighbourChanged, subject, found).fix(Remedy::advice(advice)))
}

/// Whether it keeps quiet about a VIP and accepts its packets: two findings, since one command may mend one only.
fn of_vip(server: &Server, vip: &ServedVip) -> Vec<Finding> {
    let ServedVip { address, port, is_announced, accepted } = vip;
    let subject = format!("{address} on {}", server.address);
    let up = || Remedy::command(format!("lb real-server up --vip {address}")).on(server.address);
    // Of IPv6, only an address of the interface itself is answered for (`ndisc_recv_ns` in net/ipv6/ndisc.c).
    let off_the_interface = format!(
        "ip -o address show to {address} | awk '$2 != \"lo\" {{ print \"address del\", $4, \"dev\", $2 }}' | ip -batch -"
    );
    let status = format!("`lb real-server status --vip {address}` there says what else is missing");
    let mut findings = Vec::new();
    if *is_announced {
        let found = format!("answers {} for the VIP", question(*address));
        let mut remedy = up().and_advice(status);
        if address.is_ipv6() {
            remedy.commands.insert(0, off_the_interface);
        }
        findings.push(Finding::problem(Code::ArpAnswersVip, &subject, found).fix(remedy));
    }
    if accepted.is_none() {
        let tried = with_port(*address, *port);
        let found = format!(
            "answers neither TCP to {tried}, nor echo requests, nor UDP to a closed port, sent for the VIP to its MAC"
        );
        let advice = "if it has the VIP on lo, look at its firewall and its rp_filter";
        findings.push(Finding::problem(Code::VipNotAccepted, &subject, found).fix(up().and_advice(advice)));
    }
    findings
}

fn too_long(server: &Server, mtu: u32) -> Finding {
    let found =
        format!("answers short echo requests, and none of {mtu} bytes, the MTU of the director's interface");
    let advice = "all machines on the network, and the switch, need the same MTU";
    let remedy = Remedy::command(format!("{} mtu {mtu}", link_towards(server))).on(server.address);
    Finding::problem(Code::MtuMismatch, server.address.to_string(), found).fix(remedy.and_advice(advice))
}

/// `ip link set` for the real server's interface on this segment, whatever it is called.
fn link_towards(server: &Server) -> String {
    let own = server.address;
    format!("ip link set dev $(ip -o address show to {own} | awk '{{ print $2; exit }}')")
}

/// A MAC that nobody else has, as it is made of an address: locally administered, 02 and the last five bytes.
fn mac_of(address: IpAddr) -> MacAddr6 {
    let bytes = match address {
        IpAddr::V4(address) => [&[0][..], &address.octets()].concat(),
        IpAddr::V6(address) => address.octets()[11..].to_vec(),
    };
    let mut mac = [0x02; 6];
    mac[1..].copy_from_slice(&bytes);
    mac.into()
}

/// MACs, as a text.
pub(super) fn list(macs: &BTreeSet<MacAddr6>) -> String {
    macs.iter().map(|mac| mac_text(*mac)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::Severity::{Ok, Problem, Warning};

    const MAC: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 0x51);
    const OTHER: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 0x52);

    fn vip() -> ServedVip {
        ServedVip {
            address: "192.0.2.240".parse().unwrap(),
            port: 80,
            is_announced: false,
            accepted: Some("accepts TCP connections".to_owned()),
        }
    }

    fn healthy() -> Server {
        Server {
            address: "192.0.2.51".parse().unwrap(),
            location: Location::Segment { asked: 2, interface: None, vlan: None },
            route: Some(Route::Direct(2)),
            pinned: None,
            macs: BTreeSet::from([MAC]),
            kernel: Some(MAC),
            clone: None,
            vips: vec![vip()],
            mtu: Mtu::Fits,
            unasked: None,
        }
    }

    fn found(server: Server) -> Vec<Finding> {
        judge(&Facts { servers: vec![server], ..Facts::default() })
    }

    #[test]
    fn each_fault_is_found_alone_with_its_remedy() {
        let nobody = || Server { macs: BTreeSet::new(), kernel: None, ..healthy() };
        let elsewhere = Location::Elsewhere { interface: "eth1".to_owned() };
        let up = "lb real-server up --vip 192.0.2.240";
        let link = "ip link set dev $(ip -o address show to 192.0.2.51 | awk '{ print $2; exit }')";
        let cases: Vec<(Server, Code, Severity, String)> = vec![
            (healthy(), Code::RealServer, Ok, String::new()),
            (Server { location: Location::Local, ..nobody() }, Code::RealServer, Ok, String::new()),
            (Server { location: elsewhere, ..healthy() }, Code::RealServerElsewhere, Problem, String::new()),
            (nobody(), Code::RealServerSilent, Problem, String::new()),
            (
                Server { route: Some(Route::Through(2)), ..nobody() },
                Code::RealServerRouted,
                Problem,
                String::new(),
            ),
            (
                Server { unasked: Some("why".to_owned()), ..nobody() },
                Code::NotLookedAt,
                Warning,
                String::new(),
            ),
            (
                Server { macs: BTreeSet::from([MAC, OTHER]), ..healthy() },
                Code::DuplicateAddress,
                Problem,
                String::new(),
            ),
            (
                Server { clone: Some("192.0.2.52".parse().unwrap()), ..healthy() },
                Code::DuplicateMac,
                Problem,
                format!("{link} address 02:00:c0:00:02:33"),
            ),
            (Server { pinned: Some(OTHER), ..healthy() }, Code::PinnedMac, Problem, String::new()),
            (Server { kernel: Some(OTHER), ..healthy() }, Code::NeighbourChanged, Warning, String::new()),
            (
                Server { vips: vec![ServedVip { is_announced: true, ..vip() }], ..healthy() },
                Code::ArpAnswersVip,
                Problem,
                up.to_owned(),
            ),
            (
                Server { vips: vec![ServedVip { accepted: None, ..vip() }], ..healthy() },
                Code::VipNotAccepted,
                Problem,
                up.to_owned(),
            ),
            (
                Server { mtu: Mtu::IsLess(9000), ..healthy() },
                Code::MtuMismatch,
                Problem,
                format!("{link} mtu 9000"),
            ),
        ];
        for (server, code, severity, command) in cases {
            let findings = found(server);
            let [finding] = &findings[..] else { panic!("{code}: {findings:?}") };
            assert_eq!((finding.code, finding.severity), (code, severity));
            let remedy = finding.fix.clone().unwrap_or_default();
            assert_eq!(remedy.commands.first().map_or("", String::as_str), command);
            assert_eq!(remedy.repair, None, "nothing is done on a real server from here");
            assert_eq!(remedy.on.is_some(), !command.is_empty(), "{code}");
        }
    }

    #[test]
    fn a_pinned_mac_that_nobody_confirms_is_asked_nevertheless() {
        let pinned = Server { macs: BTreeSet::new(), kernel: None, pinned: Some(MAC), ..healthy() };
        assert_eq!(found(pinned)[0].severity, Ok);
    }

    #[test]
    fn an_unknown_mtu_and_no_vips_are_no_faults() {
        assert_eq!(found(Server { mtu: Mtu::Unknown, ..healthy() })[0].severity, Ok);
        assert_eq!(found(Server { vips: Vec::new(), ..healthy() })[0].severity, Ok);
    }

    #[test]
    fn without_rights_it_is_said_what_was_not_looked_at() {
        let failures = vec![("eth0".to_owned(), "Operation not permitted".to_owned())];
        let findings = judge(&Facts { failures, ..Facts::default() });
        assert_eq!(findings[0].code, Code::NotLookedAt);
        assert_eq!(findings[0].severity, Warning);
    }
}
