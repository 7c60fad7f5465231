//! `lb add`, `lb edit`, `lb remove`: virtual servers and real servers while the daemon runs.

use std::net::IpAddr;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{print, print_json};
use super::weight::ServerArguments;
use super::{ControlSocket, Failure, answered, runtime, told};
use crate::control::api::{Change, Changes, ChangesMade, Keys};
use crate::control::client;

/// Add a virtual server or a real server while the daemon runs.
#[derive(Debug, Subcommand)]
pub(super) enum Add {
    /// Add a virtual server
    #[command(after_help = "\
Examples:
  sudo lb add service 192.168.2.240:80
  sudo lb add service --name web 192.168.2.240:80 192.168.2.240:443 --scheduler wrr --server 192.168.2.212
  sudo lb add service --name dns 192.168.2.240:53 --protocol udp --set one_packet=true

Lasts until the machine starts anew, also beyond restarts of the daemon; `lb save` writes it to the configuration file.")]
    Service(AddService),
    /// Add a real server to a virtual server
    #[command(after_help = "\
Examples:
  sudo lb add server web 192.168.2.212
  sudo lb add server web 192.168.2.213 --weight 3 --set upper_threshold=1000

The answer waits until the real server's MAC is known, but not for long: `lb list` says whether it answers.")]
    Server(ServerChange),
}

/// Change properties of a virtual server or of a real server while the daemon runs.
#[derive(Debug, Subcommand)]
pub(super) enum Edit {
    /// Change properties of a virtual server
    #[command(after_help = "\
Examples:
  sudo lb edit service web --scheduler mh
  sudo lb edit service web --set 'persistence={ timeout = \"5m\" }' --set on_down=reset
  sudo lb edit service web --unset persistence

Connections go on where they are. `lb edit server` changes its real servers.")]
    Service(EditService),
    /// Change properties of a real server
    #[command(after_help = "\
Examples:
  sudo lb edit server web 192.168.2.212 --weight 3
  sudo lb edit server web 192.168.2.212 --set upper_threshold=1000 --set lower_threshold=800

`lb drain` takes a real server out of service and waits until its connections have ended.")]
    Server(ServerChange),
}

/// Remove a virtual server or a real server while the daemon runs.
#[derive(Debug, Subcommand)]
pub(super) enum Remove {
    /// Remove a virtual server, with its real servers
    #[command(after_help = "\
Example:
  sudo lb remove service web

Its connections end: nothing is forwarded for it any more.")]
    Service(RemoveService),
    /// Remove a real server from a virtual server
    #[command(after_help = "\
Example:
  sudo lb drain web 192.168.2.212 && sudo lb remove server web 192.168.2.212

Its connections end; `lb drain` waits for them first.")]
    Server(RemoveServer),
}

/// A new virtual server.
#[derive(Debug, Args)]
pub(super) struct AddService {
    /// VIPs and ports: 192.168.2.240:80, [2001:db8::1]:80, 192.168.2.240:8000-8100
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Its name; without, it is called after its first address
    #[arg(long)]
    name: Option<String>,
    /// tcp or udp
    #[arg(long, default_value = "tcp")]
    protocol: String,
    /// Its first real servers
    #[arg(long = "server", value_name = "ADDRESS")]
    servers: Vec<IpAddr>,
    #[command(flatten)]
    properties: ServiceProperties,
    #[command(flatten)]
    common: Common,
}

