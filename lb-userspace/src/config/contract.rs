//! The sections of the file and their keys: those that this version reads, and those of the contract that it
//! cannot honour yet.
//!
//! ONE table: it says which keys are known, what a typo may have meant, where a misplaced key belongs, and what
//! a later version adds by moving a line from `later` to `keys`.

mod check;
#[cfg(test)]
mod reference;

use super::diagnostic::Severity;
pub(super) use check::{CheckSections, KEEPALIVED, OF_SERVER, OF_SERVICE, PROBES};

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
    /// What the author has to do or to know without it.
    pub(super) without: &'static str,
}

/// Everything outside a section, and the sections themselves.
pub(super) static FILE: Section = Section {
    header: "the file",
    keys: &[
        "director",
        "timeouts",
        "acl",
        "smtp",
        "sync",
        "virtual_server",
        "vrrp_instance",
        "vrrp_sync_group",
    ],
    later: &[],
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
        "health_check",
        "quorum",
        "hysteresis",
        "quorum_up",
        "quorum_down",
        "inhibit_on_failure",
        "slow_start",
        "ha_suspend",
        "alpha",
        "notify",
    ],
    later: &[],
};

/// How a virtual server remembers its clients.
pub(super) static PERSISTENCE: Section =
    Section { header: "[virtual_server.persistence]", keys: &["timeout", "mask_v4", "mask_v6"], later: &[] };

pub(super) static REAL_SERVER: Section = Section {
    header: "[[virtual_server.real_server]]",
    keys: &["address", "weight", "mac", "vlan", "upper_threshold", "lower_threshold", "health_check"],
    later: &[],
};

/// Where mail is sent.
pub(super) static SMTP: Section =
    Section { header: "[smtp]", keys: &["server", "from", "to", "connect_timeout", "helo_name"], later: &[] };

/// A virtual router.
pub(super) static VRRP_INSTANCE: Section = Section {
    header: "[[vrrp_instance]]",
    keys: &[
        "name",
        "interface",
        "virtual_router_id",
        "version",
        "priority",
        "advert_interval",
        "preempt",
        "preempt_delay",
        "authentication",
        "virtual_addresses",
        "source_address",
        "unicast_peers",
        "track_interfaces",
        "track_script",
        "virtual_mac",
        "notify",
    ],
    later: &[],
};

pub(super) static AUTHENTICATION: Section =
    Section { header: "[vrrp_instance.authentication]", keys: &["password"], later: &[] };

pub(super) static TRACK_SCRIPT: Section = Section {
    header: "[[vrrp_instance.track_script]]",
    keys: &["command", "interval", "timeout", "weight", "fall", "rise"],
    later: &[],
};

pub(super) static VRRP_SYNC_GROUP: Section =
    Section { header: "[[vrrp_sync_group]]", keys: &["name", "instances", "notify"], later: &[] };

/// Connections shared between directors.
pub(super) static SYNC: Section = Section {
    header: "[sync]",
    keys: &["interface", "group", "peers", "port", "key_file", "refresh"],
    later: &[],
};

/// Every section.
pub(super) static SECTIONS: [&Section; 33] = {
    let [check, flap, icmp, tcp, udp, http, tls, dns, smtp, exec] = OF_SERVICE.all();
    let [check_s, flap_s, icmp_s, tcp_s, udp_s, http_s, tls_s, dns_s, smtp_s, exec_s] = OF_SERVER.all();
    [
        &FILE,
        &DIRECTOR,
        &TIMEOUTS,
        &ACL,
        &SMTP,
        &SYNC,
        &VIRTUAL_SERVER,
        &PERSISTENCE,
        &REAL_SERVER,
        &VRRP_INSTANCE,
        &AUTHENTICATION,
        &TRACK_SCRIPT,
        &VRRP_SYNC_GROUP,
        check,
        flap,
        icmp,
        tcp,
        udp,
        http,
        tls,
        dns,
        smtp,
        exec,
        check_s,
        flap_s,
        icmp_s,
        tcp_s,
        udp_s,
        http_s,
        tls_s,
        dns_s,
        smtp_s,
        exec_s,
    ]
};

/// The sentence about anything of the contract that this version lacks.
pub(super) fn not_available(what: &str, verb: &str) -> String {
    format!("{what} {verb} not available in this version of lb")
}

const fn ignored(key: &'static str, without: &'static str) -> Later {
    Later { key, severity: Severity::Warning, without }
}

impl Section {
    /// All keys, read or not.
    pub(super) fn all_keys(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().copied().chain(self.later.iter().map(|later| later.key))
    }

    pub(super) fn later(&self, key: &str) -> Option<&'static Later> {
        self.later.iter().find(|later| later.key == key)
    }

    /// The header without its brackets.
    pub(super) fn path(&self) -> &'static str {
        self.header.trim_matches(['[', ']'])
    }

    /// The last word of the header: the key by which the section above holds this one.
    pub(super) fn key(&self) -> &'static str {
        self.path().rsplit('.').next().unwrap_or(self.path())
    }
}
