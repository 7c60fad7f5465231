//! Virtual servers against each other, and against what the maps hold.

use std::collections::HashMap;
use std::net::IpAddr;

use lb_common::form::{MAX_FORMS, MAX_FORMS_OF_A_VIP};
use lb_common::limits::{
    MAX_ACL_PREFIXES, MAX_DESTINATIONS, MAX_SERVICE_ADDRESSES, MAX_SERVICES, SLOT_WORDS,
};
use lb_common::policy::OnDown;
use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6};

use super::acl::AclDraft;
use super::address::RealServerAddress;
use super::check;
use super::diagnostic::{Code, Diagnostic};
use super::draft::{VirtualServerDraft, default_name};
use super::model::{Protocol, VirtualServer};
use super::reaction;
use super::report::{Partial, Report, Reported};
use super::scheduler::parameters_belong_together;
use super::source::{Located, Span, repetitions};
use super::suggest::quoted;
use crate::forms::{Form, Ports, Prefix, TooMany, VirtualAddress, lay_out};
use crate::scheduler::{Parameters, Server};

/// Half of the slot map: while a service changes, its previous table and the new one exist side by side, and a
/// reload may change all services.
const MAX_SLOTS_OF_ALL: usize = SLOT_WORDS as usize / 2;

/// All rules are looked at, whatever was wrong before.
pub(super) fn virtual_servers(
    drafts: Partial<VirtualServerDraft>,
    acl: Option<&AclDraft>,
    report: &Report,
) -> Result<Vec<VirtualServer>, Reported> {
    names_are_unique(&drafts.read, report);
    fwmarks_are_unique(&drafts.read, report);
    addresses_are_unique(&drafts.read, report);
    ranges_are_disjoint(&drafts.read, report);
    real_servers_are_no_vips(&drafts.read, report);
    for draft in &drafts.read {
        one_family(draft, report);
        real_servers_are_unique(draft, report);
        ports_are_not_translated(draft, report);
        policies_fit_the_protocol(draft, report);
        parameters_belong_together(draft, report);
    }
    let checks: Vec<_> = drafts.read.iter().map(|draft| check::of_real_servers(draft, report)).collect();
    for (draft, checks) in drafts.read.iter().zip(&checks) {
        reaction::fits(draft, checks, report);
    }
    let within_limits = fits(&drafts.read, report).and(prefixes_fit(&drafts.read, acl, report));
    let virtual_servers: Vec<_> =
        drafts.all()?.into_iter().zip(checks).map(|(draft, checks)| draft.finish(checks)).collect();
    within_limits.and_then(|()| virtual_servers.into_iter().collect())
}

fn names_are_unique(drafts: &[VirtualServerDraft], report: &Report) {
    let given = drafts.iter().filter_map(|draft| draft.name.as_ref().ok()?.as_ref());
    let given: Vec<_> = given.map(|name| (name.value.as_str(), &name.span)).collect();
    for (name, again, first) in repetitions(given.iter().copied()) {
        let message = format!("another virtual server is named {} already", quoted(name));
        let diagnostic = Diagnostic::new(Code::DuplicateName, again, message).label("the second");
        report.error(diagnostic.related(first, "the first").help("give each its own name"));
    }
    // Names that are made differ from each other as the addresses do, but one that is given may look like them.
    let given: HashMap<_, _> = given.into_iter().collect();
    for draft in drafts {
        let (Ok(None), Ok(protocol), Ok(())) = (&draft.name, draft.protocol, draft.addresses.complete) else {
            continue;
        };
        let fwmark = draft.fwmark.as_ref().ok().and_then(|fwmark| Some(fwmark.as_ref()?.value));
        let first = draft.addresses.read.first().map(|first| first.value);
        let Some(made) = default_name(protocol, first, fwmark) else { continue };
        if let Some(given) = given.get(made.as_str()) {
            let message = format!("another virtual server is named {} already", quoted(&made));
            let diagnostic = Diagnostic::new(Code::DuplicateName, given, message).label("given here");
            let diagnostic = diagnostic.related(&draft.header, "this one has no name, and so gets that one");
            report.error(diagnostic.help("give each its own name"));
        }
    }
}

