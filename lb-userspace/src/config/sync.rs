//! `[sync]`: connections shared between directors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::contract::SYNC;
use super::diagnostic::{Code, Diagnostic};
use super::machine::Need;
use super::reader::{Table, Text, Value};
use super::report::{Partial, Reported};
use super::secret::MAKE_SECRET;
use super::source::{Located, repetitions};
use super::suggest::quoted;
use super::value;

/// How connections are shared with other directors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The interface by which they are reached.
    pub interface: Located<String>,
    /// The multicast group, and the port of datagrams and snapshots.
    pub group: Option<SocketAddr>,
    /// The other directors, if there is no group.
    pub peers: Vec<SocketAddr>,
    /// The port of this director.
    pub port: u16,
    /// The file with the key that all have in common.
    pub key_file: PathBuf,
    /// How often connections that last are told of again.
    pub refresh: Duration,
}

impl Sync {
    /// The keys of the section.
    pub const KEYS: &'static [&'static str] = &["interface", "group", "peers", "port", "key_file", "refresh"];
    /// IPVS's (`IP_VS_SYNC_PORT` of `net/netfilter/ipvs/ip_vs_sync.c`).
    const PORT: u16 = 8848;
    /// IPVS's (`IP_VS_SYNC_GROUP`).
    pub const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81)), Self::PORT);
    const REFRESH: Duration = Duration::from_secs(60);
    /// More peers than a director remembers.
    const MOST_PEERS: usize = 32;

    /// Where datagrams go.
    pub fn destinations(&self) -> impl Iterator<Item = SocketAddr> {
        self.group.into_iter().chain(self.peers.iter().copied())
    }
}

const INTERFACE_HELP: &str =
    "write interface = \"eth0\": the interface that the other directors are reached by";
const WHO_HELP: &str = "write group = \"224.0.0.81:8848\" if the directors share a segment, or peers = \
                        [\"192.168.2.211:8848\"]: the others' addresses";
/// Where the key is, if nothing says that it is elsewhere.
pub const SYNC_KEY: &str = "/etc/lb/sync.key";
const GROUP_HELP: &str = "write a multicast address and a port: \"224.0.0.81:8848\", or \"[ff02::81]:8848\"";
const PEER_HELP: &str =
    "write another director's own address, not a VIP, and its port: \"192.168.2.211:8848\"";

pub(super) fn sync(file: &Table<'_>) -> Result<Option<Sync>, Reported> {
    file.value_or("sync", None, |value| {
        let table = value.table(&SYNC)?;
        let interface = table.required("interface", INTERFACE_HELP).and_then(value::needed_interface);
        let group = table.value_or("group", None, |value| group(&value.text(GROUP_HELP)?).map(Some));
        let peers = table.value_or("peers", None, |value| peers(value).map(Some));
        let key_help = format!(
            "write key_file = {SYNC_KEY:?}: the same secret on all directors, made by {MAKE_SECRET}, and readable by root only"
        );
        let key_file = table.required("key_file", &key_help).and_then(|value| {
            value::secret(value, Need::SharedSecret, SYNC_KEY)
        });
        let refresh = table.value_or("refresh", Sync::REFRESH, |value| {
            let limits = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
            Ok(value::wait(value, limits)?.value)
        });
        let port = table.value_or("port", None, |value| {
            let help = "write port = 8848: where this director is told of connections and asked for them";
            let number = value.integer(1..=65_535, help)?;
            Ok(u16::try_from(number).ok().map(|number| (number, value.span())))
        });
        let (group, peers, port) = (group?, peers?, port?);
        let port = match (group, &peers, port) {
            (Some(group), None, None) => group.port(),
            (None, Some(_), port) => port.map_or(Sync::PORT, |(number, _)| number),
            (Some(_), None, Some((_, span))) => {
                let diagnostic = Diagnostic::new(Code::Contradiction, &span, "the group has a port already");
                return Err(table.report().error(diagnostic.help("remove `port`")));
            }
            (Some(_), Some(_), _) => {
                let message = "there is a `group`, and there are `peers`";
                let diagnostic = Diagnostic::new(Code::Contradiction, &table.header(), message);
                return Err(table.report().error(diagnostic.help("remove one of the two")));
            }
            (None, None, _) => {
                let message = "neither `group` nor `peers` says who the other directors are";
                let diagnostic = Diagnostic::new(Code::MissingKey, &table.header(), message).help(WHO_HELP);
                return Err(table.unknown_key().unwrap_or_else(|| table.report().error(diagnostic)));
            }
        };
        Ok(Some(Sync {
            interface: interface?,
            group,
            peers: peers.unwrap_or_default(),
            port,
            key_file: key_file?,
            refresh: refresh?,
        }))
    })
}

fn group(text: &Text<'_>) -> Result<SocketAddr, Reported> {
    let address = socket(text, GROUP_HELP)?;
    if !address.ip().is_multicast() {
        let message = format!("{} is no multicast address", address.ip());
        let help = format!("{GROUP_HELP}; single directors are `peers`");
        return Err(text.error(Code::UnusableAddress, message, help));
    }
    Ok(address)
}

fn peers(value: Value<'_>) -> Result<Vec<SocketAddr>, Reported> {
    let elements = value.list("\"192.168.2.211:8848\"")?;
    if elements.is_empty() {
        let diagnostic = Diagnostic::new(Code::MissingKey, &value.span(), "there is no peer");
        return Err(value.report().error(diagnostic.help(WHO_HELP)));
    }
    if let Some(excess) = elements.get(Sync::MOST_PEERS) {
        let message = format!("there are {} peers; lb knows at most {}", elements.len(), Sync::MOST_PEERS);
        let diagnostic = Diagnostic::new(Code::TooMany, &excess.span(), message).label("one too many");
        value.report().error(diagnostic.help("use a multicast `group`"));
    }
    let read = Partial::of(elements.iter().map(|element| {
        let text = element.text(PEER_HELP)?;
        let address = socket(&text, PEER_HELP)?;
        if address.ip().is_multicast() || address.ip().is_unspecified() {
            let message = format!("{} is no single director's address", address.ip());
            return Err(text.error(Code::UnusableAddress, message, PEER_HELP));
        }
        Ok(text.located(address))
    }));
    for (peer, again, first) in repetitions(read.read.iter().map(|peer| (peer.value.ip(), &peer.span))) {
        let diagnostic = Diagnostic::new(Code::DuplicatePeer, again, format!("{peer} is a peer already"));
        let diagnostic = diagnostic.label("the second time").related(first, "the first time");
        value.report().error(diagnostic.help("remove it from one of the two places"));
    }
    let mut families = read.read.iter();
    if let Some(first) = families.next()
        && let Some(other) = families.find(|other| other.is_ipv4() != first.is_ipv4())
    {
        let message = "peers are all of IPv4 or all of IPv6";
        let diagnostic = Diagnostic::new(Code::MixedFamilies, &other.span, message);
        value
            .report()
            .error(diagnostic.related(&first.span, "of another family").help("use one family's addresses"));
    }
    Ok(read.all()?.into_iter().map(|peer| peer.value).collect())
}

fn socket(text: &Text<'_>, help: &str) -> Result<SocketAddr, Reported> {
    let read = match text.parse::<IpAddr>() {
        // Without a port.
        Ok(ip) => Some(SocketAddr::new(ip, Sync::PORT)),
        Err(_) => text.parse().ok(),
    };
    match read {
        Some(address) if address.port() != 0 => Ok(address),
        _ => {
            Err(text.error(Code::InvalidAddress, format!("{} is no address with a port", quoted(text)), help))
        }
    }
}
