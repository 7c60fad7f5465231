//! Two directors tell each other who they are, by TCP, and one of them gets what the other knows.
//!
//! ```text
//!   asks    hello ─────────────────────────────>            answers
//!                 <──────────────────────────── hello │ tag("answer", both hellos)
//!           tag("ask", both hellos, wish) │ wish ──>
//!                 <─────────── block … block │ last block    if the wish was a snapshot
//!
//!   hello   "lbsy" 4 │ version 1 │ nonce 32 │ session 16 │ number 8
//!   block   length 4 │ counter 8 │ is the last 1 │ records … │ tag 32
//! ```
//!
//! Both nonces are in everything that is proved, so that no recording is. The blocks' key is made of both hellos, and the
//! counter is below the tag. Whoever does not answer in time, or says more than there is room for, is left.

use std::io;
use std::time::Duration;

use ring::hmac;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::datagram::{MAGIC, Refused};
use super::key::{Key, TAG, tag, verify};
use super::record::{self, take};
use super::{Session, VERSION};
use crate::dataplane::Flow;

const NONCE: usize = 32;
const HELLO: usize = 4 + 1 + NONCE + 16 + 8;
const BLOCK_HEADER: usize = 8 + 1;
/// Bytes of a block, its length aside: with more, it is no block.
const LONGEST_BLOCK: usize = 128 << 10;
/// From so many bytes of records on, a block is sent.
pub(super) const FULL_BLOCK: usize = 32 << 10;
/// How long an introduction may take.
const INTRODUCTION: Duration = Duration::from_secs(2);
/// How long a block may take.
const BLOCK: Duration = Duration::from_secs(5);
/// How long a snapshot may take: more than 64 million connections at a gigabit a second.
pub(super) const SNAPSHOT: Duration = Duration::from_secs(120);

/// Who a director is, and how many datagrams it has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) session: Session,
    pub(super) number: u64,
}

/// What a director wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To know who the other is.
    Introduction = 0,
    /// All that it knows, too.
    Snapshot = 1,
}

/// A director that has proved who it is.
#[derive(Debug)]
pub(super) struct Introduced {
    pub(super) peer: Identity,
    blocks: hmac::Key,
}

/// Why an introduction or a snapshot came to nothing.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("it does not answer in time")]
    Slow,
    /// The other is not believed.
    #[error("{}", says(.0))]
    Refused(Refused),
    /// It is this director.
    #[error("it is this director itself; remove its own address from sync.peers")]
    Oneself,
    /// No random numbers.
    #[error("draw random numbers: {0}")]
    Random(getrandom::Error),
}

fn says(refused: &Refused) -> String {
    match refused {
        Refused::Malformed => "it says what no director would".to_owned(),
        Refused::Version(version) => {
            format!("it speaks version {version} of the protocol, and this director version {VERSION}")
        }
        Refused::Key => "it has another key: compare sync.key_file on both".to_owned(),
        Refused::Replayed => "it says again what was said before".to_owned(),
        Refused::Stranger => "it has not said who it is".to_owned(),
    }
}

/// Asks a director who it is.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &Key,
    own: Identity,
    wish: Wish,
) -> Result<Introduced, Failure> {
    in_time(INTRODUCTION, async {
        let ours = hello(own)?;
        stream.write_all(&ours).await?;
        let theirs = read_hello(stream).await?;
        let proof: [u8; TAG] = read(stream).await?;
        let transcript = [ours, theirs].concat();
        if !key.is_introduced(b"answer", &transcript, &proof) {
            return Err(Failure::Refused(Refused::Key));
        }
        let peer = identity(&theirs, own)?;
        let wish = [wish as u8];
        let proof = key.introduce(b"ask", &[&transcript[..], &wish].concat());
        stream.write_all(&[&proof[..], &wish].concat()).await?;
        Ok(Introduced { peer, blocks: key.of_connection(&transcript) })
    })
    .await
}

/// Answers a director that asks.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &Key,
    own: impl FnOnce() -> Identity,
) -> Result<(Introduced, Wish), Failure> {
    in_time(INTRODUCTION, async {
        let theirs = read_hello(stream).await;
        let own = own();
        let ours = hello(own)?;
        let theirs = match theirs {
            Err(Failure::Refused(Refused::Version(version))) => {
                // Whoever speaks another version sees ours.
                stream.write_all(&ours).await?;
                return Err(Failure::Refused(Refused::Version(version)));
            }
            theirs => theirs?,
        };
        let transcript = [theirs, ours].concat();
        let proof = key.introduce(b"answer", &transcript);
        stream.write_all(&[&ours[..], &proof].concat()).await?;
        let proof: [u8; TAG] = read(stream).await?;
        let wish: [u8; 1] = read(stream).await?;
        if !key.is_introduced(b"ask", &[&transcript[..], &wish].concat(), &proof) {
            return Err(Failure::Refused(Refused::Key));
        }
        let peer = identity(&theirs, own)?;
        let wish = match wish {
            [0] => Wish::Introduction,
            [1] => Wish::Snapshot,
            _ => return Err(Failure::Refused(Refused::Malformed)),
        };
        Ok((Introduced { peer, blocks: key.of_connection(&transcript) }, wish))
    })
    .await
}

