//! Messages byte by byte, everything that can be wrong with them, and anything at all.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 81))];
const THEIRS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));
const VIP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80));
const SECOND: Duration = Duration::from_secs(1);

fn advert(version: Version) -> Advert {
    let addresses = VIPS.to_vec();
    Advert { version, vrid: 51, priority: 100, interval: SECOND, addresses, authentication: None }
}

fn with_password() -> Advert {
    Advert { authentication: Some(*b"1111\0\0\0\0"), ..advert(Version::V2) }
}

/// A router that listens to this advert, sent to the group.
fn expecting(advert: &Advert) -> Expectation {
    Expectation {
        version: advert.version,
        vrid: advert.vrid,
        interval: advert.interval,
        addresses: advert.addresses.clone(),
        authentication: advert.authentication,
        peers: Vec::new(),
    }
}

fn to_group(source: IpAddr) -> Envelope {
    let destination = if source.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() };
    Envelope { source, destination, ttl: TTL }
}

fn encode(advert: &Advert, envelope: &Envelope) -> Vec<u8> {
    advert.encode(envelope.source, envelope.destination)
}

fn snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(4)
        .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + " ")
        .collect()
}

#[test]
fn messages_are_as_the_rfcs_draw_them() {
    let group = to_group(THEIRS);
    let version_3_v6 = Advert { addresses: vec![VIP_V6], ..advert(Version::V3) };
    let shown = [
        format!("version 2            {}", hex(&encode(&advert(Version::V2), &group))),
        format!("version 2, password  {}", hex(&encode(&with_password(), &group))),
        format!("version 3            {}", hex(&encode(&advert(Version::V3), &group))),
        format!("version 3, IPv6      {}", hex(&encode(&version_3_v6, &to_group(THEIRS_V6)))),
    ];
    snapshots().bind(|| insta::assert_snapshot!("messages", shown.join("\n")));
}

