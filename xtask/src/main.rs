//! `cargo xtask`: builds, tests, measures and shows the project.
//!
//! ```text
//!   argv ──> arguments ──> setup (what is missing) ──> ebpf ──> build ──> run | demo | bench | test | package | ci
//! ```
//!
//! It knows how the project is built and nothing of what it does.

mod arguments;
mod build;
mod ci;
mod console;
mod docs;
mod ebpf;
mod failure;
mod fuzz;
mod help;
mod object;
mod package;
#[cfg(test)]
mod pages;
mod process;
mod root;
mod route;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use arguments::Request;
use failure::Outcome;
use workspace::{Profile, Workspace};

fn main() -> ExitCode {
    match arguments::parse(std::env::args_os().skip(1)).and_then(carry_out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::error(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn carry_out(request: Request) -> Outcome {
    if let Request::Help(text) = request {
        console::result(text);
        return Ok(());
    }
    process::note_interrupts()?;
    let workspace = Workspace::locate()?;
    match request {
        Request::Help(_) => Ok(()),
        Request::Setup => setup::everything(&workspace),
        Request::BuildEbpf => build::verified_objects(&workspace),
        Request::Build { release: false } => build::product(&workspace, Profile::Debug),
        Request::Build { release: true } => build::product(&workspace, Profile::Release),
        Request::Run(arguments) => build::run(&workspace, &arguments),
        Request::Demo(arguments) => build::show(&workspace, "demo", Profile::Debug, &arguments),
        Request::Bench(arguments) => build::show(&workspace, "bench", Profile::Release, &arguments),
        Request::Test(selection) => test::run(&workspace, &selection),
        Request::Package => package::run(&workspace),
        Request::Fuzz(seconds) => fuzz::run(&workspace, seconds),
        Request::Docs => docs::run(&workspace),
        Request::Ci => ci::run(&workspace),
    }
}
