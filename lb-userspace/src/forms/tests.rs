//! What the data plane finds, against the rule as it is told to people.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::Word;
use lb_common::form::{self, FORM_SPANS, FORM_WORDS, MAX_FORMS, Span};
use lb_common::service::{A_VIP, ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, Index, NO_SERVICE};
use proptest::prelude::*;

use super::*;

/// A layout as it is published, in the second generation.
struct Published<const W: usize> {
    index: Index,
    spans: Vec<Span<W>>,
    ports: Vec<Word>,
}

impl<const W: usize> Published<W> {
    fn new(layout: &Layout<W>) -> Self {
        let span = |(start, part): &([u64; W], form::Part)| Span {
            start: start.map(Word::new),
            part: Word::new(part.word()),
        };
        Self {
            index: Index::new(0, 1, true).with_forms(layout.bits()),
            spans: layout.spans.iter().map(span).collect(),
            ports: layout.ports.iter().copied().map(Word::new).collect(),
        }
    }

    fn find(&self, vip: IpAddr, port: u16, protocol: u8) -> u32 {
        let in_use =
            |i: u32, generation: u32| i.checked_sub(generation).expect("the second generation") as usize;
        let spans = |i| self.spans.get(in_use(i, FORM_SPANS));
        let words = |i| self.ports.get(in_use(i, FORM_WORDS));
        form::find(self.index, &key(vip, port, protocol), spans, words)
    }
}

/// Most specific first: the longest prefix that has the port at all, and of its forms the narrowest.
fn expected(forms: &[Form], vip: IpAddr, port: u16, protocol: u8) -> u32 {
    let has = |form: &&Form| {
        let Ports { first, last } = form.address.ports;
        form.protocol == protocol && form.address.vips.contains(vip) && (first..=last).contains(&port)
    };
    let best = forms.iter().filter(has).min_by_key(|form| form.address.precedence());
    best.map_or(NO_SERVICE, |form| form.service)
}

/// An address of few bits that vary, at both ends, so that prefixes lie in each other.
fn address(is_v6: bool, high: u8, low: u8) -> IpAddr {
    let high = high % 4 * 85;
    if is_v6 {
        Ipv6Addr::from_bits(u128::from(high) << 120 | u128::from(low)).into()
    } else {
        Ipv4Addr::new(high, 0, 0, low).into()
    }
}

fn any_form(is_v6: bool) -> impl Strategy<Value = Form> {
    let ports = prop_oneof![
        Just(Ports::ANY),
        (1..40u16).prop_map(Ports::one),
        (1..40u16, 1..40u16).prop_map(|(first, more)| Ports { first, last: first + more }),
        (65_500..65_535u16).prop_map(|first| Ports { first, last: u16::MAX }),
    ];
    let length = if is_v6 {
        prop_oneof![Just(0u8), 1..8u8, 120..129u8]
    } else {
        prop_oneof![Just(0u8), 1..8u8, 24..33u8]
    };
    (any::<u8>(), any::<u8>(), length, ports, any::<bool>(), 0..5u32).prop_map(
        move |(high, low, length, ports, is_tcp, service)| Form {
            address: VirtualAddress {
                vips: Prefix::around(address(is_v6, high, low), length).expect("a length of the family"),
                ports,
            },
            protocol: if is_tcp { 6 } else { 17 },
            service,
        },
    )
}

/// As the configuration would have it: of forms that count alike, one.
fn without_conflicts(forms: Vec<Form>) -> Vec<Form> {
    let mut kept: Vec<Form> = Vec::new();
    for form in forms {
        let conflicts = |other: &Form| {
            let (one, two) = (form.address, other.address);
            form.protocol == other.protocol
                && one.vips == two.vips
                && one.precedence() == two.precedence()
                && one.ports.overlap(two.ports)
        };
        if !kept.iter().any(conflicts) {
            kept.push(form);
        }
    }
    kept
}

fn check<const W: usize>(is_v6: bool, forms: Vec<Form>, packets: &[(u8, u8, u16)]) {
    let forms = without_conflicts(forms);
    let Some(layout) = lay_out::<W>(&forms).expect("there is room") else { return };
    assert!(layout.spans.is_sorted_by_key(|(start, _)| *start));
    let published = Published::new(&layout);
    for (high, low, port) in packets {
        let vip = address(is_v6, *high, *low);
        for protocol in [6, 17] {
            let (found, expected) =
                (published.find(vip, *port, protocol), expected(&forms, vip, *port, protocol));
            assert_eq!(found, expected, "{vip} port {port} protocol {protocol} of {forms:?}");
        }
        let is_vip = forms.iter().any(|form| form.address.vips.contains(vip));
        assert_eq!(published.find(vip, 0, 0) == A_VIP, is_vip, "{vip} of {forms:?}");
        assert_eq!(published.find(vip, *port, 50), NO_SERVICE);
    }
}

