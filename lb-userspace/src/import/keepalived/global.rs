//! `global_defs`: mail, timeouts, synchronisation.

use super::super::document::{Element, Section};
use super::super::report::Report;
use super::super::sync;
use super::tree::Statement;
use super::{duration, rest, seconds, set_seconds};
use crate::config::Sync;

/// All `global_defs` of a file, as one.
pub(super) struct Globals {
    all: Statement,
}

const KNOWN: [&str; 15] = [
    "notification_email",
    "notification_email_from",
    "smtp_server",
    "smtp_helo_name",
    "smtp_connect_timeout",
    "vrrp_version",
    "lvs_timeouts",
    "lvs_sync_daemon",
    // lb mails whatever happens, if it is told where.
    "smtp_alert",
    "smtp_alert_checker",
    "smtp_alert_vrrp",
    // Nothing but a name in mails.
    "router_id",
    // What lb does anyway.
    "enable_script_security",
    "vrrp_skip_check_adv_addr",
    "lvs_sync_daemon_interface",
];

impl Globals {
    pub(super) fn read(file: &Statement, report: &mut Report) -> Self {
        let statements =
            file.all("global_defs").flat_map(|globals| globals.statements().iter().cloned()).collect();
        let all = Statement { below: Some(statements), ..Statement::default() };
        rest(&all, &KNOWN, why, report);
        Self { all }
    }

    /// `vrrp_version`.
    pub(super) fn vrrp_version(&self) -> Option<i64> {
        self.all.find("vrrp_version")?.argument(1)?.parse().ok()
    }

    /// `lvs_timeouts tcp 900 tcpfin 120 udp 300`
    pub(super) fn timeouts(&self, report: &mut Report) -> Option<Section> {
        let statement = self.all.find("lvs_timeouts")?;
        let mut section = Section::table("timeouts", statement.line, statement.text());
        for pair in statement.arguments().chunks(2) {
            let key = match pair[0].to_ascii_lowercase().as_str() {
                "tcp" => "tcp",
                "tcpfin" => "tcp_fin",
                "udp" => "udp",
                _ => continue,
            };
            match pair.get(1).and_then(|text| seconds(text)) {
                Some(seconds) => section.set(statement.line, key, duration(seconds)),
                None => {
                    report.lost(statement.line, &statement.text(), format!("{key} has no number of seconds"))
                }
            }
        }
        (!section.keys.is_empty()).then_some(section)
    }

    /// Where mail is sent.
    pub(super) fn mail(&self, report: &mut Report) -> Option<Section> {
        let (server, to) = (self.all.find("smtp_server"), self.all.find("notification_email"));
        let from = self.all.find("notification_email_from");
        let first = [server, to, from].into_iter().flatten().min_by_key(|statement| statement.line)?;
        let receivers: Vec<Element> = to
            .map(Statement::statements)
            .unwrap_or_default()
            .iter()
            .flat_map(|line| line.words.iter().map(|word| Element::new(line.line, word.as_str())))
            .collect();
        let missing = [("smtp_server", server.is_none()), ("notification_email_from", from.is_none())];
        let missing = missing.into_iter().chain([("notification_email", receivers.is_empty())]);
        let missing: Vec<&str> = missing.filter(|(_, is)| *is).map(|(name, _)| name).collect();
        if !missing.is_empty() {
            let message = format!("no mail is sent: [smtp] needs {} too", missing.join(" and "));
            report.lost(first.line, &first.text(), message);
            return None;
        }
        let (server, from) = (server?, from?);
        let mut section = Section::table("smtp", first.line, "mail");
        let host = server.argument(1).unwrap_or_default();
        let address = match (server.argument(2), host.contains(':')) {
            (Some(port), true) => format!("[{host}]:{port}"),
            (Some(port), false) => format!("{host}:{port}"),
            (None, _) => host.to_owned(),
        };
        section.set(server.line, "server", address);
        section.set(from.line, "from", from.arguments().join(" "));
        section.set(to.map_or(0, |to| to.line), "to", receivers);
        if let Some(helo) = self.all.find("smtp_helo_name") {
            section.set(helo.line, "helo_name", helo.argument(1).unwrap_or_default());
        }
        set_seconds(&mut section, "connect_timeout", self.all.find("smtp_connect_timeout"), report);
        Some(section)
    }

    /// What is needed for connections to be shared; it cannot be complete, for there is a key to be made.
    pub(super) fn sync(&self, file: &Statement, report: &mut Report) -> Vec<String> {
        let of_all = self.all.find("lvs_sync_daemon").or(self.all.find("lvs_sync_daemon_interface"));
        let of_instance =
            file.all("vrrp_instance").find_map(|instance| instance.find("lvs_sync_daemon_interface"));
        let Some(statement) = of_all.or(of_instance) else { return Vec::new() };
        let interface = statement.argument(1).unwrap_or("eth0");
        report.lost(statement.line, &statement.text(), sync::REMARK);
        let origin = format!("{}:{}: {}", report.file(), statement.line, statement.text());
        sync::section(&origin, interface, Sync::GROUP)
    }
}

fn why(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "vrrp_mcast_group4" | "vrrp_mcast_group6" => {
            "lb uses the groups of the RFCs; write `unicast_peers` where those are taken"
        }
        "vrrp_strict" => "lb has no such switch: it refuses what does not fit together when the file is read",
        keyword if keyword.starts_with("vrrp_garp") || keyword.starts_with("vrrp_gna") => {
            "lb chooses how often addresses are announced"
        }
        "script_user" => "programs run as the daemon does; for another user write `setpriv` before them",
        "lvs_flush" | "lvs_flush_on_stop" => "not needed: lb's tables are its own; see `on_exit`",
        "vrrp_priority"
        | "vrrp_rt_priority"
        | "vrrp_no_swap"
        | "checker_priority"
        | "checker_rt_priority"
        | "checker_no_swap" => "not needed: VRRP has a thread of real-time priority with locked memory",
        keyword if keyword.contains("fifo") => "lb has no pipe for events: `lb events --json` prints them",
        keyword if keyword.contains("snmp") || keyword == "enable_traps" => "lb has no SNMP",
        "startup_script" | "shutdown_script" => {
            "write ExecStartPre= and ExecStopPost= in the unit of systemd"
        }
        _ => return None,
    })
}
