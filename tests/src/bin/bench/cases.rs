//! What is measured by BPF_PROG_TEST_RUN: one list of rows.

use lb_lab::frame::{ACK, SYN};
use lb_userspace::scheduler;
use serde::Serialize;

use crate::Result;
use crate::frames::{self, SOURCE_V4, SOURCE_V6};
use crate::setting::{CONNECTIONS, DATAGRAMS, HASHED, SERVERS, Setting, TRUNK, WEB, new_flows_to};

/// Where a row is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Group {
    Floor,
    Established,
    Unusual,
    Others,
    Flows,
    NewFlow,
    Flood,
    Against,
}

impl Group {
    /// Every group, in the order in which they are shown.
    pub(crate) const ALL: [Self; 8] = [
        Self::Floor,
        Self::Established,
        Self::Unusual,
        Self::Others,
        Self::Flows,
        Self::NewFlow,
        Self::Flood,
        Self::Against,
    ];

    /// What its rows have in common.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Floor => "The floor: nothing is decided",
            Self::Established => "Established connection, 1 flow",
            Self::Unusual => "Unusual frames of a connection, 1 flow",
            Self::Others => "Frames that are not the director's",
            Self::Flows => "Established connections, many flows",
            Self::NewFlow => "New flow",
            Self::Flood => "New sources, beside 1,048,576 connections",
            Self::Against => "The other object",
        }
    }
}

/// Which program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    /// The product's, from the object that this build embeds.
    Product,
    /// The product's, from the object to compare with.
    Other,
    /// One of the testbed's.
    Testbed(&'static str),
}

/// XDP_PASS and XDP_TX (linux/bpf.h).
pub(crate) const PASS: u32 = 2;
const TX: u32 = 3;

/// One row: a program on a frame.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is called in JSON, and what words on the command line are looked for in.
    pub(crate) id: String,
    pub(crate) group: Group,
    /// What it is called on the terminal.
    pub(crate) label: String,
    pub(crate) setting: Setting,
    pub(crate) program: Program,
    /// How many sources take turns, a power of two.
    pub(crate) sources: u32,
    /// Where the last four bytes of the source address lie.
    pub(crate) source_at: u32,
    pub(crate) frame: Vec<u8>,
    /// How many frames go through the program before the first round, beside a few: so many that every table is as
    /// full as it becomes.
    pub(crate) warm_up: u32,
    /// In which order they do: each is the one before times this, plus one.
    pub(crate) order: u16,
    /// How many frames a measurement has at least, whatever the time.
    pub(crate) fewest_frames: u32,
    /// What goes through the program once before each round.
    pub(crate) before: Option<Vec<u8>>,
    /// What must become of the frame, or something else was measured.
    pub(crate) verdict: u32,
    /// The row of an empty program that costs as much beside.
    pub(crate) base: Option<&'static str>,
    /// The row it is compared with: of the reference build, or of this build if the program is the other object's.
    pub(crate) reference: Option<String>,
}

/// Ids that others refer to.
pub(crate) mod ids {
    pub(crate) const EMPTY: &str = "floor/empty";
    pub(crate) const EMPTY_VARIED: &str = "floor/empty-many-sources";
    pub(crate) const ESTABLISHED: &str = "established/ipv4";
    pub(crate) const ESTABLISHED_V6: &str = "established/ipv6";
    pub(crate) const REFERENCE: &str = "established/reference";
    pub(crate) const NOT_A_VIP: &str = "others/not-a-vip";
    pub(crate) const FLOOD_REFERENCE: &str = "flood/reference";
    pub(crate) const AGAINST: &str = "against/ipv4";

    pub(crate) fn services(services: u16) -> String {
        format!("established/{services}-services")
    }

    pub(crate) fn flows(what: &str, flows: u32) -> String {
        format!("flows/{what}-{flows}")
    }

    pub(crate) fn new_flow(scheduler: &str, servers: u32) -> String {
        format!("new/{scheduler}-{servers}")
    }
}

