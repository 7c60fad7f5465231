//! `lb vrrp`.

use std::fmt::Write as _;
use std::time::SystemTime;

use clap::Args;

use super::health::{age, now};
use super::output::{columns, print, print_json};
use super::{ControlSocket, Failure, ask};
use crate::control::api::{Vrrp as Found, VrrpInstance};

/// Show the virtual routers: who is master, since when and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb vrrp                          a line for each instance
  sudo lb vrrp --details                with adverts, scripts and what was wrong with others' adverts
  sudo lb vrrp --json | jq -r '.instances[] | select(.state == \"master\") | .name'

Priority is the one that counts now; behind it is the configured one, if scripts have changed it. Master is
who sends adverts, as far as this director has heard.")]
pub(super) struct Vrrp {
    /// More about each instance
    #[arg(long, short)]
    details: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Vrrp {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let found: Found = ask(&self.socket.control_socket, "/v1/vrrp")?;
        if self.json {
            return print_json(&found);
        }
        if found.instances.is_empty() {
            return print("no [[vrrp_instance]] is configured: this director is always master\n");
        }
        let mut text = table(&found, now());
        for instance in &found.instances {
            if let Some(split) = &instance.split_brain {
                let _ = writeln!(text, "\nSPLIT BRAIN of {}: {split}", instance.name);
            }
        }
        if self.details {
            found.instances.iter().for_each(|instance| details(instance, &mut text));
        }
        print(&text)
    }
}

fn table(found: &Found, now: SystemTime) -> String {
    let header = ["Instance", "State", "Since", "Priority", "Master", "Addresses", "Why"];
    let rows = found.instances.iter().map(|instance| row(instance, now));
    columns(&std::iter::once(header.map(str::to_owned)).chain(rows).collect::<Vec<_>>())
}

fn row(instance: &VrrpInstance, now: SystemTime) -> [String; 7] {
    let priority = if instance.priority == instance.configured_priority {
        instance.priority.to_string()
    } else {
        let held = if instance.held { ", held" } else { "" };
        format!("{} ({}{held})", instance.priority, instance.configured_priority)
    };
    let master = match &instance.master {
        Some(_) if instance.state == "master" => "this director".to_owned(),
        Some(master) => format!("{} ({})", master.address, master.priority),
        None => "-".to_owned(),
    };
    [
        instance.name.clone(),
        instance.state.clone(),
        age(&instance.since, now).unwrap_or_else(|| "-".to_owned()),
        priority,
        master,
        instance.virtual_addresses.join(", "),
        instance.reason.clone(),
    ]
}

fn details(instance: &VrrpInstance, text: &mut String) {
    let VrrpInstance { name, interface, virtual_router_id, version, adverts, transitions, .. } = instance;
    let source = instance.source.as_deref().unwrap_or("nowhere");
    let to = match instance.unicast_peers.as_slice() {
        [] => "the multicast group".to_owned(),
        peers => peers.join(", "),
    };
    let _ = write!(
        text,
        "\n{name}: virtual router {virtual_router_id} on {interface}, version {version}, every {} ms\n  \
         adverts from {source} to {to}\n  sent {}, received {}, transitions: master {}, backup {}, fault {}\n",
        instance.advert_interval_ms,
        adverts.sent,
        adverts.received,
        transitions.master,
        transitions.backup,
        transitions.fault,
    );
    if !instance.excluded_addresses.is_empty() {
        let _ = writeln!(text, "  not in adverts: {}", instance.excluded_addresses.join(", "));
    }
    if let Some(group) = &instance.sync_group {
        let _ = writeln!(text, "  in sync group {group}");
    }
    if adverts.not_sent > 0 {
        let _ = writeln!(text, "  not sent {}: see the log", adverts.not_sent);
    }
    for (cause, count) in &adverts.rejected {
        let _ = writeln!(text, "  not listened to because of their {cause}: {count}");
    }
    for script in &instance.track_scripts {
        let state = match script.up {
            Some(true) => "succeeds",
            Some(false) => "fails",
            None => "has not ended yet",
        };
        let _ = writeln!(text, "  {} {state} (weight {})", script.command.join(" "), script.weight);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use crate::control::api::{VrrpAdverts, VrrpMaster, VrrpScript, VrrpTransitions};

    use super::*;

    fn instance(name: &str, state: &str, priority: u8) -> VrrpInstance {
        VrrpInstance {
            name: name.to_owned(),
            state: state.to_owned(),
            since: "1970-01-01T00:00:00Z".to_owned(),
            reason: "no advert for 3.6s".to_owned(),
            interface: "eth0".to_owned(),
            virtual_router_id: 51,
            version: 2,
            priority,
            configured_priority: 100,
            held: false,
            advert_interval_ms: 1000,
            master: Some(VrrpMaster { address: "192.168.2.210".to_owned(), priority: 150 }),
            source: Some("192.168.2.211".to_owned()),
            unicast_peers: Vec::new(),
            virtual_addresses: vec!["192.168.2.240/24".to_owned()],
            excluded_addresses: Vec::new(),
            split_brain: None,
            sync_group: None,
            track_scripts: vec![VrrpScript {
                command: vec!["/etc/lb/check.sh".to_owned()],
                weight: -20,
                up: Some(false),
            }],
            transitions: VrrpTransitions { master: 1, backup: 1, fault: 0 },
            adverts: VrrpAdverts {
                sent: 7,
                not_sent: 0,
                received: 9,
                rejected: BTreeMap::from([("password".to_owned(), 3)]),
            },
        }
    }

    #[test]
    fn a_table_says_who_is_master_and_why() {
        let found =
            Found { instances: vec![instance("VI_1", "master", 100), instance("VI_2", "backup", 80)] };
        let expected = "\
Instance  State   Since  Priority  Master               Addresses         Why
VI_1      master  2m 5s  100       this director        192.168.2.240/24  no advert for 3.6s
VI_2      backup  2m 5s  80 (100)  192.168.2.210 (150)  192.168.2.240/24  no advert for 3.6s
";
        assert_eq!(table(&found, SystemTime::UNIX_EPOCH + Duration::from_secs(125)), expected);
    }

    #[test]
    fn details_say_what_was_wrong_with_others() {
        let mut text = String::new();
        details(&instance("VI_2", "backup", 80), &mut text);
        let expected = "
VI_2: virtual router 51 on eth0, version 2, every 1000 ms
  adverts from 192.168.2.211 to the multicast group
  sent 7, received 9, transitions: master 1, backup 1, fault 0
  not listened to because of their password: 3
  /etc/lb/check.sh fails (weight -20)
";
        assert_eq!(text, expected);
    }
}