fn addresses_are_unique(drafts: &[VirtualServerDraft], report: &Report) {
    let addresses = drafts.iter().filter_map(|draft| Some((draft, draft.protocol.ok()?)));
    let addresses = addresses.flat_map(|(draft, protocol)| {
        draft.addresses.read.iter().map(move |address| ((address.value, protocol), &address.span))
    });
    for ((address, protocol), again, first) in repetitions(addresses) {
        let message = format!("{address}/{protocol} is a virtual server's address already");
        let diagnostic = Diagnostic::new(Code::DuplicateAddress, again, message).label("the second time");
        let diagnostic = diagnostic.related(first, "the first time");
        report.error(diagnostic.help("remove it from one of the two places, or change its port"));
    }
}

fn fwmarks_are_unique(drafts: &[VirtualServerDraft], report: &Report) {
    let given = drafts.iter().filter_map(|draft| draft.fwmark.as_ref().ok()?.as_ref());
    for (fwmark, again, first) in repetitions(given.map(|fwmark| (fwmark.value, &fwmark.span))) {
        let message = format!("another virtual server has the fwmark {fwmark} already");
        let diagnostic = Diagnostic::new(Code::DuplicateFwmark, again, message).label("the second");
        report.error(diagnostic.related(first, "the first").help("give each group its own number"));
    }
}

/// A port that two ranges have would be either's. Of one virtual server that does no harm.
fn ranges_are_disjoint(drafts: &[VirtualServerDraft], report: &Report) {
    let mut ranges: HashMap<_, Vec<(usize, &Located<VirtualAddress>)>> = HashMap::new();
    for (i, draft) in drafts.iter().enumerate() {
        let Ok(protocol) = draft.protocol else { continue };
        for address in draft.addresses.read.iter().filter(|address| address.ports.rank() == 1) {
            let others = ranges.entry((address.vips, protocol)).or_default();
            let overlaps = |(j, other): &&(usize, &Located<VirtualAddress>)| {
                *j != i && other.ports != address.ports && other.ports.overlap(address.ports)
            };
            if let Some((_, first)) = others.iter().find(overlaps) {
                let message = format!(
                    "the ports {} and {} of {}/{protocol} are two virtual servers', and overlap",
                    first.ports, address.ports, address.vips
                );
                let diagnostic = Diagnostic::new(Code::OverlappingPorts, &address.span, message);
                let diagnostic = diagnostic.label("the second range").related(&first.span, "the first");
                let help = "end one range where the other begins; a port by itself may lie in another virtual \
                            server's range, and counts before it";
                report.error(diagnostic.help(help));
            }
            others.push((i, address));
        }
    }
}

/// The MAC of such a real server would be the director's own.
fn real_servers_are_no_vips(drafts: &[VirtualServerDraft], report: &Report) {
    let mut hosts: HashMap<IpAddr, &Span> = HashMap::new();
    let mut prefixes = Vec::new();
    for vip in drafts.iter().flat_map(|draft| &draft.addresses.read) {
        match vip.vips.host() {
            Some(host) => drop(hosts.entry(host).or_insert(&vip.span)),
            None => prefixes.push(vip),
        }
    }
    for address in drafts.iter().flat_map(addresses_of_all_servers) {
        let prefix = || prefixes.iter().find(|prefix| prefix.vips.contains(address.value));
        if let Some(vip) = hosts.get(&address.value).copied().or_else(|| prefix().map(|prefix| &prefix.span))
        {
            let message = format!("{address} is a VIP, so it cannot be a real server's address");
            let diagnostic = Diagnostic::new(Code::VipIsRealServer, &address.span, message);
            let diagnostic = diagnostic.label("a real server here").related(vip, "a VIP here");
            let help = "write the address that the real server has besides the VIP; the VIP belongs on its `lo`, see \
                        `lb real-server up`";
            report.error(diagnostic.help(help));
        }
    }
}

