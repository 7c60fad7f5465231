//! Printing: tables, JSON, and readers that go away.

use std::io::{self, Write as _};

use console::measure_text_width;
use serde::Serialize;

use super::Failure;

/// Prints `text` on standard output. A reader that has gone away (`lb list | head`) is not an error.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_while_read(text).map(drop)
}

/// The same for those who print on and on: whether somebody still reads.
pub(super) fn print_while_read(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Says `text` on standard error, in one piece. Where nobody reads it any more there is nobody to tell.
pub(super) fn complain(text: &impl std::fmt::Display) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Prints `value` as JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// `1 change`, `2 changes`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Rows as columns, two spaces between them.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| measure_text_width(&row[column])).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += cell;
            line += &" ".repeat(width + 2 - measure_text_width(cell));
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
