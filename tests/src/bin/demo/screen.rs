//! What is printed, and how: colours and a live line on a terminal, plain text in a pipe.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::{StyledObject, style};
use indicatif::{ProgressBar, ProgressStyle};
use lb_lab::{give_way_to_signal, on_signal};
use serde::Serialize;

/// Time between two pictures of what moves.
pub(crate) const FRAME: Duration = Duration::from_millis(100);

/// Standard output for people, or for a program.
pub(crate) struct Screen {
    json: bool,
    /// Whether a person is watching.
    live: bool,
    moving: Arc<Mutex<Option<ProgressBar>>>,
}

impl Screen {
    pub(crate) fn new(no_color: bool, json: bool) -> Self {
        if no_color {
            console::set_colors_enabled(false);
            console::set_colors_enabled_stderr(false);
        }
        let live = std::io::stderr().is_terminal() && (json || std::io::stdout().is_terminal());
        Self { json, live, moving: Arc::default() }
    }

    /// A line of text.
    pub(crate) fn line(&self, text: impl Display) {
        // What is being removed is no longer what the demo is about.
        give_way_to_signal();
        if !self.json {
            put(&text);
        }
    }

    /// What the next lines are about.
    pub(crate) fn heading(&self, text: &str) {
        self.line(format!("\n{}", self.bold(text)));
    }

    /// A statement, marked as seen to be so or not.
    pub(crate) fn verdict(&self, is_so: bool, statement: &str) {
        self.line(if is_so {
            format!("  {} {statement}", style("✔").green())
        } else {
            format!("  {} not as expected: {statement}", style("✘").red().bold())
        });
    }

    pub(crate) fn bold<T>(&self, text: T) -> StyledObject<T> {
        style(text).bold()
    }

    pub(crate) fn dim<T>(&self, text: T) -> StyledObject<T> {
        style(text).dim()
    }

    /// The one line of `--json`.
    pub(crate) fn json(&self, value: &impl Serialize) {
        give_way_to_signal();
        if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(text) => put(&text),
                Err(error) => eprintln!("demo: {error}"),
            }
        }
    }

    /// Shows that something is being done, until this is dropped.
    pub(crate) fn working(&self, what: &'static str) -> Moving {
        let moving = self.moving("{spinner} {msg}", 1);
        moving.bar.set_message(what);
        moving.bar.enable_steady_tick(FRAME);
        moving
    }

    /// A bar of this length, until it is dropped.
    pub(crate) fn progress(&self, length: Duration) -> Moving {
        self.moving("  {bar:30.cyan} {msg}", millis(length))
    }

    fn moving(&self, template: &str, length: u64) -> Moving {
        let bar = if self.live { ProgressBar::new(length) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌░"));
        *self.moving.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Moving { bar }
    }

    /// Removes what moves from the terminal.
    pub(crate) fn clear(&self) {
        clear(&self.moving);
    }

    /// Ctrl-C and SIGTERM: what has been done about it, and the exit code that shells use.
    pub(crate) fn end_on_signal(&self) {
        let moving = Arc::clone(&self.moving);
        on_signal(move |signal, removed| {
            clear(&moving);
            match removed {
                Ok(0) => eprintln!("\nInterrupted."),
                Ok(_) => eprintln!("\nInterrupted. Everything is removed again."),
                Err(error) => eprintln!("\nInterrupted, but not everything could be removed: {error}"),
            }
            std::process::exit(128 + signal as i32);
        });
    }
}

/// Something that moves on the terminal; it vanishes when dropped.
pub(crate) struct Moving {
    bar: ProgressBar,
}

impl Moving {
    /// Moves on.
    pub(crate) fn show(&self, position: Duration, text: String) {
        self.bar.set_message(text);
        self.bar.set_position(millis(position));
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A text about a real server, in that server's colour.
pub(crate) fn coloured<T>(server: &str, text: T) -> StyledObject<T> {
    match server {
        "rs1" => style(text).cyan(),
        "rs2" => style(text).magenta(),
        "rs3" => style(text).yellow(),
        _ => style(text),
    }
}

/// A number with its unit in the singular or the plural.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

fn put(text: &impl Display) {
    // A reader that has gone (`| head`) is its own choice; the lab is removed all the same.
    _ = writeln!(std::io::stdout(), "{text}");
}

fn clear(moving: &Mutex<Option<ProgressBar>>) {
    if let Some(bar) = moving.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
