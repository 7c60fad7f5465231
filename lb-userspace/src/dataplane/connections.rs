//! Reading the connection tables, some buckets at a time: they may hold millions, and nobody waits for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use lb_common::connection::{Buckets as _, KEY_WORDS_V4, Meta, State, Timeouts, entries, is_expired, lookup};
use lb_common::hash::{FlowHash, FlowSeed};
use lb_common::persistence::is_template;

use super::clock::KernelClock;
use super::error::DataplaneError;
use super::memory::{Connections, Memory};
use super::tables::destination_view;
use super::templates::{of_destination, seconds_left};
use crate::config::Protocol;
use crate::forms::Prefix;

/// Reads what is remembered of connections.
#[derive(Clone, Debug)]
pub struct ConnectionReader {
    memory: Arc<Memory>,
    clock: KernelClock,
}

/// A connection, or another thing that the tables remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its protocol; `None` for a template, which is for all of its virtual server.
    pub protocol: Option<Protocol>,
    /// Its state.
    pub state: State,
    /// Seconds until it is forgotten, if no frame comes.
    pub expires_in: u32,
    /// Who connected; for a template the client, or the network it is of, and port 0.
    pub client: SocketAddr,
    /// How many bits of the client's address count: all, unless it is a template's.
    pub client_bits: u8,
    /// What it connected to; `None` for a template.
    pub virtual_address: Option<SocketAddr>,
    /// The number of the virtual server and the real server's address; `None` if they were removed and their
    /// number is no longer in use.
    pub destination: Option<(u32, IpAddr)>,
    /// Whether one packet was seen only.
    pub half_open: bool,
}

impl Connection {
    /// Whether it is of a client in `asked`; or may be, for a template of a network is of all clients there.
    #[must_use]
    pub fn is_of(&self, asked: Prefix) -> bool {
        let own = Prefix::around(self.client.ip(), self.client_bits);
        own.is_some_and(|own| asked.contains(own.first()) || own.contains(asked.first()))
    }
}

/// Where to read on. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    table: usize,
    bucket: u32,
}

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub struct PageSize {
    /// Connections; there may be a bucket's more.
    pub connections: usize,
    /// Buckets, for those who want few of many.
    pub buckets: u32,
}

impl ConnectionReader {
    pub(super) fn new(memory: Arc<Memory>, clock: KernelClock) -> Self {
        Self { memory, clock }
    }

    /// Reads on from `cursor` those that are `wanted`; also where to read on, unless that was all.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn page(
        &self,
        mut cursor: Cursor,
        size: PageSize,
        wanted: impl Fn(&Connection) -> bool,
    ) -> Result<(Vec<Connection>, Option<Cursor>), DataplaneError> {
        let (v4, v6) = (&self.memory.v4, &self.memory.v6);
        let now = self.clock.now()?;
        let mut found = Vec::new();
        let mut buckets = size.buckets;
        while buckets > 0 && found.len() < size.connections {
            let half_open = cursor.table % 2 == 1;
            let is_there = match cursor.table {
                0 | 1 => self.bucket(v4, half_open, cursor.bucket, now, &wanted, &mut found),
                2 | 3 => self.bucket(v6, half_open, cursor.bucket, now, &wanted, &mut found),
                _ => return Ok((found, None)),
            };
            if is_there {
                cursor.bucket += 1;
                buckets -= 1;
            } else {
                cursor = Cursor { table: cursor.table + 1, bucket: 0 };
            }
        }
        Ok((found, Some(cursor)))
    }

    /// Reads one bucket; whether there is such a bucket.
    fn bucket<const K: usize>(
        &self,
        family: &Connections<K>,
        half_open: bool,
        index: u32,
        now: u32,
        wanted: impl Fn(&Connection) -> bool,
        found: &mut Vec<Connection>,
    ) -> bool {
        let timeouts = &self.memory.settings().timeouts;
        let [first, second] = &self.memory.settings().flow_seed;
        let seed = FlowSeed { first: first.load(), second: second.load() };
        let Some(live) = live(family, half_open, index, seed, timeouts, now) else { return false };
        let read = |(key, meta): ([u64; K], Meta)| {
            let (number, client, target) = flow(&key)?;
            let mut client_bits = if client.is_ipv4() { 32 } else { 128 };
            let (state, protocol, virtual_address, expires_in) = if is_template(&key) {
                let persistence = of_destination(meta, &self.memory);
                client_bits = u8::try_from(persistence.prefix()).unwrap_or(client_bits).min(client_bits);
                let left = seconds_left(meta, persistence, now);
                // The state of one that was promoted a moment ago is another.
                (State::Template, None, None, Some(left).filter(|left| *left > 0)?)
            } else {
                let left = timeouts.of(meta.state()).saturating_sub(meta.age(now));
                let state = State::from_number(meta.state())?;
                (state, Some(Protocol::from_number(number)?), Some(target), left)
            };
            let destination = self.memory.destinations.get(meta.destination() as usize);
            Some(Connection {
                protocol,
                state,
                expires_in,
                client,
                client_bits,
                virtual_address,
                destination: destination
                    .and_then(|found| destination_view(found, None))
                    .map(|it| (it.service, it.address)),
                half_open,
            })
        };
        found.extend(live.filter_map(read).filter(wanted));
        true
    }
}

