//! Health checks as the rest of the program sees them: what is configured under `health_check`.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

/// How a real server is checked. Two that are equal do the same to the same address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// From the beginning of a probe to that of the next; not 0.
    pub interval: Duration,
    /// How long a probe may take in all; at most `interval`.
    pub timeout: Duration,
    /// How long it may take to connect; at most `timeout`.
    pub connect_timeout: Duration,
    /// How many probes in a row may fail after a first one did before the real server is down (keepalived's `retry`).
    pub retries: u32,
    /// From the beginning of a probe that failed to that of the next, while the real server is not down yet; not 0.
    pub retry_delay: Duration,
    /// How many probes in a row have to succeed before the real server is up again; at least 1.
    pub rise: u32,
    /// What a real server that flips often has to expect.
    pub flap: Option<Flap>,
    /// The address that probes are sent from; of the real server's family.
    pub bind: Option<IpAddr>,
    /// Where probes go.
    pub target: Target,
    /// What is asked.
    pub probe: Probe,
}

/// Where probes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Target {
    /// To the real server's own address.
    #[default]
    RealServer,
    /// To the VIP, at the real server's MAC: the way of clients' packets.
    Vip,
}

impl Target {
    pub(super) const NAMES: [(&str, Self); 2] = [("real_server", Self::RealServer), ("vip", Self::Vip)];
}

/// What a real server that flips often has to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flap {
    /// More flips than this ...
    pub changes: u32,
    /// ... within this time, and it is down ...
    pub within: Duration,
    /// ... for this time.
    pub hold: Duration,
}

impl Default for Flap {
    /// Ours: keepalived has no such thing.
    fn default() -> Self {
        Self { changes: 5, within: Duration::from_secs(60), hold: Duration::from_secs(120) }
    }
}

/// What is asked of a real server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Whether it answers ICMP echo requests.
    Icmp,
    /// Whether it accepts connections.
    Tcp(Tcp),
    /// Whether it takes a datagram.
    Udp(Udp),
    /// What a web server answers.
    Http(Box<Http>),
    /// Whether a name server resolves a name.
    Dns(Dns),
    /// Whether a mail server greets.
    Smtp(Smtp),
    /// What a command says of it.
    Exec(Exec),
}

impl Probe {
    /// The port that it goes to, if it goes to one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Icmp | Self::Exec(_) => None,
            Self::Tcp(Tcp { port })
            | Self::Udp(Udp { port, .. })
            | Self::Dns(Dns { port, .. })
            | Self::Smtp(Smtp { port, .. }) => Some(*port),
            Self::Http(http) => Some(http.port),
        }
    }

    /// Whether its answers say what weight the real server is to have.
    #[must_use]
    pub fn changes_weights(&self) -> bool {
        match self {
            Self::Exec(exec) => exec.dynamic,
            Self::Http(http) => http.agent,
            _ => false,
        }
    }
}

/// Whether it accepts connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tcp {
    /// The port.
    pub port: u16,
}

/// Whether it takes a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Udp {
    /// The port.
    pub port: u16,
    /// What is sent.
    pub payload: Vec<u8>,
    /// Whether it has to answer; if not, it only must not refuse.
    pub require_reply: bool,
    /// What the answer has to match.
    pub reply: Option<Pattern>,
}

/// What a web server answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Http {
    /// The port.
    pub port: u16,
    /// The method: a token of RFC 9110, section 5.6.2.
    pub method: String,
    /// Path and query, beginning with a slash.
    pub path: String,
    /// The Host header, if not the address.
    pub host: Option<String>,
    /// Expected status codes, at least one.
    pub status: BTreeSet<u16>,
    /// What the body has to be.
    pub body: Option<Body>,
    /// How many bytes of the body are read and looked at.
    pub body_limit: u32,
    /// How many redirects to the same real server are followed.
    pub redirects: u32,
    /// Whether the body says what weight the server wants, as answers to HAProxy's agent-check do.
    pub agent: bool,
    /// TLS, if it is spoken.
    pub tls: Option<Tls>,
}

