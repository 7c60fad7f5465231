//! `[[vrrp_instance]]` and `[[vrrp_sync_group]]`, each by itself and all of them together.

mod together;

use std::net::IpAddr;
use std::time::Duration;

use super::address;
use super::contract::{AUTHENTICATION, TRACK_SCRIPT, VRRP_INSTANCE, VRRP_SYNC_GROUP, not_available};
use super::diagnostic::{Code, Diagnostic};
use super::reader::{Table, Value};
use super::report::{Partial, Report, Reported};
use super::source::{Located, Span};
use super::suggest::quoted;
use super::value;
use super::vrrp::{InterfaceAddress, Password, TrackScript, VrrpInstance, VrrpVersion};

pub(super) use together::{fits_together, have_vips};

/// A `[[vrrp_instance]]` whose values are right by themselves.
pub(super) struct InstanceDraft {
    name: Located<String>,
    interface: Result<Located<String>, Reported>,
    virtual_router_id: Result<Located<u8>, Reported>,
    version: Result<Located<VrrpVersion>, Reported>,
    priority: Result<u8, Reported>,
    advert_interval: Result<Located<Duration>, Reported>,
    preempt: Result<Located<bool>, Reported>,
    preempt_delay: Result<Option<Located<Duration>>, Reported>,
    password: Result<Option<Located<Password>>, Reported>,
    virtual_addresses: Partial<Located<InterfaceAddress>>,
    excluded_addresses: Partial<Located<InterfaceAddress>>,
    source_address: Result<Option<Located<IpAddr>>, Reported>,
    unicast_peers: Partial<Located<IpAddr>>,
    track_interfaces: Partial<String>,
    virtual_mac: Result<(), Reported>,
    track_scripts: Partial<TrackScript>,
    notify: Result<Vec<String>, Reported>,
}

/// A `[[vrrp_sync_group]]`.
pub(super) struct GroupDraft {
    name: Located<String>,
    instances: Partial<Located<String>>,
    notify: Result<Vec<String>, Reported>,
}

/// The protocol's limits: RFC 3768, section 5.3.7, and keepalived's least of version 3.
const INTERVALS_V2: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(255);
const INTERVALS_V3: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(40_950);
/// One byte counts them (RFC 9568, section 5.2.5).
const MOST_ADDRESSES: usize = 255;
/// keepalived's longest `preempt_delay`.
const LONGEST_DELAY: Duration = Duration::from_secs(1000);

pub(super) fn instances(file: &Table<'_>) -> Partial<InstanceDraft> {
    let sections = file.optional("vrrp_instance").map(|value| value.tables(&VRRP_INSTANCE));
    let sections = sections.unwrap_or_default();
    sections.try_map(|table| instance(&table))
}

pub(super) fn groups(file: &Table<'_>) -> Partial<GroupDraft> {
    let sections = file.optional("vrrp_sync_group").map(|value| value.tables(&VRRP_SYNC_GROUP));
    let sections = sections.unwrap_or_default();
    sections.try_map(|table| group(&table))
}