impl Introduced {
    /// What sends a snapshot.
    pub(super) fn into_snapshot(self) -> Snapshot {
        Snapshot { key: self.blocks, counter: 0 }
    }

    /// Takes a snapshot; returns how many records there were.
    pub(super) async fn receive_snapshot<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        mut take_flows: impl FnMut(&[Flow]),
    ) -> Result<u64, Failure> {
        in_time(SNAPSHOT, async {
            let (mut total, mut flows, mut bytes) = (0, Vec::new(), Vec::new());
            for expected in 0u64.. {
                in_time(BLOCK, read_block(stream, &mut bytes)).await?;
                let malformed = Failure::Refused(Refused::Malformed);
                let Some((covered, tag)) = bytes.split_last_chunk::<TAG>() else { return Err(malformed) };
                if !verify(&self.blocks, covered, tag) {
                    return Err(Failure::Refused(Refused::Key));
                }
                let mut rest = covered;
                let (counter, last) = (take(&mut rest).map(u64::from_be_bytes), take::<1>(&mut rest));
                if counter != Some(expected) {
                    return Err(Failure::Refused(Refused::Replayed));
                }
                flows.clear();
                while !rest.is_empty() {
                    let Some(flow) = record::decode(&mut rest) else { return Err(malformed) };
                    flows.push(flow);
                }
                total += flows.len() as u64;
                take_flows(&flows);
                if last != Some([0]) {
                    break;
                }
                // Others have to do with the same thread.
                tokio::task::yield_now().await;
            }
            Ok(total)
        })
        .await
    }
}

/// A snapshot that is being sent. It is for the caller to end one that takes longer than [`SNAPSHOT`].
#[derive(Debug)]
pub(super) struct Snapshot {
    key: hmac::Key,
    counter: u64,
}

impl Snapshot {
    /// An empty block, for records to be appended to.
    pub(super) fn block() -> Vec<u8> {
        vec![0; 4 + BLOCK_HEADER]
    }

    /// Sends a block.
    pub(super) async fn send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        mut block: Vec<u8>,
        is_last: bool,
    ) -> Result<(), Failure> {
        block[4..12].copy_from_slice(&self.counter.to_be_bytes());
        block[12] = u8::from(is_last);
        self.counter += 1;
        let tag = tag(&self.key, &block[4..]);
        block.extend(tag);
        let length = u32::try_from(block.len() - 4).unwrap_or(u32::MAX);
        block[..4].copy_from_slice(&length.to_be_bytes());
        in_time(BLOCK, async {
            stream.write_all(&block).await?;
            if is_last { Ok(stream.shutdown().await?) } else { Ok(()) }
        })
        .await
    }
}

async fn read_block<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    let length = u32::from_be_bytes(read(stream).await?) as usize;
    if !(BLOCK_HEADER + TAG..=LONGEST_BLOCK).contains(&length) {
        return Err(Failure::Refused(Refused::Malformed));
    }
    bytes.clear();
    bytes.resize(length, 0);
    stream.read_exact(bytes).await?;
    Ok(())
}

async fn in_time<T>(limit: Duration, doing: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(limit, doing).await.unwrap_or(Err(Failure::Slow))
}

async fn read<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_hello<S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; HELLO], Failure> {
    // What follows may be longer or shorter in other versions.
    let start: [u8; 5] = read(stream).await?;
    let [magic @ .., version] = start;
    if magic != MAGIC {
        return Err(Failure::Refused(Refused::Malformed));
    }
    if version != VERSION {
        return Err(Failure::Refused(Refused::Version(version)));
    }
    let mut hello = [0; HELLO];
    hello[..5].copy_from_slice(&start);
    stream.read_exact(&mut hello[5..]).await?;
    Ok(hello)
}

fn hello(own: Identity) -> Result<[u8; HELLO], Failure> {
    let mut hello = [0; HELLO];
    hello[..4].copy_from_slice(&MAGIC);
    hello[4] = VERSION;
    getrandom::fill(&mut hello[5..5 + NONCE]).map_err(Failure::Random)?;
    hello[5 + NONCE..][..16].copy_from_slice(&own.session.to_be_bytes());
    hello[5 + NONCE + 16..].copy_from_slice(&own.number.to_be_bytes());
    Ok(hello)
}

fn identity(hello: &[u8; HELLO], own: Identity) -> Result<Identity, Failure> {
    let mut rest = &hello[5 + NONCE..];
    let (session, number) = (take(&mut rest).map(Session::from_be_bytes), take(&mut rest));
    let (session, number) =
        session.zip(number.map(u64::from_be_bytes)).ok_or(Failure::Refused(Refused::Malformed))?;
    if session == own.session {
        return Err(Failure::Oneself);
    }
    Ok(Identity { session, number })
}

#[cfg(test)]
mod tests;
