//! One interface of the director: whether frames arrive, and what its driver does with them before XDP and for XDP.

use super::Machine;
use super::code::Code;
use super::finding::{Finding, Remedy};
use super::repair::Repair;
use crate::config::{Config, VlanOffload, XdpMode};
use crate::dataplane::{XdpProgram, own_program, xdp_program};
use crate::net::{
    Channels, Ethtool, Feature, Features, LinkDetails, XdpAttachment, XdpFeatures, mac_text, xdp_features,
};

/// The largest MTU of native XDP with a driver that has one buffer of a page for each frame, about.
const ONE_BUFFER: u32 = 3498;

const NOT_CHANGEABLE: &str = "its driver cannot switch it off: the host of a virtual machine can (for QEMU: guest_tso4=off, guest_tso6=off, guest_ufo=off), or use another NIC";

#[derive(Clone, Debug)]
pub(super) struct Facts {
    name: String,
    /// The machine's interfaces.
    existing: Vec<String>,
    details: Option<LinkDetails>,
    /// The program that a daemon with this configuration attached, or why that is not known.
    own_program: Result<Option<u32>, String>,
    /// The one that is attached.
    program: Option<XdpProgram>,
    /// None where nobody tells.
    features: Option<Features>,
    channels: Option<Channels>,
    xdp: Option<XdpFeatures>,
    cpus: u32,
    mode: XdpMode,
    /// Whether the director has other interfaces.
    has_others: bool,
    /// Whether VLANs are used on it, and who is to care for their tags.
    has_vlans: bool,
    vlan_offload: VlanOffload,
}