fn instance(table: &Table<'_>) -> Result<InstanceDraft, Reported> {
    let name = name(table, "write name = \"VI_1\": what `lb vrrp` shows, and scripts are told");
    let interface = table
        .required("interface", "write interface = \"eth0\": where the other directors are")
        .and_then(value::needed_interface);
    let virtual_router_id = table.required("virtual_router_id", VRID_HELP).and_then(|value| {
        let id = value.integer(1..=255, VRID_HELP)?;
        Ok(value.located(u8::try_from(id).unwrap_or(u8::MAX)))
    });
    let version = match table.optional("version") {
        None => Ok(Located { value: VrrpVersion::V2, span: table.header() }),
        Some(value) => {
            let help = "write 2 (IPv4 only, whole seconds) or 3 (both families, from 10 ms); all directors have to speak the same";
            let version = value.integer(2..=3, help);
            version.map(|number| value.located(if number == 2 { VrrpVersion::V2 } else { VrrpVersion::V3 }))
        }
    };
    let priority = table.value_or("priority", VrrpInstance::DEFAULT_PRIORITY, |value| {
        let help = "who has the highest is master; 255 is for the owner of the addresses";
        Ok(u8::try_from(value.integer(1..=255, help)?).unwrap_or(u8::MAX))
    });
    let advert_interval = match table.optional("advert_interval") {
        None => Ok(Located { value: VrrpInstance::DEFAULT_INTERVAL, span: table.header() }),
        Some(value) => value::wait(value, *INTERVALS_V3.start()..=*INTERVALS_V2.end()),
    };
    let preempt = match table.optional("preempt") {
        None => Ok(Located { value: true, span: table.header() }),
        Some(value) => {
            let help = "with false, a master of lower priority stays master";
            value.boolean(help).map(|preempt| value.located(preempt))
        }
    };
    let preempt_delay = table.value_or("preempt_delay", None, |value| {
        value::wait(value, Duration::ZERO..=LONGEST_DELAY).map(Some)
    });
    let virtual_mac = table.value_or("virtual_mac", (), |value| {
        if !value.boolean("with true, the addresses have a MAC of their own")? {
            return Ok(());
        }
        let message = not_available("a virtual MAC", "is");
        let help = "remove it: whoever becomes master announces its own MAC, and neighbours learn it at once";
        Err(value.report().error(Diagnostic::new(Code::NotAvailable, &value.span(), message).help(help)))
    });
    let scripts = table.optional("track_script").map(|value| value.tables(&TRACK_SCRIPT)).unwrap_or_default();
    Ok(InstanceDraft {
        interface,
        virtual_router_id,
        version,
        priority,
        advert_interval,
        preempt,
        preempt_delay,
        password: password(table),
        virtual_addresses: virtual_addresses(table),
        excluded_addresses: list(table, "excluded_addresses", "\"192.168.2.241/24\"", |value, help| {
            address::of_interface(&value.text(help)?)
        }),
        source_address: table.value_or("source_address", None, |value| {
            let text = value.text("write an address of this director: \"192.168.2.210\"")?;
            address::source(&text).map(Some)
        }),
        unicast_peers: list(table, "unicast_peers", "\"192.168.2.211\"", |value, help| {
            address::director(&value.text(help)?)
        }),
        track_interfaces: list(table, "track_interfaces", "\"eth1\"", |value, _| {
            value::interface(value).map(|interface| interface.value)
        }),
        virtual_mac,
        track_scripts: scripts.try_map(|table| track_script(&table)),
        notify: notify(table),
        name: name?,
    })
}

const VRID_HELP: &str =
    "write virtual_router_id = 51: the number that all directors of this virtual router have, from 1 to 255";

fn group(table: &Table<'_>) -> Result<GroupDraft, Reported> {
    let name = name(table, "write name = \"G1\"");
    let help = "write instances = [\"VI_1\", \"VI_2\"]: the instances that are always in the same state";
    let instances = match table.required("instances", help).and_then(|value| value.list("\"VI_1\"")) {
        Ok(elements) => Partial::of(elements.into_iter().map(|element| {
            let text = element.text(help)?;
            Ok(text.located(text.as_str().to_owned()))
        })),
        Err(reported) => Partial::none(reported),
    };
    Ok(GroupDraft { notify: notify(table), name: name?, instances })
}

/// One that can be told from others in a line of a script's arguments.
fn name(table: &Table<'_>, help: &str) -> Result<Located<String>, Reported> {
    let text = table.required("name", help)?.text(help)?;
    value::name(&text)?;
    Ok(text.located(text.as_str().to_owned()))
}

fn list<'a, T>(
    table: &Table<'a>,
    key: &str,
    example: &str,
    read: impl Fn(Value<'a>, &str) -> Result<T, Reported>,
) -> Partial<T> {
    let Some(value) = table.optional(key) else { return Partial::default() };
    let help = format!("write {key} = [{example}]");
    match value.list(example) {
        Ok(elements) => Partial::of(elements.into_iter().map(|element| read(element, &help))),
        Err(reported) => Partial::none(reported),
    }
}

fn virtual_addresses(table: &Table<'_>) -> Partial<Located<InterfaceAddress>> {
    const HELP: &str = "write virtual_addresses = [\"192.168.2.240/24\"]: the addresses that the master has";
    let elements = match table.required("virtual_addresses", HELP) {
        Ok(value) => match value.list("\"192.168.2.240/24\"") {
            Ok(elements) if elements.is_empty() => {
                let diagnostic =
                    Diagnostic::new(Code::NoAddress, &value.span(), "this instance has no address");
                return Partial::none(value.report().error(diagnostic.help(HELP)));
            }
            elements => elements,
        },
        Err(reported) => Err(reported),
    };
    match elements {
        Ok(elements) => {
            if let Some(excess) = elements.get(MOST_ADDRESSES) {
                let message =
                    format!("an advert has room for {MOST_ADDRESSES} addresses, not for {}", elements.len());
                let diagnostic =
                    Diagnostic::new(Code::TooMany, &excess.span(), message).label("one too many");
                table.report().error(diagnostic.help("write another [[vrrp_instance]] for the others"));
            }
            Partial::of(elements.into_iter().map(|element| address::of_interface(&element.text(HELP)?)))
        }
        Err(reported) => Partial::none(reported),
    }
}

