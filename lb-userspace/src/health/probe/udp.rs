//! Whether a real server takes a datagram.
//!
//! As keepalived's UDP_CHECK (`keepalived/check/check_udp.c`): without `require_reply` a port is good unless an ICMP
//! error comes within the time to connect. A machine that is off sends none: the director's kernel says so itself when
//! nobody answered for the address, after three seconds (`net.ipv4.neigh.*.retrans_time_ms`, `mcast_solicit`). A
//! shorter time to connect does not see it; whoever needs to, requires a reply.

use thiserror::Error;

use super::text::quoted;
use super::{Answer, Attempt, Failure, NetworkFailure};
use crate::config::Udp;

/// A datagram had another answer than expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UdpFailure {
    /// The answer does not match.
    #[error("the answer {said} does not match {expected:?}")]
    Reply {
        /// Its beginning.
        said: String,
        /// The regular expression.
        expected: String,
    },
}

/// Limits itself.
pub(super) async fn ask(udp: &Udp, attempt: &Attempt<'_>) -> Result<Answer, Failure> {
    let limits = attempt.limits;
    let wait = if udp.require_reply { limits.timeout } else { limits.connect_timeout.min(limits.timeout) };
    let exchanged = attempt.path.exchange(udp.port, &udp.payload, wait).await;
    match exchanged
        .map_err(|error| NetworkFailure::new(&error, attempt.path, Some(udp.port), "exchange datagrams"))?
    {
        None if udp.require_reply => Err(attempt.timed_out(wait)),
        None => Ok(Answer::default()),
        Some(said) => match &udp.reply {
            Some(expected) if !expected.0.is_match(&said) => {
                Err(UdpFailure::Reply { said: quoted(&said), expected: expected.0.to_string() }.into())
            }
            _ => Ok(Answer::default()),
        },
    }
}