#[test]
fn a_checksum_is_that_of_rfc_1071() {
    // The example of its section 3, and what is left over if there is an odd byte.
    assert_eq!(checksum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    assert_eq!(checksum(0, &[0x12, 0x34, 0x56]), !(0x1234 + 0x5600));
    // Counted by hand: version 2, virtual router 51, priority 100, 192.168.2.240 in each second.
    let alone = Advert { addresses: vec![Ipv4Addr::new(192, 168, 2, 240).into()], ..advert(Version::V2) };
    assert_eq!(encode(&alone, &to_group(THEIRS))[CHECKSUM_AT..HEADER_LEN], [0xb7, 0x31]);
}

/// Makes the checksum right again, so that only what is meant to be wrong is.
fn mend(message: &mut [u8], envelope: &Envelope, version: Version) {
    seal(message, version, envelope.source, envelope.destination);
}

/// A good message and who listens to it; then something is changed.
#[derive(Debug)]
struct Case {
    message: Vec<u8>,
    envelope: Envelope,
    expected: Expectation,
}

impl Case {
    fn new(advert: &Advert) -> Self {
        let envelope = to_group(THEIRS);
        Self { message: encode(advert, &envelope), envelope, expected: expecting(advert) }
    }

    fn byte(mut self, at: usize, value: u8) -> Self {
        self.message[at] = value;
        mend(&mut self.message, &self.envelope, self.expected.version);
        self
    }

    fn unicast(mut self, advert: &Advert, peer: IpAddr) -> Self {
        self.envelope.destination = OURS;
        self.expected.peers = vec![peer];
        self.message = encode(advert, &self.envelope);
        self
    }

    fn changed(mut self, change: impl Fn(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn decoded(&self) -> Result<Advert, Rejected> {
        Advert::decode(&self.message, &self.envelope, &self.expected)
    }
}

#[test]
fn whatever_is_wrong_is_told_and_counted_by_its_cause() {
    let two = || Case::new(&advert(Version::V2));
    let secret = || Case::new(&with_password());
    let three = || Case::new(&advert(Version::V3));
    let cases = [
        ("nothing", three().changed(|case| case.message.clear()), Cause::Short),
        ("half a header", three().changed(|case| case.message.truncate(7)), Cause::Short),
        ("another virtual router", three().byte(1, 52), Cause::Vrid),
        ("another virtual router, in version 2", two().byte(1, 50), Cause::Vrid),
        (
            "sent to one director",
            three().changed(|case| case.envelope.destination = OURS),
            Cause::Destination,
        ),
        (
            "sent to all directors",
            three().changed(|case| case.expected.peers = vec![THEIRS]),
            Cause::Destination,
        ),
        ("of a stranger", three().unicast(&advert(Version::V3), OURS), Cause::Source),
        ("routed", three().changed(|case| case.envelope.ttl = 254), Cause::Ttl),
        (
            "routed to one director",
            three().unicast(&advert(Version::V3), THEIRS).changed(|case| case.envelope.ttl = 63),
            Cause::Ttl,
        ),
        ("version 2 for 3", two().changed(|case| case.expected.version = Version::V3), Cause::Version),
        ("version 3 for 2", three().changed(|case| case.expected.version = Version::V2), Cause::Version),
        ("version 4", three().byte(0, 0x41), Cause::Version),
        ("type 2", three().byte(0, 0x32), Cause::Type),
        ("type 0", two().byte(0, 0x20), Cause::Type),
        ("more addresses than bytes", three().byte(3, 3), Cause::Length),
        ("fewer addresses than bytes", three().byte(3, 1), Cause::Length),
        ("a byte too many", three().changed(|case| case.message.push(0)), Cause::Length),
        ("cut off", two().changed(|case| case.message.truncate(23)), Cause::Length),
        ("without authentication data", two().changed(|case| case.message.truncate(16)), Cause::Length),
        ("a flipped bit", three().changed(|case| case.message[2] ^= 1), Cause::Checksum),
        ("a flipped bit of the checksum", two().changed(|case| case.message[7] ^= 1), Cause::Checksum),
        ("a flipped bit of the password", secret().changed(|case| case.message[16] ^= 1), Cause::Checksum),
        (
            "of another sender",
            Case::new(&Advert { addresses: vec![VIP_V6], ..advert(Version::V3) }).changed(|case| {
                case.envelope = to_group(THEIRS_V6);
            }),
            Cause::Checksum,
        ),
        (
            "a password where none is expected",
            secret().changed(|case| case.expected.authentication = None),
            Cause::AuthenticationType,
        ),
        (
            "no password where one is expected",
            two().changed(|case| case.expected.authentication = Some(*b"1111\0\0\0\0")),
            Cause::AuthenticationType,
        ),
        ("an authentication header", two().byte(4, 2), Cause::AuthenticationType),
        ("another password", secret().byte(16, b'2'), Cause::Password),
        ("a longer password", secret().byte(20, b'1'), Cause::Password),
        ("another interval", two().byte(5, 2), Cause::Interval),
        ("no interval in version 2", two().byte(5, 0), Cause::Interval),
        ("no interval in version 3", three().byte(4, 0xf0).byte(5, 0), Cause::Interval),
        ("fewer addresses", three().changed(|case| case.expected.addresses.push(OURS)), Cause::Count),
        ("more addresses", two().changed(|case| case.expected.addresses.truncate(1)), Cause::Count),
        (
            "no address",
            Case::new(&Advert { addresses: Vec::new(), ..advert(Version::V3) }).changed(|case| {
                case.expected.addresses = vec![OURS];
            }),
            Cause::Count,
        ),
        ("another address", three().byte(15, 82), Cause::Addresses),
        ("an address twice", two().byte(15, 80), Cause::Addresses),
    ];
    let mut shown = Vec::new();
    for (name, case, cause) in &cases {
        match case.decoded() {
            Err(rejected) => {
                assert_eq!(rejected.cause(), *cause, "{name}: {rejected}");
                shown.push(format!("{name}: {rejected}"));
            }
            Ok(advert) => panic!("{name}: {advert:?}"),
        }
    }
    let causes: BTreeSet<Cause> = cases.iter().map(|(_, _, cause)| *cause).collect();
    assert!(causes.iter().eq(&Cause::ALL), "each of them, in its order: {causes:?}");
    snapshots().bind(|| insta::assert_snapshot!("rejected", shown.join("\n")));
}

#[test]
fn causes_have_their_places_and_names_of_their_own() {
    for (place, cause) in Cause::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, place);
    }
    assert_eq!(Cause::ALL.map(Cause::name).into_iter().collect::<BTreeSet<_>>().len(), Cause::ALL.len());
}

#[test]
fn addresses_may_come_in_any_order() {
    let case = Case::new(&advert(Version::V3)).changed(|case| case.expected.addresses.reverse());
    assert_eq!(case.decoded(), Ok(advert(Version::V3)));
}

#[test]
fn version_3_takes_the_masters_interval() {
    let slow = Advert { interval: Duration::from_millis(40_950), ..advert(Version::V3) };
    let case = Case::new(&slow).changed(|case| case.expected.interval = SECOND);
    assert_eq!(case.decoded(), Ok(slow));
}

#[test]
fn reserved_bits_are_ignored() {
    // RFC 9568, section 5.2.6: version 3, above the interval. RFC 3768, section 5.3.10: version 2 without authentication.
    assert_eq!(Case::new(&advert(Version::V3)).byte(4, 0xf0).decoded(), Ok(advert(Version::V3)));
    assert_eq!(Case::new(&advert(Version::V2)).byte(16, 0xff).decoded(), Ok(advert(Version::V2)));
}

/// A message with a checksum over other things than ours.
fn with_checksum(destination: Option<IpAddr>, case: Case) -> Case {
    case.changed(|case| {
        let length = case.message.len();
        let pseudo = destination.map_or(0, |to| pseudo_header(THEIRS, to, length));
        seal_over(pseudo, &mut case.message);
    })
}

#[test]
fn checksums_of_version_3_over_ipv4_may_leave_out_the_pseudo_header_or_the_peer() {
    let good = advert(Version::V3);
    let multicast = || Case::new(&good);
    let unicast = || Case::new(&good).unicast(&good, THEIRS);
    assert_eq!(with_checksum(None, multicast()).decoded(), Ok(good.clone()), "RFC 9568");
    assert_eq!(with_checksum(None, unicast()).decoded(), Ok(good.clone()), "RFC 9568");
    assert_eq!(
        with_checksum(Some(GROUP_V4.into()), unicast()).decoded(),
        Ok(good.clone()),
        "keepalived 1.3.6"
    );
    assert_eq!(with_checksum(Some(OURS), multicast()).decoded(), Err(Rejected::Checksum));
}

#[test]
fn keepalived_sends_to_ipv6_peers_with_any_hop_limit() {
    let good = Advert { addresses: vec![VIP_V6], ..advert(Version::V3) };
    let envelope = Envelope { source: THEIRS_V6, destination: VIP_V6, ttl: 64 };
    let expected = Expectation { peers: vec![THEIRS_V6], ..expecting(&good) };
    assert_eq!(Advert::decode(&encode(&good, &envelope), &envelope, &expected), Ok(good));
}

#[test]
fn versions_say_the_intervals_that_fit_their_field() {
    let seconds = Duration::from_secs;
    let millis = Duration::from_millis;
    for (version, interval, can) in [
        (Version::V2, seconds(1), true),
        (Version::V2, seconds(255), true),
        (Version::V2, seconds(256), false),
        (Version::V2, Duration::ZERO, false),
        (Version::V2, millis(1500), false),
        (Version::V3, millis(10), true),
        (Version::V3, millis(40_950), true),
        (Version::V3, millis(40_960), false),
        (Version::V3, millis(15), false),
        (Version::V3, Duration::ZERO, false),
    ] {
        assert_eq!(version.can_say(interval), can, "{version:?} {interval:?}");
    }
    for (version, interval, field) in
        [(Version::V2, millis(1999), 1), (Version::V2, seconds(999), 255), (Version::V3, millis(1), 1)]
    {
        assert_eq!(version.interval_field(interval), field, "{version:?} {interval:?}");
    }
    assert_eq!([2, 3].map(|number| Version::from_number(number).map(Version::number)), [Some(2), Some(3)]);
    assert_eq!([0, 1, 4].map(Version::from_number), [None; 3]);
}

fn versions() -> impl Strategy<Value = (Version, bool)> {
    prop_oneof![Just((Version::V2, false)), Just((Version::V3, false)), Just((Version::V3, true))]
}

fn intervals(version: Version) -> BoxedStrategy<Duration> {
    match version {
        Version::V2 => (1..=255u64).prop_map(Duration::from_secs).boxed(),
        Version::V3 => (1..=4095u64).prop_map(|centis| Duration::from_millis(10 * centis)).boxed(),
    }
}

fn addresses(is_v6: bool) -> BoxedStrategy<Vec<IpAddr>> {
    if is_v6 {
        vec(any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()), 0..20).boxed()
    } else {
        vec(any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()), 0..40).boxed()
    }
}

