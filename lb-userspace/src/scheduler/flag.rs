//! What a virtual server may ask of its scheduler besides its choice.

use std::collections::BTreeSet;
use std::fmt;

use lb_common::selector::DEFAULT_MAGLEV_SLOTS;

/// A flag as `ipvsadm -b` takes it, in the order in which `ipvsadm -L` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// `sh`: clients of a server of weight 0 get another one.
    ShFallback,
    /// `sh`: the client's port is hashed too.
    ShPort,
    /// `mh`: clients of a server of weight 0 get another one.
    MhFallback,
    /// `mh`: the client's port is hashed too.
    MhPort,
}

impl Flag {
    /// Every flag.
    pub const ALL: [Self; 4] = [Self::ShFallback, Self::ShPort, Self::MhFallback, Self::MhPort];

    /// The name, as `ipvsadm -b` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShFallback => "sh-fallback",
            Self::ShPort => "sh-port",
            Self::MhFallback => "mh-fallback",
            Self::MhPort => "mh-port",
        }
    }

    /// The flag with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.name() == name)
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a slot table depends on besides the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Flags, of this scheduler.
    pub flags: BTreeSet<Flag>,
    /// Slots of `mh`: one of [`MAGLEV_SLOTS`](lb_common::selector::MAGLEV_SLOTS).
    pub table_size: u32,
    /// The port of the real servers, which `mh` hashes with their addresses; 0 if there are several.
    pub port: u16,
}

impl Parameters {
    /// Whether a flag is set.
    #[must_use]
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.contains(&flag)
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self { flags: BTreeSet::new(), table_size: DEFAULT_MAGLEV_SLOTS, port: 0 }
    }
}
