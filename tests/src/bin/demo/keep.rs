//! `--keep`: what to type to explore the lab, and to remove it.

use std::env;
use std::path::Path;

use lb_lab::{Error, Host, Owner, Result};
use serde::Serialize;

use crate::scene::Scene;
use crate::screen::Screen;

/// A lab that stays.
#[derive(Debug, Serialize)]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) commands: Vec<Task>,
}

/// Something to type.
#[derive(Debug, Serialize)]
pub(crate) struct Task {
    what: &'static str,
    command: String,
}

impl Kept {
    /// What can be typed, as long as the lab stands.
    pub(crate) fn commands(scene: &Scene) -> Result<Vec<Task>> {
        let lab = scene.lab();
        let (client, server) = (lab.client(), lab.host("rs1"));
        let inside = |host: &Host| format!("ip netns exec {}", host.namespace());
        let lb = short(scene.director().binary());
        let socket = scene.director().control_socket().display();
        let program = env::current_exe();
        let program = program.map_err(|source| Error::Io { doing: "find this program".into(), source })?;
        let tasks = [
            ("A request:", format!("{} curl -si http://{}/", inside(&client), scene.rr())),
            ("Virtual servers and real servers:", { format!("{lb} list -n \\\n--control-socket {socket}") }),
            ("The director's counters, every second:", {
                format!("watch -n 1 {lb} counters \\\n--control-socket {socket}")
            }),
            ("Six frames at a real server; send requests meanwhile:", {
                format!("{} tcpdump -nei eth0 -c 6 port 80", inside(&server))
            }),
            (
                "Take a real server down; after 3 s it is `unresolved` and gets no requests:",
                format!("ip -n {} link set eth0 down", server.namespace()),
            ),
            ("… and up again:", format!("ip -n {} link set eth0 up", server.namespace())),
            ("The director's configuration:", {
                format!("cat {}", scene.director().config_file().display())
            }),
            ("Remove the lab:", format!("{} --remove {}", short(&program), lab.id())),
        ];
        let sudo = if env::var_os("SUDO_UID").is_some() { "sudo " } else { "" };
        let task = |(what, command)| Task { what, command: format!("{sudo}{command}") };
        Ok(tasks.into_iter().map(task).collect())
    }

    pub(crate) fn show(&self, screen: &Screen) {
        screen.heading(&format!("Lab {} stays: explore it, in another terminal or here", self.id));
        for task in &self.commands {
            screen.line(format!("  {}", screen.dim(task.what)));
            screen.line(format!("      {}", task.command.replace('\n', "\n        ")));
        }
    }
}

/// `--list`.
pub(crate) fn list(labs: &[(String, Owner)]) {
    if labs.is_empty() {
        println!("No labs.");
    }
    for (id, owner) in labs {
        let owner = match owner {
            Owner::Alive => "in use by a running program, which removes it",
            Owner::Kept => "left running: remove it with --remove",
            Owner::Gone => "left behind by a program that was killed: the next lab removes it",
        };
        println!("{id:<12} {owner}");
    }
}

/// A path as it is typed from here.
fn short(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
