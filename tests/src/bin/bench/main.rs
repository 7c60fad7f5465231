//! What a frame costs: `cargo xtask bench`.
//!
//! Everything is measured in one run, turn by turn, so that what disturbs the machine disturbs all alike:
//! the ratios are the point. No test depends on these figures.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod live;
mod per_frame;
mod plane;
mod report;
mod testbed;

use std::process::ExitCode;

use clap::Parser;
use lb_lab::{HostSpec, Lab};

/// Measures what a frame costs
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    bin_name = "cargo xtask bench",
    after_help = "\
Examples:
  cargo xtask bench                       everything, about a minute
  cargo xtask bench -- --rounds 3         sooner, less exact
  cargo xtask bench -- --json > now.json  for a program to read

Needs root: it loads XDP programs and runs them on made-up frames. It attaches nothing outside namespaces
of its own, and removes what it made, also on Ctrl-C."
)]
struct Arguments {
    /// How often each program is measured; the median counts
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many frames one measurement runs through a program
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    frames: u32,
    /// JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Anything that goes wrong ends the run, and is said as it is.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let lab = Lab::builder().host(HostSpec::other("bench")).build()?;
    let per_frame = per_frame::measure(&lab, arguments)?;
    let live = live::measure(&lab, arguments)?;
    lab.remove()?;
    let report = report::Report::new(per_frame, live);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
