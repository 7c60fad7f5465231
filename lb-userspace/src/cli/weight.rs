//! `lb weight`.

use std::net::IpAddr;

use clap::Args;
use lb_common::limits::MAX_WEIGHT;

use super::output::{print, print_json};
use super::{ControlSocket, Failure, answered};
use crate::control::api::{WeightChange, WeightChanged};
use crate::control::client;

/// Change a real server's share of new connections.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb weight web 192.168.2.212 3
  sudo lb weight 192.168.2.240:80 192.168.2.212 0     no new connections; old ones go on

`lb drain` sets the weight to 0 and waits for the old connections. Counts on when the daemon is
restarted; `lb save` writes it to the configuration file.")]
pub(super) struct Weight {
    #[command(flatten)]
    server: ServerArguments,
    /// Its weight from now on; 0 for no new connections
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_WEIGHT)))]
    weight: u32,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

/// Which real server of which virtual server.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// The virtual server: its name, or one of its addresses as `lb list -n` prints it
    pub(super) service: String,
    /// The real server's address
    pub(super) server: IpAddr,
}

impl ServerArguments {
    /// Has the daemon change the weight.
    pub(super) async fn set_weight(
        &self,
        socket: &ControlSocket,
        weight: u32,
    ) -> Result<WeightChanged, Failure> {
        let change = WeightChange { service: self.service.clone(), server: self.server.to_string(), weight };
        answered(client::post(&socket.control_socket, "/v1/weight", &change).await)
    }
}

impl Weight {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let changed = super::runtime()?.block_on(self.server.set_weight(&self.socket, self.weight))?;
        if self.json { print_json(&changed) } else { print(&told(&changed)) }
    }
}

fn told(changed: &WeightChanged) -> String {
    let WeightChanged { service, server, before, weight, .. } = changed;
    let state = match (*before == *weight, *weight) {
        (true, weight) => format!("weight {weight} already"),
        (false, 0) => format!("weight 0 now instead of {before}: no new connections, and old ones go on"),
        (false, weight) => format!("weight {weight} now instead of {before}"),
    };
    format!("{server} of {service:?} has {state}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_was_before() {
        let changed = |before, weight| WeightChanged {
            service: "web".to_owned(),
            server: "192.0.2.10".to_owned(),
            changed: before != weight,
            before,
            weight,
        };
        assert_eq!(told(&changed(1, 3)), "192.0.2.10 of \"web\" has weight 3 now instead of 1\n");
        assert_eq!(told(&changed(3, 3)), "192.0.2.10 of \"web\" has weight 3 already\n");
        assert!(told(&changed(3, 0)).ends_with("no new connections, and old ones go on\n"));
    }
}
