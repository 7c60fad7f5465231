//! What a dry run noted, put together.

use lb_common::connection::{Meta, State};
use lb_common::counter::Reason;
use lb_common::selector::{NO_DESTINATION, Options, Selector};
use lb_common::service::{NO_SERVICE, SlotTable};
use lb_common::trace::{Note, ON_DOWN_MOVED, ON_DOWN_STAYS, Trace};
use macaddr::MacAddr6;

use super::memory::Memory;
use super::tables::destination_view;
use super::templates::{of_destination, seconds_left};
use super::view::DestinationView;

/// What the program would do with a frame, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Bytes of the frame.
    pub length: usize,
    /// The MAC it was addressed to: the interface's own.
    pub mac: MacAddr6,
    /// What the program read; `None` if it did not get that far.
    pub packet: Option<Parsed>,
    /// The number of the virtual server.
    pub service: Option<u32>,
    /// The flow's entry, if one of the tables had it.
    pub connection: Option<Known>,
    /// What would come of its real server's being down, if that is down.
    pub down: Option<Down>,
    /// Whether the scheduler found nobody and the sorry server was chosen.
    pub is_sorry: bool,
    /// What the flow's entry would become, and in which table if it would be recorded anew.
    pub next: Option<(State, Option<Table>)>,
    /// The client's template, if that decided.
    pub template: Option<Known>,
    /// Whether one would be recorded.
    pub records_template: bool,
    /// What the scheduler was asked and said; `None` if it was not asked.
    pub choice: Option<Choice>,
    /// The destination that a new connection would be counted at.
    pub scheduled: Option<u32>,
    /// The destination that the frame would go to.
    pub destination: Option<Sent>,
    /// What would become of the frame.
    pub action: Action,
    /// Why, if it is not forwarded.
    pub reason: Option<Reason>,
}

/// What would come of a connection whose real server is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// It goes on to it, because that is the policy.
    Kept,
    /// It goes on to it, because there is no other one.
    Stays,
    /// It goes to another one.
    Moves,
    /// The client gets a reset.
    Reset,
}

/// A packet as the program read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The IP protocol number.
    pub protocol: u8,
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// Byte 13 of the TCP header.
    pub tcp_flags: u8,
    /// Bytes of the IP packet.
    pub length: u32,
}

/// A connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Of flows of which one packet was seen, or several SYNs.
    HalfOpen,
    /// Of the others.
    Established,
}

/// A flow's entry as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where it is.
    pub table: Table,
    /// The connection's state.
    pub state: State,
    /// Seconds since it was seen.
    pub age: u32,
    /// Seconds until it expires; 0 if it has.
    pub expires_in: u32,
    /// Where it leads.
    pub destination: u32,
    /// The real server there.
    pub server: Option<DestinationView>,
}

/// How a slot was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How.
    pub selector: Option<Selector>,
    /// What was done besides.
    pub options: Options,
    /// Slots of the virtual server; 0 if no real server is usable.
    pub slots: u32,
    /// Which was picked; `None` if there is none.
    pub slot: Option<u32>,
    /// The one that was found where the picked one had no real server; `None` if none was looked for or found.
    pub fallback: Option<u32>,
    /// How often one was picked before, if that is what the choice depends on.
    pub picks: Option<u64>,
}

/// A destination that a frame would be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub number: u32,
    /// Its record.
    pub server: Option<DestinationView>,
    /// Bytes that would be counted.
    pub bytes: u32,
    /// The destination MAC of the frame as it would leave.
    pub mac: MacAddr6,
    /// Its VLAN tag's number.
    pub vlan: Option<u16>,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It would be dropped.
    Drop,
    /// The local network stack would get it.
    Pass,
    /// It would leave by the interface that it came in on.
    Transmit,
    /// It would leave by the interface at this place.
    Redirect(u32),
    /// The program would give up: a bug, or maps that somebody else wrote.
    Abort,
}

/// The program's return values (`enum xdp_action`, include/uapi/linux/bpf.h).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// IEEE 802.1Q and 802.1ad.
const VLAN_TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

impl Action {
    /// Of the program's return value, and 1 more than the place of the interface that it redirected to, if it did.
    pub(super) fn of(action: u32, place: u32) -> Self {
        match action {
            XDP_DROP => Self::Drop,
            XDP_PASS => Self::Pass,
            XDP_TX => Self::Transmit,
            XDP_REDIRECT => Self::Redirect(place.saturating_sub(1)),
            _ => Self::Abort,
        }
    }
}