/// How many services there may be, beside few.
pub(crate) const SERVICES: [u16; 3] = [1, 1024, 4096];
/// How many flows there may be, beside one.
pub(crate) const FLOWS: [u32; 2] = [FEWER_FLOWS, 1 << 20];
const FEWER_FLOWS: u32 = 1 << 16;
/// How often each of many flows has its turn in one measurement, at least: a million of them as often as in a second
/// of full load.
const TURNS: u32 = 4;
/// One source after the other.
pub(crate) const IN_TURN: u16 = 1;
/// As good as random. Flows are not recorded in the order in which their frames come later: in the order in which the
/// reference's lie side by side in memory, the CPU would have fetched each before it is asked for.
const SCATTERED: u16 = 25_173;
/// More than come in one run: nearly every frame is of a flow that nobody has seen.
const UNSEEN: u32 = 1 << 24;

impl Case {
    /// A frame of one flow through the product, which forwards it.
    fn of_one_flow(group: Group, id: &str, label: &str, frame: Vec<u8>) -> Self {
        Self {
            id: id.to_owned(),
            group,
            label: label.to_owned(),
            setting: Setting::Usual,
            program: Program::Product,
            sources: 1,
            source_at: SOURCE_V4,
            order: IN_TURN,
            frame,
            warm_up: 0,
            fewest_frames: 0,
            before: None,
            verdict: TX,
            base: Some(ids::EMPTY),
            reference: None,
        }
    }

    /// The same with sources that take turns.
    fn of_many(group: Group, id: &str, label: &str, setting: Setting, sources: u32, frame: Vec<u8>) -> Self {
        let program = Program::Testbed("vary_lb");
        let base = Some(ids::EMPTY_VARIED);
        Self {
            setting,
            sources,
            program,
            base,
            warm_up: sources.min(CONNECTIONS),
            ..Self::of_one_flow(group, id, label, frame)
        }
    }

    fn running(self, program: &'static str) -> Self {
        Self { program: Program::Testbed(program), ..self }
    }

    fn compared_with(self, reference: impl Into<String>) -> Self {
        Self { reference: Some(reference.into()), ..self }
    }
}

/// Every row. `other` is whether there is an object to compare with.
pub(crate) fn all(other: bool) -> Result<Vec<Case>> {
    let mut all = [floor(), established()?, unusual(), others(), flows()?, new_flows(), floods()].concat();
    if other {
        all.extend(against()?);
    }
    Ok(all)
}

/// The rows whose ids contain one of the words, those of another object if there is one, and those that they are
/// compared with.
pub(crate) fn choose(all: &[Case], words: &[String]) -> Vec<Case> {
    let is_named = |case: &&Case| {
        let is_other = case.program == Program::Other;
        words.is_empty() || is_other || words.iter().any(|word| case.id.contains(word.as_str()))
    };
    let named: Vec<&Case> = all.iter().filter(is_named).collect();
    let is_needed =
        |id: &str| named.iter().any(|case| case.id == id || case.reference.as_deref() == Some(id));
    let chosen: Vec<&Case> = all.iter().filter(|case| is_needed(&case.id)).collect();
    let is_base = |id: &str| chosen.iter().any(|case| case.base == Some(id));
    let is_wanted = |case: &&Case| is_needed(&case.id) || is_base(&case.id);
    all.iter().filter(is_wanted).cloned().collect()
}

/// A number with commas: 1,048,576.
pub(crate) fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn floor() -> Vec<Case> {
    let floor = |id, label, program| {
        let frame = frames::tcp(WEB, ACK);
        Case { base: None, ..Case::of_one_flow(Group::Floor, id, label, frame).running(program) }
    };
    let varied = floor(ids::EMPTY_VARIED, "empty program, source stepped", "vary_empty");
    vec![
        floor(ids::EMPTY, "empty program", "empty"),
        Case { sources: UNSEEN, ..varied },
        Case { base: Some(ids::EMPTY), ..floor("floor/swap", "MAC swap, XDP_TX", "swap") },
    ]
}

