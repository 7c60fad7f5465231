//! The VIPs on the director, and whether its own stack takes the packets for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use macaddr::MacAddr6;

use super::Machine;
use super::code::Code;
use super::finding::{Finding, Remedy};
use super::repair::Repair;
use super::segment::{Surroundings, list};
use crate::config::Config;
use crate::dataplane::own_program;
use crate::net::{NetError, Netlink, host_text, question, read_sysctl, sysctl_name};
use crate::state::{self, Location};

#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) vips: Vec<Vip>,
    /// Whether lb adds VIPs, and whether it runs or has left its program.
    is_managed: bool,
    has_own_program: bool,
    /// Who else answers for VIPs, where that was asked: neither the director nor one of its real servers.
    pub(super) owners: BTreeMap<IpAddr, BTreeSet<MacAddr6>>,
    rp_filters: Vec<RpFilter>,
}

/// A VIP, and where it is on this machine.
#[derive(Clone, Debug)]
pub(super) struct Vip {
    address: IpAddr,
    /// The names of the interfaces that have it.
    on: Vec<String>,
    /// The interface it belongs to.
    home: String,
}

impl Vip {
    pub(super) fn is_missing(&self) -> bool {
        self.on.is_empty()
    }
}

/// How strictly an interface looks whether answers would leave through it.
#[derive(Clone, Debug)]
struct RpFilter {
    interface: String,
    all: u32,
    own: u32,
    /// What makes it matter: packets that are routed back through another interface.
    matters_for: Option<&'static str>,
}