/// keepalived sends no more of it either (`vrrp_auth_pass_handler` in keepalived/vrrp/vrrp_parser.c).
fn password(table: &Table<'_>) -> Result<Option<Located<Password>>, Reported> {
    table.value_or("authentication", None, |value| {
        let table = value.inline_table(&AUTHENTICATION, "{ password = \"1111\" }")?;
        let help = "write password = \"1111\": what all directors of this virtual router have";
        let text = table.required("password", help)?.text(help)?;
        if text.is_empty() || text.contains('\0') {
            let message =
                if text.is_empty() { "the password is empty" } else { "the password has a zero byte in it" };
            return Err(text.error(Code::InvalidPassword, message, help));
        }
        if text.len() > Password::LENGTH {
            let message = format!(
                "only {} bytes of the password are sent: adverts have no room for more",
                Password::LENGTH
            );
            let diagnostic = Diagnostic::new(Code::NoEffect, &text.span(), message);
            table.report().warning(
                diagnostic.help("keepalived cuts it too, so both work together; write the shorter one"),
            );
        }
        let mut bytes = [0; Password::LENGTH];
        bytes.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        Ok(Some(text.located(Password(bytes))))
    })
}

/// A program alone, or with arguments.
fn notify(table: &Table<'_>) -> Result<Vec<String>, Reported> {
    table.value_or("notify", Vec::new(), |value| value::command_or_program(value, "/etc/lb/notify.sh"))
}

fn track_script(table: &Table<'_>) -> Result<TrackScript, Reported> {
    let example = "/etc/lb/check.sh";
    let help = format!("write command = [\"{example}\"]: the program's absolute path, then its arguments");
    let command = table.required("command", help).and_then(|value| value::command_or_program(value, example));
    let limits = Duration::from_millis(100)..=Duration::from_secs(60 * 60);
    let interval = match table.optional("interval") {
        None => Ok(TrackScript::DEFAULT_INTERVAL),
        Some(value) => value::wait(value, limits.clone()).map(|interval| interval.value),
    };
    let timeout = table.value_or("timeout", None, |value| value::wait(value, limits).map(Some));
    let weight = table.value_or("weight", 0, |value| {
        let help = "it is added to the priority: a positive one while the program succeeds, a negative one while it \
                    fails; with 0 the instance is in fault while it fails";
        value.signed(TrackScript::MAX_WEIGHT, help)
    });
    let count = |key| {
        table.value_or(key, 1, |value| {
            value.integer(1..=1000, "it is how many results in a row make it count as the other")
        })
    };
    let (fall, rise) = (count("fall"), count("rise"));
    let (interval, timeout) = (interval?, timeout?);
    if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.value > interval) {
        let message = "`timeout` is longer than `interval`: runs would overlap";
        let diagnostic = Diagnostic::new(Code::OutOfRange, &timeout.span, message);
        return Err(table.report().error(diagnostic.help("write a shorter one, or a longer `interval`")));
    }
    Ok(TrackScript {
        command: command?,
        interval,
        timeout: timeout.map_or(interval, |timeout| timeout.value),
        weight: weight?,
        fall: fall?,
        rise: rise?,
    })
}

impl InstanceDraft {
    /// All addresses that the master has.
    fn addresses(&self) -> impl Iterator<Item = &Located<InterfaceAddress>> {
        self.virtual_addresses.read.iter().chain(&self.excluded_addresses.read)
    }

