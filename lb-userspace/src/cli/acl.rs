//! `lb acl`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::output::{print, print_json};
use super::{ControlSocket, Failure, answered, ask, runtime};
use crate::control::api::{Acl, AclAction, AclChange, AclChanged, Acls};
use crate::control::client;
use crate::forms::Prefix;

/// Change which clients are let in.
#[derive(Debug, Args)]
pub(super) struct AclCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who is denied and who is allowed
    #[command(after_help = "\
Examples:
  sudo lb acl list
  sudo lb acl list --json | jq '.deny'")]
    List(Show),
    /// Refuse clients, and end the connections that they have
    #[command(after_help = "\
Examples:
  sudo lb acl deny 198.51.100.0/24
  sudo lb acl deny 2001:db8:bad::/48 --service web6

What is denied stays denied, however long the prefixes that are allowed. Counts on when the daemon
is restarted; `lb save` writes it to the configuration file.")]
    Deny(Change),
    /// Let clients in; others then only if they are allowed too
    #[command(after_help = "\
Examples:
  sudo lb acl allow 10.0.0.0/8
  sudo lb acl allow 10.0.0.0/8 --service web

Without --service this is for all virtual servers and both families: once anything is allowed, nobody
else is let in, and the connections of everybody else end. What is denied stays denied. Counts on when the daemon
is restarted; `lb save` writes it to the configuration file.")]
    Allow(Change),
    /// Forget that clients were denied or allowed
    #[command(after_help = "\
Example:
  sudo lb acl remove 198.51.100.0/24

Counts on when the daemon
is restarted; `lb save` writes it to the configuration file.")]
    Remove(Change),
}

#[derive(Debug, Args)]
struct Show {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

#[derive(Debug, Args)]
struct Change {
    /// The clients: 198.51.100.0/24, 2001:db8::/32, or one address
    prefix: Prefix,
    /// The virtual server whose clients they are; without it, those of all
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl AclCommand {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let (action, change) = match self.action {
            Action::List(show) => return show.execute(),
            Action::Deny(change) => (AclAction::Deny, change),
            Action::Allow(change) => (AclAction::Allow, change),
            Action::Remove(change) => (AclAction::Remove, change),
        };
        let asked = AclChange { action, prefix: change.prefix.to_string(), service: change.service };
        let answer = client::post(&change.socket.control_socket, "/v1/acl", &asked);
        let changed: AclChanged = answered(runtime()?.block_on(answer))?;
        if change.json { print_json(&changed) } else { print(&told(&asked, &changed)) }
    }
}

impl Show {
    fn execute(self) -> Result<(), Failure> {
        let acls: Acls = ask(&self.socket.control_socket, "/v1/acl")?;
        if self.json { print_json(&acls) } else { print(&table(&acls)) }
    }
}

/// One line for each prefix, and one for everybody else.
fn table(acls: &Acls) -> String {
    let services = acls.virtual_servers.iter().map(|service| (service.name.as_str(), &service.acl));
    let all = [("(all)", &acls.all)].into_iter().chain(services);
    let widest = all.clone().map(|(name, _)| name.len()).max().unwrap_or(0).max("Service".len());
    let mut text = format!("{:<widest$} Rule  Clients\n", "Service");
    for (name, acl) in all {
        let Acl { deny, allow } = acl;
        for (rule, prefixes) in [("deny", deny), ("allow", allow)] {
            for prefix in prefixes {
                let _ = writeln!(text, "{name:<widest$} {rule:<5} {prefix}");
            }
        }
        let rule = if allow.is_empty() { "allow" } else { "deny" };
        let others = if deny.is_empty() && allow.is_empty() { "everybody" } else { "everybody else" };
        let _ = writeln!(text, "{name:<widest$} {rule:<5} {others}");
    }
    text
}

fn told(asked: &AclChange, changed: &AclChanged) -> String {
    let prefix = &changed.prefix;
    let place =
        asked.service.as_ref().map_or_else(|| "all virtual servers".to_owned(), |name| format!("{name:?}"));
    let state = match asked.action {
        AclAction::Deny => "denied",
        AclAction::Allow => "allowed",
        AclAction::Remove => "neither denied nor allowed",
    };
    let now = if changed.changed { "now" } else { "already" };
    let mut text = format!("{prefix} is {now} {state} for {place}\n");
    match (asked.action, changed.changed, changed.acl.allow.len()) {
        (AclAction::Allow, true, 1) => {
            text.push_str("it is the only prefix that is allowed: nobody else is let in\n");
        }
        (AclAction::Remove, true, 0) => {
            text.push_str("nothing is allowed in particular: whoever is not denied is let in\n");
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::ServiceAcl;

    fn acl(deny: &[&str], allow: &[&str]) -> Acl {
        let texts = |prefixes: &[&str]| prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Acl { deny: texts(deny), allow: texts(allow) }
    }

    #[test]
    fn everybody_is_in_the_table() {
        let virtual_servers = vec![
            ServiceAcl { name: "intranet".to_owned(), acl: acl(&[], &["10.0.0.0/8"]) },
            ServiceAcl { name: "web".to_owned(), acl: acl(&[], &[]) },
        ];
        let acls = Acls { all: acl(&["198.51.100.0/24", "2001:db8::/32"], &[]), virtual_servers };
        let expected = "\
Service  Rule  Clients
(all)    deny  198.51.100.0/24
(all)    deny  2001:db8::/32
(all)    allow everybody else
intranet allow 10.0.0.0/8
intranet deny  everybody else
web      allow everybody
";
        assert_eq!(table(&acls), expected);
    }

    #[test]
    fn whoever_shuts_others_out_is_told() {
        let asked = |action| AclChange { action, prefix: "10.0.0.0/8".to_owned(), service: None };
        let changed = |allow: &[&str]| AclChanged {
            prefix: "10.0.0.0/8".to_owned(),
            changed: true,
            acl: acl(&[], allow),
        };
        assert!(told(&asked(AclAction::Allow), &changed(&["10.0.0.0/8"])).contains("nobody else"));
        assert!(told(&asked(AclAction::Remove), &changed(&[])).contains("whoever is not denied"));
        assert_eq!(told(&asked(AclAction::Deny), &changed(&[])).lines().count(), 1);
    }
}
