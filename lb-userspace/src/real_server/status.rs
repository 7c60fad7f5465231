//! Whether a machine is fit to be a real server of some VIPs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::quiet::{Setting, Values};
use super::{RealServerError, local};
use crate::forms::Prefix;
use crate::net::{Netlink, host_text, question, sysctl_name};

/// One thing that a real server needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub subject: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What is so, and what to do if it should not be.
    pub detail: String,
}

/// Looks whether this machine accepts the traffic of `vips` and keeps quiet about them.
///
/// # Errors
/// [`RealServerError`].
pub async fn status(vips: &BTreeSet<Prefix>) -> Result<Vec<Finding>, RealServerError> {
    let netlink = Netlink::open()?;
    let links = netlink.links().await?;
    let mut owners: BTreeMap<Prefix, Vec<String>> = BTreeMap::new();
    let mut of_host_scope = BTreeSet::new();
    for link in &links {
        for vip in local(&netlink, link).await? {
            owners.entry(vip).or_default().push(link.name.clone());
        }
        let addresses = netlink.addresses(link.index).await?;
        let inside = addresses.into_iter().filter(|address| address.is_of_host_scope);
        of_host_scope.extend(inside.map(|address| Prefix::from(address.address)));
    }
    let mut findings = Vec::new();
    if links.iter().any(|link| link.name == "lo" && !link.is_up) {
        let detail = "is down: addresses on it are nobody's; run `ip link set dev lo up`".to_owned();
        findings.push(Finding { subject: "lo".to_owned(), ok: false, detail });
    }
    let owned_by = |vip: &Prefix| place_of(*vip, owners.get(vip).map(Vec::as_slice).unwrap_or_default());
    findings.extend(vips.iter().map(owned_by));
    let v4: Vec<&Prefix> = vips.iter().filter(|vip| vip.is_ipv4()).collect();
    if let Some(first) = v4.first() {
        // A prefix is no interface's address, and a route of host scope.
        let are_inside = v4.iter().all(|vip| vip.host().is_none() || of_host_scope.contains(vip));
        for setting in Setting::ALL {
            findings.extend(quiet_by(setting, &setting.read(&links)?, are_inside, **first));
        }
    }
    Ok(findings)
}

/// Whether all interfaces keep quiet by this setting: one finding if they do, else one for each setting to change.
fn quiet_by(setting: Setting, values: &Values, are_inside: bool, vip: Prefix) -> Vec<Finding> {
    let mut wrong: BTreeMap<String, (u32, Vec<String>)> = BTreeMap::new();
    for loud in values.loud(are_inside) {
        let (_, interfaces) = wrong.entry(loud.path).or_insert_with(|| (loud.value, Vec::new()));
        interfaces.push(loud.interface);
    }
    if wrong.is_empty() {
        let detail = format!("is {}, and all interfaces keep quiet", values.all());
        return vec![Finding { subject: sysctl_name(&setting.path("all")), ok: true, detail }];
    }
    let says = match setting {
        Setting::ArpIgnore => "answers ARP for the VIP",
        Setting::ArpAnnounce => "names the VIP as the sender of its own ARP requests",
    };
    let finding = |(path, (value, interfaces)): (String, (u32, Vec<String>))| {
        let (subject, wanted) = (sysctl_name(&path), setting.value());
        let detail = format!(
            "is {value}, not {wanted}: on {} this machine {says} and takes the director's traffic; run `lb real-server up --vip {vip}` or `sysctl -w {subject}={wanted}`",
            interfaces.join(", ")
        );
        Finding { subject, ok: false, detail }
    };
    wrong.into_iter().map(finding).collect()
}

/// Whether a VIP is where it belongs, being an address of these interfaces.
fn place_of(vip: Prefix, interfaces: &[String]) -> Finding {
    let is = if vip.host().is_some() { "an address" } else { "a local route" };
    let detail = match (interfaces.iter().find(|name| *name != "lo"), vip.host()) {
        (Some(other), Some(host)) => Err(format!(
            "is an address of {other}: this machine answers {} for it there and takes the director's traffic; run `ip address del {} dev {other}` and `lb real-server up --vip {vip}`",
            question(host),
            host_text(host)
        )),
        _ if !interfaces.iter().any(|name| name == "lo") => Err(format!(
            "is not {is} of lo: this machine drops its traffic; run `lb real-server up --vip {vip}`"
        )),
        _ => Ok(format!("is {is} of lo")),
    };
    Finding { subject: vip.to_string(), ok: detail.is_ok(), detail: detail.unwrap_or_else(|wrong| wrong) }
}
