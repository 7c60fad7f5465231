//! `[[virtual_server]]` sections as they were read, each by itself: what could not be read was reported and is
//! missing.

use std::ops::RangeInclusive;

use lb_common::limits::MAX_WEIGHT;
use lb_common::load::Thresholds;
use lb_common::policy::OnDown;
use lb_common::selector::DEFAULT_MAGLEV_SLOTS;
use macaddr::MacAddr6;

use super::acl::{self, AclDraft};
use super::address::{self, RealServerAddress};
use super::check::{self, CheckDraft};
use super::contract::{OF_SERVER, OF_SERVICE, PERSISTENCE, REAL_SERVER, VIRTUAL_SERVER};
use super::diagnostic::{Code, Diagnostic};
use super::health::SharedCheck;
use super::model::{Persistence, Protocol, RealServer, VirtualServer};
use super::reaction::{self, ReactionDraft};
use super::reader::{Table, Value};
use super::report::{Partial, Reported};
use super::scheduler;
use super::source::{Located, Span};
use super::value;
use crate::forms::VirtualAddress;
use crate::scheduler::{Flag, Scheduler};

/// How a real server is checked, if it is.
pub(super) type EffectiveCheck = Result<Option<SharedCheck>, Reported>;

/// A `[[virtual_server]]`.
pub(super) struct VirtualServerDraft {
    pub(super) header: Span,
    /// None if the file gives none.
    pub(super) name: Result<Option<Located<String>>, Reported>,
    pub(super) fwmark: Result<Option<Located<u32>>, Reported>,
    pub(super) addresses: Partial<Located<VirtualAddress>>,
    pub(super) protocol: Result<Protocol, Reported>,
    pub(super) scheduler: Result<Located<Scheduler>, Reported>,
    pub(super) scheduler_flags: Partial<Located<Flag>>,
    /// None if the file gives none.
    pub(super) mh_table_size: Result<Option<Located<u32>>, Reported>,
    pub(super) real_servers: Partial<RealServerDraft>,
    /// None if the file gives none.
    pub(super) on_down: Result<Option<Located<OnDown>>, Reported>,
    pub(super) sorry_server: Result<Option<RealServerAddress>, Reported>,
    pub(super) one_packet: Result<Located<bool>, Reported>,
    pub(super) acl: Result<AclDraft, Reported>,
    pub(super) persistence: Result<Option<Persistence>, Reported>,
    /// None if the file gives none.
    pub(super) health_check: Result<Option<CheckDraft>, Reported>,
    pub(super) reaction: Result<ReactionDraft, Reported>,
}

/// A `[[virtual_server.real_server]]`.
pub(super) struct RealServerDraft {
    pub(super) header: Span,
    pub(super) address: Result<RealServerAddress, Reported>,
    pub(super) weight: Result<u32, Reported>,
    mac: Result<Option<MacAddr6>, Reported>,
    vlan: Result<Option<u16>, Reported>,
    thresholds: Result<Thresholds, Reported>,
    /// None if the file gives none.
    pub(super) health_check: Result<Option<CheckDraft>, Reported>,
}

/// What a virtual server without a name is called: after its first address, or its group's number if it has none.
pub(crate) fn default_name(
    protocol: Protocol,
    first: Option<VirtualAddress>,
    fwmark: Option<u32>,
) -> Option<String> {
    let by_address = first.map(|first| format!("{protocol}-{}-{}", first.vips, first.ports));
    by_address.or_else(|| Some(format!("fwmark-{}", fwmark?)))
}

pub(super) fn virtual_servers(file: &Table<'_>) -> Partial<VirtualServerDraft> {
    let sections = file.optional("virtual_server").map(|value| value.tables(&VIRTUAL_SERVER));
    sections.unwrap_or_default().map(|section| virtual_server(&section))
}

