//! `lb`: argv to a command to an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use lb_userspace::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().execute()
}
