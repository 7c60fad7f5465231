//! Mail servers.

use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;
use crate::config::Smtp;

/// A server that says the first line at once, and one more for each that it hears. Returns what it heard.
async fn dialogue(lines: &'static [&'static str]) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (hears, heard) = tokio::sync::mpsc::unbounded_channel();
    let port = serve(V4, move |stream| {
        let hears = hears.clone();
        async move {
            let mut stream = BufReader::new(stream);
            for line in lines {
                stream.write_all(line.as_bytes()).await.expect("write");
                let mut line = String::new();
                if stream.read_line(&mut line).await.is_err() {
                    return;
                }
                let _ = hears.send(line);
            }
        }
    })
    .await;
    (port, heard)
}

async fn asked_smtp(port: u16, time: Limits) -> Result<Answer, Failure> {
    probe(&Probe::Smtp(Smtp { port, helo_name: Some("lb.example.com".to_owned()) }), &direct(V4), time).await
}

#[tokio::test]
async fn a_server_that_greets_is_well_and_told_goodbye() {
    let (port, mut heard) =
        dialogue(&["220-mail.example.com\r\n220 ESMTP\r\n", "250 hello\r\n", "221 bye\r\n"]).await;
    assert_eq!(asked_smtp(port, PATIENT).await, Ok(Answer::default()));
    for expected in ["HELO lb.example.com\r\n", "QUIT\r\n", ""] {
        assert_eq!(heard.recv().await.as_deref(), Some(expected));
    }
    let (port, _) = dialogue(&["220\n", "250\n"]).await;
    assert_eq!(asked_smtp(port, PATIENT).await, Ok(Answer::default()), "whatever it says to QUIT, or does");
}

#[tokio::test]
async fn a_name_is_said_also_if_none_is_configured() {
    let (port, mut heard) = dialogue(&["220 ESMTP\r\n", "250 hello\r\n", "221 bye\r\n"]).await;
    assert_eq!(asked(&Probe::Smtp(Smtp { port, helo_name: None })).await, Ok(Answer::default()));
    let helo = heard.recv().await.expect("a line");
    assert!(helo.strip_prefix("HELO ").is_some_and(|name| name.trim_end().len() > 1), "{helo}");
}

#[tokio::test]
async fn what_a_server_says_instead_is_told() {
    for (lines, expected) in [
        (
            &["554 no \x1bservice\r\n"][..],
            "the mail server said \"554 no \\u{1b}service\" to the connection, not 220",
        ),
        (&["220 x\r\n", "550 go away\r\n"], "the mail server said \"550 go away\" to HELO, not 250"),
        (&["22\r\n"], "the mail server said \"22\" to the connection, not 220"),
        (&["220x\r\n"], "the mail server said \"220x\" to the connection, not 220"),
        (&["\r\n"], "the mail server said \"\" to the connection, not 220"),
        (&["220-a\r\n554 b\r\n"], "the mail server said \"554 b\" to the connection, not 220"),
    ] {
        assert_eq!(words(asked_smtp(dialogue(lines).await.0, PATIENT).await), expected);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_or_without_end_is_told() {
    let (port, _heard) = dialogue(&[""]).await;
    assert_eq!(words(asked_smtp(port, limits(50)).await), "no greeting within 50ms");
    let (port, _heard) = dialogue(&["220 x\r\n", ""]).await;
    assert_eq!(words(asked_smtp(port, limits(1000)).await), "no reply to HELO within 1s");
    for again in ["220-more\r\n", "220 a line without end"] {
        let port =
            serve(
                V4,
                move |mut stream| async move { while stream.write_all(again.as_bytes()).await.is_ok() {} },
            )
            .await;
        let told = words(asked_smtp(port, PATIENT).await);
        assert!(told.starts_with("the mail server's reply to the connection does not end: \"220"), "{told}");
    }
    let port =
        serve(V4, |mut stream| async move { stream.write_all(b"220 hel").await.expect("write") }).await;
    assert_eq!(asked_smtp(port, PATIENT).await, Err(closed("read the greeting")));
}
