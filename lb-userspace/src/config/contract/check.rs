//! The sections of health checks: below a virtual server, and below a real server that is checked in another way.

use super::Section;

/// The sections below one `health_check`.
pub(in super::super) struct CheckSections {
    pub(in super::super) check: Section,
    pub(in super::super) flap: Section,
    pub(in super::super) icmp: Section,
    pub(in super::super) tcp: Section,
    pub(in super::super) udp: Section,
    pub(in super::super) http: Section,
    pub(in super::super) tls: Section,
    pub(in super::super) dns: Section,
    pub(in super::super) smtp: Section,
    pub(in super::super) exec: Section,
}

/// The probes, of which a check has one.
pub(in super::super) const PROBES: [&str; 7] = ["icmp", "tcp", "udp", "http", "dns", "smtp", "exec"];

macro_rules! check_sections {
    ($path:literal) => {
        CheckSections {
            check: Section {
                header: concat!("[", $path, "]"),
                keys: &[
                    "enabled",
                    "interval",
                    "timeout",
                    "connect_timeout",
                    "retries",
                    "retry_delay",
                    "rise",
                    "target",
                    "flap",
                    "bind",
                    "icmp",
                    "tcp",
                    "udp",
                    "http",
                    "dns",
                    "smtp",
                    "exec",
                ],
            },
            flap: section(concat!("[", $path, ".flap]"), &["changes", "within", "hold"]),
            icmp: section(concat!("[", $path, ".icmp]"), &[]),
            tcp: section(concat!("[", $path, ".tcp]"), &["port"]),
            udp: section(
                concat!("[", $path, ".udp]"),
                &["port", "payload", "payload_hex", "require_reply", "reply_regex"],
            ),
            http: section(
                concat!("[", $path, ".http]"),
                &[
                    "port",
                    "method",
                    "path",
                    "host",
                    "status",
                    "body_regex",
                    "body_sha256",
                    "body_limit",
                    "redirects",
                    "agent",
                    "tls",
                ],
            ),
            tls: section(concat!("[", $path, ".http.tls]"), &["enabled", "verify", "server_name", "ca_file"]),
            dns: section(concat!("[", $path, ".dns]"), &["port", "name", "type", "tcp"]),
            smtp: section(concat!("[", $path, ".smtp]"), &["port", "helo_name"]),
            exec: section(concat!("[", $path, ".exec]"), &["command", "dynamic"]),
        }
    };
}

const fn section(header: &'static str, keys: &'static [&'static str]) -> Section {
    Section { header, keys }
}

/// How the real servers of a virtual server are checked.
pub(in super::super) static OF_SERVICE: CheckSections = check_sections!("virtual_server.health_check");

/// How one of them is checked in another way.
pub(in super::super) static OF_SERVER: CheckSections =
    check_sections!("virtual_server.real_server.health_check");

impl CheckSections {
    /// All of them.
    pub(super) const fn all(&'static self) -> [&'static Section; 10] {
        [
            &self.check,
            &self.flap,
            &self.icmp,
            &self.tcp,
            &self.udp,
            &self.http,
            &self.tls,
            &self.dns,
            &self.smtp,
            &self.exec,
        ]
    }
}

/// What keepalived calls it (`keepalived.conf(5)`), and what it is called here.
pub(in super::super) const KEEPALIVED: [(&str, &str); 45] = [
    ("delay_loop", "interval"),
    ("retry", "retries"),
    ("nb_get_retry", "retries"),
    ("delay_before_retry", "retry_delay"),
    ("misc_timeout", "timeout"),
    ("bindto", "bind"),
    ("connect_port", "port"),
    ("HTTP_GET", "http"),
    ("SSL_GET", "http"),
    ("TCP_CHECK", "tcp"),
    ("UDP_CHECK", "udp"),
    ("PING_CHECK", "icmp"),
    ("DNS_CHECK", "dns"),
    ("SMTP_CHECK", "smtp"),
    ("MISC_CHECK", "exec"),
    ("https", "http"),
    ("ping", "icmp"),
    ("misc_path", "command"),
    ("misc_dynamic", "dynamic"),
    ("status_code", "status"),
    ("virtualhost", "host"),
    ("digest", "body_sha256"),
    ("regex", "body_regex"),
    ("sni_name", "server_name"),
    ("url", "path"),
    ("notify_up", "notify"),
    ("notify_down", "notify"),
    ("notification_email", "to"),
    ("notification_email_from", "from"),
    ("smtp_server", "server"),
    ("smtp_connect_timeout", "connect_timeout"),
    ("smtp_helo_name", "helo_name"),
    ("advert_int", "advert_interval"),
    ("nopreempt", "preempt"),
    ("virtual_ipaddress", "virtual_addresses"),
    ("virtual_ipaddress_excluded", "virtual_addresses"),
    ("mcast_src_ip", "source_address"),
    ("unicast_src_ip", "source_address"),
    ("unicast_peer", "unicast_peers"),
    ("track_interface", "track_interfaces"),
    ("use_vmac", "virtual_mac"),
    ("auth_pass", "password"),
    ("vrrp_version", "version"),
    ("script", "command"),
    ("group", "instances"),
];