impl Http {
    pub(super) const DEFAULT_METHOD: &str = "GET";
    pub(super) const DEFAULT_PATH: &str = "/";
    pub(super) const DEFAULT_BODY_LIMIT: u32 = 64 << 10;
    /// Of thousands of probes at a time.
    pub(super) const MAX_BODY_LIMIT: u32 = 16 << 20;
}

/// What a body has to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Something in it has to match.
    Regex(Pattern),
    /// It has this SHA-256 digest.
    Sha256([u8; 32]),
}

/// How TLS is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whether the certificate has to be valid.
    pub verify: bool,
    /// The name in SNI that the certificate has to have; if none, the Host header's, else the address.
    pub server_name: Option<String>,
    /// PEM certificates that sign the server's; if none, the system's.
    pub ca_file: Option<PathBuf>,
}

/// Whether a name server resolves a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dns {
    /// The port.
    pub port: u16,
    /// The name that is asked for.
    pub name: String,
    /// The type of record: "A", "SOA".
    pub record: String,
    /// Whether it is asked over TCP.
    pub tcp: bool,
}

impl Dns {
    /// keepalived's.
    pub(super) const DEFAULT_RECORD: &str = "SOA";
    /// Types of records that can be asked for: keepalived's.
    pub(super) const RECORDS: [(&str, &str); 7] = [
        ("A", "A"),
        ("AAAA", "AAAA"),
        ("CNAME", "CNAME"),
        ("MX", "MX"),
        ("NS", "NS"),
        ("SOA", "SOA"),
        ("TXT", "TXT"),
    ];
}

/// Whether a mail server greets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Smtp {
    /// The port.
    pub port: u16,
    /// What HELO says; if none, the host's name.
    pub helo_name: Option<String>,
}

/// What a command says of it: 0 is good, 1 is bad.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exec {
    /// The program, an absolute path, and its arguments; not empty.
    pub command: Vec<String>,
    /// Whether exit codes from 2 to 255 are good, and say that the weight is to be the code less 2, as keepalived's
    /// `misc_dynamic` does; else they are bad.
    pub dynamic: bool,
}

/// A health check that several have in common. It is looked up for thousands of real servers whenever anything changes,
/// so it is hashed once.
#[derive(Clone)]
pub struct SharedCheck {
    hash: u64,
    check: Arc<HealthCheck>,
}

impl From<HealthCheck> for SharedCheck {
    fn from(check: HealthCheck) -> Self {
        let mut hasher = DefaultHasher::new();
        check.hash(&mut hasher);
        Self { hash: hasher.finish(), check: Arc::new(check) }
    }
}

impl Deref for SharedCheck {
    type Target = HealthCheck;

    fn deref(&self) -> &HealthCheck {
        &self.check
    }
}

impl fmt::Debug for SharedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.check.fmt(f)
    }
}

impl PartialEq for SharedCheck {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.check, &other.check) || self.check == other.check)
    }
}

impl Eq for SharedCheck {}

impl Hash for SharedCheck {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// A regular expression over bytes. Two are equal if they are written alike.
#[derive(Clone)]
pub struct Pattern(pub Regex);

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_str().fmt(f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

/// What of a virtual server depends on its checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The sum of weights that its usable real servers have to have, or it is down (keepalived's `quorum`); at least 1.
    pub quorum: u32,
    /// How far the sum has to be above or below before that changes (keepalived's `hysteresis`); less than `quorum`.
    pub hysteresis: u32,
    /// The command that is run when it is reached; none if empty.
    pub up: Vec<String>,
    /// The command that is run when it is lost; none if empty.
    pub down: Vec<String>,
}

impl Default for Quorum {
    /// keepalived's.
    fn default() -> Self {
        Self { quorum: 1, hysteresis: 0, up: Vec::new(), down: Vec::new() }
    }
}

/// Where mail is sent when something happens (`[smtp]`; keepalived's `global_defs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The mail server: a name or an address.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// The sender (`notification_email_from`).
    pub from: String,
    /// The receivers (`notification_email`), at least one.
    pub to: Vec<String>,
    /// What HELO says (`smtp_helo_name`); if none, the host's name.
    pub helo_name: Option<String>,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
}
