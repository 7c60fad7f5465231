//! `POST /v1/explain`: what the program would make of a frame, in words that are not the maps'.

mod question;

use lb_common::selector::{Options, Selector};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::Protocol;
use crate::dataplane::{self, Action, DestinationView, Down, Table};
use crate::forms::VirtualAddress;
use crate::net::mac_text;
use crate::state::Published;

pub use question::{Interfaces, MAX_VLAN, Question, QuestionError, TCP_FLAGS};

/// What would become of the frame, stage by stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The frame.
    pub frame: Frame,
    /// What the program read of it; null if it read no packet.
    pub packet: Option<Packet>,
    /// The virtual server; null if the address is none's.
    pub virtual_server: Option<VirtualServer>,
    /// If it is none's: addresses that are somebody's, those of the same VIP if there are any.
    pub near: Vec<String>,
    /// The flow's entry in the connection table; null if there is none.
    pub connection: Option<Connection>,
    /// What would come of its real server's being down: `kept` (it goes on to it, as `on_down` says), `stays` (the same,
    /// because there is no other one), `moves` (to another one) or `reset` (the client gets a reset); null if that is
    /// not down.
    #[serde(default)]
    pub on_down: Option<OnDown>,
    /// What the entry would be afterwards; null if nothing would be written.
    pub next: Option<Next>,
    /// The client's template, if that decides where a new flow goes; null if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// Whether a template would be recorded.
    #[serde(default)]
    pub records_template: bool,
    /// What the scheduler chose; null if it was not asked.
    pub choice: Option<Choice>,
    /// Where the frame would go; null if to no real server.
    pub real_server: Option<RealServer>,
    /// What would become of the frame.
    pub verdict: Verdict,
    /// What would be counted.
    pub counters: Vec<Counter>,
}

/// The frame that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Frame {
    /// What was asked, with the interface that was meant.
    #[serde(flatten)]
    pub question: Question,
    /// Its length.
    pub bytes: usize,
    /// Its destination MAC.
    pub mac: String,
}

/// A packet as the program read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Packet {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Names of the TCP flags that are set.
    pub flags: Vec<String>,
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// Bytes of the IP packet.
    pub bytes: u32,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = explain::VirtualServer)]
pub struct VirtualServer {
    /// Its name.
    pub name: String,
    /// Its scheduler.
    pub scheduler: String,
    /// What is asked of that besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduler_flags: Vec<String>,
}

/// An entry of the connection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = explain::Connection)]
pub struct Connection {
    /// `established` or `half_open`.
    pub table: String,
    /// As `ipvsadm -Lnc` prints it.
    pub state: String,
    /// Seconds since it was seen.
    pub age: u32,
    /// Seconds until it expires; 0 if it has.
    pub expires_in: u32,
    /// Where it leads; null if that is gone.
    pub real_server: Option<String>,
}

/// Where new connections of a client go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Template {
    /// Seconds since its last new connection.
    pub age: u32,
    /// Seconds until the client is forgotten.
    pub expires_in: u32,
    /// Where they go.
    pub real_server: Option<String>,
}

/// What would come of a connection whose real server is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDown {
    /// It goes on to it, because that is the policy.
    Kept,
    /// It goes on to it, because there is no other one.
    Stays,
    /// It goes to another one.
    Moves,
    /// The client gets a reset.
    Reset,
}

/// What would be written to the connection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Next {
    /// The state.
    pub state: String,
    /// In which table a new entry would be made; null if an entry would be changed.
    pub table: Option<String>,
}

/// What the scheduler chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// What the choice depends on: `turn`, `source`, `source and port`, `destination`, `load`, `chance` (and load) or
    /// `locality` (and load).
    pub by: String,
    /// Slots of the virtual server; 0 if no real server is usable.
    pub slots: u32,
    /// The slot, from 0; null if there is none, or if all are compared.
    pub slot: Option<u32>,
    /// The slot that was found where that one has no real server; null if none was looked for or found.
    #[serde(default)]
    pub fallback: Option<u32>,
    /// Connections scheduled before, if the choice depends on that.
    pub turn: Option<u64>,
    /// Whether nobody was found, and the frame goes to the sorry server.
    #[serde(default)]
    pub sorry: bool,
}

/// Where a frame would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = explain::RealServer)]
pub struct RealServer {
    /// Its address; null if nothing is known of it.
    pub address: Option<String>,
    /// The destination MAC of the frame as it would leave.
    pub mac: String,
    /// The VLAN of its tag.
    pub vlan: Option<u16>,
}

/// What would become of the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// What.
    pub action: Act,
    /// The name of the reason, if the frame would not be forwarded.
    pub reason: Option<String>,
    /// The same as a sentence.
    pub because: Option<String>,
    /// The interface that the frame would leave by; null if it would not.
    pub interface: Option<String>,
}

/// What may become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Out of the interface it came in on.
    Transmit,
    /// Out of another interface.
    Redirect,
    /// To the local network stack.
    Pass,
    /// Nowhere.
    Drop,
    /// The program would give up.
    Abort,
}

/// A counter that would move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counter {
    /// Whose it is; null for the director's own.
    pub real_server: Option<String>,
    /// Its name.
    pub name: String,
    /// By how much.
    pub adds: u64,
}

/// How many addresses are named where none is right.
const NEAR: usize = 5;

