//! Probes of one packet: a datagram, an echo request.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use etherparse::err::packet::BuildSliceWriteError;
use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use lb_common::probe::ECHO_DATA;

use super::demux::{Arrival, Demux, Port};
use super::reply::Protocol;
use super::way::Leg;
use super::wire::Wire;

/// As Linux sends them.
pub(super) const HOPS: u8 = 64;

/// Sends a datagram to a port of the VIP and waits for the first answer from there.
pub(super) async fn exchange(
    leg: &Leg,
    wire: &dyn Wire,
    demux: &Arc<Demux>,
    port: u16,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    let mut own = demux.open(leg, Protocol::Udp)?;
    let builder = ip(leg).udp(own.number, port);
    send(leg, wire, builder.size(payload.len()), |packet| builder.write_to_slice(packet, payload))?;
    loop {
        match next(leg, &mut own).await? {
            Arrival::Datagram(from, payload) if from == port => return Ok(payload),
            _ => {}
        }
    }
}

/// Sends an echo request to the VIP and waits for the answer.
pub(super) async fn echo(leg: &Leg, wire: &dyn Wire, demux: &Arc<Demux>) -> io::Result<()> {
    let mut own = demux.open(leg, Protocol::Echo)?;
    let length = ECHO_DATA.len();
    match leg.vip {
        IpAddr::V4(_) => {
            let builder = ip(leg).icmpv4_echo_request(own.number, 1);
            send(leg, wire, builder.size(length), |packet| builder.write_to_slice(packet, &ECHO_DATA))?;
        }
        IpAddr::V6(_) => {
            let builder = ip(leg).icmpv6_echo_request(own.number, 1);
            send(leg, wire, builder.size(length), |packet| builder.write_to_slice(packet, &ECHO_DATA))?;
        }
    }
    while next(leg, &mut own).await? != Arrival::Echo {}
    Ok(())
}

fn ip(leg: &Leg) -> PacketBuilderStep<IpHeaders> {
    match (leg.source, leg.vip) {
        (IpAddr::V4(source), IpAddr::V4(vip)) => PacketBuilder::ipv4(source.octets(), vip.octets(), HOPS),
        (source, vip) => PacketBuilder::ipv6(v6(source), v6(vip), HOPS),
    }
}

/// Both are of one family, so nothing is mapped.
fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn send(
    leg: &Leg,
    wire: &dyn Wire,
    length: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, BuildSliceWriteError>,
) -> io::Result<()> {
    if length > leg.way.mtu as usize {
        let message =
            format!("a packet of {length} bytes is longer than {} takes ({})", leg.way.name, leg.way.mtu);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let (mut frame, start) = leg.frame(length);
    write(frame.get_mut(start..).unwrap_or_default()).map_err(io::Error::other)?;
    wire.send(&frame).map_err(|error| sending(leg, &error))
}

/// The error of a frame that could not be sent.
pub(super) fn sending(leg: &Leg, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("send out of {}: {error}", leg.way.name))
}

async fn next(leg: &Leg, port: &mut Port) -> io::Result<Arrival> {
    // It is never closed: the port keeps its other end.
    let Some(arrival) = port.arrivals.recv().await else { return std::future::pending().await };
    arrival.failure(leg).map_or(Ok(arrival), Err)
}
