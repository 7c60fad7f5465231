//! What `lb explain` is asked: a frame that there could be, and where it comes in.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::config::Protocol;
use crate::dataplane;

/// TCP's flags by name and bit (RFC 9293, section 3.1).
pub const TCP_FLAGS: [(&str, u8); 8] = [
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
];

/// The highest number that a VLAN may have; 0 is a tag that carries a priority only.
pub const MAX_VLAN: u16 = 4094;

/// Which frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Question {
    /// `ADDRESS:PORT` of the client.
    #[schema(value_type = String)]
    pub source: SocketAddr,
    /// `ADDRESS:PORT` that it asks.
    #[schema(value_type = String)]
    pub destination: SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Names of TCP flags.
    #[serde(default)]
    pub flags: Vec<String>,
    /// The VLAN of the frame's tag, if it has one.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The interface that it comes in on; the first of the configuration if none is named.
    #[serde(default)]
    pub interface: Option<String>,
}

/// There is no such frame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum QuestionError {
    /// One of IPv4 and one of IPv6.
    #[error("{0} and {1} are of different families; give both as IPv4, or both as [IPv6]:PORT")]
    Families(SocketAddr, SocketAddr),
    /// Neither TCP nor UDP.
    #[error("{0:?} is not balanced; the protocol is tcp or udp")]
    Protocol(String),
    /// A flag that TCP has not.
    #[error("TCP has no flag {0:?}; there are fin, syn, rst, psh, ack, urg, ece and cwr")]
    Flag(String),
    /// Flags in UDP.
    #[error("UDP has no flags; leave --flags out, or ask about tcp")]
    FlagsOfUdp,
    /// No VLAN has this number.
    #[error("there is no VLAN {0}; its number is from 0 to {MAX_VLAN}")]
    Vlan(u16),
    /// The program is not there.
    #[error("lb is not attached to {0:?}; the interface is one of {1}")]
    Interface(String, String),
}

/// The interfaces that programs are attached to, in the order of the configuration: place and name.
#[derive(Clone, Debug, Default)]
pub struct Interfaces(pub Vec<(u8, String)>);

impl Interfaces {
    /// The names, as people are told them.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The one with this name, or the first.
    pub(super) fn find(&self, name: Option<&str>) -> Result<&(u8, String), QuestionError> {
        let is_it = |interface: &&(u8, String)| name.is_none_or(|name| interface.1 == name);
        let unknown = || QuestionError::Interface(name.unwrap_or_default().to_owned(), self.names());
        self.0.iter().find(is_it).ok_or_else(unknown)
    }

    /// The name of the one at this place.
    pub(in crate::control) fn at(&self, place: u32) -> Option<String> {
        self.0.iter().find(|(held, _)| u32::from(*held) == place).map(|(_, name)| name.clone())
    }
}

impl Question {
    /// As the data plane is asked.
    ///
    /// # Errors
    /// [`QuestionError`], the first that is found.
    pub fn parse(&self, interfaces: &Interfaces) -> Result<dataplane::Question, QuestionError> {
        let (interface, _) = *interfaces.find(self.interface.as_deref())?;
        self.frame(interface)
    }

    /// The same for the interface at this place, whether there is one or not.
    ///
    /// # Errors
    /// [`QuestionError`], the first that is found.
    pub fn frame(&self, interface: u8) -> Result<dataplane::Question, QuestionError> {
        if self.source.is_ipv4() != self.destination.is_ipv4() {
            return Err(QuestionError::Families(self.source, self.destination));
        }
        let protocol = match self.protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" if self.flags.is_empty() => Protocol::Udp,
            "udp" => return Err(QuestionError::FlagsOfUdp),
            other => return Err(QuestionError::Protocol(other.to_owned())),
        };
        let bit = |flag: &String| {
            let known = TCP_FLAGS.iter().find(|(name, _)| name == flag);
            known.map(|(_, bit)| *bit).ok_or_else(|| QuestionError::Flag(flag.clone()))
        };
        let tcp_flags = self.flags.iter().map(bit).try_fold(0, |flags, bit| Ok(flags | bit?))?;
        if let Some(vlan) = self.vlan.filter(|vlan| *vlan > MAX_VLAN) {
            return Err(QuestionError::Vlan(vlan));
        }
        let Self { source, destination, vlan, .. } = *self;
        Ok(dataplane::Question { interface, source, destination, protocol, tcp_flags, vlan })
    }
}