fn established() -> Result<Vec<Case>> {
    let frame = || frames::tcp(WEB, ACK);
    let row = |id: &str, label: &str, frame| {
        Case::of_one_flow(Group::Established, id, label, frame).compared_with(ids::REFERENCE)
    };
    let mut rows = vec![
        row(ids::ESTABLISHED, "IPv4", frame()),
        Case { reference: None, ..row(ids::ESTABLISHED_V6, "IPv6", frames::tcp_v6()?) },
    ];
    for services in SERVICES {
        let label = format!(
            "IPv4, 1 of {} service{}",
            grouped(services.into()),
            if services == 1 { "" } else { "s" }
        );
        rows.push(Case {
            setting: Setting::Services(services),
            ..row(&ids::services(services), &label, frame())
        });
    }
    let beside = row("established/beside-prefixes", "IPv4, beside 64 prefixes and ranges", frame());
    rows.push(Case { setting: Setting::Forms, ..beside });
    let reference = Case::of_one_flow(Group::Established, ids::REFERENCE, REFERENCE, frame());
    rows.push(reference.running("reference"));
    Ok(rows)
}

/// What is compared with.
const REFERENCE: &str = "reference: HASH, LRU_HASH, ktime";

fn unusual() -> Vec<Case> {
    let row = |id: &str, label: &str, frame| Case::of_one_flow(Group::Unusual, id, label, frame);
    let later = row("unusual/later-fragment", "a later fragment", frames::later_fragment());
    vec![
        row("unusual/vlan", "one VLAN tag", frames::tagged(WEB)),
        row("unusual/vlan-rewritten", "one VLAN tag, into another VLAN", frames::tagged(TRUNK)),
        row("unusual/jumbo", "9000 bytes, in several buffers", frames::jumbo()),
        row("unusual/ipv4-options", "IPv4 options", frames::with_options()),
        Case { before: Some(frames::first_fragment()), ..later },
        row("unusual/icmp-error", "ICMP error about the flow", frames::icmp_error()),
    ]
}

fn others() -> Vec<Case> {
    let row = |id: &str, label: &str, setting| {
        let case = Case::of_one_flow(Group::Others, id, label, frames::not_a_vip());
        Case { verdict: PASS, setting, ..case }
    };
    vec![
        row(ids::NOT_A_VIP, "not a VIP", Setting::Usual),
        row("others/not-a-vip-4096-services", "not a VIP, 4,096 services", Setting::Services(4096)),
        row("others/not-a-vip-prefixes", "not a VIP, beside 64 prefixes and ranges", Setting::Forms),
    ]
}

fn flows() -> Result<Vec<Case>> {
    let mut rows = Vec::new();
    let row = |what: &str, label: String, flows, frame| {
        let id = ids::flows(what, flows);
        let case = Case::of_many(Group::Flows, &id, &label, Setting::Flows(flows), flows, frame);
        // A flow's first frame in a second is dearer than the others, for it writes. Were each flow's frame the first
        // since the last round, only those would be measured.
        Case { fewest_frames: TURNS * flows, order: SCATTERED, ..case }
    };
    for flows in FLOWS {
        let label = format!("one line of the table, {} sources", grouped(flows));
        rows.push(row("line", label, flows, frames::tcp(WEB, ACK)).running("vary_line"));
        let ours = row("ipv4", format!("IPv4, {} flows", grouped(flows)), flows, frames::tcp(WEB, ACK));
        rows.push(ours.compared_with(ids::flows("reference", flows)));
        let reference =
            row("reference", format!("reference, {} flows", grouped(flows)), flows, frames::tcp(WEB, ACK));
        rows.push(reference.running("vary_reference"));
    }
    let label = format!("IPv4, {} flows, table no larger", grouped(FEWER_FLOWS));
    let fitted = row("ipv4-fitted", label, FEWER_FLOWS, frames::tcp(WEB, ACK));
    let fitted = fitted.compared_with(ids::flows("reference", FEWER_FLOWS));
    rows.push(Case { setting: Setting::Fitted(FEWER_FLOWS), ..fitted });
    let ipv6 = row("ipv6", format!("IPv6, {} flows", grouped(FEWER_FLOWS)), FEWER_FLOWS, frames::tcp_v6()?);
    rows.push(Case { setting: Setting::FlowsV6(FEWER_FLOWS), source_at: SOURCE_V6, ..ipv6 });
    Ok(rows)
}