fn packets() -> impl Strategy<Value = Vec<(u8, u8, u16)>> {
    let port = prop_oneof![0..90u16, 65_490..=65_535u16];
    proptest::collection::vec((any::<u8>(), any::<u8>(), port), 1..60)
}

proptest! {
    #[test]
    fn ipv4_is_found_as_it_is_told(forms in proptest::collection::vec(any_form(false), 0..24), packets in packets()) {
        check::<ADDRESS_WORDS_V4>(false, forms, &packets);
    }

    #[test]
    fn ipv6_is_found_as_it_is_told(forms in proptest::collection::vec(any_form(true), 0..24), packets in packets()) {
        check::<ADDRESS_WORDS_V6>(true, forms, &packets);
    }
}

fn form(address: IpAddr, length: u8, ports: Ports) -> Form {
    let vips = Prefix::around(address, length).expect("a length of the family");
    Form { address: VirtualAddress { vips, ports }, protocol: 6, service: 1 }
}

#[test]
fn a_prefix_without_the_port_leaves_it_to_the_shorter_one() {
    let vip: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
    let forms = [
        Form { service: 1, ..form(vip, 32, Ports { first: 8000, last: 8100 }) },
        Form { service: 2, ..form(vip, 28, Ports::one(80)) },
        Form { service: 3, ..form(vip, 24, Ports::ANY) },
    ];
    let layout = lay_out::<ADDRESS_WORDS_V4>(&forms).expect("there is room").expect("there are forms");
    let published = Published::new(&layout);
    let found = |port| published.find(vip, port, 6);
    assert_eq!([found(8050), found(80), found(22), found(0)], [1, 2, 3, 3]);
}

#[test]
fn as_many_as_there_may_be_fit_and_no_more() {
    let vip = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n * 16));
    let forms = |count| (0..count).map(|n| form(vip(n), 30, Ports::ANY)).collect::<Vec<_>>();
    assert!(lay_out::<ADDRESS_WORDS_V4>(&forms(MAX_FORMS)).is_ok());
    assert_eq!(
        lay_out::<ADDRESS_WORDS_V4>(&forms(MAX_FORMS + 1)),
        Err(TooMany::Forms(MAX_FORMS as usize + 1))
    );
    let ranges = |count: u16| {
        let ports = |n| Ports { first: 10 * n + 1, last: 10 * n + 5 };
        (0..count).map(|n| form(vip(0), 32, ports(n))).collect::<Vec<_>>()
    };
    assert!(lay_out::<ADDRESS_WORDS_V4>(&ranges(64)).is_ok());
    assert_eq!(lay_out::<ADDRESS_WORDS_V4>(&ranges(65)), Err(TooMany::OfAVip { vip: vip(0), count: 65 }));
}

#[test]
fn addresses_are_shown_as_they_are_written() {
    let vip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let shown = |text, length, ports| {
        VirtualAddress { vips: Prefix::new(vip(text), length).expect("a prefix"), ports }.to_string()
    };
    assert_eq!(shown("192.0.2.0", 28, Ports::one(80)), "192.0.2.0/28:80");
    assert_eq!(shown("192.0.2.1", 32, Ports::ANY), "192.0.2.1:0");
    assert_eq!(shown("2001:db8::", 64, Ports { first: 8000, last: 8100 }), "[2001:db8::/64]:8000-8100");
    assert_eq!(shown("2001:db8::1", 128, Ports::one(80)), "[2001:db8::1]:80");
    assert_eq!(Prefix::new(vip("192.0.2.1"), 28), None);
    assert_eq!(Prefix::around(vip("192.0.2.1"), 33), None);
    for text in ["192.0.2.1", "192.0.2.0/28", "2001:db8::/64", "::/0"] {
        assert_eq!(text.parse::<Prefix>().map(|prefix| prefix.to_string()), Ok(text.to_owned()));
    }
    for text in ["192.0.2.1/28", "192.0.2.0/33", "192.0.2.0/", "web", "192.0.2.1:80"] {
        assert!(text.parse::<Prefix>().is_err(), "{text}");
    }
}
