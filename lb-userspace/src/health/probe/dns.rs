//! Whether a name server resolves a name.
//!
//! As keepalived's DNS_CHECK (`keepalived/check/check_dns.c`) any response code but NOERROR is a failure, NXDOMAIN too;
//! and so is, other than there, an answer in which there is none: a name server that has lost its zones may say so
//! without an error.

use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::text::plain;
use super::{Answer, Attempt, Failure, NetworkFailure};
use crate::config::Dns;

const DOING: &str = "ask for a name";

/// A name server did not resolve the name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DnsFailure {
    /// An error.
    #[error("{code} for {question}{}", meaning(code))]
    Code {
        /// As `dig` writes it: "SERVFAIL".
        code: String,
        /// Name and type of record.
        question: String,
    },
    /// No error, and no record.
    #[error("no record for {question}")]
    Empty {
        /// Name and type of record.
        question: String,
    },
    /// It is no DNS message.
    #[error("the answer is no DNS message: {0}")]
    Malformed(String),
    /// It answers something else.
    #[error("the answer is not to this question: {0}")]
    Foreign(&'static str),
    /// The name or the type of record is none.
    #[error("{0} cannot be asked for")]
    Question(String),
}

fn meaning(code: &str) -> &'static str {
    match code {
        "SERVFAIL" => ": the server could not find out, or has not loaded its zone",
        "NXDOMAIN" => ": the name does not exist there",
        "REFUSED" => ": the server does not answer this director, or not for this name; see its access rules",
        "NOTIMP" => ": the server does not know how to answer",
        "FORMERR" => ": the server did not understand the question",
        _ => "",
    }
}

pub(super) async fn ask(dns: &Dns, attempt: &Attempt<'_>) -> Result<Answer, Failure> {
    let question = question(dns)?;
    if !dns.tcp {
        attempt.awaits("no answer");
        let bytes = encoded(&question)?;
        let exchanged = attempt.path.exchange(dns.port, &bytes, attempt.limits.timeout).await;
        let said = exchanged.map_err(|error| {
            NetworkFailure::new(&error, attempt.path, Some(dns.port), "exchange datagrams")
        })?;
        let answer = answer(&question, &said.ok_or_else(|| attempt.timed_out(attempt.limits.timeout))?)?;
        if !answer.metadata.truncation {
            return judged(dns, &answer);
        }
    }
    let said = over_tcp(dns.port, &encoded(&question)?, attempt).await?;
    judged(dns, &answer(&question, &said)?)
}

fn question(dns: &Dns) -> Result<Message, DnsFailure> {
    let asked = || DnsFailure::Question(shown(dns));
    let mut name = Name::from_utf8(&dns.name).map_err(|_| asked())?;
    // Names are whole ones, with or without a dot at the end.
    name.set_fqdn(true);
    let record = RecordType::from_str(&dns.record.to_ascii_uppercase()).map_err(|_| asked())?;
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name, record));
    Ok(question)
}

fn shown(dns: &Dns) -> String {
    format!("{} {}", dns.name, dns.record)
}

fn encoded(question: &Message) -> Result<Vec<u8>, DnsFailure> {
    question.to_vec().map_err(|error| DnsFailure::Question(error.to_string()))
}

/// Two bytes that say how long it is before each message (RFC 1035, section 4.2.2).
async fn over_tcp(port: u16, question: &[u8], attempt: &Attempt<'_>) -> Result<Vec<u8>, Failure> {
    let mut stream = attempt.connect(port).await?;
    attempt.awaits("no answer");
    let length = u16::try_from(question.len()).map_err(|error| DnsFailure::Question(error.to_string()))?;
    let message = [&length.to_be_bytes(), question].concat();
    let exchanged = async {
        stream.write_all(&message).await?;
        let length = stream.read_u16().await?;
        let mut said = vec![0; usize::from(length)];
        stream.read_exact(&mut said).await?;
        Ok(said)
    };
    exchanged.await.map_err(|error| attempt.broken(&error, port, DOING))
}

/// The message, if it answers this question. A truncated one may leave out the question.
fn answer(question: &Message, said: &[u8]) -> Result<Message, DnsFailure> {
    let answer = Message::from_vec(said)
        .map_err(|error| DnsFailure::Malformed(plain(error.to_string().as_bytes())))?;
    if answer.metadata.message_type != MessageType::Response {
        return Err(DnsFailure::Foreign("it is a question itself"));
    }
    if answer.metadata.id != question.metadata.id {
        return Err(DnsFailure::Foreign("its number is another"));
    }
    if !answer.queries.is_empty() && answer.queries != question.queries {
        return Err(DnsFailure::Foreign("its name or type of record is another"));
    }
    Ok(answer)
}

fn judged(dns: &Dns, answer: &Message) -> Result<Answer, Failure> {
    let question = shown(dns);
    match answer.metadata.response_code {
        ResponseCode::NoError if answer.answers.is_empty() => Err(DnsFailure::Empty { question }.into()),
        ResponseCode::NoError => Ok(Answer::default()),
        code => Err(DnsFailure::Code { code: format!("{code:?}").to_ascii_uppercase(), question }.into()),
    }
}