/// A row for every scheduler of the product and number of real servers.
fn new_flows() -> Vec<Case> {
    let row = |(place, scheduler): (usize, &scheduler::Scheduler), servers: u32| {
        let (name, frame) = (scheduler.name(), frames::udp(new_flows_to(place, servers)));
        let id = ids::new_flow(name, servers);
        // There is nothing to fill, and comparing a thousand real servers takes its time.
        Case { warm_up: 0, ..Case::of_many(Group::NewFlow, &id, name, Setting::Schedulers, UNSEEN, frame) }
    };
    let rows = |scheduler| SERVERS.map(|servers| row(scheduler, servers));
    scheduler::ALL.iter().enumerate().flat_map(rows).collect()
}

fn floods() -> Vec<Case> {
    let row = |id: &str, label: &str, frame| {
        Case::of_many(Group::Flood, id, label, Setting::Flows(CONNECTIONS), UNSEEN, frame)
    };
    let reference = row(ids::FLOOD_REFERENCE, "reference", frames::tcp(WEB, SYN));
    vec![
        row("flood/syn", "SYNs", frames::tcp(WEB, SYN)).compared_with(ids::FLOOD_REFERENCE),
        row("flood/udp", "datagrams", frames::udp(DATAGRAMS)).compared_with(ids::FLOOD_REFERENCE),
        row("flood/mid-stream", "mid-stream segments, scheduler sh", frames::tcp(HASHED, ACK))
            .compared_with(ids::FLOOD_REFERENCE),
        reference.running("vary_reference"),
    ]
}

fn against() -> Result<Vec<Case>> {
    let row = |id: &str, label: &str, frame| Case {
        program: Program::Other,
        ..Case::of_one_flow(Group::Against, id, label, frame)
    };
    let miss = row("against/not-a-vip", "not a VIP", frames::not_a_vip());
    Ok(vec![
        row(ids::AGAINST, "established, IPv4", frames::tcp(WEB, ACK)).compared_with(ids::ESTABLISHED),
        row("against/ipv6", "established, IPv6", frames::tcp_v6()?).compared_with(ids::ESTABLISHED_V6),
        Case { verdict: PASS, ..miss.compared_with(ids::NOT_A_VIP) },
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Program, all, choose, ids};
    use lb_userspace::scheduler;

    fn ids_of(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        choose(&all(false).unwrap(), &words).into_iter().map(|case| case.id).collect()
    }

    #[test]
    fn every_row_has_a_name_of_its_own_and_what_it_is_compared_with() {
        let cases = all(true).unwrap();
        let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(ids.len(), cases.len());
        for case in &cases {
            assert!(case.base.is_none_or(|base| ids.contains(base)), "{}", case.id);
            assert!(case.reference.as_deref().is_none_or(|reference| ids.contains(reference)), "{}", case.id);
            assert!(case.sources.is_power_of_two());
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([1, 999, 1000, 1_048_576].map(super::grouped), ["1", "999", "1,000", "1,048,576"]);
    }

    #[test]
    fn every_scheduler_of_the_product_has_its_rows() {
        let cases = all(false).unwrap();
        for scheduler in scheduler::ALL {
            for servers in super::SERVERS {
                let id = ids::new_flow(scheduler.name(), servers);
                assert!(cases.iter().any(|case| case.id == id), "{id}");
            }
        }
        assert!(cases.iter().all(|case| case.program != Program::Other));
    }

    #[test]
    fn words_choose_rows_and_what_they_are_compared_with() {
        assert_eq!(ids_of(&["vlan-rewritten"]), ["floor/empty", "unusual/vlan-rewritten"]);
        assert_eq!(
            ids_of(&["flows/ipv4-65536"]),
            ["floor/empty-many-sources", "flows/ipv4-65536", "flows/reference-65536"]
        );
        assert_eq!(ids_of(&["nothing like that"]), Vec::<String>::new());
        assert_eq!(ids_of(&[]).len(), all(false).unwrap().len());
    }

    #[test]
    fn another_object_is_measured_whatever_else_is() {
        let chosen = choose(&all(true).unwrap(), &["floor/swap".into()]);
        let chosen: Vec<&str> = chosen.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(
            chosen,
            [
                "floor/empty",
                "floor/swap",
                "established/ipv4",
                "established/ipv6",
                "others/not-a-vip",
                "against/ipv4",
                "against/ipv6",
                "against/not-a-vip"
            ]
        );
    }
}