/// A connection's frames stay what they are, so a client of one family cannot be sent to a server of the other.
fn one_family(draft: &VirtualServerDraft, report: &Report) {
    let vips = draft.addresses.read.iter().map(|address| (address.vips, &address.span));
    let real_servers = addresses_of_all_servers(draft).map(|address| (address.value.into(), &address.span));
    let mut all = vips.chain(real_servers);
    let Some((first, first_span)) = all.next() else { return };
    let is_ipv4 = |vips: Prefix| vips.first().is_ipv4();
    let (expected, other) = if is_ipv4(first) { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
    for (address, span) in all.filter(|(address, _)| is_ipv4(*address) != is_ipv4(first)) {
        let message = format!("{address} is an {other} address in a virtual server of {expected}");
        let diagnostic = Diagnostic::new(Code::MixedFamilies, span, message).label(other);
        let diagnostic = diagnostic.related(first_span, format!("{expected} here"));
        let help = format!(
            "write two virtual servers: one with VIPs and real servers of {expected}, one with those of {other}"
        );
        report.error(diagnostic.help(help));
    }
    let prefixes = draft.acl.iter().flat_map(AclDraft::prefixes);
    for prefix in prefixes.filter(|prefix| prefix.is_ipv4() != first.is_ipv4()) {
        let message = format!("no client of a virtual server of {expected} is in {prefix}");
        let diagnostic = Diagnostic::new(Code::MixedFamilies, &prefix.span, message).label(other);
        let diagnostic = diagnostic.related(first_span, format!("{expected} here"));
        report.error(
            diagnostic.help("remove it, or write it in the section [acl], which is for both families"),
        );
    }
}

fn real_servers_are_unique(draft: &VirtualServerDraft, report: &Report) {
    let addresses = addresses_of_real_servers(draft).map(|address| (address.value, &address.span));
    for (address, again, first) in repetitions(addresses) {
        let message = format!("{address} is a real server of this virtual server already");
        let diagnostic = Diagnostic::new(Code::DuplicateRealServer, again, message).label("the second time");
        let diagnostic = diagnostic.related(first, "the first time");
        report.error(diagnostic.help("remove one of the two; a larger share takes a larger `weight`"));
    }
    let Some(sorry) = sorry_server(draft) else { return };
    let is_it = |address: &&Located<IpAddr>| address.value == sorry.address.value;
    if let Some(real) = addresses_of_real_servers(draft).find(is_it) {
        let message =
            format!("{} is a real server of this virtual server, and cannot be its sorry server", real);
        let diagnostic = Diagnostic::new(Code::DuplicateRealServer, &sorry.address.span, message);
        let diagnostic = diagnostic.related(&real.span, "a real server here");
        report.error(diagnostic.help(
            "name a host that only says it is sorry; or remove `sorry_server`: without one, new connections are dropped",
        ));
    }
}

/// What is asked for TCP only, or for UDP only.
fn policies_fit_the_protocol(draft: &VirtualServerDraft, report: &Report) {
    match (draft.protocol, &draft.one_packet, &draft.on_down) {
        (Ok(Protocol::Tcp), Ok(one_packet), _) if one_packet.value => {
            let message = "`one_packet` is for UDP, and this virtual server is of TCP";
            let diagnostic = Diagnostic::new(Code::OtherProtocol, &one_packet.span, message);
            let help = "remove it: the segments of one connection have to go to one real server; or write protocol = \
                        \"udp\"";
            report.error(diagnostic.help(help));
        }
        (Ok(Protocol::Udp), _, Ok(Some(on_down))) if on_down.value != OnDown::Reschedule => {
            let message = format!("`on_down = \"{}\"` does nothing in UDP", on_down.value.name());
            let diagnostic = Diagnostic::new(Code::OtherProtocol, &on_down.span, message);
            let help = "remove it: there are no resets in UDP, and the flows of a real server that is down move to \
                        another one at once";
            report.warning(diagnostic.help(help));
        }
        _ => {}
    }
}

fn ports_are_not_translated(draft: &VirtualServerDraft, report: &Report) {
    let real_servers = draft.real_servers.read.iter().filter_map(|server| server.address.as_ref().ok());
    for real_server in real_servers.chain(sorry_server(draft)) {
        let Some(port) = &real_server.port else { continue };
        let is_other = |vip: &&Located<VirtualAddress>| vip.ports.only() != Some(port.value);
        if let Some(other) = draft.addresses.read.iter().find(is_other) {
            let Ports { first, last } = other.ports;
            let vip_port = if first.max(1) == port.value { last } else { first.max(1) };
            let message = format!(
                "direct routing cannot translate ports: what clients send to port {vip_port} reaches the real server on \
                 port {vip_port}, not on {port}",
            );
            let diagnostic = Diagnostic::new(Code::PortTranslation, &port.span, message);
            let diagnostic = diagnostic.related(&other.span, format!("clients connect to port {vip_port}"));
            let address = real_server.address.value;
            let help =
                format!("write address = \"{address}\", and let the real server listen on port {vip_port}");
            report.error(diagnostic.help(help));
        }
    }
}

/// What each map of the data plane holds.
fn fits(drafts: &[VirtualServerDraft], report: &Report) -> Result<(), Reported> {
    let addresses = drafts.iter().flat_map(|draft| &draft.addresses.read).map(|address| &address.span);
    let real_servers = drafts.iter().flat_map(|draft| {
        let sorry = sorry_server(draft).map(|server| &server.address.span);
        draft.real_servers.read.iter().map(|server| &server.header).chain(sorry)
    });
    let counts = [
        count(drafts.iter().map(|draft| &draft.header), MAX_SERVICES, "virtual servers", report),
        count(addresses, MAX_SERVICE_ADDRESSES, "addresses of virtual servers", report),
        count(real_servers, MAX_DESTINATIONS, "real servers, counted for each virtual server", report),
    ];
    counts.into_iter().collect::<Result<(), _>>()?;
    forms_fit::<ADDRESS_WORDS_V4>(drafts, false, report)?;
    forms_fit::<ADDRESS_WORDS_V6>(drafts, true, report)?;
    let mut slots = 0;
    for draft in drafts {
        slots += slots_of(draft);
        if slots > MAX_SLOTS_OF_ALL {
            let message =
                format!("the virtual servers up to this one need more than {MAX_SLOTS_OF_ALL} slots");
            let help = "wrr takes a slot for each unit of weight: divide the weights by what they have in common, or \
                        round them; sh and dh take 256, mh `mh_table_size`";
            return Err(report.error(Diagnostic::new(Code::TooMany, &draft.header, message).help(help)));
        }
    }
    Ok(())
}

/// Slots of one virtual server, as far as it could be read.
fn slots_of(draft: &VirtualServerDraft) -> usize {
    let Ok(scheduler) = &draft.scheduler else { return 0 };
    let servers = draft.real_servers.read.iter().filter_map(|server| {
        let (address, weight) = (server.address.as_ref().ok()?.address.value, server.weight.ok()?);
        Some(Server { address, weight, weight_before: 0, usable: true })
    });
    let table_size = draft.mh_table_size.as_ref().ok().and_then(|size| Some(size.as_ref()?.value));
    let default = Parameters::default();
    let parameters = Parameters { table_size: table_size.unwrap_or(default.table_size), ..default };
    scheduler.value.slots(&servers.collect::<Vec<_>>(), &parameters).len()
}

/// Addresses that are not exact, of one family.
fn forms_fit<const W: usize>(
    drafts: &[VirtualServerDraft],
    is_ipv6: bool,
    report: &Report,
) -> Result<(), Reported> {
    let mut spans = Vec::new();
    let mut forms = Vec::new();
    for (service, draft) in (0..).zip(drafts) {
        let Ok(protocol) = draft.protocol else { continue };
        let is_form =
            |address: &&Located<VirtualAddress>| address.is_ipv6() == is_ipv6 && address.exact().is_none();
        for address in draft.addresses.read.iter().filter(is_form) {
            spans.push(&address.span);
            forms.push(Form { address: address.value, protocol: protocol.number(), service });
        }
    }
    let Err(excess) = lay_out::<W>(&forms) else { return Ok(()) };
    let family = if is_ipv6 { "IPv6" } else { "IPv4" };
    let (span, message, help) = match excess {
        TooMany::Forms(count) => (
            spans.get(MAX_FORMS as usize),
            format!(
                "there are {count} {family} addresses with prefixes, ranges or any port; lb holds {MAX_FORMS}"
            ),
            "list VIPs and ports by themselves, or move some of them to another director",
        ),
        TooMany::OfAVip { vip, count } => (
            forms
                .iter()
                .zip(&spans)
                .filter(|(form, _)| form.address.vips.contains(vip))
                .nth(MAX_FORMS_OF_A_VIP)
                .map(|(_, span)| span),
            format!(
                "{count} prefixes, ranges and any-port addresses cover {vip}; lb searches {MAX_FORMS_OF_A_VIP} at most"
            ),
            "join ranges, or list ports by themselves: those are not counted",
        ),
        TooMany::Ranges => (
            None,
            format!("the ranges of ports of all {family} prefixes together take more room than lb has"),
            "use fewer ranges, or the same ones for several prefixes",
        ),
    };
    let Some(span) = span.or(spans.last()) else { return Ok(()) };
    Err(report
        .error(Diagnostic::new(Code::TooMany, span, message).label("the first one too many").help(help)))
}

fn prefixes_fit(
    drafts: &[VirtualServerDraft],
    acl: Option<&AclDraft>,
    report: &Report,
) -> Result<(), Reported> {
    for (is_ipv4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let all = acl.into_iter().chain(drafts.iter().flat_map(|draft| &draft.acl));
        let prefixes = all.flat_map(AclDraft::prefixes);
        let mut prefixes = prefixes.filter(|prefix| prefix.is_ipv4() == is_ipv4);
        if let Some(excess) = prefixes.nth(MAX_ACL_PREFIXES as usize) {
            let message = format!(
                "there are {} {family} prefixes in all `acl`; lb holds {MAX_ACL_PREFIXES}",
                MAX_ACL_PREFIXES as usize + 1 + prefixes.count()
            );
            let diagnostic =
                Diagnostic::new(Code::TooMany, &excess.span, message).label("the first one too many");
            return Err(
                report.error(diagnostic.help("write one shorter prefix instead of neighbouring ones"))
            );
        }
    }
    Ok(())
}

fn count<'a>(
    mut places: impl Iterator<Item = &'a Span>,
    limit: u32,
    what: &str,
    report: &Report,
) -> Result<(), Reported> {
    let Some(excess) = places.nth(limit as usize) else { return Ok(()) };
    let message = format!("there are {} {what}; lb holds {limit}", limit as usize + 1 + places.count());
    let diagnostic = Diagnostic::new(Code::TooMany, excess, message).label("the first one too many");
    Err(report.error(diagnostic.help("move some of them to another director")))
}

fn sorry_server(draft: &VirtualServerDraft) -> Option<&RealServerAddress> {
    draft.sorry_server.as_ref().ok()?.as_ref()
}

/// Of real servers and of the sorry server.
fn addresses_of_all_servers(draft: &VirtualServerDraft) -> impl Iterator<Item = &Located<IpAddr>> {
    addresses_of_real_servers(draft).chain(sorry_server(draft).map(|server| &server.address))
}

fn addresses_of_real_servers(draft: &VirtualServerDraft) -> impl Iterator<Item = &Located<IpAddr>> {
    draft.real_servers.read.iter().filter_map(|server| Some(&server.address.as_ref().ok()?.address))
}
