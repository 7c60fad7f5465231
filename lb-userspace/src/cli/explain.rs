//! `lb explain`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use clap::Args;
use lb_common::counter::Reason;

use super::output::{print, print_json};
use super::{ControlSocket, Failure, USAGE, answered, runtime};
use crate::config::Protocol;
use crate::control::client;
use crate::control::explain::{
    Act, Choice, Connection, Explanation, MAX_VLAN, OnDown, Question, TCP_FLAGS, Template,
};
use crate::ipvsadm::with_flags;

/// Explain what would become of a frame.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb explain 198.51.100.7:40000 192.0.2.1:80 tcp
  sudo lb explain '[2001:db8::7]:40000' '[2001:db8:1::1]:443' tcp --flags ack
  sudo lb explain 198.51.100.7:40000 192.0.2.1:53 udp --vlan 100 --json

The program itself decides, on the tables as they are; nothing is counted, recorded or sent.")]
pub(super) struct Explain {
    /// The client, as ADDRESS:PORT or [IPV6]:PORT
    #[arg(value_name = "SRC:PORT", value_parser = socket)]
    source: SocketAddr,
    /// Whom it asks, as ADDRESS:PORT or [IPV6]:PORT
    #[arg(value_name = "DST:PORT", value_parser = socket)]
    destination: SocketAddr,
    /// The protocol
    #[arg(value_enum)]
    protocol: Protocol,
    /// TCP flags that are set, with commas between them; syn if not given
    #[arg(long, value_name = "FLAGS", value_delimiter = ',', value_parser = flag_names())]
    flags: Option<Vec<String>>,
    /// The VLAN that the frame is tagged with
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(..=i64::from(MAX_VLAN)))]
    vlan: Option<u16>,
    /// The interface that the frame comes in on; the first of the configuration if not given
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an address and a port: 192.0.2.1:80, or [2001:db8::1]:80".to_owned())
}

fn flag_names() -> clap::builder::PossibleValuesParser {
    TCP_FLAGS.map(|(name, _)| name).into()
}

impl Explain {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let question = self.question()?;
        let answer = client::post(&self.socket.control_socket, "/v1/explain", &question);
        let explained: Explanation = answered(runtime()?.block_on(answer))?;
        if self.json { print_json(&explained) } else { print(&table(&explained)) }
    }

    fn question(&self) -> Result<Question, Failure> {
        let flags = match self.protocol {
            Protocol::Tcp => vec!["syn".to_owned()],
            Protocol::Udp => Vec::new(),
        };
        let question = Question {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol.to_string(),
            flags: self.flags.clone().unwrap_or(flags),
            vlan: self.vlan,
            interface: self.interface.clone(),
        };
        match question.frame(0) {
            Ok(_) => Ok(question),
            Err(error) => Err(Failure { code: USAGE, message: error.to_string() }),
        }
    }
}

/// A line for each stage.
fn table(explained: &Explanation) -> String {
    let mut text = String::new();
    for (stage, said) in [
        ("frame", frame(explained)),
        ("parsed", parsed(explained)),
        ("service", service(explained)),
        ("connection", connection(explained)),
        ("scheduler", scheduler(explained)),
        ("goes to", goes_to(explained)),
        ("verdict", verdict(explained)),
        ("counts", counts(explained)),
    ] {
        let _ = writeln!(text, "{stage:<11} {said}");
    }
    text
}

fn frame(explained: &Explanation) -> String {
    let frame = &explained.frame;
    let asked = &frame.question;
    let tag = asked.vlan.map_or(String::new(), |vlan| format!(", VLAN {vlan}"));
    let accepted = if explained.packet.is_some() { "accepted" } else { "not accepted" };
    format!(
        "{} -> {}, {} bytes{tag}, to {} of {}: {accepted}",
        asked.source,
        asked.destination,
        frame.bytes,
        frame.mac,
        asked.interface.as_deref().unwrap_or_default()
    )
}

fn parsed(explained: &Explanation) -> String {
    let Some(packet) = &explained.packet else { return "nothing".to_owned() };
    let flags = if packet.flags.is_empty() { String::new() } else { format!(" {}", packet.flags.join(",")) };
    let family = if explained.frame.question.source.is_ipv4() { "IPv4" } else { "IPv6" };
    format!(
        "{family} {}{flags}, port {} -> {}, {} bytes",
        packet.protocol, packet.source_port, packet.destination_port, packet.bytes
    )
}

fn service(explained: &Explanation) -> String {
    match (&explained.virtual_server, explained.near.as_slice()) {
        (Some(service), _) => {
            format!("{} ({})", service.name, with_flags(&service.scheduler, &service.scheduler_flags))
        }
        (None, _) if explained.packet.is_none() => "not looked for".to_owned(),
        (None, []) => "none has this address".to_owned(),
        (None, near) => format!("none has this address; there are {}", near.join(", ")),
    }
}