fn virtual_server(table: &Table<'_>) -> VirtualServerDraft {
    let name = table.value_or("name", None, |value| {
        let text = value.text("write a short name in quotes: \"web\"")?;
        value::name(&text)?;
        Ok(Some(text.located(text.as_str().to_owned())))
    });
    let fwmark = table.value_or("fwmark", None, |value| {
        let number =
            value.integer(1..=u32::MAX, "write any number that no other virtual server has: fwmark = 7")?;
        Ok(Some(value.located(number)))
    });
    let addresses = match (table.optional("addresses"), &fwmark) {
        (None, Ok(Some(fwmark))) => unbound(table, fwmark),
        _ => match table.required("addresses", ADDRESSES_HELP) {
            Ok(value) => addresses(value),
            Err(reported) => Partial::none(reported),
        },
    };
    let protocol = table.value_or("protocol", Protocol::Tcp, |value| value.choice(&Protocol::NAMES));
    let scheduler = match table.optional("scheduler") {
        Some(value) => scheduler::scheduler(value),
        None => Ok(Located { value: Scheduler::DEFAULT, span: table.header() }),
    };
    let scheduler_flags = table.optional("scheduler_flags").map(scheduler::flags).unwrap_or_default();
    let mh_table_size = table.value_or("mh_table_size", None, |value| scheduler::table_size(value).map(Some));
    let real_servers = real_servers(table);
    let on_down = table.value_or("on_down", None, |value| {
        let span = value.span();
        Ok(Some(Located { value: value.choice(&OnDown::NAMES)?, span }))
    });
    let sorry_server = table.value_or("sorry_server", None, |value| {
        let text = value.text("write the sorry server's own address in quotes: \"192.168.2.250\"")?;
        address::real_server(&text).map(Some)
    });
    let one_packet = match table.optional("one_packet") {
        None => Ok(Located { value: false, span: table.header() }),
        Some(value) => {
            let span = value.span();
            let help = "with true, every datagram is scheduled by itself, and none is remembered";
            value.boolean(help).map(|value| Located { value, span })
        }
    };
    let acl = acl::of_service(table);
    VirtualServerDraft {
        header: table.header(),
        name,
        fwmark,
        addresses,
        protocol,
        scheduler,
        scheduler_flags,
        mh_table_size,
        real_servers,
        on_down,
        sorry_server,
        one_packet,
        acl,
        persistence: persistence(table),
        health_check: check::check(table, &OF_SERVICE),
        reaction: reaction::reaction(table),
    }
}

fn persistence(table: &Table<'_>) -> Result<Option<Persistence>, Reported> {
    table.value_or("persistence", None, |value| {
        let default = Persistence::default();
        let table = value.inline_table(&PERSISTENCE, "{ timeout = \"300s\" }")?;
        let timeout = table.value_or("timeout", default.timeout, value::timeout);
        let mask = |key, default, longest: u8| {
            table.value_or(key, default, |value| {
                let help = "it is how many bits of a client's address count: clients that have them in common are \
                            remembered together";
                let bits = value.integer(1..=longest.into(), help)?;
                Ok(u8::try_from(bits).unwrap_or(longest))
            })
        };
        let (mask_v4, mask_v6) = (mask("mask_v4", default.mask_v4, 32), mask("mask_v6", default.mask_v6, 128));
        Ok(Some(Persistence { timeout: timeout?, mask_v4: mask_v4?, mask_v6: mask_v6? }))
    })
}

/// A group that ipvsadm made, of packets that nothing marks yet.
fn unbound(table: &Table<'_>, fwmark: &Located<u32>) -> Partial<Located<VirtualAddress>> {
    let message = format!("no packets belong to the group {fwmark}: it has no addresses");
    let diagnostic = Diagnostic::new(Code::NoAddress, &fwmark.span, message);
    table.report().warning(diagnostic.help(ADDRESSES_HELP));
    Partial::default()
}

const ADDRESSES_HELP: &str = "write addresses = [\"192.168.2.240:80\"]: each VIP with its port";

fn addresses(value: Value<'_>) -> Partial<Located<VirtualAddress>> {
    let elements = match value.list("\"192.168.2.240:80\"") {
        Ok(elements) => elements,
        Err(reported) => return Partial::none(reported),
    };
    if elements.is_empty() {
        let diagnostic =
            Diagnostic::new(Code::NoAddress, &value.span(), "this virtual server has no address");
        return Partial::none(value.report().error(diagnostic.help(ADDRESSES_HELP)));
    }
    Partial::of(elements.into_iter().map(|element| {
        let text = element.text("write the VIP and the port in quotes: \"192.168.2.240:80\"")?;
        address::virtual_address(&text)
    }))
}

fn real_servers(table: &Table<'_>) -> Partial<RealServerDraft> {
    let value = table.optional("real_server");
    let sections = value.map(|value| value.tables(&REAL_SERVER)).unwrap_or_default();
    if sections.is_empty() {
        let span = value.map_or(table.header(), |value| value.span());
        let message = "this virtual server has no real server: nobody would answer its clients";
        let help = "write [[virtual_server.real_server]] below it, and below that address = \"192.168.2.212\"; or \
                    add one while lb runs: `lb add server`";
        table.report().warning(Diagnostic::new(Code::EmptyService, &span, message).help(help));
    }
    sections.map(|section| real_server(&section))
}

/// IEEE 802.1Q, table 9-2: 0 is no VLAN, 4095 is reserved.
const VLANS: RangeInclusive<u32> = 1..=4094;

