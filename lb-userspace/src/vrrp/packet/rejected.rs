//! What can be wrong with an advert, and what to do about it.

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

/// Why an advert was not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// It ends within its header.
    #[error(
        "it has {bytes} bytes, fewer than VRRP's header: something else sends IP protocol 112 on this segment"
    )]
    Short {
        /// How many it has.
        bytes: usize,
    },
    /// It is about another virtual router: no fault.
    #[error("it is about virtual router {found}, not {expected}")]
    Vrid {
        /// That.
        found: u8,
        /// Ours.
        expected: u8,
    },
    /// It was sent to the group where peers are configured, or the other way round.
    #[error(
        "it was sent to {found}: `unicast_peers` has to be set on all directors of a virtual router, or on none"
    )]
    Destination {
        /// Whom it was sent to.
        found: IpAddr,
    },
    /// It comes from somebody who is no peer.
    #[error("it comes from {found}, which is not in `unicast_peers`: add it, if that is a director")]
    Source {
        /// Who sent it.
        found: IpAddr,
    },
    /// It came through a router, or from somebody who forges adverts.
    #[error(
        "its TTL is {found}, not 255: it was routed, and all directors have to be on one segment, or it is forged"
    )]
    Ttl {
        /// Its TTL or hop limit.
        found: u8,
    },
    /// Another version.
    #[error("it is of version {found}, not {expected}: `version` has to be the same on all directors")]
    Version {
        /// Its version.
        found: u8,
        /// Ours.
        expected: u8,
    },
    /// No advert: there is no other type.
    #[error("its type is {found}, not 1: there is no other, so its sender does not speak VRRP as it should")]
    Type {
        /// Its type.
        found: u8,
    },
    /// It is longer or shorter than its addresses make it.
    #[error(
        "it has {found} bytes, but its addresses make {expected}: it was damaged, or its sender is broken"
    )]
    Length {
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// It was damaged, or the sender makes checksums in another way.
    #[error(
        "its checksum is wrong: it was damaged on the way, or its sender computes it in a way that is not known"
    )]
    Checksum,
    /// Version 2: another kind of authentication.
    #[error(
        "its authentication is of type {found}, not {expected} (0: none, 1: password): `authentication` has to be the \
         same on all directors"
    )]
    AuthenticationType {
        /// Its type.
        found: u8,
        /// Ours.
        expected: u8,
    },
    /// Version 2: another password.
    #[error("its password is another one: `authentication` has to be the same on all directors")]
    Password,
    /// Version 2: another interval. Version 3: none.
    #[error("its interval is {found:?}{}", interval_remedy(*.expected))]
    Interval {
        /// Its interval.
        found: Duration,
        /// Ours, if it has to be that.
        expected: Option<Duration>,
    },
    /// More or fewer addresses than are configured here.
    #[error(
        "its number of addresses is {found}, not {expected}: `virtual_addresses` has to be the same on all directors"
    )]
    Count {
        /// How many it has.
        found: usize,
        /// How many are configured.
        expected: usize,
    },
    /// Other addresses than are configured here.
    #[error(
        "it does not have the address {missing}: `virtual_addresses` has to be the same on all directors"
    )]
    Addresses {
        /// The first of ours that it does not have.
        missing: IpAddr,
    },
}

fn interval_remedy(expected: Option<Duration>) -> String {
    expected.map_or_else(
        || ", with which a master is never alive: its sender is broken".into(),
        |expected| format!(", not {expected:?}: version 2 needs the same `advert_interval` on all directors"),
    )
}

/// A kind of [`Rejected`], to count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// [`Rejected::Short`].
    Short,
    /// [`Rejected::Vrid`].
    Vrid,
    /// [`Rejected::Destination`].
    Destination,
    /// [`Rejected::Source`].
    Source,
    /// [`Rejected::Ttl`].
    Ttl,
    /// [`Rejected::Version`].
    Version,
    /// [`Rejected::Type`].
    Type,
    /// [`Rejected::Length`].
    Length,
    /// [`Rejected::Checksum`].
    Checksum,
    /// [`Rejected::AuthenticationType`].
    AuthenticationType,
    /// [`Rejected::Password`].
    Password,
    /// [`Rejected::Interval`].
    Interval,
    /// [`Rejected::Count`].
    Count,
    /// [`Rejected::Addresses`].
    Addresses,
}

impl Cause {
    /// All of them; one's place is `cause as usize`.
    pub const ALL: [Self; 14] = [
        Self::Short,
        Self::Vrid,
        Self::Destination,
        Self::Source,
        Self::Ttl,
        Self::Version,
        Self::Type,
        Self::Length,
        Self::Checksum,
        Self::AuthenticationType,
        Self::Password,
        Self::Interval,
        Self::Count,
        Self::Addresses,
    ];

    /// Its name in metrics and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Vrid => "vrid",
            Self::Destination => "destination",
            Self::Source => "source",
            Self::Ttl => "ttl",
            Self::Version => "version",
            Self::Type => "type",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::AuthenticationType => "authentication_type",
            Self::Password => "password",
            Self::Interval => "interval",
            Self::Count => "count",
            Self::Addresses => "addresses",
        }
    }
}

impl Rejected {
    /// What it is counted under.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::Short { .. } => Cause::Short,
            Self::Vrid { .. } => Cause::Vrid,
            Self::Destination { .. } => Cause::Destination,
            Self::Source { .. } => Cause::Source,
            Self::Ttl { .. } => Cause::Ttl,
            Self::Version { .. } => Cause::Version,
            Self::Type { .. } => Cause::Type,
            Self::Length { .. } => Cause::Length,
            Self::Checksum => Cause::Checksum,
            Self::AuthenticationType { .. } => Cause::AuthenticationType,
            Self::Password => Cause::Password,
            Self::Interval { .. } => Cause::Interval,
            Self::Count { .. } => Cause::Count,
            Self::Addresses { .. } => Cause::Addresses,
        }
    }
}
