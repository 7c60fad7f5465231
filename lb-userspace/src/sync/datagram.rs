//! A datagram: records, who sent them, and the proof.
//!
//! ```text
//!   "lbsy" 4 │ version 1 │ 0 1 │ records 2 │ session 16 │ number 8 │ records … │ tag 32
//! ```
//!
//! One without records says that its sender is there. The tag is over everything before it.

use ring::hmac;

use super::key::{TAG, tag, verify};
use super::record::{self, take};
use super::{Session, VERSION};
use crate::dataplane::Flow;

pub(super) const MAGIC: [u8; 4] = *b"lbsy";
const HEADER: usize = 4 + 1 + 1 + 2 + 16 + 8;
/// Bytes of the longest datagram: it fits into a frame, whatever is around it.
pub(super) const LONGEST: usize = 1400;

/// Why a datagram is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Refused {
    /// It is something else, or cut off, or says what cannot be.
    Malformed,
    /// It is of another version.
    Version(u8),
    /// It was made with another key, or changed since.
    Key,
    /// It has come before, or may have.
    Replayed,
    /// Its sender has not proved that it runs this session: it is about to be asked, or this is a recording.
    Stranger,
}

/// Datagrams of this director.
#[derive(Debug)]
pub(super) struct Writer {
    key: hmac::Key,
    session: Session,
    /// The number of the last that was made.
    number: u64,
    records: u16,
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(key: hmac::Key, session: Session) -> Self {
        let mut writer = Self { key, session, number: 0, records: 0, bytes: Vec::with_capacity(LONGEST) };
        writer.begin();
        writer
    }

    /// The number of the last datagram that was made.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How many records wait.
    pub(super) fn records(&self) -> u16 {
        self.records
    }

    /// Adds a record; whether the datagram is full now.
    pub(super) fn add(&mut self, flow: &Flow) -> bool {
        record::encode(flow, &mut self.bytes);
        self.records += 1;
        self.bytes.len() + record::LONGEST + TAG > LONGEST
    }

    /// Leaves a number out: receivers notice that something is missing.
    pub(super) fn skip(&mut self) {
        self.number += 1;
    }

    /// Finishes the datagram and begins another; `send` gets it.
    pub(super) fn finish<T>(&mut self, send: impl FnOnce(&[u8]) -> T) -> T {
        self.number += 1;
        self.bytes[6..8].copy_from_slice(&self.records.to_be_bytes());
        self.bytes[24..32].copy_from_slice(&self.number.to_be_bytes());
        let tag = tag(&self.key, &self.bytes);
        self.bytes.extend(tag);
        let sent = send(&self.bytes);
        self.begin();
        sent
    }

    fn begin(&mut self) {
        self.records = 0;
        self.bytes.clear();
        self.bytes.extend(MAGIC);
        self.bytes.extend([VERSION, 0, 0, 0]);
        self.bytes.extend(self.session.to_be_bytes());
        self.bytes.extend([0; 8]);
    }
}

/// A datagram with the right tag.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    /// Who sent it.
    pub(super) session: Session,
    /// Which it is of theirs.
    pub(super) number: u64,
    records: u16,
    rest: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads what came. The tag is looked at before anything that it covers but the version.
    pub(super) fn read(bytes: &'a [u8], key: &hmac::Key) -> Result<Self, Refused> {
        let (covered, tag) = bytes.split_last_chunk::<TAG>().ok_or(Refused::Malformed)?;
        let mut rest = covered;
        let [magic @ .., version, _] = take::<6>(&mut rest).ok_or(Refused::Malformed)?;
        if magic != MAGIC || covered.len() < HEADER {
            return Err(Refused::Malformed);
        }
        if version != VERSION {
            return Err(Refused::Version(version));
        }
        if !verify(key, covered, tag) {
            return Err(Refused::Key);
        }
        let records = take(&mut rest).map(u16::from_be_bytes).ok_or(Refused::Malformed)?;
        let session = take(&mut rest).map(Session::from_be_bytes).ok_or(Refused::Malformed)?;
        let number = take(&mut rest).map(u64::from_be_bytes).ok_or(Refused::Malformed)?;
        Ok(Self { session, number, records, rest })
    }

    /// Hands on the records; an error if they are not what the header says. Those before are good.
    pub(super) fn records(&self, mut take: impl FnMut(Flow)) -> Result<(), Refused> {
        let mut rest = self.rest;
        for _ in 0..self.records {
            take(record::decode(&mut rest).ok_or(Refused::Malformed)?);
        }
        if rest.is_empty() { Ok(()) } else { Err(Refused::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::Key;
    use super::record::tests::flows;
    use super::*;

    fn key() -> hmac::Key {
        Key::of(&[1; 32]).datagram().clone()
    }

    fn written(flows: &[Flow]) -> Vec<Vec<u8>> {
        let (mut writer, mut made) = (Writer::new(key(), 77), Vec::new());
        for flow in flows {
            if writer.add(flow) {
                made.push(writer.finish(<[u8]>::to_vec));
            }
        }
        made.push(writer.finish(<[u8]>::to_vec));
        made
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(flows in prop::collection::vec(flows(), 0..200)) {
            let (mut found, made) = (Vec::new(), written(&flows));
            for (bytes, number) in made.iter().zip(1..) {
                prop_assert!(bytes.len() <= LONGEST);
                let datagram = Datagram::read(bytes, &key()).expect("it is whole");
                prop_assert_eq!((datagram.session, datagram.number), (77, number));
                datagram.records(|flow| found.push(flow)).expect("they are good");
            }
            prop_assert_eq!(found, flows);
        }

        #[test]
        fn one_that_was_changed_or_cut_off_is_refused(
            flows in prop::collection::vec(flows(), 1..20),
            place in any::<prop::sample::Index>(),
            bit in 0u32..8,
        ) {
            let mut bytes = written(&flows).swap_remove(0);
            let place = place.index(bytes.len());
            prop_assert!(Datagram::read(&bytes[..place], &key()).is_err());
            bytes[place] ^= 1 << bit;
            let expected = match place {
                0..4 => Refused::Malformed,
                4 => Refused::Version(bytes[4]),
                _ => Refused::Key,
            };
            prop_assert_eq!(Datagram::read(&bytes, &key()).err(), Some(expected));
        }

        #[test]
        fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000), dressed: bool) {
            let mut bytes = bytes;
            if dressed && bytes.len() > 5 {
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[4] = VERSION;
            }
            prop_assert!(Datagram::read(&bytes, &key()).is_err());
        }

        /// Somebody who has the key, but another idea of records.
        #[test]
        fn records_that_are_none_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1000), records: u16) {
            let datagram = Datagram { session: 1, number: 1, records, rest: &bytes };
            let mut count = 0;
            let read = datagram.records(|_| count += 1);
            prop_assert!(count <= bytes.len() / 24 && (read.is_err() || count == usize::from(records)));
        }
    }

    #[test]
    fn another_key_is_another_director() {
        let other = Key::of(&[2; 32]);
        assert_eq!(Datagram::read(&written(&[])[0], other.datagram()).err(), Some(Refused::Key));
    }
}
