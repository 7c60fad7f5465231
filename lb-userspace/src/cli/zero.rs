//! `lb zero`.

use clap::Args;

use super::output::{print, print_json};
use super::{ControlSocket, Failure, answered, runtime};
use crate::control::api::{Zero as Asked, Zeroed};
use crate::control::client;

/// Have the counters of virtual servers begin anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb zero                   of all virtual servers (ipvsadm -Z)
  sudo lb zero web               of one

Connections, packets and bytes of `lb list --stats`, and the rates; it outlives the daemon. The
connections themselves, and what `lb counters` shows, stay as they are.")]
pub(super) struct Zero {
    /// The virtual server: its name, or one of its addresses as `lb list -n` prints it; without it, all
    service: Option<String>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Zero {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let asked = Asked { service: self.service };
        let answer = runtime()?.block_on(client::post(&self.socket.control_socket, "/v1/zero", &asked));
        let zeroed: Zeroed = answered(answer)?;
        if self.json {
            return print_json(&zeroed);
        }
        let of = match &zeroed.virtual_servers[..] {
            [one] => format!("{one:?}"),
            several => format!("{} virtual servers", several.len()),
        };
        print(&format!("the counters of {of} begin anew\n"))
    }
}