pub(super) fn gather(name: &str, config: &Config, machine: &Machine) -> Facts {
    let details = machine.named(name).cloned();
    let index = details.as_ref().map(|details| details.link.index);
    let ethtool = Ethtool::open().ok().zip(index);
    let is_vlan_of_it =
        |details: &LinkDetails| details.link.vlan.is_some_and(|vlan| Some(vlan.parent) == index);
    let mut real_servers = config.virtual_servers.iter().flat_map(|server| &server.real_servers);
    Facts {
        name: name.to_owned(),
        existing: machine.links.iter().map(|details| details.link.name.clone()).collect(),
        own_program: index
            .map_or(Ok(None), |index| own_program(&config.director.bpffs, index))
            .map_err(|error| error.to_string()),
        program: details
            .as_ref()
            .and_then(|details| Some(xdp_program(details.xdp_program?, details.link.index))),
        features: ethtool.as_ref().and_then(|(ethtool, index)| ethtool.features(*index).ok()),
        channels: ethtool.as_ref().and_then(|(ethtool, index)| ethtool.channels(*index).ok()?),
        xdp: index.and_then(xdp_features),
        cpus: std::thread::available_parallelism()
            .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        mode: config.director.xdp_mode,
        has_others: config.director.interfaces.len() > 1,
        has_vlans: machine.links.iter().any(is_vlan_of_it)
            || real_servers.any(|server| server.vlan.is_some()),
        vlan_offload: config.director.vlan_offload,
        details,
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let name = &facts.name;
    let Some(details) = &facts.details else {
        let found = format!("does not exist; this machine has {}", facts.existing.join(", "));
        let advice = "set director.interfaces to the interface that the VIPs' traffic arrives on";
        return vec![Finding::problem(Code::Interface, name, found).fix(Remedy::advice(advice))];
    };
    if !details.is_ethernet || details.link.mac.is_none() {
        let advice = "set director.interfaces to an Ethernet interface";
        let found = "is not an Ethernet interface";
        return vec![Finding::problem(Code::NotEthernet, name, found).fix(Remedy::advice(advice))];
    }
    let mut findings = vec![state(facts, details)];
    findings.extend(attachment(facts, details));
    findings.extend(driver(facts, details));
    findings.extend(queues(facts, details));
    findings.extend(offloads(facts, details));
    findings
}

/// Whether frames arrive.
fn state(facts: &Facts, details: &LinkDetails) -> Finding {
    let name = &facts.name;
    if !details.link.is_up {
        let index = details.link.index;
        let remedy = Remedy::command(format!("ip link set dev {name} up")).by(Repair::LinkUp { index });
        return Finding::problem(Code::LinkDown, name, "is down").fix(remedy);
    }
    if !details.has_carrier {
        let advice = "look at the cable, the switch's port, or the virtual machine's settings";
        return Finding::problem(Code::NoCarrier, name, "is up and has no carrier")
            .fix(Remedy::advice(advice));
    }
    let mac = details.link.mac.map(mac_text).unwrap_or_default();
    let driver = details.driver.as_deref().unwrap_or("unknown");
    Finding::ok(Code::Interface, name, format!("is up: {mac}, MTU {}, driver {driver}", details.mtu))
}

/// Which program is attached.
fn attachment(facts: &Facts, details: &LinkDetails) -> Option<Finding> {
    let program = facts.program.as_ref()?;
    let name = &facts.name;
    let called = program.name.as_deref().map(|name| format!(" `{name}`")).unwrap_or_default();
    if let Err(error) = &facts.own_program {
        let found = format!("whose the XDP program{called} with id {} is: {error}", program.id);
        return Some(
            Finding::warning(Code::NotLookedAt, name, found).fix(Remedy::advice("run lb doctor as root")),
        );
    }
    if facts.own_program == Ok(Some(program.id)) {
        let where_it_runs = match details.link.xdp {
            Some(XdpAttachment::Native) => "in the driver",
            Some(XdpAttachment::Generic) => "in the network stack (generic)",
            _ => "in the NIC",
        };
        return Some(Finding::ok(Code::XdpForeign, name, format!("runs lb's program {where_it_runs}")));
    }
    let found = format!("runs another XDP program{called}, id {}", program.id);
    let stop_it = "stop what attached it, or it may come back";
    // By netlink, `off` without the mode means the driver's, if that has one (`dev_xdp_mode` in net/core/dev.c).
    let mode = match details.link.xdp {
        Some(XdpAttachment::Native) => "xdpdrv",
        Some(XdpAttachment::Generic) => "xdpgeneric",
        _ => "xdp",
    };
    let remedy = match program.links[..] {
        // Without a link it was attached by netlink; a link can only be ended by itself.
        [] => Remedy::command(format!("ip link set dev {name} {mode} off")),
        [link] => Remedy::command(format!("bpftool link detach id {link}")),
        _ => Remedy::command(format!("ip -details link show dev {name}")),
    };
    Some(Finding::problem(Code::XdpForeign, name, found).fix(remedy.and_advice(stop_it)))
}

/// What the driver can do for XDP.
fn driver(facts: &Facts, details: &LinkDetails) -> Vec<Finding> {
    let name = &facts.name;
    let driver = details.driver.as_deref().unwrap_or("unknown");
    let mut findings = Vec::new();
    let Some(xdp) = facts.xdp else {
        if facts.mode != XdpMode::Generic {
            let found =
                format!("the kernel does not tell whether driver {driver} has native XDP (before Linux 6.3)");
            findings.push(Finding::ok(Code::XdpNative, name, found));
        }
        return findings;
    };
    match (xdp.is_native(), facts.mode) {
        (_, XdpMode::Generic) => {
            let found = "xdp_mode is \"generic\": the network stack runs the program";
            findings.push(Finding::ok(Code::XdpNative, name, found));
            return findings;
        }
        (true, _) => {
            let found = format!("driver {driver} has native XDP");
            findings.push(Finding::ok(Code::XdpNative, name, found));
        }
        (false, XdpMode::Native) => {
            let found = format!("driver {driver} has no native XDP, and xdp_mode is \"native\"");
            let advice = "set director.xdp_mode = \"auto\" or \"generic\"; look at the kernel's log (`dmesg`) for what the driver misses";
            findings.push(Finding::problem(Code::XdpNative, name, found).fix(Remedy::advice(advice)));
        }
        (false, XdpMode::Auto) => {
            let found =
                format!("driver {driver} has no native XDP as it is set now: lb falls back to generic XDP");
            let advice = "use a NIC whose driver has it (the README lists some), or switch on what its driver misses; xdp_mode = \"generic\" says that it is meant so";
            findings.push(Finding::warning(Code::XdpNative, name, found).fix(Remedy::advice(advice)));
        }
    }
    if xdp.is_native() && !xdp.has_several_buffers() && details.mtu > ONE_BUFFER {
        let found = format!(
            "its MTU is {}, and driver {driver} takes native XDP up to some {ONE_BUFFER}",
            details.mtu
        );
        let advice =
            "the MTU of all machines on the network must be the same; or set director.xdp_mode = \"generic\"";
        let remedy = Remedy::command(format!("ip link set dev {name} mtu 1500")).and_advice(advice);
        findings.push(Finding::warning(Code::XdpMtu, name, found).fix(remedy));
    }
    if xdp.is_native() && facts.has_others && !xdp.takes_redirected() {
        let found = format!("driver {driver} takes no frames by XDP_REDIRECT as it is set now");
        let advice = "some drivers do when they run a program themselves: look again while lb runs; else set director.xdp_mode = \"generic\"";
        findings.push(Finding::warning(Code::XdpRedirect, name, found).fix(Remedy::advice(advice)));
    }
    findings
}

/// Whether all CPUs can work.
fn queues(facts: &Facts, details: &LinkDetails) -> Option<Finding> {
    // No hardware spreads its frames over queues: they stay on the CPU that sent them.
    if details.driver.as_deref() == Some("veth") {
        return None;
    }
    let Channels { count, max, combined } = facts.channels?;
    let (name, cpus) = (&facts.name, facts.cpus);
    let possible = max.min(cpus);
    if count >= possible {
        return Some(Finding::ok(Code::RxQueues, name, format!("{count} receive queues, {cpus} CPUs")));
    }
    let found = format!("{count} receive queues for {cpus} CPUs; the driver can have {max}");
    let kind = if combined { "combined" } else { "rx" };
    // Not by --fix: many drivers take the link down for it.
    let advice = "many drivers take the link down for a moment; with native XDP they may need as many more for sending";
    let remedy = Remedy::command(format!("ethtool -L {name} {kind} {possible}")).and_advice(advice);
    Some(Finding::warning(Code::RxQueues, name, found).fix(remedy))
}

/// What the NIC does to frames before XDP sees them.
fn offloads(facts: &Facts, details: &LinkDetails) -> Vec<Finding> {
    let Some(features) = &facts.features else { return Vec::new() };
    let (name, index) = (&facts.name, details.link.index);
    let is_active = |feature| features.active.contains(&feature);
    let off = |feature: Feature| {
        let command = format!("ethtool -K {name} {} off", feature.ethtool_name());
        if features.changeable.contains(&feature) {
            Remedy::command(command).by(Repair::FeatureOff { index, feature })
        } else {
            Remedy::advice(NOT_CHANGEABLE)
        }
    };
    let mut findings = Vec::new();
    for (feature, code, found) in [
        (Feature::Lro, Code::Lro, "large receive offload is on"),
        (Feature::GroHw, Code::GroHw, "the NIC merges segments (rx-gro-hw is on)"),
    ] {
        // For a generic program the kernel switches both off (`generic_xdp_install` in net/core/dev.c).
        if is_active(feature) && facts.mode != XdpMode::Generic {
            findings.push(Finding::warning(code, name, found).fix(off(feature)));
        }
    }
    if facts.has_vlans && is_active(Feature::VlanRemoval) {
        let removes = "the NIC removes VLAN tags (rx-vlan-offload is on)";
        findings.push(match (facts.vlan_offload, features.changeable.contains(&Feature::VlanRemoval)) {
            (VlanOffload::Auto, true) => {
                Finding::ok(Code::VlanOffload, name, format!("{removes}; lb run switches that off"))
            }
            (VlanOffload::Auto, false) => {
                let found = format!("{removes}, and its driver cannot be told not to: lb run refuses it");
                Finding::problem(Code::VlanOffload, name, found).fix(off(Feature::VlanRemoval))
            }
            (VlanOffload::Keep, _) => {
                let found = format!("{removes}, and vlan_offload is \"keep\"");
                let advice = "fine if this driver gives XDP the tags nevertheless";
                let remedy = off(Feature::VlanRemoval);
                let remedy = if remedy.advice.is_none() { remedy.and_advice(advice) } else { remedy };
                Finding::warning(Code::VlanOffload, name, found).fix(remedy)
            }
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use macaddr::MacAddr6;

    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::Severity::{Problem, Warning};
    use crate::net::Link;

    fn details() -> LinkDetails {
        let link = Link {
            index: 2,
            name: "eth0".to_owned(),
            mac: Some(MacAddr6::new(2, 0, 0, 0, 0, 1)),
            is_up: true,
            is_running: true,
            xdp: None,
            controller: None,
            vlan: None,
        };
        let driver = Some("ice".to_owned());
        LinkDetails { link, is_ethernet: true, has_carrier: true, mtu: 1500, xdp_program: None, driver }
    }

    fn healthy() -> Facts {
        Facts {
            name: "eth0".to_owned(),
            existing: vec!["lo".to_owned(), "eth0".to_owned()],
            details: Some(details()),
            own_program: Ok(None),
            program: None,
            features: Some(Features::default()),
            channels: Some(Channels { count: 8, max: 64, combined: true }),
            xdp: Some(XdpFeatures::new(0x7f)),
            cpus: 8,
            mode: XdpMode::Auto,
            has_others: false,
            has_vlans: false,
            vlan_offload: VlanOffload::Auto,
        }
    }

    fn with(change: impl FnOnce(&mut LinkDetails)) -> Facts {
        let mut details = details();
        change(&mut details);
        Facts { details: Some(details), ..healthy() }
    }

    fn program(links: &[u32]) -> Option<XdpProgram> {
        Some(XdpProgram { id: 7, name: Some("xdp_drop".to_owned()), links: links.to_vec() })
    }

    fn on(features: &[Feature], changeable: bool) -> Option<Features> {
        let active: BTreeSet<Feature> = features.iter().copied().collect();
        Some(Features { changeable: if changeable { active.clone() } else { BTreeSet::new() }, active })
    }

    fn wrong(facts: &Facts) -> Vec<Finding> {
        judge(facts).into_iter().filter(|finding| finding.severity != Severity::Ok).collect()
    }

    #[test]
    fn each_fault_is_found_alone_with_its_remedy() {
        assert_eq!(wrong(&healthy()), []);
        let removal = on(&[Feature::VlanRemoval], true);
        let xdp = |bits| Some(XdpFeatures::new(bits));
        let vlans = Facts { has_vlans: true, ..healthy() };
        let cases: Vec<(Facts, Code, Severity, &str)> = vec![
            (Facts { details: None, ..healthy() }, Code::Interface, Problem, ""),
            (with(|details| details.is_ethernet = false), Code::NotEthernet, Problem, ""),
            (with(|details| details.link.is_up = false), Code::LinkDown, Problem, "ip link set dev eth0 up"),
            (with(|details| details.has_carrier = false), Code::NoCarrier, Problem, ""),
            (
                Facts { program: program(&[]), ..with(|it| it.link.xdp = Some(XdpAttachment::Native)) },
                Code::XdpForeign,
                Problem,
                "ip link set dev eth0 xdpdrv off",
            ),
            (
                Facts { program: program(&[]), ..with(|it| it.link.xdp = Some(XdpAttachment::Generic)) },
                Code::XdpForeign,
                Problem,
                "ip link set dev eth0 xdpgeneric off",
            ),
            (
                Facts { program: program(&[9]), ..healthy() },
                Code::XdpForeign,
                Problem,
                "bpftool link detach id 9",
            ),
            (
                Facts { program: program(&[9]), own_program: Ok(Some(6)), ..healthy() },
                Code::XdpForeign,
                Problem,
                "bpftool link detach id 9",
            ),
            (
                Facts { program: program(&[9]), own_program: Err("EACCES".to_owned()), ..healthy() },
                Code::NotLookedAt,
                Warning,
                "",
            ),
            (Facts { xdp: xdp(0), ..healthy() }, Code::XdpNative, Warning, ""),
            (Facts { xdp: xdp(0), mode: XdpMode::Native, ..healthy() }, Code::XdpNative, Problem, ""),
            (
                Facts { xdp: xdp(7), ..with(|details| details.mtu = 9000) },
                Code::XdpMtu,
                Warning,
                "ip link set dev eth0 mtu 1500",
            ),
            (Facts { xdp: xdp(3), has_others: true, ..healthy() }, Code::XdpRedirect, Warning, ""),
            (
                Facts { channels: Some(Channels { count: 1, max: 4, combined: true }), ..healthy() },
                Code::RxQueues,
                Warning,
                "ethtool -L eth0 combined 4",
            ),
            (
                Facts { features: on(&[Feature::Lro], true), ..healthy() },
                Code::Lro,
                Warning,
                "ethtool -K eth0 large-receive-offload off",
            ),
            (
                Facts { features: on(&[Feature::GroHw], true), ..healthy() },
                Code::GroHw,
                Warning,
                "ethtool -K eth0 rx-gro-hw off",
            ),
            (
                Facts { features: on(&[Feature::VlanRemoval], false), ..vlans.clone() },
                Code::VlanOffload,
                Problem,
                "",
            ),
            (
                Facts { features: removal, vlan_offload: VlanOffload::Keep, ..vlans },
                Code::VlanOffload,
                Warning,
                "ethtool -K eth0 rx-vlan-offload off",
            ),
        ];
        for (facts, code, severity, command) in cases {
            let found = wrong(&facts);
            let [finding] = &found[..] else { panic!("{code}: {found:?}") };
            assert_eq!((finding.code, finding.severity), (code, severity));
            let remedy = finding.fix.as_ref().expect("whatever is wrong has a remedy");
            assert_eq!(remedy.commands.first().map_or("", String::as_str), command);
            assert!(remedy.advice.is_some() || !command.is_empty(), "{code}");
        }
    }

    #[test]
    fn what_lb_sees_to_by_itself_is_no_fault() {
        let own = Facts { program: program(&[9]), own_program: Ok(Some(7)), ..healthy() };
        let jumbo = with(|details| details.mtu = 9000);
        let vlans = Facts { features: on(&[Feature::VlanRemoval], true), has_vlans: true, ..healthy() };
        let untagged = Facts { features: on(&[Feature::VlanRemoval], false), ..healthy() };
        let generic = Facts { xdp: Some(XdpFeatures::new(0)), mode: XdpMode::Generic, ..healthy() };
        let old_kernel = Facts { xdp: None, features: None, channels: None, ..healthy() };
        let one_queue = Facts { channels: Some(Channels { count: 1, max: 1, combined: true }), ..healthy() };
        let one = Some(Channels { count: 1, max: 8, combined: false });
        let veth = with(|details| details.driver = Some("veth".to_owned()));
        let veth = Facts { channels: one, ..veth };
        for facts in [veth, own, jumbo, vlans, untagged, generic, old_kernel, one_queue] {
            assert_eq!(wrong(&facts), [], "{facts:?}");
        }
    }
}