/// Puts names to what was found.
#[must_use]
pub(super) fn answer(
    asked: &Question,
    found: &dataplane::Explanation,
    published: &Published,
    interfaces: &Interfaces,
) -> Explanation {
    let came_in = interfaces.find(asked.interface.as_deref()).ok().map(|(_, name)| name.clone());
    let service = found
        .service
        .and_then(|number| published.services.iter().find(|service| service.number == Some(number)));
    let is_none = found.packet.is_some() && found.service.is_none();
    Explanation {
        frame: Frame {
            question: Question { interface: came_in.clone(), ..asked.clone() },
            bytes: found.length,
            mac: mac_text(found.mac),
        },
        packet: found.packet.map(|packet| Packet {
            protocol: Protocol::from_number(packet.protocol)
                .map_or_else(|| packet.protocol.to_string(), |protocol| protocol.to_string()),
            flags: flag_names(packet.tcp_flags),
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            bytes: packet.length,
        }),
        virtual_server: service.map(|service| VirtualServer {
            name: service.name.clone(),
            scheduler: service.scheduler.name().to_owned(),
            scheduler_flags: service.scheduler_flags.iter().map(ToString::to_string).collect(),
        }),
        near: if is_none { near(asked, published) } else { Vec::new() },
        connection: found.connection.as_ref().map(|known| Connection {
            table: table_name(known.table).to_owned(),
            state: known.state.name().to_owned(),
            age: known.age,
            expires_in: known.expires_in,
            real_server: address(known.server.as_ref()),
        }),
        on_down: found.down.map(|down| match down {
            Down::Kept => OnDown::Kept,
            Down::Stays => OnDown::Stays,
            Down::Moves => OnDown::Moves,
            Down::Reset => OnDown::Reset,
        }),
        next: found.next.map(|(state, table)| Next {
            state: state.name().to_owned(),
            table: table.map(|table| table_name(table).to_owned()),
        }),
        template: found.template.as_ref().map(|known| Template {
            age: known.age,
            expires_in: known.expires_in,
            real_server: address(known.server.as_ref()),
        }),
        records_template: found.records_template,
        choice: found.choice.map(|choice| Choice {
            by: choice.selector.map_or("", |selector| depends_on(selector, choice.options)).to_owned(),
            slots: choice.slots,
            slot: choice.slot,
            fallback: choice.fallback,
            turn: choice.picks,
            sorry: found.is_sorry,
        }),
        real_server: found.destination.as_ref().map(|sent| RealServer {
            address: address(sent.server.as_ref()),
            mac: mac_text(sent.mac),
            vlan: sent.vlan,
        }),
        verdict: Verdict {
            action: match found.action {
                Action::Transmit => Act::Transmit,
                Action::Redirect(_) => Act::Redirect,
                Action::Pass => Act::Pass,
                Action::Drop => Act::Drop,
                Action::Abort => Act::Abort,
            },
            reason: found.reason.map(|reason| reason.name().to_owned()),
            because: found.reason.map(|reason| reason.description().to_owned()),
            interface: match found.action {
                Action::Transmit => came_in,
                Action::Redirect(place) => interfaces.at(place),
                Action::Pass | Action::Drop | Action::Abort => None,
            },
        },
        counters: counters(found),
    }
}

fn counters(found: &dataplane::Explanation) -> Vec<Counter> {
    let mut counters = Vec::new();
    if let Some(reason) = found.reason {
        counters.push(Counter { real_server: None, name: reason.name().to_owned(), adds: 1 });
    }
    if let Some(sent) = &found.destination {
        let mut add = |name: &str, adds| {
            let real_server = address(sent.server.as_ref());
            counters.push(Counter { real_server, name: name.to_owned(), adds });
        };
        if found.scheduled.is_some() {
            add("connections", 1);
        }
        add("packets", 1);
        add("bytes", u64::from(sent.bytes));
    }
    counters
}

/// Service addresses that may have been meant: of the same VIP, or else of the same family.
fn near(asked: &Question, published: &Published) -> Vec<String> {
    let all = || {
        published
            .services
            .iter()
            .flat_map(|service| service.addresses.iter().map(move |address| (service, *address)))
    };
    let of_vip = |(_, address): &(_, VirtualAddress)| address.vips.contains(asked.destination.ip());
    let of_family = |(_, address): &(_, VirtualAddress)| address.is_ipv6() == asked.destination.is_ipv6();
    let is_vip = all().any(|found| of_vip(&found));
    all()
        .filter(|found| if is_vip { of_vip(found) } else { of_family(found) })
        .take(NEAR)
        .map(|(service, address)| format!("{} {address} ({})", service.protocol, service.name))
        .collect()
}

fn address(server: Option<&DestinationView>) -> Option<String> {
    server.map(|server| server.address.to_string())
}

pub(super) fn flag_names(flags: u8) -> Vec<String> {
    TCP_FLAGS.iter().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| (*name).to_owned()).collect()
}

fn table_name(table: Table) -> &'static str {
    match table {
        Table::HalfOpen => "half_open",
        Table::Established => "established",
    }
}

fn depends_on(selector: Selector, options: Options) -> &'static str {
    match selector {
        Selector::Counter => "turn",
        Selector::Source | Selector::Maglev if options.contains(Options::PORT) => "source and port",
        Selector::Source | Selector::Maglev => "source",
        Selector::Destination => "destination",
        Selector::TwoChoices => "chance",
        Selector::Locality | Selector::ReplicatedLocality => "locality",
        Selector::LeastConnection
        | Selector::WeightedLeastConnection
        | Selector::ShortestExpectedDelay
        | Selector::NeverQueue
        | Selector::WeightedFailover
        | Selector::WeightedOverflow => "load",
    }
}

#[cfg(test)]
mod tests;
