//! What `lb top` prints where there is no terminal: the same view as text, or JSON.

use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::Failure;
use super::frame::draw;
use super::now;
use super::view::{Sample, View};

/// How wide text is.
const WIDTH: u16 = 120;
/// Lines above and below the list.
const AROUND: usize = 8;
/// Lines below the list, which are for keys.
const BELOW: usize = 2;

/// Prints one look after the other.
pub(super) struct Printer {
    is_json: bool,
    view: View,
    /// When the last one was.
    last: Instant,
    /// Whether the daemon did not answer last.
    pub(super) is_gone: bool,
}

impl Printer {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, view: View::default(), last: now(), is_gone: false }
    }

    /// A look, as it is printed.
    pub(super) fn text(&mut self, sample: Sample) -> Result<String, Failure> {
        if self.is_json {
            return Ok(serde_json::to_string(&sample)? + "\n");
        }
        let since = now() - std::mem::replace(&mut self.last, now());
        self.view.hear(sample, since);
        Ok(text(&self.view)?)
    }
}

/// As much of a view as there is, without what is only for keys.
fn text(view: &View) -> Result<String, std::convert::Infallible> {
    let height = u16::try_from(view.rows().len() + AROUND).unwrap_or(u16::MAX);
    let mut terminal = Terminal::new(TestBackend::new(WIDTH, height))?;
    terminal.draw(|frame| draw(frame, view))?;
    let lines = terminal.backend().buffer().content().chunks(usize::from(WIDTH));
    let lines = lines.take(usize::from(height) - BELOW).map(|line| {
        let line: String = line.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned() + "\n"
    });
    Ok(lines.collect())
}