pub(super) async fn gather(
    netlink: &Netlink,
    config: &Config,
    machine: &Machine,
    surroundings: &Surroundings,
) -> Result<Facts, NetError> {
    let mut addresses = Vec::new();
    for details in &machine.links {
        let found = netlink.addresses(details.link.index).await?;
        addresses.extend(found.into_iter().map(|address| (details.link.index, address)));
    }
    let own: Vec<u32> = surroundings.interfaces().collect();
    let home = |vip: IpAddr| {
        let in_its_network = addresses.iter().find(|(_, address)| address.has_in_its_network(vip));
        let index = in_its_network.map(|(index, _)| *index).or_else(|| own.first().copied());
        index.map(|index| machine.name(index)).unwrap_or_default()
    };
    let vips = state::vips(config).into_iter().map(|vip| {
        let has_it = addresses.iter().filter(|(_, address)| address.address == vip);
        Vip { address: vip, on: has_it.map(|(index, _)| machine.name(*index)).collect(), home: home(vip) }
    });
    let has_networks = |index: u32| {
        let is_network =
            |prefix: u8, address: IpAddr| prefix < 32 && address.is_ipv4() && !address.is_loopback();
        addresses.iter().any(|(on, found)| *on == index && is_network(found.prefix, found.address))
    };
    let networks = machine.links.iter().filter(|details| has_networks(details.link.index)).count();
    let is_local = surroundings.locations.values().any(|location| *location == Location::Local);
    let matters_for = if networks > 1 {
        Some("this machine has several networks")
    } else if is_local {
        Some("the director is a real server itself")
    } else {
        None
    };
    let value = |interface: &str| {
        read_sysctl(&rp_filter(interface)).ok().and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    let names = own.iter().map(|index| machine.name(*index));
    let rp_filters =
        names.map(|interface| RpFilter { all: value("all"), own: value(&interface), matters_for, interface });
    Ok(Facts {
        vips: vips.collect(),
        is_managed: config.director.manage_vips,
        has_own_program: own
            .iter()
            .any(|index| matches!(own_program(&config.director.bpffs, *index), Ok(Some(_)))),
        owners: BTreeMap::new(),
        rp_filters: rp_filters.collect(),
    })
}

fn rp_filter(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/rp_filter")
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let vips = facts.vips.iter().map(|vip| place(facts, vip));
    let filters = facts.rp_filters.iter().filter_map(strictness);
    vips.chain(filters).collect()
}

fn place(facts: &Facts, vip: &Vip) -> Finding {
    let Vip { address, on, home } = vip;
    let subject = address.to_string();
    let others = facts.owners.get(address).filter(|macs| !macs.is_empty()).map(list);
    match (on.is_empty(), others) {
        (false, Some(macs)) => {
            let found =
                format!("is on {}, and {macs} answers {} for it too", on.join(", "), question(*address));
            let advice = "find that machine by its MAC in the switch's table, and remove the address there; a director in reserve must not have it";
            Finding::problem(Code::VipDuplicate, subject, found).fix(Remedy::advice(advice))
        }
        (false, None) => Finding::ok(Code::Vip, subject, format!("is on {}", on.join(", "))),
        (true, Some(macs)) => Finding::ok(
            Code::Vip,
            subject,
            format!("is at {macs}: another director has it, this one is in reserve"),
        ),
        (true, None) if facts.is_managed && !facts.has_own_program => {
            Finding::ok(Code::Vip, subject, format!("is not on this machine yet; lb run adds it to {home}"))
        }
        (true, None) => {
            let why = if facts.is_managed { "lb had added it" } else { "manage_vips is false" };
            let found = format!("is on no interface of this machine ({why}), and nobody else answers for it");
            // Not by --fix: another director may be about to take it.
            let advice = "unless another director is to have it; for good, in the network's configuration or by manage_vips = true";
            let command = format!("ip address add {} dev {home}", host_text(*address));
            let command = if address.is_ipv6() { format!("{command} nodad") } else { command };
            Finding::problem(Code::Vip, subject, found).fix(Remedy::command(command).and_advice(advice))
        }
    }
}

/// Of `all` and the interface's own value, the greater counts (Documentation/networking/ip-sysctl.rst), and 2 is less
/// strict than 1.
fn strictness(filter: &RpFilter) -> Option<Finding> {
    let RpFilter { interface, all, own, matters_for } = filter;
    let reason = matters_for.filter(|_| *all.max(own) == 1)?;
    let setting = rp_filter(interface);
    let found = format!("rp_filter is strict (all {all}, {interface} {own}), and {reason}");
    let command = format!("sysctl -w {}=2", sysctl_name(&setting));
    let remedy = Remedy::command(command).by(Repair::Sysctl { setting, value: "2" });
    Some(Finding::warning(Code::RpFilter, interface, found).fix(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::Severity::{Ok, Problem, Warning};

    const VIP: &str = "192.0.2.240";

    fn vip(on: &[&str]) -> Vip {
        let on = on.iter().map(|name| (*name).to_owned()).collect();
        Vip { address: VIP.parse().unwrap(), on, home: "eth0".to_owned() }
    }

    fn filter(all: u32, own: u32, matters_for: Option<&'static str>) -> RpFilter {
        RpFilter { interface: "eth0".to_owned(), all, own, matters_for }
    }

    fn healthy() -> Facts {
        Facts {
            vips: vec![vip(&["eth0"])],
            is_managed: true,
            has_own_program: true,
            owners: BTreeMap::new(),
            rp_filters: vec![filter(0, 0, Some("there are two"))],
        }
    }

    fn answered() -> BTreeMap<IpAddr, BTreeSet<MacAddr6>> {
        BTreeMap::from([(VIP.parse().unwrap(), BTreeSet::from([MacAddr6::new(2, 0, 0, 0, 0, 9)]))])
    }

    #[test]
    fn a_vip_is_here_or_with_another_director_or_missing() {
        let missing = || Facts { vips: vec![vip(&[])], ..healthy() };
        let cases: Vec<(Facts, Code, Severity)> = vec![
            (healthy(), Code::Vip, Ok),
            (Facts { owners: answered(), ..healthy() }, Code::VipDuplicate, Problem),
            (Facts { owners: answered(), ..missing() }, Code::Vip, Ok),
            (Facts { has_own_program: false, ..missing() }, Code::Vip, Ok),
            (missing(), Code::Vip, Problem),
            (Facts { is_managed: false, has_own_program: false, ..missing() }, Code::Vip, Problem),
        ];
        for (facts, code, severity) in cases {
            let found = judge(&facts);
            let [finding] = &found[..] else { panic!("{facts:?}: {found:?}") };
            assert_eq!((finding.code, finding.severity), (code, severity), "{facts:?}");
        }
        let remedy = judge(&missing()).remove(0).fix.unwrap();
        assert_eq!(remedy.commands, ["ip address add 192.0.2.240/32 dev eth0"]);
        assert_eq!(remedy.repair, None, "another director may be about to take it");
    }

    #[test]
    fn the_reverse_path_filter_matters_where_there_is_another_way() {
        let why = Some("there are two");
        let strict = |filter| {
            let facts = Facts { vips: Vec::new(), rp_filters: vec![filter], ..healthy() };
            judge(&facts).pop().map(|finding| (finding.severity, finding.fix.unwrap().commands.remove(0)))
        };
        let command = "sysctl -w net.ipv4.conf.eth0.rp_filter=2".to_owned();
        assert_eq!(strict(filter(1, 0, why)), Some((Warning, command.clone())));
        assert_eq!(strict(filter(0, 1, why)), Some((Warning, command)));
        assert_eq!(strict(filter(1, 2, why)), None, "the greater counts");
        assert_eq!(strict(filter(2, 1, why)), None);
        assert_eq!(strict(filter(1, 1, None)), None, "there is no other way");
    }
}
