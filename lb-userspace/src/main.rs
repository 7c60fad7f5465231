//! `lb`: argv to a command to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    lb_userspace::cli::execute(&words)
}