fn real_server(table: &Table<'_>) -> RealServerDraft {
    let address = table
        .required("address", "write address = \"192.168.2.212\": the real server's own address")
        .and_then(|value| value.text("write the real server's own address in quotes: \"192.168.2.212\""))
        .and_then(|text| address::real_server(&text));
    let weight = table.value_or("weight", 1, |value| {
        let help =
            "real servers share new connections in the ratio of their weights; one of weight 0 takes none";
        value.integer(0..=MAX_WEIGHT, help)
    });
    let mac = table.value_or("mac", None, |value| {
        let text = value.text("write the MAC in quotes: \"02:00:00:00:00:01\"")?;
        address::mac(&text).map(Some)
    });
    let vlan = table.value_or("vlan", None, |value| {
        let help = "it is the number of the real server's VLAN, if that is another than the one its frames arrive in";
        Ok(u16::try_from(value.integer(VLANS, help)?).ok())
    });
    let thresholds = thresholds(table);
    let health_check = check::check(table, &OF_SERVER);
    RealServerDraft { header: table.header(), address, weight, mac, vlan, thresholds, health_check }
}

fn thresholds(table: &Table<'_>) -> Result<Thresholds, Reported> {
    let help = "it is a number of connections, active and inactive together; 0 for none";
    let read = |key| {
        table.value_or(key, None, |value| Ok(Some(value.located(value.integer(0..=Thresholds::MAX, help)?))))
    };
    let (upper, lower) = (read("upper_threshold")?, read("lower_threshold")?);
    let number = |threshold: &Option<Located<u32>>| threshold.as_ref().map_or(0, |threshold| threshold.value);
    let thresholds = Thresholds { upper: number(&upper), lower: number(&lower) };
    match lower {
        Some(lower) if lower.value > thresholds.upper => {
            let message = if thresholds.upper == 0 {
                "a `lower_threshold` does nothing without an `upper_threshold`".to_owned()
            } else {
                format!("`lower_threshold` {} is above `upper_threshold` {}", lower.value, thresholds.upper)
            };
            let help = "a real server with `upper_threshold` connections gets no more until it has fewer than \
                        `lower_threshold`";
            Err(table.report().error(Diagnostic::new(Code::OutOfRange, &lower.span, message).help(help)))
        }
        _ => Ok(thresholds),
    }
}

impl VirtualServerDraft {
    /// What the rest of the program sees, if all of it could be read. `checks` are its real servers', in their order.
    pub(super) fn finish(self, checks: Vec<EffectiveCheck>) -> Result<VirtualServer, Reported> {
        let addresses: Vec<VirtualAddress> =
            self.addresses.all()?.into_iter().map(|address| address.value).collect();
        let protocol = self.protocol?;
        let fwmark = self.fwmark?.map(|fwmark| fwmark.value);
        let made = default_name(protocol, addresses.first().copied(), fwmark);
        let name = self.name?.map(|name| name.value).or(made).unwrap_or_default();
        let flags = self.scheduler_flags.all()?.into_iter().map(|flag| flag.value);
        let table_size = self.mh_table_size?.map(|size| size.value);
        let real_servers = self.real_servers.all()?.into_iter().zip(checks);
        let real_servers = real_servers.map(|(server, check)| server.finish(check?));
        self.health_check?;
        let reaction = self.reaction?;
        Ok(VirtualServer {
            name,
            addresses,
            fwmark,
            protocol,
            scheduler: self.scheduler?.value,
            scheduler_flags: flags.collect(),
            mh_table_size: table_size.unwrap_or(DEFAULT_MAGLEV_SLOTS),
            real_servers: real_servers.collect::<Result<_, _>>()?,
            sorry_server: self.sorry_server?.map(|server| server.address.value),
            on_down: self.on_down?.map_or(OnDown::default(), |on_down| on_down.value),
            one_packet: self.one_packet?.value,
            acl: self.acl.and_then(AclDraft::finish)?,
            persistence: self.persistence?,
            inhibit_on_failure: reaction.inhibit_on_failure(),
            slow_start: reaction.slow_start(),
            ha_suspend: reaction.ha_suspend(),
            alpha: reaction.alpha(),
            notify: reaction.notify(),
            quorum: reaction.quorum(),
        })
    }
}

impl RealServerDraft {
    fn finish(self, health_check: Option<SharedCheck>) -> Result<RealServer, Reported> {
        let address = self.address?.address.value;
        let (weight, mac, vlan, thresholds) = (self.weight?, self.mac?, self.vlan?, self.thresholds?);
        Ok(RealServer { address, weight, mac, vlan, thresholds, health_check })
    }
}
