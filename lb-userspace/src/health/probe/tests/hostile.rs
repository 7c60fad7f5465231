//! Servers that say anything but what they should: a probe ends in its time, and says what happened.

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::super::HttpFailure;
use super::*;
use crate::config::{Body, Dns, Smtp, Tls};

/// A server that says `first`, then `again` for as long as somebody listens.
async fn endless(first: &'static [u8], again: &'static [u8]) -> u16 {
    serve(V4, move |mut stream| async move {
        header(&mut stream).await;
        let mut said = stream.write_all(first).await;
        while said.is_ok() {
            said = stream.write_all(again).await;
        }
    })
    .await
}

fn with_body(port: u16) -> Http {
    Http { body: Some(Body::Regex(pattern("never"))), ..http(port) }
}

#[tokio::test]
async fn a_header_without_end_is_cut() {
    let port = endless(b"HTTP/1.1 200 OK\r\nx: ", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await;
    assert_eq!(asked_http(http(port)).await, Err(HttpFailure::HeaderTooLong.into()));
    let port = endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n").await;
    assert_eq!(asked_http(http(port)).await, Err(HttpFailure::HeaderTooLong.into()));
    let port = endless(b"HTTP/1.1 ", b"2").await;
    assert!(words(asked_http(http(port)).await).starts_with("the answer is not HTTP: "));
}

#[tokio::test]
async fn a_body_without_end_is_cut() {
    let port = endless(b"HTTP/1.1 200 OK\r\n\r\n", &[b'a'; 4096]).await;
    let told = words(asked_http(with_body(port)).await);
    assert!(told.starts_with("the body does not match \"never\": it begins with \"aaa"), "{told}");
    let port = endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n").await;
    assert!(words(asked_http(with_body(port)).await).starts_with("the body does not match"));
    let port =
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n", &[b'a'; 4096]).await;
    assert!(words(asked_http(with_body(port)).await).starts_with("the body does not match"));
}

#[tokio::test]
async fn a_slow_server_has_no_more_time_than_others() {
    let slow = |said: &'static [u8]| {
        serve(V4, move |mut stream| async move {
            header(&mut stream).await;
            for byte in said {
                // Another segment, after everything that was runnable has run.
                stream.set_nodelay(true).expect("an option");
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = stream.read(&mut [0]).await;
        })
    };
    let asked = |http| async move { probe(&Probe::Http(Box::new(http)), &direct(V4), limits(1000)).await };
    let port = slow(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nby byte").await;
    assert_eq!(words(asked(with_body(port)).await), "body not complete within 1s");
    let port = slow(b"HTTP/1.1 200 OK\r\nx").await;
    assert_eq!(words(asked(with_body(port)).await), "no answer to the request within 1s");
}

#[tokio::test]
async fn what_is_no_http_is_told() {
    for said in [
        &b"SSH-2.0-OpenSSH_9.2p1\r\n"[..],
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\x00\xff\xfe\r\n\r\n\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let told = words(asked_http(with_body(says(said).await)).await);
        assert!(told.starts_with("the answer is not HTTP: "), "{told}: {}", said.escape_ascii());
    }
}

#[tokio::test]
async fn chunks_that_are_none_are_told() {
    for chunk in ["ffffffffffffffffff\r\n", "xyz\r\n", "-1\r\n", "5;aaaa\rx\r\n", "1\r\nabc"] {
        let said = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
        let told = words(asked_http(with_body(says(said).await)).await);
        assert!(told.starts_with("the answer is not HTTP: "), "{told}: {chunk}");
    }
    // As large as it says, and nothing of it: memory is for what came.
    let said = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffff\r\nabc";
    assert_eq!(asked_http(with_body(says(said).await)).await, Err(closed("read the answer")));
}

#[tokio::test]
async fn a_connection_that_ends_in_the_middle_is_told() {
    for said in [
        "",
        "HTT",
        "HTTP/1.1 200 OK\r\nContent-",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        assert_eq!(asked_http(with_body(says(said).await)).await, Err(closed("read the answer")), "{said:?}");
    }
    let port = serve(V4, |stream| async move { drop(stream) }).await;
    let told = words(asked_http(http(port)).await);
    // It depends on whether the request was sent before.
    let expected = [
        "the server closed the connection before the end (read the answer)",
        "the server reset the connection (read the answer)",
    ];
    assert!(expected.contains(&told.as_str()), "{told}");
}

#[tokio::test]
async fn a_dropped_probe_leaves_nothing() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let port = serve(V4, move |mut stream| {
        let ended = ended.clone();
        async move {
            header(&mut stream).await;
            ended.send(()).expect("somebody waits");
            let _ = stream.read(&mut [0]).await;
            ended.send(()).expect("somebody waits");
        }
    })
    .await;
    let asked = Probe::Http(Box::new(http(port)));
    let path = direct(V4);
    tokio::select! {
        _ = probe(&asked, &path, PATIENT) => panic!("it is not answered"),
        _ = ends.recv() => {}
    }
    assert_eq!(ends.recv().await, Some(()), "the server reads the end of the connection");
}

/// What reads an answer, in all its ways.
fn readers(port: u16) -> Vec<Probe> {
    let dns = Dns { port, name: "example.com".to_owned(), record: "A".to_owned(), tcp: true };
    vec![
        Probe::Http(Box::new(Http { agent: true, redirects: 1, ..with_body(port) })),
        Probe::Http(Box::new(Http { tls: Some(Tls::default()), ..http(port) })),
        Probe::Dns(dns),
        Probe::Smtp(Smtp { port, helo_name: Some("lb".to_owned()) }),
    ]
}

/// Bytes that begin as an answer may, and go on as they like.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let beginnings = prop::sample::select(vec![
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ",
        b"220-",
        b"220 hello\r\n250",
        b"\x00\x40",
        b"\x16\x03\x03\x00\x40\x02",
    ]);
    (beginnings, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(first, rest)| [first, &rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_answer_is_read_to_an_end(answer in answers(), closes: bool) {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let said: Arc<[u8]> = answer.into();
            let port = serve(V4, move |mut stream| {
                let said = Arc::clone(&said);
                async move {
                    let _ = stream.write_all(&said).await;
                    // What was sent is read by somebody before the connection ends, in one of the two ways.
                    let _ = stream.shutdown().await;
                    if !closes {
                        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
                    }
                }
            })
            .await;
            for asked in readers(port) {
                let ended = timeout(PATIENT.timeout, probe(&asked, &direct(V4), limits(10_000))).await;
                let told = ended.expect("it ends in its time");
                if let Err(failure) = told {
                    prop_assert!(!failure.to_string().contains(char::is_control), "{failure}");
                }
            }
            Ok(())
        })?;
    }
}
