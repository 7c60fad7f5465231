//! Name servers.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use tokio::net::UdpSocket;

use super::*;
use crate::config::Dns;

fn dns(port: u16) -> Dns {
    Dns { port, name: "www.example.com".to_owned(), record: "A".to_owned(), tcp: false }
}

/// The answer to a question: an error, or with an address.
fn answer(question: &[u8], code: ResponseCode, with_record: bool) -> Message {
    let mut answer = Message::from_vec(question).expect("a question");
    assert!(answer.metadata.recursion_desired);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.response_code = code;
    if with_record {
        let name = answer.queries[0].name().clone();
        answer.add_answer(Record::from_rdata(name, 60, RData::A(A(Ipv4Addr::LOCALHOST))));
    }
    answer
}

type Make = fn(&[u8]) -> Vec<u8>;

/// A name server on UDP and TCP that makes its answers so.
async fn name_server(address: IpAddr, over_udp: Make, over_tcp: Make) -> u16 {
    let port = serve(address, move |mut stream| async move {
        let length = stream.read_u16().await.expect("a length");
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.expect("a question");
        let answer = over_tcp(&question);
        let length = u16::try_from(answer.len()).expect("a short answer");
        let _ = stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await;
    })
    .await;
    // The same number is free for the other protocol, or is not, and then another pair is taken.
    let Ok(socket) = UdpSocket::bind(SocketAddr::new(address, port)).await else {
        return Box::pin(name_server(address, over_udp, over_tcp)).await;
    };
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            socket.send_to(&over_udp(&question[..length]), from).await.expect("send");
        }
    });
    port
}

fn resolved(question: &[u8]) -> Vec<u8> {
    answer(question, ResponseCode::NoError, true).to_vec().expect("a message")
}

fn refused(question: &[u8]) -> Vec<u8> {
    answer(question, ResponseCode::Refused, false).to_vec().expect("a message")
}

fn truncated(question: &[u8]) -> Vec<u8> {
    answer(question, ResponseCode::NoError, true).truncate().to_vec().expect("a message")
}

#[tokio::test]
async fn a_name_that_resolves_is_well_over_both_protocols_and_families() {
    for address in [V4, V6] {
        let port = name_server(address, resolved, refused).await;
        assert_eq!(probe(&Probe::Dns(dns(port)), &direct(address), PATIENT).await, Ok(Answer::default()));
        let port = name_server(address, refused, resolved).await;
        let over_tcp = Probe::Dns(Dns { tcp: true, ..dns(port) });
        assert_eq!(probe(&over_tcp, &direct(address), PATIENT).await, Ok(Answer::default()));
    }
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let port = name_server(V4, truncated, resolved).await;
    assert_eq!(asked(&Probe::Dns(dns(port))).await, Ok(Answer::default()));
    let port = name_server(V4, truncated, refused).await;
    assert!(words(asked(&Probe::Dns(dns(port))).await).starts_with("REFUSED for www.example.com A: "));
}

#[tokio::test]
async fn what_a_name_server_says_instead_is_told() {
    let cases: [(Make, &str); 9] = [
        (
            |question| answer(question, ResponseCode::ServFail, false).to_vec().expect("a message"),
            "SERVFAIL for www.example.com A: the server could not find out, or has not loaded its zone",
        ),
        (
            |question| answer(question, ResponseCode::NXDomain, false).to_vec().expect("a message"),
            "NXDOMAIN for www.example.com A: the name does not exist there",
        ),
        (
            refused,
            "REFUSED for www.example.com A: the server does not answer this director, or not for this name; see its access rules",
        ),
        (
            |question| answer(question, ResponseCode::NoError, false).to_vec().expect("a message"),
            "no record for www.example.com A",
        ),
        (|question| question.to_vec(), "the answer is not to this question: it is a question itself"),
        (
            |question| {
                let mut answer = answer(question, ResponseCode::NoError, true);
                answer.metadata.id = answer.metadata.id.wrapping_add(1);
                answer.to_vec().expect("a message")
            },
            "the answer is not to this question: its number is another",
        ),
        (
            |question| {
                let mut answer = answer(question, ResponseCode::NoError, true);
                answer.queries.clear();
                answer.add_query(hickory_proto::op::Query::default());
                answer.to_vec().expect("a message")
            },
            "the answer is not to this question: its name or type of record is another",
        ),
        (|_| b"?".to_vec(), "the answer is no DNS message: "),
        (|_| Vec::new(), "the answer is no DNS message: "),
    ];
    for (make, expected) in cases {
        let port = name_server(V4, make, make).await;
        for tcp in [false, true] {
            let told = words(asked(&Probe::Dns(Dns { tcp, ..dns(port) })).await);
            assert!(told.starts_with(expected), "{told}");
        }
    }
}

#[tokio::test]
async fn a_name_server_that_is_not_there_is_told() {
    let port = closed_port(V4).await;
    for tcp in [false, true] {
        let found = asked(&Probe::Dns(Dns { tcp, ..dns(port) })).await;
        assert_eq!(found, Err(NetworkFailure::Refused { port }.into()));
    }
    let silent = UdpSocket::bind((V4, 0)).await.expect("bind");
    let port = silent.local_addr().expect("an address").port();
    let found = probe(&Probe::Dns(dns(port)), &direct(V4), limits(50)).await;
    assert_eq!(words(found), "no answer within 50ms");
}

#[tokio::test]
async fn what_is_no_name_is_told() {
    for (name, record) in [("a..b", "A"), ("example.com", "NOSUCH")] {
        let asked_for = Dns { name: name.to_owned(), record: record.to_owned(), ..dns(1) };
        assert_eq!(
            words(asked(&Probe::Dns(asked_for)).await),
            format!("{name} {record} cannot be asked for")
        );
    }
}
