//! What a virtual router is, and why.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What a virtual router is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It does not know yet how its link and what it tracks are.
    Init,
    /// It waits for adverts.
    Backup,
    /// It sends adverts and has the addresses.
    Master,
    /// It does not take part.
    Fault,
    /// It was master and has said that it stops; it has the addresses until a successor is heard.
    Leaving,
    /// It has ended.
    Stopped,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Init, Self::Backup, Self::Master, Self::Fault, Self::Leaving, Self::Stopped];

    /// Its name in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Master => "master",
            Self::Fault => "fault",
            Self::Leaving => "leaving",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the director has the virtual addresses.
    #[must_use]
    pub const fn has_addresses(self) -> bool {
        matches!(self, Self::Master | Self::Leaving)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A director that sends adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Master {
    /// Where it sends them from.
    pub address: IpAddr,
    /// Its priority.
    pub priority: u8,
}

/// Why a virtual router does not take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The link of its interface is down.
    Link(String),
    /// Its interface has no address to send adverts from.
    NoAddress(String),
    /// Something that is tracked, and has no weight, is down.
    Tracked(String),
    /// A member of its sync group is in fault.
    Member(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(interface) => write!(f, "link of {interface} is down"),
            Self::NoAddress(interface) => write!(f, "{interface} has no address to send adverts from"),
            Self::Tracked(what) => f.write_str(what),
            Self::Member(member) => write!(f, "{member} of its sync group is in fault"),
        }
    }
}

/// Why a state is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has just been made, or knows now how its link is.
    Started,
    /// It owns the addresses.
    Owner,
    /// The master fell silent, or nobody was there.
    NoAdvert {
        /// How long nothing was heard.
        waited: Duration,
    },
    /// The master has stopped.
    Released {
        /// Who.
        by: IpAddr,
    },
    /// The master has a lower priority.
    Lower {
        /// Who.
        master: Master,
        /// Our priority.
        ours: u8,
    },
    /// Somebody has a higher priority, or the same and a higher address.
    Higher {
        /// Who.
        master: Master,
        /// Our priority.
        ours: u8,
    },
    /// It cannot take part.
    Fault(Fault),
    /// It can again.
    Recovered,
    /// A member of its sync group is backup.
    MemberBackup(String),
    /// The daemon ends.
    Shutdown,
    /// Somebody has taken over.
    Succeeded {
        /// Who.
        by: Master,
    },
    /// Nobody has.
    NoSuccessor {
        /// How long it was waited for.
        waited: Duration,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("it has started"),
            Self::Owner => f.write_str("priority 255: it owns the addresses"),
            Self::NoAdvert { waited } => write!(f, "no advert for {waited:.1?}"),
            Self::Released { by } => write!(f, "{by} has stopped"),
            Self::Lower { master, ours } => {
                write!(f, "{} has priority {}, ours is {ours}", master.address, master.priority)
            }
            Self::Higher { master, ours } if master.priority == *ours => {
                write!(f, "{} has priority {ours} too, and the higher address", master.address)
            }
            Self::Higher { master, ours } => {
                write!(f, "{} has priority {}, ours is {ours}", master.address, master.priority)
            }
            Self::Fault(fault) => fault.fmt(f),
            Self::Recovered => f.write_str("what was in fault is well again"),
            Self::MemberBackup(member) => write!(f, "{member} of its sync group is backup"),
            Self::Shutdown => f.write_str("it is shut down"),
            Self::Succeeded { by } => {
                write!(f, "{} has taken over, with priority {}", by.address, by.priority)
            }
            Self::NoSuccessor { waited } => write!(f, "nobody has taken over within {waited:.1?}"),
        }
    }
}

/// What there is to know of a virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why.
    pub reason: Reason,
    /// The priority that it competes with.
    pub priority: u8,
    /// Whether that is held down, because it does not have the connections yet.
    pub is_held: bool,
    /// Who is master, as far as was heard: ourselves, or who sent the last advert.
    pub master: Option<Master>,
    /// How often it became what.
    pub transitions: Transitions,
}

/// How often a virtual router entered a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    /// Master.
    pub master: u64,
    /// Backup.
    pub backup: u64,
    /// Fault.
    pub fault: u64,
}

impl Transitions {
    pub(super) const fn count(&mut self, state: State) {
        match state {
            State::Master => self.master += 1,
            State::Backup => self.backup += 1,
            State::Fault => self.fault += 1,
            State::Init | State::Leaving | State::Stopped => {}
        }
    }
}
