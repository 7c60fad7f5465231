//! Whether a mail server greets: 220, HELO, 250, QUIT, as keepalived's SMTP_CHECK (`keepalived/check/check_smtp.c`).
//!
//! The four lines are spoken here and not by lettre, which sends notifications. Its connection takes another stream
//! only if that is `Sync` and has a peer's address, which a path to a VIP has not; reads a line of any length before
//! it looks at it; and begins with EHLO, which a server that is asked for HELO need not know.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::text::quoted;
use super::{Answer, Attempt, Failure};
use crate::config::Smtp;
use crate::health::path::Stream;

/// The longest line: RFC 5321, section 4.5.3.1.5, allows for 512 bytes, and servers say more.
const LINE: u64 = 4096;
/// The most lines of one reply.
const LINES: usize = 100;

/// A mail server did not greet.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SmtpFailure {
    /// It said something else.
    #[error("the mail server said {said} to {to}, not {expected}")]
    Said {
        /// Its line.
        said: String,
        /// What it answered: "HELO", "the connection".
        to: &'static str,
        /// The code that was expected.
        expected: &'static str,
    },
    /// Its reply does not end.
    #[error("the mail server's reply to {to} does not end: {said}")]
    Endless {
        /// What it answered.
        to: &'static str,
        /// The beginning of its last line.
        said: String,
    },
}

pub(super) async fn ask(smtp: &Smtp, attempt: &Attempt<'_>) -> Result<Answer, Failure> {
    let mut stream = BufReader::new(attempt.connect(smtp.port).await?);
    let broken = |doing| move |error: io::Error| attempt.broken(&error, smtp.port, doing);

    attempt.awaits("no greeting");
    expect(&mut stream, "the connection", "220").await.map_err(broken("read the greeting"))??;
    attempt.awaits("no reply to HELO");
    let helo = format!("HELO {}\r\n", smtp.helo_name.clone().unwrap_or_else(host_name));
    stream.write_all(helo.as_bytes()).await.map_err(broken("send HELO"))?;
    expect(&mut stream, "HELO", "250").await.map_err(broken("read the reply to HELO"))??;
    attempt.awaits("no reply to QUIT");
    // It is well, whatever it says to that; it is waited for, so that its log tells of no broken connection.
    if stream.write_all(b"QUIT\r\n").await.is_ok() {
        let _ = expect(&mut stream, "QUIT", "221").await;
    }
    Ok(Answer::default())
}

/// Reads a reply: lines with a dash behind their code, and one without (RFC 5321, section 4.2.1).
async fn expect(
    stream: &mut BufReader<Stream>,
    to: &'static str,
    expected: &'static str,
) -> io::Result<Result<(), SmtpFailure>> {
    let mut line = Vec::new();
    for _ in 0..LINES {
        line.clear();
        stream.take(LINE).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            if line.len() < LINE as usize {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(Err(SmtpFailure::Endless { to, said: quoted(&line) }));
        }
        let line = line.trim_ascii_end();
        let (code, rest) = line.split_at_checked(3).unwrap_or((line, b""));
        if code != expected.as_bytes() || !matches!(rest.first(), None | Some(b' ' | b'-')) {
            return Ok(Err(SmtpFailure::Said { said: quoted(line), to, expected }));
        }
        if rest.first() != Some(&b'-') {
            return Ok(Ok(()));
        }
    }
    Ok(Err(SmtpFailure::Endless { to, said: quoted(&line) }))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
