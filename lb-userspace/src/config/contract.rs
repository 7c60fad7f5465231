//! The sections of the file and their keys.
//!
//! ONE table: it says which keys are known, what a typo may have meant, and where a misplaced key belongs.

mod check;
#[cfg(test)]
mod reference;

use super::sync::Sync;
pub(super) use check::{CheckSections, KEEPALIVED, OF_SERVER, OF_SERVICE, PROBES};

/// A section of the file.
pub(super) struct Section {
    /// As it is written in the file.
    pub(super) header: &'static str,
    /// What it may have.
    pub(super) keys: &'static [&'static str],
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
        "http",
        "http_names",
        "http_admin_file",
    ],
};

pub(super) static TIMEOUTS: Section = Section { header: "[timeouts]", keys: &["tcp", "tcp_fin", "udp"] };

/// The whole director's, and a virtual server's.
pub(super) static ACL: Section = Section { header: "[acl]", keys: &["deny", "allow"] };

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
};

/// How a virtual server remembers its clients.
pub(super) static PERSISTENCE: Section =
    Section { header: "[virtual_server.persistence]", keys: &["timeout", "mask_v4", "mask_v6"] };

pub(super) static REAL_SERVER: Section = Section {
    header: "[[virtual_server.real_server]]",
    keys: &["address", "weight", "mac", "vlan", "upper_threshold", "lower_threshold", "health_check"],
};

/// Where mail is sent.
pub(super) static SMTP: Section =
    Section { header: "[smtp]", keys: &["server", "from", "to", "connect_timeout", "helo_name"] };

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
        "excluded_addresses",
        "source_address",
        "unicast_peers",
        "track_interfaces",
        "track_script",
        "virtual_mac",
        "notify",
    ],
};

pub(super) static AUTHENTICATION: Section =
    Section { header: "[vrrp_instance.authentication]", keys: &["password"] };

pub(super) static TRACK_SCRIPT: Section = Section {
    header: "[[vrrp_instance.track_script]]",
    keys: &["command", "interval", "timeout", "weight", "fall", "rise"],
};

pub(super) static VRRP_SYNC_GROUP: Section =
    Section { header: "[[vrrp_sync_group]]", keys: &["name", "instances", "notify"] };

/// Connections shared between directors.
pub(super) static SYNC: Section = Section { header: "[sync]", keys: Sync::KEYS };

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

impl Section {
    /// The header without its brackets.
    pub(super) fn path(&self) -> &'static str {
        self.header.trim_matches(['[', ']'])
    }

    /// The last word of the header: the key by which the section above holds this one.
    pub(super) fn key(&self) -> &'static str {
        self.path().rsplit('.').next().unwrap_or(self.path())
    }
}
