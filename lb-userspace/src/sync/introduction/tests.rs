use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::sync::record::tests::flows;

const ASKS: Identity = Identity { session: 11, number: 5 };
const ANSWERS: Identity = Identity { session: 22, number: 7 };

/// Two ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let address = listener.local_addr().expect("it is bound");
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.expect("somebody listens"), other.expect("somebody connects").0)
}

fn key() -> Key {
    Key::of(&[1; 32])
}

fn some_flows(count: usize) -> Vec<Flow> {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(flows(), count);
    strategy.new_tree(&mut runner).expect("there are flows").current()
}

fn block(flows: &[Flow]) -> Vec<u8> {
    let mut block = Snapshot::block();
    flows.iter().for_each(|flow| record::encode(flow, &mut block));
    block
}

/// A connection on which both have proved who they are.
async fn introduced() -> ((TcpStream, Introduced), (TcpStream, Introduced)) {
    let (mut one, mut other) = pair().await;
    let (asking, answering) = (key(), key());
    let (asked, answered) = tokio::join!(
        ask(&mut one, &asking, ASKS, Wish::Snapshot),
        answer(&mut other, &answering, || ANSWERS)
    );
    let (answered, wish) = answered.expect("they have one key");
    assert_eq!(wish, Wish::Snapshot);
    ((one, asked.expect("they have one key")), (other, answered))
}

#[tokio::test]
async fn both_know_who_the_other_is_and_one_gets_all() {
    let ((mut one, asked), (mut other, answered)) = introduced().await;
    assert_eq!((asked.peer, answered.peer), (ANSWERS, ASKS));
    let flows = some_flows(3000);
    let sending = async {
        let mut snapshot = answered.into_snapshot();
        for some in flows.chunks(700) {
            snapshot.send(&mut other, block(some), false).await?;
        }
        snapshot.send(&mut other, Snapshot::block(), true).await
    };
    let mut found = Vec::new();
    let (sent, received) =
        tokio::join!(sending, asked.receive_snapshot(&mut one, |flows| found.extend_from_slice(flows)));
    assert!(sent.is_ok());
    assert_eq!(received.expect("it is whole"), 3000);
    assert_eq!(found, flows);
}