/// The connections of a bucket that have not expired, each once: one that was promoted to the main table is still in
/// the other for a while. `None` if there is no such bucket.
pub(super) fn live<'a, const K: usize>(
    family: &'a Connections<K>,
    half_open: bool,
    index: u32,
    seed: FlowSeed,
    timeouts: &'a Timeouts,
    now: u32,
) -> Option<impl Iterator<Item = ([u64; K], Meta)> + use<'a, K>> {
    let table = if half_open { &family.half_open } else { &family.main };
    let is_live = move |(key, meta): &([u64; K], Meta)| {
        let is_promoted = || half_open && lookup(&family.main, key, FlowHash::new(key, seed)).is_some();
        !is_expired(*meta, timeouts, now) && !is_promoted()
    };
    let entries = entries(table.bucket(index)?).map(|(key, entry)| (key, entry.meta));
    Some(entries.filter(is_live))
}

/// What a key says: protocol, source, destination ([`lb_common::connection::key_v4`], `key_v6`). A template's says the
/// source only, with port 0.
pub(super) fn flow<const K: usize>(key: &[u64; K]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let mut bytes = key.iter().flat_map(|word| word.to_le_bytes());
    let mut address = || -> Option<IpAddr> {
        if K == KEY_WORDS_V4 {
            Some(Ipv4Addr::from(take::<4>(&mut bytes)?).into())
        } else {
            Some(Ipv6Addr::from(take::<16>(&mut bytes)?).into())
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || take(&mut bytes).map(u16::from_be_bytes);
    let (source, destination) = (SocketAddr::new(source, port()?), SocketAddr::new(destination, port()?));
    Some((bytes.next()?, source, destination))
}

fn take<const N: usize>(bytes: &mut impl Iterator<Item = u8>) -> Option<[u8; N]> {
    let mut taken = [0; N];
    for byte in &mut taken {
        *byte = bytes.next()?;
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use lb_common::connection::{Terms, insert, key_v4, key_v6};
    use lb_common::load::Thresholds;

    use super::*;
    use crate::dataplane::{Capacity, DestinationView, Operation, Tables, Way};

    const SEED: FlowSeed = FlowSeed { first: 0, second: 0 };
    const ALL: PageSize = PageSize { connections: usize::MAX, buckets: u32::MAX };

    fn reader() -> ConnectionReader {
        let capacity = Capacity { max_connections: 20_000, has_ipv6: true };
        let memory = Arc::new(Memory::in_process(capacity).expect("there is memory"));
        memory.settings().timeouts.set(&Timeouts::ipvs());
        ConnectionReader::new(memory, KernelClock::in_process().expect("there is a clock"))
    }

    fn words(address: &str) -> [u64; 2] {
        let address: Ipv6Addr = address.parse().expect("it is an address");
        let bits = u128::from_le_bytes(address.octets());
        #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
        [bits as u64, (bits >> 64) as u64]
    }

    /// From 192.168.x.y:1027 to 240.2.168.192:80.
    fn key(n: u16) -> [u64; KEY_WORDS_V4] {
        let [x, y] = n.to_be_bytes();
        let addresses = u64::from_le_bytes([192, 168, x, y, 240, 2, 168, 192]);
        key_v4(addresses, u32::from_le_bytes([4, 3, 0, 80]), 6)
    }

    fn record<const K: usize>(
        reader: &ConnectionReader,
        table: &super::super::memory::ConnectionTable<K>,
        key: [u64; K],
        content: (u32, State, u32),
    ) {
        let now = reader.clock.now().expect("there is a clock");
        let (destination, state, age) = content;
        let content = Meta::new(destination, state, now.wrapping_sub(age));
        let timeouts = Timeouts::ipvs();
        let terms = Terms { now, timeouts: &timeouts, ranks: &timeouts };
        insert(table, &key, FlowHash::new(&key, SEED), content, terms, |_, _| {});
    }

    #[test]
    fn a_connection_is_read_with_all_that_is_known_of_it() {
        let reader = reader();
        let memory = &reader.memory;
        let server = IpAddr::from([10, 0, 0, 7]);
        let destination = DestinationView {
            service: 5,
            address: server,
            weight: 1,
            last_weight: 1,
            thresholds: Thresholds::default(),
            is_down: false,
            is_failing: false,
            way: Some(Way::Local),
        };
        let put = Operation::PutDestination { number: 3, destination };
        Tables::in_process(Arc::clone(memory)).apply(&put).expect("it is always possible");
        record(&reader, memory.connections_v4(), key(1), (3, State::FinWait, 20));
        let [a, b] = words("2001:db8::7");
        let [c, d] = words("2001:db8::80");
        let v6 = key_v6([a, b, c, d], u32::from_le_bytes([0x9c, 0x40, 0, 53]), 17);
        record(&reader, memory.half_open_v6(), v6, (4, State::Udp, 0));
        record(&reader, memory.connections_v4(), key(2), (3, State::FinWait, 500));
        let (found, rest) = reader.page(Cursor::default(), ALL, |_| true).expect("there is a clock");
        assert_eq!(rest, None);
        let [first, second] = found[..] else { panic!("one has expired: {found:?}") };
        // A second may have passed.
        assert!((99..=100).contains(&first.expires_in) && (299..=300).contains(&second.expires_in));
        let expected = Connection {
            protocol: Some(Protocol::Tcp),
            state: State::FinWait,
            expires_in: first.expires_in,
            client: ([192, 168, 0, 1], 1027).into(),
            client_bits: 32,
            virtual_address: Some(([240, 2, 168, 192], 80).into()),
            destination: Some((5, server)),
            half_open: false,
        };
        assert_eq!(first, expected);
        let expected = Connection {
            protocol: Some(Protocol::Udp),
            state: State::Udp,
            expires_in: second.expires_in,
            client: "[2001:db8::7]:40000".parse().expect("it is an address"),
            client_bits: 128,
            virtual_address: Some("[2001:db8::80]:53".parse().expect("it is an address")),
            destination: None,
            half_open: true,
        };
        assert_eq!(second, expected);
        let template = Connection { client: ([192, 0, 2, 0], 0).into(), client_bits: 24, ..first };
        let is_of = |connection: &Connection, address: &str, length| {
            let address = address.parse().expect("it is an address");
            connection.is_of(Prefix::new(address, length).expect("a prefix"))
        };
        assert!(is_of(&template, "192.0.2.5", 32) && is_of(&template, "192.0.0.0", 16));
        assert!(!is_of(&template, "192.0.3.5", 32) && !is_of(&template, "2001:db8::", 32));
        assert!(is_of(&first, "192.168.0.0", 24) && !is_of(&first, "192.168.0.2", 32));
    }

    #[test]
    fn pages_together_hold_every_connection_once() {
        let reader = reader();
        for n in 0..10_000 {
            record(&reader, reader.memory.connections_v4(), key(n), (0, State::Established, 0));
            if n < 100 {
                // Promoted: still in the other table.
                record(&reader, reader.memory.half_open_v4(), key(n), (0, State::SynRecv, 0));
            }
        }
        for size in [
            PageSize { connections: 100, buckets: u32::MAX },
            PageSize { connections: usize::MAX, buckets: 64 },
        ] {
            let (mut clients, mut pages, mut next) = (Vec::new(), 0, Some(Cursor::default()));
            while let Some(cursor) = next {
                let (page, rest) = reader.page(cursor, size, |_| true).expect("there is a clock");
                assert!(page.len() < 100 + 64 * 8);
                clients.extend(page.iter().map(|connection| connection.client));
                (pages, next) = (pages + 1, rest);
            }
            assert!(pages > 50, "{pages}");
            clients.sort_unstable();
            let before = clients.len();
            clients.dedup();
            assert_eq!((before, clients.len()), (10_000, 10_000));
        }
        let wanted = |connection: &Connection| connection.client.ip() == IpAddr::from([192, 168, 0, 9]);
        let (found, _) = reader.page(Cursor::default(), ALL, wanted).expect("there is a clock");
        assert_eq!(found.len(), 1);
    }
}
