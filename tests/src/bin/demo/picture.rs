//! The lab as a picture: who is where, and the way of a request.

use lb_lab::Host;

use crate::scene::Scene;
use crate::screen::{Screen, coloured};

/// Width of a real server's box, without its frame.
const BOX: usize = 19;

/// Draws it, in 80 columns.
pub(crate) fn show(scene: &Scene, screen: &Screen) {
    let lab = scene.lab();
    let (client, director) = (lab.client(), lab.director());
    let vips = match lab.vips() {
        [first, .., last] => format!("{first}–{}", last.octets()[3]),
        _ => lab.vip().to_string(),
    };
    let (c, d) = (client.address().to_string(), director.address().to_string());
    let (c_mac, d_mac) = (client.mac().to_string(), director.mac().to_string());
    let clients = scene.clients();
    let c = clients.last().map_or(c.clone(), |last| format!("{c}–{}", last.octets()[3]));
    screen.heading("A network of its own: a client, a director, three real servers");
    screen.line(format!(
        "
  ┌───────────────────┐  1 client → VIP              ┌────────────────────────┐
  │ client            │ ───────────────────────────> │ director: lb run       │
  │ {c:<17} │                              │ {d:<22} │
  │ {c_mac:<17} │                              │ {d_mac:<22} │
  └───────────────────┘                              │ VIPs {vips:<17} │
      ^                                              └────────────────────────┘
      │                                                    │
      │ 3 VIP → client, past the director                  │ 2 the same frame,
      │                                                    v   to a server's MAC"
    ));
    let servers = lab.real_servers();
    let row = |cell: &dyn Fn(&Host) -> String| {
        let cells: Vec<_> = servers.iter().map(cell).collect();
        cells.join("  ")
    };
    let line = "─".repeat(BOX);
    screen.line(format!("      │   {}", row(&|_| format!("┌{line}┐"))));
    let named = |host: &Host| {
        format!("│ {} │", coloured(host.name(), format!("{:<17}", format!("{}: nginx", host.name()))))
    };
    screen.line(format!("      └── {}", row(&named)));
    screen.line(format!("          {}", row(&|host| format!("│ {:<17} │", host.address()))));
    screen.line(format!("          {}", row(&|host| format!("│ {:<17} │", host.mac()))));
    screen.line(format!("          {}", row(&|_| format!("│ {:<17} │", "VIPs on lo"))));
    screen.line(format!("          {}", row(&|_| format!("└{line}┘"))));
}
