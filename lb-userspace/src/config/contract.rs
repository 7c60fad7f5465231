//! The sections of the file and their keys: those that this version reads, and those of the contract that it
//! cannot honour yet.
//!
//! ONE table: it says which keys are known, what a typo may have meant, where a misplaced key belongs, and what
//! a later version adds by moving a line from `later` to `keys`.

use super::diagnostic::Severity;

/// A section of the file.
pub(super) struct Section {
    /// As it is written in the file.
    pub(super) header: &'static str,
    /// What this version reads.
    pub(super) keys: &'static [&'static str],
    /// What it does not.
    pub(super) later: &'static [Later],
}

/// A key of the contract that this version does not honour.
pub(super) struct Later {
    pub(super) key: &'static str,
    /// An error if traffic or protection would differ from what the author believes, else a warning.
    pub(super) severity: Severity,
    /// The value that asks for what happens anyway, and so does no harm.
    pub(super) harmless: Option<&'static str>,
    /// What the author has to do or to know without it.
    pub(super) without: &'static str,
}

/// Everything outside a section, and the sections themselves.
pub(super) static FILE: Section = Section {
    header: "the file",
    keys: &["director", "timeouts", "acl", "virtual_server"],
    later: &[
        refused("vrrp_instance", "let keepalived do VRRP, and set `manage_vips = false`"),
        refused("vrrp_sync_group", "let keepalived do VRRP, and set `manage_vips = false`"),
        refused("smtp", "no mail is sent"),
        refused(
            "sync",
            "other directors do not learn of this one's connections, so a failover breaks those of rr and wrr",
        ),
    ],
};

pub(super) static DIRECTOR: Section = Section {
    header: "[director]",
    keys: &[
        "interfaces",
        "xdp_mode",
        "bpffs",
        "control_socket",
        "max_connections",
        "on_exit",
        "manage_vips",
        "peers",
        "vlan_offload",
    ],
    later: &[ignored("http", "there are no metrics and no status page; `lb list` shows the state")],
};

pub(super) static TIMEOUTS: Section =
    Section { header: "[timeouts]", keys: &["tcp", "tcp_fin", "udp"], later: &[] };

/// The whole director's, and a virtual server's.
pub(super) static ACL: Section = Section { header: "[acl]", keys: &["deny", "allow"], later: &[] };

pub(super) static VIRTUAL_SERVER: Section = Section {
    header: "[[virtual_server]]",
    keys: &[
        "name",
        "addresses",
        "protocol",
        "scheduler",
        "scheduler_flags",
        "mh_table_size",
        "persistence",
        "fwmark",
        "on_down",
        "sorry_server",
        "one_packet",
        "real_server",
        "acl",
    ],
    later: &[
        refused("quorum", NOTHING_IS_CHECKED).harmless_as("1"),
        refused("quorum_up", NOTHING_IS_CHECKED),
        refused("quorum_down", NOTHING_IS_CHECKED),
        refused("inhibit_on_failure", NOTHING_IS_CHECKED).harmless_as("false"),
        refused("slow_start", "a real server gets its whole share at once").harmless_as("\"0s\""),
        refused("health_check", NOTHING_IS_CHECKED),
    ],
};

/// How a virtual server remembers its clients.
pub(super) static PERSISTENCE: Section =
    Section { header: "[virtual_server.persistence]", keys: &["timeout", "mask_v4", "mask_v6"], later: &[] };

pub(super) static REAL_SERVER: Section = Section {
    header: "[[virtual_server.real_server]]",
    keys: &["address", "weight", "mac", "vlan", "upper_threshold", "lower_threshold"],
    later: &[refused("health_check", NOTHING_IS_CHECKED)],
};

const NOTHING_IS_CHECKED: &str = "nothing checks real servers: one that fails keeps its share of connections until its \
                                  weight is 0 or it is removed";

/// Every section.
pub(super) static SECTIONS: [&Section; 7] =
    [&FILE, &DIRECTOR, &TIMEOUTS, &ACL, &VIRTUAL_SERVER, &PERSISTENCE, &REAL_SERVER];

/// The sentence about anything of the contract that this version lacks.
pub(super) fn not_available(what: &str, verb: &str) -> String {
    format!("{what} {verb} not available in this version of lb")
}

const fn refused(key: &'static str, without: &'static str) -> Later {
    Later { key, severity: Severity::Error, harmless: None, without }
}

const fn ignored(key: &'static str, without: &'static str) -> Later {
    Later { key, severity: Severity::Warning, harmless: None, without }
}

impl Later {
    const fn harmless_as(self, value: &'static str) -> Self {
        Self { harmless: Some(value), ..self }
    }
}

impl Section {
    /// All keys, read or not.
    pub(super) fn all_keys(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().copied().chain(self.later.iter().map(|later| later.key))
    }

    pub(super) fn later(&self, key: &str) -> Option<&'static Later> {
        self.later.iter().find(|later| later.key == key)
    }

    /// The last word of the header: the key by which the section above holds this one.
    pub(super) fn key(&self) -> &'static str {
        let path = self.header.trim_matches(['[', ']']);
        path.rsplit('.').next().unwrap_or(path)
    }
}
