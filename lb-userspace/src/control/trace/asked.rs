//! What `GET /v1/trace` is asked for, as the data plane is told.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use lb_common::counter::{Kind, Reason};
use lb_common::sample::MAX_SNAP;

use super::super::api::TraceFilter;
use super::super::failure::Failure;
use crate::config::Protocol;
use crate::dataplane::Wishes;
use crate::forms::Prefix;
use crate::state::{Published, PublishedService};

/// Frames in a second, unless said otherwise.
const RATE: u32 = 100;
/// The most in a second.
const MAX_RATE: u32 = 100_000;

/// What is wished, as virtual servers and real servers are numbered now.
pub(super) fn wishes(asked: &TraceFilter, published: &Published) -> Result<Wishes, Failure> {
    let client = parsed(asked.client.as_deref(), "a prefix of clients")?;
    let vip = parsed(asked.vip.as_deref(), "an address or a prefix")?;
    if let Some((client, vip)) = client.zip(vip)
        && Prefix::is_ipv4(&client) != Prefix::is_ipv4(&vip)
    {
        return Err(Failure::bad_request(format!(
            "{client} and {vip} are of different families; no frame has both"
        )));
    }
    let service = asked.service.as_deref().map(|name| published.find_service(name)).transpose()?;
    let number = service.map(|service| service.number);
    if number == Some(None) {
        // One that has no number has no frames either.
        return Ok(Wishes::nothing());
    }
    Ok(Wishes {
        outcomes: outcomes(asked.reason.as_deref(), asked.verdict.as_deref())?,
        client,
        vip,
        port: asked.port.filter(|port| *port != 0),
        protocol: asked.protocol.as_deref().map(protocol).transpose()?,
        service: number.flatten(),
        servers: servers(parsed(asked.server.as_deref(), "an address")?, published)?,
        rate: within("rate", asked.rate.unwrap_or(RATE), MAX_RATE)?,
        one_of: within("one_of", asked.one_of.unwrap_or(1), u32::MAX)?,
        snap: within("bytes", asked.bytes.unwrap_or(1), MAX_SNAP)?,
    })
}

fn within(key: &str, value: u32, most: u32) -> Result<u32, Failure> {
    if value == 0 || value > most {
        return Err(Failure::bad_request(format!("{key} is {value}; it is a number from 1 to {most}")));
    }
    Ok(value)
}

fn parsed<T: FromStr<Err: Display>>(text: Option<&str>, what: &str) -> Result<Option<T>, Failure> {
    let parse = |text: &str| {
        text.parse().map_err(|error| Failure::bad_request(format!("{text:?} is not {what}: {error}")))
    };
    text.map(parse).transpose()
}

fn protocol(text: &str) -> Result<Protocol, Failure> {
    Protocol::by_name(text)
        .ok_or_else(|| Failure::bad_request(format!("{text:?} is not balanced; the protocol is tcp or udp")))
}

/// The numbers of a real server: it has one for each virtual server that it serves.
fn servers(wanted: Option<IpAddr>, published: &Published) -> Result<Option<BTreeSet<u32>>, Failure> {
    let Some(wanted) = wanted else { return Ok(None) };
    let all = published.services.iter().flat_map(PublishedService::all_servers);
    let mut found = all.filter(|server| server.address == wanted).peekable();
    if found.peek().is_none() {
        return Err(Failure::no_such_server(wanted));
    }
    Ok(Some(found.filter_map(|server| server.destination).collect()))
}

/// Reasons, and verdicts as the reasons for them; `None` is that of those that are forwarded.
fn outcomes(reasons: Option<&str>, verdicts: Option<&str>) -> Result<BTreeSet<Option<Reason>>, Failure> {
    let mut outcomes = BTreeSet::new();
    for name in reasons.into_iter().flat_map(|names| names.split(',')).map(str::trim) {
        outcomes.insert(Some(reason(name)?));
    }
    for name in verdicts.into_iter().flat_map(|names| names.split(',')).map(str::trim) {
        match name {
            "forward" => {
                outcomes.insert(None);
            }
            "reset" => {
                outcomes.insert(Some(Reason::ResetSent));
            }
            "drop" => outcomes.extend(of_frames().filter(|reason| reason.kind() == Kind::Drop).map(Some)),
            "pass" => outcomes.extend(of_frames().filter(|reason| reason.kind() == Kind::Pass).map(Some)),
            other => {
                let reason = format!("{other:?} is no verdict; there are forward, drop, pass and reset");
                return Err(Failure::bad_request(reason));
            }
        }
    }
    Ok(outcomes)
}

/// Reasons for which frames are not forwarded; the others are events that happen besides.
fn of_frames() -> impl Iterator<Item = Reason> {
    let all = Reason::ALL.iter().copied();
    all.filter(|reason| reason.kind() != Kind::Event || *reason == Reason::ResetSent)
}

fn reason(name: &str) -> Result<Reason, Failure> {
    let is_it = |reason: &Reason| {
        let full = reason.name();
        full == name || ["drop_", "pass_"].iter().any(|kind| full.strip_prefix(kind) == Some(name))
    };
    of_frames().find(is_it).ok_or_else(|| {
        let all: Vec<&str> = of_frames().map(Reason::name).collect();
        Failure::bad_request(format!(
            "{name:?} is no reason for which a frame is not forwarded; there are {}",
            all.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Wishes, String> {
        let asked: TraceFilter = serde_urlencoded::from_str(query).expect("a query");
        wishes(&asked, &Published::default()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn nothing_asked_for_is_any_frame_and_so_many_in_a_second() {
        let any = asked("").expect("it is all right");
        assert_eq!((any.outcomes.len(), any.rate, any.one_of, any.snap), (0, RATE, 1, 1));
    }

    #[test]
    fn reasons_and_verdicts_add_up() {
        let named = asked("reason=no_real_server,pass_martian").expect("they are reasons").outcomes;
        assert_eq!(named, [Some(Reason::DropNoRealServer), Some(Reason::PassMartian)].into());
        let sent = asked("verdict=forward,reset").expect("they are verdicts").outcomes;
        assert_eq!(sent, [None, Some(Reason::ResetSent)].into());
        let dropped = asked("verdict=drop").expect("it is a verdict").outcomes;
        assert!(dropped.contains(&Some(Reason::DropDenied)) && !dropped.contains(&Some(Reason::PassNotIp)));
        assert!(!dropped.contains(&Some(Reason::FragmentExpired)), "no frame is dropped for it");
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (query, says) in [
            ("reason=evicted_live", "there are pass_not_for_us,"),
            ("verdict=lost", "there are forward, drop, pass and reset"),
            ("client=198.51.100.7/24", "write \"198.51.100.0/24\""),
            ("client=198.51.100.0/24&vip=2001:db8::1", "different families"),
            ("protocol=sctp", "tcp or udp"),
            ("server=192.0.2.99", "no virtual server has the real server 192.0.2.99"),
            ("service=web", "there is no virtual server \"web\""),
            ("rate=0", "a number from 1 to 100000"),
            ("bytes=9000", "a number from 1 to 2048"),
        ] {
            let refused = asked(query).expect_err("it cannot be");
            assert!(refused.contains(says), "{query}: {refused}");
        }
    }
}
