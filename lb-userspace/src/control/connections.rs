//! `/v1/connections`: the connection table, a piece at a time.
//!
//! ```text
//!   tables ── page ──> lines ── chunk ──> socket        the next page is read when the last chunk has gone
//! ```
//!
//! A million connections are some 250 MB of JSON, of which the daemon holds one page. Reading one is a matter of a
//! millisecond, on a thread that may block.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::stream::try_unfold;
use lb_common::connection::State;

use super::api;
use super::director::reading;
use super::failure::Failure;
use super::server::Shared;
use crate::config::Protocol;
use crate::dataplane::{Connection, ConnectionReader, Cursor, PageSize};
use crate::forms::Prefix;
use crate::state::PublishedService;

/// Some 64 KiB of JSON, or a few milliseconds of looking for what is wanted.
const PAGE: PageSize = PageSize { connections: 256, buckets: 1 << 15 };

/// What is listed, and how it is shown.
struct Listing {
    reader: ConnectionReader,
    /// Virtual servers by number.
    services: HashMap<u32, Service>,
    /// The number of the virtual server whose connections are wanted.
    service: Option<u32>,
    client: Option<Prefix>,
    server: Option<IpAddr>,
}

/// What is shown of a virtual server.
struct Service {
    name: String,
    protocol: Protocol,
    /// The first of its addresses.
    address: String,
}

impl Service {
    fn of(service: &PublishedService) -> Option<(u32, Self)> {
        let address = service.addresses.first()?.to_string();
        Some((service.number?, Self { name: service.name.clone(), protocol: service.protocol, address }))
    }
}

pub(super) async fn list(shared: Arc<Shared>, asked: api::ConnectionFilter) -> Result<Body, Failure> {
    let published = Arc::clone(&shared.published.borrow());
    let service = asked.service.as_deref().map(|name| published.find_service(name)).transpose()?;
    let wrong = |what: &str, text: &str, reason: &dyn std::fmt::Display| {
        Failure::bad_request(format!("{text:?} is not {what}: {reason}"))
    };
    let client = asked.client.as_deref();
    let client =
        client.map(|text| text.parse().map_err(|error| wrong("a prefix", text, &error))).transpose()?;
    let server = asked.server.as_deref();
    let server =
        server.map(|text| text.parse().map_err(|error| wrong("an address", text, &error))).transpose()?;
    let listing = Arc::new(Listing {
        reader: shared.observer.connection_reader(),
        services: published.services.iter().filter_map(Service::of).collect(),
        // One that has no number has no connections either.
        service: service.map(|service| service.number.unwrap_or(u32::MAX)),
        client,
        server,
    });
    let begin = (Some(Cursor::default()), asked.limit.unwrap_or(u64::MAX));
    let pages = try_unfold(begin, move |at| chunk(Arc::clone(&shared), Arc::clone(&listing), at));
    Ok(Body::from_stream(pages))
}

/// How many clients keep each real server, by the number of its virtual server and its address.
pub(super) type Clients = HashMap<(u32, IpAddr), u64>;

pub(super) async fn clients(shared: &Arc<Shared>) -> Result<Clients, Failure> {
    let reader = shared.observer.connection_reader();
    let mut clients = HashMap::new();
    let mut next = Some(Cursor::default());
    while let Some(cursor) = next {
        let reader = reader.clone();
        let is_template = |connection: &Connection| connection.state == State::Template;
        let templates;
        (templates, next) = reading(shared, move |_| Ok(reader.page(cursor, PAGE, is_template)?)).await?;
        for destination in templates.into_iter().filter_map(|template| template.destination) {
            *clients.entry(destination).or_default() += 1;
        }
    }
    Ok(clients)
}

/// Where to read on, if there is more, and how many more are wanted.
type Position = (Option<Cursor>, u64);

/// The next lines, if there are any.
async fn chunk(
    shared: Arc<Shared>,
    listing: Arc<Listing>,
    at: Position,
) -> io::Result<Option<(Bytes, Position)>> {
    let (mut next, mut left) = at;
    while let (Some(cursor), true) = (next, left > 0) {
        let listing = Arc::clone(&listing);
        // For each page anew: a client that takes its time keeps no other one waiting.
        let page = reading(&shared, move |_| Ok(listing.page(cursor, left))).await;
        let lines;
        (lines, left, next) = page.map_err(io::Error::other)??;
        if !lines.is_empty() {
            return Ok(Some((lines.into(), (next, left))));
        }
    }
    Ok(None)
}

impl Listing {
    /// A page of at most `left` lines; how many more are wanted then, and where to read on.
    fn page(&self, cursor: Cursor, left: u64) -> io::Result<(Vec<u8>, u64, Option<Cursor>)> {
        let page = self.reader.page(cursor, PAGE, |connection| self.is_wanted(connection));
        let (mut found, next) = page.map_err(io::Error::other)?;
        found.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - found.len() as u64;
        let mut lines = Vec::with_capacity(256 * found.len());
        for connection in found {
            serde_json::to_writer(&mut lines, &self.shown(&connection))?;
            lines.push(b'\n');
        }
        Ok((lines, left, next))
    }

    fn is_wanted(&self, connection: &Connection) -> bool {
        let service = connection.destination.map(|(service, _)| service);
        let server = connection.destination.map(|(_, server)| server);
        (self.service.is_none() || self.service == service)
            && (self.server.is_none() || self.server == server)
            && self.client.is_none_or(|asked| connection.is_of(asked))
    }

    fn shown(&self, connection: &Connection) -> api::Connection {
        let service = connection.destination.and_then(|(service, _)| self.services.get(&service));
        let protocol = connection.protocol.or(service.map(|service| service.protocol));
        let address = connection.virtual_address.map(|address| address.to_string());
        let address = address.or_else(|| service.map(|service| service.address.clone()));
        api::Connection {
            kind: kind(connection.state),
            protocol: protocol.map_or_else(String::new, |protocol| protocol.to_string()),
            state: connection.state.name().to_owned(),
            expires_in: connection.expires_in,
            client: connection.client.to_string(),
            virtual_address: address.unwrap_or_default(),
            real_server: connection.destination.map(|(_, address)| address.to_string()),
            service: service.map(|service| service.name.clone()),
            half_open: connection.half_open,
        }
    }
}

/// What an entry in this state remembers. Every state is named, so that a new one is not forgotten here.
const fn kind(state: State) -> api::ConnectionKind {
    match state {
        State::None
        | State::Established
        | State::SynSent
        | State::SynRecv
        | State::FinWait
        | State::TimeWait
        | State::Close
        | State::CloseWait
        | State::LastAck
        | State::Listen
        | State::SynAck
        | State::Udp => api::ConnectionKind::Connection,
        State::Template => api::ConnectionKind::Template,
    }
}