fn connection(explained: &Explanation) -> String {
    let known = match &explained.connection {
        Some(known) => known_connection(known),
        None if explained.virtual_server.is_none() => return "not looked for".to_owned(),
        None => "none".to_owned(),
    };
    let down = explained.on_down.map_or("", |down| match down {
        OnDown::Kept => "; that is down, and keeps its connections (on_down)",
        OnDown::Stays => "; that is down, and there is no other real server",
        OnDown::Moves => "; that is down, and another one is chosen (on_down)",
        OnDown::Reset => "; that is down, and the client gets a reset (on_down)",
    });
    let known = format!("{known}{down}");
    match &explained.next {
        None => known,
        Some(next) => match &next.table {
            Some(table) => format!("{known}; would be recorded as {} ({})", next.state, spoken(table)),
            None => format!("{known}; would be {}", next.state),
        },
    }
}

fn known_connection(known: &Connection) -> String {
    let server = known.real_server.as_deref().unwrap_or("a real server that is gone");
    let expiry = match known.expires_in {
        0 => "expired".to_owned(),
        seconds => format!("expires in {seconds} s"),
    };
    format!("{} ({}) to {server}, seen {} s ago, {expiry}", known.state, spoken(&known.table), known.age)
}

fn spoken(table: &str) -> String {
    table.replace('_', "-")
}

fn scheduler(explained: &Explanation) -> String {
    let Some(choice) = &explained.choice else {
        return match &explained.template {
            Some(template) => format!("not asked: {}", followed(template)),
            None => "not asked".to_owned(),
        };
    };
    if choice.sorry {
        return "no real server is usable: the sorry server".to_owned();
    }
    let chosen = chosen(choice);
    if explained.records_template {
        format!("{chosen}; a template would keep the client there")
    } else {
        chosen
    }
}

fn followed(template: &Template) -> String {
    let Template { age, expires_in, real_server } = template;
    let server = real_server.as_deref().unwrap_or("a real server that is gone");
    format!("the client's template leads to {server}, last followed {age} s ago, expires in {expires_in} s")
}

fn chosen(choice: &Choice) -> String {
    match choice.slot {
        Some(slot) => {
            let instead =
                choice.fallback.map_or(String::new(), |other| format!("; slot {other} in its place"));
            format!("slot {slot} of {}, by {}{instead}", choice.slots, reason_of(choice))
        }
        None if choice.slots == 0 => "no real server is usable".to_owned(),
        None => format!("of {} real servers, by {}", choice.slots, reason_of(choice)),
    }
}

fn reason_of(choice: &Choice) -> String {
    match (choice.by.as_str(), choice.turn) {
        ("source", _) => "the hash of the client's address".to_owned(),
        ("source and port", _) => "the hash of the client's address and port".to_owned(),
        ("destination", _) => "the hash of the VIP".to_owned(),
        ("load", _) => "their connections and weights".to_owned(),
        ("chance", _) => "chance, then connections and weights".to_owned(),
        ("locality", _) => "what the VIP had before, then connections and weights".to_owned(),
        (_, Some(turn)) => format!("turn {turn}"),
        (by, None) => by.to_owned(),
    }
}

fn goes_to(explained: &Explanation) -> String {
    let Some(server) = &explained.real_server else { return "no real server".to_owned() };
    let address = server.address.as_deref().unwrap_or("an unknown real server");
    if explained.verdict.action == Act::Pass {
        return format!("{address}, which is this director");
    }
    let tag = server.vlan.map_or(String::new(), |vlan| format!(", VLAN {vlan}"));
    format!("{address} at {}{tag}", server.mac)
}

fn verdict(explained: &Explanation) -> String {
    let leaves_by = explained.verdict.interface.as_deref().unwrap_or("an interface that is gone");
    let is_answer = explained.verdict.reason.as_deref() == Some(Reason::ResetSent.name());
    let action = match explained.verdict.action {
        Act::Transmit if is_answer => format!("XDP_TX: a TCP reset out of {leaves_by}"),
        Act::Transmit => format!("XDP_TX: forward out of {leaves_by}"),
        Act::Redirect => format!("XDP_REDIRECT: forward out of {leaves_by}"),
        Act::Pass => "XDP_PASS: to the local network stack".to_owned(),
        Act::Drop => "XDP_DROP: drop".to_owned(),
        Act::Abort => "XDP_ABORTED: this is a bug in lb".to_owned(),
    };
    match &explained.verdict.because {
        Some(because) => format!("{action}. {because}"),
        None => action,
    }
}

fn counts(explained: &Explanation) -> String {
    let counter = |counter: &crate::control::explain::Counter| {
        let of = counter.real_server.as_ref().map_or(String::new(), |server| format!(" of {server}"));
        format!("{} +{}{of}", counter.name, counter.adds)
    };
    explained.counters.iter().map(counter).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