    /// What its values have to be for one another.
    fn fits(&self, report: &Report) {
        let Ok(version) = &self.version else { return };
        self.interval_fits(version, report);
        self.family_fits(version, report);
        if let (VrrpVersion::V3, Ok(Some(password))) = (version.value, &self.password) {
            let message = "version 3 has no passwords (RFC 9568, section 9)";
            let diagnostic = Diagnostic::new(Code::Contradiction, &password.span, message);
            let diagnostic = diagnostic.related(&version.span, "the version");
            report.error(diagnostic.help("remove `authentication`, or write version = 2"));
        }
        if let (Ok(Located { value: false, span }), Ok(Some(delay))) = (&self.preempt, &self.preempt_delay) {
            let message = "`preempt_delay` does nothing with preempt = false";
            let diagnostic =
                Diagnostic::new(Code::NoEffect, &delay.span, message).related(span, "never preempts");
            report.warning(diagnostic.help("remove one of the two"));
        }
        if let (Ok(Located { value: false, span }), Ok(255)) = (&self.preempt, &self.priority) {
            let message =
                "preempt = false does nothing with priority 255: the owner of addresses always has them";
            report.warning(
                Diagnostic::new(Code::NoEffect, span, message).help("write a lower priority, or remove it"),
            );
        }
    }

    fn interval_fits(&self, version: &Located<VrrpVersion>, report: &Report) {
        let Ok(interval) = &self.advert_interval else { return };
        let (limits, unit, help) = match version.value {
            VrrpVersion::V2 => {
                (INTERVALS_V2, 1000, "write whole seconds from \"1s\" to \"255s\", or version = 3")
            }
            VrrpVersion::V3 => {
                (INTERVALS_V3, 10, "write hundredths of a second: from \"10ms\" to \"40950ms\"")
            }
        };
        if limits.contains(&interval.value) && interval.value.as_millis() % unit == 0 {
            return;
        }
        let number = if version.value == VrrpVersion::V2 { 2 } else { 3 };
        let written = humantime::format_duration(interval.value);
        let message = format!("version {number} cannot send adverts every {written}");
        let diagnostic = Diagnostic::new(Code::OutOfRange, &interval.span, message);
        report.error(diagnostic.related(&version.span, "the version").help(help));
    }

    fn family_fits(&self, version: &Located<VrrpVersion>, report: &Report) {
        let addresses = &self.virtual_addresses.read;
        let Some(first) = addresses.first() else { return };
        let is_ipv6 = first.value.address.is_ipv6();
        let mixed = |what: &str, span: &Span| {
            let message = format!("{what} is not of the family of the first virtual address");
            let diagnostic =
                Diagnostic::new(Code::MixedFamilies, span, message).related(&first.span, "the first one");
            let help = "a virtual router has one family: write another [[vrrp_instance]] for the other one, and a \
                        [[vrrp_sync_group]] of both if they are to move together";
            report.error(diagnostic.help(help));
        };
        for address in addresses.iter().filter(|address| address.value.address.is_ipv6() != is_ipv6) {
            mixed(&quoted(&address.value.to_string()), &address.span);
        }
        let others = self.unicast_peers.read.iter().chain(self.source_address.iter().flatten());
        for other in others.filter(|other| other.value.is_ipv6() != is_ipv6) {
            mixed(&quoted(&other.value.to_string()), &other.span);
        }
        if is_ipv6 && version.value == VrrpVersion::V2 {
            let message = "version 2 has no IPv6";
            let diagnostic = Diagnostic::new(Code::Contradiction, &first.span, message);
            let diagnostic = diagnostic.related(&version.span, "the version");
            report.error(diagnostic.help("write version = 3"));
        }
    }

    fn finish(self) -> Result<VrrpInstance, Reported> {
        self.virtual_mac?;
        Ok(VrrpInstance {
            name: self.name.value,
            interface: self.interface?,
            virtual_router_id: self.virtual_router_id?.value,
            version: self.version?.value,
            priority: self.priority?,
            advert_interval: self.advert_interval?.value,
            preempt: self.preempt?.value,
            preempt_delay: self.preempt_delay?.map_or(Duration::ZERO, |delay| delay.value),
            password: self.password?.map(|password| password.value),
            virtual_addresses: values(self.virtual_addresses)?,
            excluded_addresses: values(self.excluded_addresses)?,
            source_address: self.source_address?.map(|address| address.value),
            unicast_peers: values(self.unicast_peers)?,
            track_interfaces: self.track_interfaces.all()?,
            track_scripts: self.track_scripts.all()?,
            notify: self.notify?,
        })
    }
}

fn values<T>(elements: Partial<Located<T>>) -> Result<Vec<T>, Reported> {
    Ok(elements.all()?.into_iter().map(|element| element.value).collect())
}