prop_compose! {
    fn cases()((version, is_v6) in versions())(
        version in Just(version),
        vrid in any::<u8>(),
        priority in any::<u8>(),
        interval in intervals(version),
        addresses in addresses(is_v6),
        authentication in proptest::option::of(any::<[u8; 8]>()),
        is_unicast in any::<bool>(),
        is_v6 in Just(is_v6),
    ) -> (Advert, Case) {
        let authentication = authentication.filter(|_| version == Version::V2);
        let advert = Advert { version, vrid, priority, interval, addresses, authentication };
        let source = if is_v6 { THEIRS_V6 } else { THEIRS };
        let mut envelope = to_group(source);
        let mut expected = expecting(&advert);
        if is_unicast {
            envelope.destination = if is_v6 { VIP_V6 } else { OURS };
            expected.peers = vec![source];
        }
        (advert.clone(), Case { message: encode(&advert, &envelope), envelope, expected })
    }
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_and_encoded_again((advert, case) in cases()) {
        let decoded = case.decoded();
        prop_assert_eq!(decoded.as_ref(), Ok(&advert));
        prop_assert_eq!(encode(&advert, &case.envelope), case.message);
    }

    #[test]
    fn what_was_cut_is_refused((_, mut case) in cases(), at: proptest::sample::Index) {
        case.message.truncate(at.index(case.message.len()));
        prop_assert!(matches!(
            case.decoded().map_err(|rejected| rejected.cause()),
            Err(Cause::Short | Cause::Length)
        ));
    }

    /// A checksum finds every change of one byte; one that is mended is as good as what it was made for.
    #[test]
    fn what_was_changed_is_refused_or_means_something(
        (advert, mut case) in cases(),
        at: proptest::sample::Index,
        flip in 1..=u8::MAX,
        is_mended: bool,
    ) {
        let at = at.index(case.message.len());
        case.message[at] ^= flip;
        if is_mended {
            mend(&mut case.message, &case.envelope, case.expected.version);
        }
        match case.decoded() {
            Ok(_) => prop_assert!(is_mended),
            Err(rejected) => prop_assert!(!rejected.to_string().is_empty()),
        }
        // Once more by somebody who listens to what it says now.
        case.expected.vrid = case.message[1];
        if let Ok(decoded) = case.decoded() {
            let again = encode(&decoded, &case.envelope);
            let read = Advert::decode(&again, &case.envelope, &case.expected);
            prop_assert_eq!(read, Ok(decoded), "made of {:?}", advert);
        }
    }

    #[test]
    fn any_bytes_are_read(
        message in vec(any::<u8>(), 0..200),
        (_, case) in cases(),
        is_mended: bool,
    ) {
        let mut case = Case { message, ..case };
        if is_mended && case.message.len() >= HEADER_LEN {
            case.message[0] = case.expected.version.number() << 4 | ADVERTISEMENT;
            case.message[1] = case.expected.vrid;
            mend(&mut case.message, &case.envelope, case.expected.version);
        }
        if let Err(rejected) = case.decoded() {
            prop_assert!(!rejected.to_string().is_empty());
        }
    }
}