fn cause<T>(result: Result<T, Failure>) -> String {
    result.err().map(|failure| failure.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn another_key_or_oneself_is_not_believed_by_either() {
    let (mut one, mut other) = pair().await;
    let (asking, answering) = (key(), Key::of(&[2; 32]));
    let (asked, answered) = tokio::join!(
        async {
            let asked = ask(&mut one, &asking, ASKS, Wish::Snapshot).await;
            drop(one);
            asked
        },
        answer(&mut other, &answering, || ANSWERS)
    );
    assert!(cause(asked).contains("compare sync.key_file"));
    assert!(answered.is_err(), "nothing is said to who has proved nothing");

    let (mut one, mut other) = pair().await;
    let key = Arc::new(key());
    let answering = Arc::clone(&key);
    let (asked, _) =
        tokio::join!(ask(&mut one, &key, ASKS, Wish::Introduction), answer(&mut other, &answering, || ASKS));
    assert!(cause(asked).contains("this director itself"));
}

#[tokio::test]
async fn another_version_is_told_apart_from_another_key() {
    for asks in [true, false] {
        let (mut one, mut other) = pair().await;
        let mut hello = [0; 5];
        hello[..4].copy_from_slice(&MAGIC);
        hello[4] = 9;
        one.write_all(&hello).await.expect("it is open");
        let failure = if asks {
            cause(ask(&mut other, &key(), ASKS, Wish::Snapshot).await)
        } else {
            cause(answer(&mut other, &key(), || ANSWERS).await)
        };
        assert!(
            failure.contains("it speaks version 9 of the protocol, and this director version 1"),
            "{failure}"
        );
    }
}

/// What was said once, by somebody who listened, is of no use: the nonces are others.
#[tokio::test]
async fn a_recorded_proof_is_worth_nothing() {
    let (mut one, mut other) = pair().await;
    let recording = async {
        // A director asks, and everything that it says is recorded on the way.
        let (mut near, mut far) = tokio::io::duplex(4096);
        let (key, mut recorded) = (key(), Vec::new());
        let relay = async {
            let ours: [u8; HELLO] = read(&mut far).await?;
            one.write_all(&ours).await?;
            let theirs: [u8; HELLO + TAG] = read(&mut one).await?;
            far.write_all(&theirs).await?;
            let proof: [u8; TAG + 1] = read(&mut far).await?;
            one.write_all(&proof).await?;
            recorded = [&ours[..], &proof].concat();
            Ok::<_, Failure>(())
        };
        let (asked, relayed) = tokio::join!(ask(&mut near, &key, ASKS, Wish::Snapshot), relay);
        asked.expect("nothing was changed");
        relayed.expect("both are there");
        recorded
    };
    let key_of_other = key();
    let (recorded, answered) = tokio::join!(recording, answer(&mut other, &key_of_other, || ANSWERS));
    assert!(answered.is_ok());
    let (mut one, mut other) = pair().await;
    one.write_all(&recorded).await.expect("it is open");
    assert!(cause(answer(&mut other, &key(), || ANSWERS).await).contains("compare sync.key_file"));
}

#[tokio::test]
async fn who_says_nothing_or_half_of_it_is_left_in_time() {
    let cases = [0, 4, 5, HELLO].map(|said| async move {
        let hello = hello(ASKS).expect("there are random numbers");
        let (mut near, mut far) = tokio::io::duplex(4096);
        far.write_all(&hello[..said]).await.expect("it is open");
        let (mut other_near, mut other_far) = tokio::io::duplex(4096);
        other_far.write_all(&hello[..said]).await.expect("it is open");
        let key = key();
        let (answered, asked) = tokio::join!(
            answer(&mut near, &key, || ANSWERS),
            ask(&mut other_near, &key, ANSWERS, Wish::Snapshot)
        );
        assert_eq!(cause(answered), "it does not answer in time", "{said}");
        assert_eq!(cause(asked), "it does not answer in time", "{said}");
    });
    futures_util::future::join_all(cases).await;
}

#[tokio::test]
async fn blocks_that_are_changed_repeated_or_too_long_are_refused() {
    let flows = some_flows(50);
    for (what, expected) in
        [("changed", "another key"), ("repeated", "said before"), ("long", "no director would"), ("cut", "")]
    {
        let ((mut one, asked), (mut other, answered)) = introduced().await;
        // Blocks as they are on the wire.
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut snapshot = answered.into_snapshot();
        snapshot.send(&mut near, block(&flows), false).await.expect("there is room");
        snapshot.send(&mut near, block(&flows), true).await.expect("there is room");
        drop(near);
        let mut wire = Vec::new();
        far.read_to_end(&mut wire).await.expect("it has ended");
        let first = 4 + u32::from_be_bytes([wire[0], wire[1], wire[2], wire[3]]) as usize;
        match what {
            "changed" => wire[100] ^= 1,
            "repeated" => wire = [&wire[..first], &wire[..first]].concat(),
            "long" => wire[..4].copy_from_slice(&u32::MAX.to_be_bytes()),
            _ => wire.truncate(first + 20),
        }
        other.write_all(&wire).await.expect("there is room");
        drop(other);
        let mut taken = 0;
        let received = asked.receive_snapshot(&mut one, |flows| taken += flows.len()).await;
        assert!(received.is_err() && cause(received).contains(expected), "{what}");
        assert!(taken <= 50, "the first block was good: {what}");
    }
}

#[tokio::test]
async fn who_reads_nothing_or_sends_nothing_holds_nobody() {
    // Over a pipe that holds little.
    let (mut near, mut far) = tokio::io::duplex(HELLO + TAG);
    let (asking, answering) = (key(), key());
    let (asked, answered) =
        tokio::join!(ask(&mut near, &asking, ASKS, Wish::Snapshot), answer(&mut far, &answering, || ANSWERS));
    let (asked, (answered, _)) = (asked.expect("they agree"), answered.expect("they agree"));
    let mut snapshot = answered.into_snapshot();
    let (mut quiet, _open) = tokio::io::duplex(64);
    let (sent, received) = tokio::join!(
        snapshot.send(&mut far, block(&some_flows(100)), false),
        asked.receive_snapshot(&mut quiet, |_| {})
    );
    assert_eq!(cause(sent), "it does not answer in time");
    assert_eq!(cause(received), "it does not answer in time");
}
