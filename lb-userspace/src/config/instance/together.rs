//! Instances and groups against each other, and against the virtual servers.

use std::collections::HashSet;
use std::net::IpAddr;

use super::super::diagnostic::{Code, Diagnostic};
use super::super::draft::VirtualServerDraft;
use super::super::report::{Partial, Report, Reported};
use super::super::source::{Located, Span, repetitions};
use super::super::suggest::{nearest, quoted};
use super::super::vrrp::{VrrpInstance, VrrpSyncGroup};
use super::{GroupDraft, InstanceDraft};

/// All rules are looked at, whatever was wrong before.
pub(in super::super) fn fits_together(
    instances: Partial<InstanceDraft>,
    groups: Partial<GroupDraft>,
    report: &Report,
) -> Result<(Vec<VrrpInstance>, Vec<VrrpSyncGroup>), Reported> {
    for instance in &instances.read {
        instance.fits(report);
    }
    names_are_unique(instances.read.iter().map(|instance| &instance.name), "instance", report);
    routers_are_unique(&instances.read, report);
    addresses_are_unique(&instances.read, report);
    names_are_unique(groups.read.iter().map(|group| &group.name), "group", report);
    groups_have_instances(&groups.read, &instances, report);
    let instances: Result<_, _> = instances.all()?.into_iter().map(InstanceDraft::finish).collect();
    let groups: Result<_, _> = groups.all()?.into_iter().map(GroupDraft::finish).collect();
    let (instances, mut groups): (Vec<VrrpInstance>, Vec<VrrpSyncGroup>) = (instances?, groups?);
    for group in &mut groups {
        group.instances.retain(|name| instances.iter().any(|instance| instance.name == *name));
    }
    Ok((instances, groups))
}

fn twice(code: Code, message: String, places: (&Span, &Span), help: &str, report: &Report) {
    let (again, first) = places;
    let diagnostic = Diagnostic::new(code, again, message).label("the second time");
    report.error(diagnostic.related(first, "the first time").help(help));
}

fn names_are_unique<'a>(names: impl Iterator<Item = &'a Located<String>>, what: &str, report: &Report) {
    for (name, again, first) in repetitions(names.map(|name| (name.value.as_str(), &name.span))) {
        let message = format!("another {what} is named {} already", quoted(name));
        twice(Code::DuplicateName, message, (again, first), "give each its own name", report);
    }
}

/// keepalived allows a number once for each interface and family, too (`chk_min_cfg` in keepalived/vrrp/vrrp_data.c).
fn routers_are_unique(instances: &[InstanceDraft], report: &Report) {
    let routers = instances.iter().filter_map(|instance| {
        let (interface, id) = (instance.interface.as_ref().ok()?, instance.virtual_router_id.as_ref().ok()?);
        let is_ipv6 = instance.virtual_addresses.read.first()?.value.address.is_ipv6();
        Some(((interface.value.as_str(), id.value, is_ipv6), &id.span))
    });
    for ((interface, id, _), again, first) in repetitions(routers) {
        let message = format!("{interface} has a virtual router {id} already");
        let help = "write another number, or list all addresses in one instance";
        twice(Code::DuplicateRouter, message, (again, first), help, report);
    }
}

fn addresses_are_unique(instances: &[InstanceDraft], report: &Report) {
    let addresses = instances.iter().flat_map(InstanceDraft::addresses);
    for (address, again, first) in
        repetitions(addresses.map(|address| (address.value.address, &address.span)))
    {
        let message = format!("{address} is a virtual address already");
        let help = "remove it from one of the two places: it has one master";
        twice(Code::DuplicateAddress, message, (again, first), help, report);
    }
}

fn groups_have_instances(groups: &[GroupDraft], instances: &Partial<InstanceDraft>, report: &Report) {
    let members = groups.iter().flat_map(|group| &group.instances.read);
    for (name, again, first) in repetitions(members.clone().map(|name| (name.value.as_str(), &name.span))) {
        let message = format!("{} is in a group already", quoted(name));
        let help = "remove it from one of the two places, or make one group of all";
        twice(Code::DuplicateName, message, (again, first), help, report);
    }
    let known = || instances.read.iter().map(|instance| instance.name.value.as_str());
    // One that could not be read may be meant.
    let is_complete = instances.complete.is_ok();
    for name in members.filter(|name| is_complete && !known().any(|known| known == name.as_str())) {
        let message = format!("there is no instance {}: it is left out, as keepalived does", quoted(name));
        let help = match nearest(name, known()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "write the name of a [[vrrp_instance]]".to_owned(),
        };
        report.warning(Diagnostic::new(Code::UnknownValue, &name.span, message).help(help));
    }
    for group in
        groups.iter().filter(|group| group.instances.read.len() < 2 && group.instances.complete.is_ok())
    {
        let message =
            format!("the group {} has fewer than two instances, and does nothing", quoted(&group.name));
        let diagnostic = Diagnostic::new(Code::NoEffect, &group.name.span, message);
        report.warning(diagnostic.help("list the instances that are to be in the same state, or remove it"));
    }
}

/// Whether some instance has the VIPs of virtual servers.
pub(in super::super) fn have_vips(
    instances: &Partial<InstanceDraft>,
    servers: &Partial<VirtualServerDraft>,
    report: &Report,
) {
    let is_complete = |instance: &InstanceDraft| {
        instance.virtual_addresses.complete.is_ok() && instance.excluded_addresses.complete.is_ok()
    };
    let is_known = instances.complete.is_ok() && instances.read.iter().all(is_complete);
    if instances.read.is_empty() || !is_known {
        return;
    }
    let addresses = instances.read.iter().flat_map(InstanceDraft::addresses);
    let mut known: HashSet<IpAddr> = addresses.map(|address| address.value.address).collect();
    let vips = servers.read.iter().flat_map(|server| &server.addresses.read);
    for (vip, span) in vips.filter_map(|vip| Some((vip.value.vips.host()?, &vip.span))) {
        // Once each.
        if known.insert(vip) {
            let message = format!("no [[vrrp_instance]] has {vip}: no director adds it to an interface");
            let help = format!(
                "write \"{vip}\" in its `virtual_addresses` or its `excluded_addresses`, or see to the address yourself"
            );
            report.warning(Diagnostic::new(Code::NoAddress, span, message).help(help));
        }
    }
}

impl GroupDraft {
    fn finish(self) -> Result<VrrpSyncGroup, Reported> {
        let instances = self.instances.all()?.into_iter().map(|name| name.value).collect();
        Ok(VrrpSyncGroup { name: self.name.value, instances, notify: self.notify? })
    }
}