/// What may be said of a virtual server in short.
#[derive(Debug, Args)]
struct ServiceProperties {
    /// Who chooses the real server of a new connection: rr, wrr, lc, wlc, …
    #[arg(long, short)]
    scheduler: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// A real server, and what is to be said of it.
#[derive(Debug, Args)]
pub(super) struct ServerChange {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    properties: ServerProperties,
    #[command(flatten)]
    common: Common,
}

/// What may be said of a real server in short.
#[derive(Debug, Args)]
struct ServerProperties {
    /// Its share of new connections; 0 for none
    #[arg(long, short)]
    weight: Option<u32>,
    #[command(flatten)]
    settings: Settings,
}

/// Another virtual server in the place of one.
#[derive(Debug, Args)]
pub(super) struct EditService {
    /// The virtual server: its name, or one of its addresses as `lb list -n` prints it
    service: String,
    #[command(flatten)]
    properties: ServiceProperties,
    #[command(flatten)]
    common: Common,
}

/// One virtual server less.
#[derive(Debug, Args)]
pub(super) struct RemoveService {
    /// The virtual server: its name, or one of its addresses as `lb list -n` prints it
    service: String,
    #[command(flatten)]
    common: Common,
}

/// One real server less.
#[derive(Debug, Args)]
pub(super) struct RemoveServer {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    common: Common,
}

/// Any keys of the configuration file.
#[derive(Debug, Args)]
struct Settings {
    /// A key of the configuration file, with the value that it has there
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, Value)>,
    /// A key of the configuration file that gets its default
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

#[derive(Debug, Args)]
struct Common {
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Settings {
    fn keys(self, given: Option<(&str, Value)>) -> Keys {
        let given = given.into_iter().map(|(key, value)| (key.to_owned(), value));
        let unset = self.unset.into_iter().map(|key| (key, Value::Null));
        given.chain(self.set).chain(unset).collect()
    }
}

impl ServiceProperties {
    fn keys(self) -> Keys {
        self.settings.keys(self.scheduler.map(|scheduler| ("scheduler", scheduler.into())))
    }
}

impl ServerProperties {
    fn keys(self) -> Keys {
        self.settings.keys(self.weight.map(|weight| ("weight", weight.into())))
    }
}

/// A value as the file has it; a word without quotes is a string.
fn setting(text: &str) -> Result<(String, Value), String> {
    let (key, value) =
        text.split_once('=').ok_or("it is no KEY=VALUE, such as weight=3 or on_down=reset".to_owned())?;
    let read = |value: &str| toml::from_str::<Keys>(&format!("value = {value}")).ok()?.remove("value");
    let quoted = || read(&toml::Value::from(value.trim()).to_string());
    let value = read(value.trim()).or_else(quoted).unwrap_or(Value::Null);
    Ok((key.trim().to_owned(), value))
}

impl Add {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Service(AddService { addresses, name, protocol, servers, properties, common }) => {
                let mut service = Keys::new();
                service.extend(name.map(|name| ("name".to_owned(), name.into())));
                service.insert("addresses".to_owned(), addresses.into());
                service.insert("protocol".to_owned(), protocol.into());
                service.extend(properties.keys());
                if !servers.is_empty() {
                    let server = |address: IpAddr| serde_json::json!({ "address": address });
                    service.insert("real_server".to_owned(), servers.into_iter().map(server).collect());
                }
                common.make(Change::AddService { service })
            }
            Self::Server(ServerChange { server, properties, common }) => {
                let ServerArguments { service, server: address } = server;
                let mut server = Keys::from_iter([("address".to_owned(), address.to_string().into())]);
                server.extend(properties.keys());
                common.make(Change::AddServer { service, server })
            }
        }
    }
}

impl Edit {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let (change, common) = match self {
            Self::Service(EditService { service, properties, common }) => {
                (Change::EditService { service, set: properties.keys() }, common)
            }
            Self::Server(ServerChange { server, properties, common }) => {
                let ServerArguments { service, server } = server;
                (Change::EditServer { service, server, set: properties.keys() }, common)
            }
        };
        if let Change::EditService { set, .. } | Change::EditServer { set, .. } = &change
            && set.is_empty()
        {
            return Err(Failure::usage("nothing to change was named: add --set KEY=VALUE or --unset KEY"));
        }
        common.make(change)
    }
}

impl Remove {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Service(RemoveService { service, common }) => {
                common.make(Change::RemoveService { service })
            }
            Self::Server(RemoveServer { server, common }) => {
                let ServerArguments { service, server } = server;
                common.make(Change::RemoveServer { service, server })
            }
        }
    }
}

impl Common {
    fn make(self, change: Change) -> Result<(), Failure> {
        let line = told::change(&change);
        let made = runtime()?.block_on(make(&self.socket.control_socket, vec![change]))?;
        if self.json {
            return print_json(&made);
        }
        let already = if made.changed { "" } else { " already" };
        print(&format!("{line}{already}\n"))
    }
}

/// Has the daemon make changes.
async fn make(socket: &Path, changes: Vec<Change>) -> Result<ChangesMade, Failure> {
    answered(client::post(socket, "/v1/changes", &Changes { changes }).await)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setting_is_written_as_in_the_file_and_a_word_needs_no_quotes() {
        for (text, key, value) in [
            ("weight=3", "weight", json!(3)),
            ("one_packet = true", "one_packet", json!(true)),
            ("on_down=reset", "on_down", json!("reset")),
            ("on_down=\"reset\"", "on_down", json!("reset")),
            ("sorry_server=192.0.2.9", "sorry_server", json!("192.0.2.9")),
            ("persistence={ timeout = \"60s\" }", "persistence", json!({ "timeout": "60s" })),
            ("scheduler_flags=[\"sh-port\"]", "scheduler_flags", json!(["sh-port"])),
            ("name=it's", "name", json!("it's")),
        ] {
            assert_eq!(setting(text), Ok((key.to_owned(), value)), "{text}");
        }
        assert!(setting("weight").is_err());
    }
}
