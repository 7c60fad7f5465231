//! The command line.

use clap::Parser;

/// Shows a director, its schedulers and direct routing, live
#[derive(Debug, Parser)]
#[command(
    name = "demo",
    bin_name = "cargo xtask demo",
    max_term_width = 80,
    after_help = "\
Examples:
  cargo xtask demo                    everything, about 15 seconds
  cargo xtask demo --seconds 60       a longer load
  cargo xtask demo --keep             leave the lab running, to explore it
  cargo xtask demo --list             labs on this machine
  cargo xtask demo --remove 4711-1    remove the one that was left running
  cargo xtask demo --json | jq .load  for a program to read

Needs root, for network namespaces and XDP. What it makes has names of its own,
is apart from the machine's network, and is removed at the end, also by Ctrl-C.
Several demos can run at once.

Exit codes: 0 all was as expected, 1 something was not or could not be done,
2 wrong usage, 130 ended by Ctrl-C, 143 ended by SIGTERM."
)]
pub(crate) struct Arguments {
    /// How long the load lasts, from 1 to 60
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// Leave the lab running, and print commands to explore and to remove it
    #[arg(long)]
    pub(crate) keep: bool,
    /// No colours (as with NO_COLOR); there are none in a pipe anyway
    #[arg(long)]
    pub(crate) no_color: bool,
    /// What was observed as JSON, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// List the labs of this machine, and do nothing else
    #[arg(long, exclusive = true)]
    pub(crate) list: bool,
    /// Remove the lab with this id that was left running, and do nothing else
    #[arg(long, value_name = "ID", exclusive = true)]
    pub(crate) remove: Option<String>,
}