impl Explanation {
    /// What was noted in `trace`, when the program returned `action` for `frame` and made `sent` of it.
    pub(super) fn read(
        trace: &Trace,
        action: u32,
        frame: &[u8],
        sent: &[u8],
        memory: &Memory,
        now: u32,
    ) -> Self {
        let number = |note| trace.get(note).map(|word| word as u32);
        let known = |note, table| {
            trace.get(note).map(Meta::from_word).map(|meta| Known::read(meta, table, memory, now))
        };
        let place = number(Note::Redirect).map_or(0, |place| place + 1);
        let action = Action::of(action, place);
        let recorded =
            number(Note::Recorded).map(|table| if table == 0 { Table::HalfOpen } else { Table::Established });
        let connection =
            known(Note::Established, Table::Established).or_else(|| known(Note::HalfOpen, Table::HalfOpen));
        let is_down = connection.as_ref().and_then(|known| known.server).is_some_and(|server| server.is_down);
        let is_followed = trace.get(Note::SlotTable).is_none() && trace.get(Note::Forwarded).is_some();
        Self {
            length: frame.len(),
            mac: mac(frame),
            down: match trace.get(Note::OnDown) {
                Some(ON_DOWN_STAYS) => Some(Down::Stays),
                Some(ON_DOWN_MOVED) => Some(Down::Moves),
                Some(_) => Some(Down::Reset),
                None => (is_down && is_followed).then_some(Down::Kept),
            },
            is_sorry: trace.get(Note::Sorry).is_some(),
            packet: trace.get(Note::Transport).zip(trace.get(Note::Packet)).map(Parsed::read),
            service: number(Note::Service).filter(|service| *service != NO_SERVICE),
            connection,
            next: trace.get(Note::Changed).map(|word| (state(Meta::from_word(word)), recorded)),
            template: known(Note::Template, Table::Established),
            records_template: trace.get(Note::Templated).is_some(),
            choice: trace.get(Note::SlotTable).map(SlotTable::from_word).map(|table| Choice {
                selector: Selector::from_number(table.selector),
                options: Options::from_byte(table.selector),
                slots: table.length,
                slot: number(Note::OwnSlot).or_else(|| number(Note::Slot)),
                fallback: number(Note::OwnSlot).and_then(|own| {
                    number(Note::Slot).filter(|slot| *slot != own && *slot != NO_DESTINATION)
                }),
                picks: trace.get(Note::Picks),
            }),
            scheduled: number(Note::Connection),
            destination: trace.get(Note::Forwarded).map(|word| Sent::read(word, sent, memory)),
            action,
            reason: number(Note::Reason).and_then(Reason::from_number),
        }
    }
}

impl Parsed {
    /// From [`Note::Transport`] and [`Note::Packet`].
    fn read((transport, packet): (u64, u64)) -> Self {
        let port = |shift: u32| u16::from_be((transport >> shift) as u16);
        Self {
            protocol: (transport >> 32) as u8,
            source_port: port(0),
            destination_port: port(16),
            tcp_flags: packet as u8,
            length: (packet >> 32) as u32,
        }
    }
}

impl Known {
    fn read(meta: Meta, table: Table, memory: &Memory, now: u32) -> Self {
        let age = meta.age(now);
        let expires_in = if meta.state() == State::Template as u32 {
            seconds_left(meta, of_destination(meta, memory), now)
        } else {
            memory.settings().timeouts.of(meta.state()).saturating_sub(age)
        };
        Self {
            table,
            state: state(meta),
            age,
            expires_in,
            destination: meta.destination(),
            server: server(memory, meta.destination()),
        }
    }
}

impl Sent {
    /// From [`Note::Forwarded`] and the frame as it would leave.
    fn read(forwarded: u64, sent: &[u8], memory: &Memory) -> Self {
        let number = forwarded as u32;
        let bytes_at = |at: usize| sent.get(at..).and_then(<[u8]>::first_chunk::<2>);
        let is_tagged = bytes_at(12).is_some_and(|ether_type| VLAN_TAGS.contains(ether_type));
        let tag = bytes_at(14).filter(|_| is_tagged);
        Self {
            number,
            server: server(memory, number),
            bytes: (forwarded >> 32) as u32,
            mac: mac(sent),
            vlan: tag.map(|tag| u16::from_be_bytes(*tag) & 0xfff),
        }
    }
}

/// The destination MAC of a frame.
fn mac(frame: &[u8]) -> MacAddr6 {
    frame.first_chunk::<6>().map_or(MacAddr6::nil(), |mac| MacAddr6::from(*mac))
}

fn server(memory: &Memory, number: u32) -> Option<DestinationView> {
    let number = number as usize;
    destination_view(memory.destinations.get(number)?, memory.loads.get(number))
}

fn state(meta: Meta) -> State {
    State::from_number(meta.state()).unwrap_or(State::None)
}
