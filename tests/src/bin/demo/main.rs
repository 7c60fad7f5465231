//! A client, a director and three real servers, live: `cargo xtask demo`.
//!
//! Everything that is shown is observed: who answered, what was on the cables, what the director counted.
//! What was expected is said beside it, and a difference ends the demo with exit code 1.

mod arguments;
mod keep;
mod load;
mod picture;
mod scene;
mod schedulers;
mod screen;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use lb_lab::{Error, Result, give_way_to_signal, labs, remove};
use serde::Serialize;

use arguments::Arguments;
use scene::Scene;
use screen::Screen;

/// All that was observed; what `--json` prints.
#[derive(Serialize)]
struct Observed {
    as_expected: bool,
    schedulers: Vec<schedulers::Trial>,
    direct_routing: wire::Journey,
    load: load::Figures,
    /// What is left running, with `--keep`.
    kept: Option<keep::Kept>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let screen = Screen::new(arguments.no_color, arguments.json);
    let code = match run(&arguments, &screen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            screen.clear();
            give_way_to_signal();
            eprintln!("demo: {error}");
            if matches!(error, Error::NotRoot | Error::NotSet { .. }) {
                eprintln!("`cargo xtask demo` sees to that.");
            }
            ExitCode::FAILURE
        }
    };
    give_way_to_signal();
    code
}

/// Whether everything was as expected.
fn run(arguments: &Arguments, screen: &Screen) -> Result<bool> {
    if arguments.list {
        keep::list(&labs());
        return Ok(true);
    }
    if let Some(id) = &arguments.remove {
        remove(id)?;
        println!("Lab {id} is removed.");
        return Ok(true);
    }
    play(arguments, screen)
}

fn play(arguments: &Arguments, screen: &Screen) -> Result<bool> {
    screen.end_on_signal();
    let working = screen.working("making a network of namespaces and starting `lb run` in it");
    let scene = Scene::set(arguments.keep)?;
    drop(working);
    picture::show(&scene, screen);

    let schedulers = schedulers::try_all(&scene)?;
    schedulers::show(&schedulers, screen);
    let direct_routing = wire::follow_one_request(&scene)?;
    direct_routing.show(screen);
    let load = load::run(&scene, screen, arguments.seconds)?;
    load.show(screen);

    let as_expected =
        schedulers.iter().all(|trial| trial.as_expected) && direct_routing.as_expected && load.as_expected;
    let kept = if arguments.keep {
        let kept = scene.keep()?;
        kept.show(screen);
        Some(kept)
    } else {
        scene.remove()?;
        None
    };
    match (as_expected, kept.is_some()) {
        (true, true) => screen.line("\nAll was as expected."),
        (true, false) => screen.line("\nAll was as expected. Everything is removed again."),
        (false, true) => screen.line("\nNot all was as expected: see ✘ above."),
        (false, false) => screen.line("\nNot all was as expected: see ✘ above. Everything is removed again."),
    }
    let observed = Observed { as_expected, schedulers, direct_routing, load, kept };
    screen.json(&observed);
    Ok(as_expected)
}
