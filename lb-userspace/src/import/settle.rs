//! Makes a document one that lb reads: what the configuration's own rules refuse is taken out and told of, so that no
//! rule is written twice.
//!
//! ```text
//! document ─ render ─> text ─ config::parse ─> Checked
//!     ^                              │
//!     └──── remove ── piece ── place of each error
//! ```

use super::document::Document;
use super::report::Report;
use crate::config::{self, Checked, Severity};

/// More rounds than any real file takes; each takes out at least one piece.
const ROUNDS: usize = 1000;

/// The valid configuration that is left of a document; none if nothing sensible is.
pub(super) fn settle(document: &mut Document, report: &mut Report) -> Option<Checked> {
    for _ in 0..ROUNDS {
        let rendered = document.render(report.file());
        let diagnostics = match config::parse(report.file(), &rendered.text) {
            Ok(checked) => return Some(checked),
            Err(diagnostics) => diagnostics,
        };
        let mut is_smaller = false;
        for error in diagnostics.iter().filter(|found| found.severity == Severity::Error) {
            let removed = rendered.piece(error.span.start()).and_then(|place| document.remove(place));
            let Some(removed) = removed else { continue };
            is_smaller = true;
            let help = error.help.first().map(|help| format!(" ({help})")).unwrap_or_default();
            report.lost(removed.line, &removed.subject, format!("left out: {}{help}", error.message));
        }
        if !is_smaller {
            return None;
        }
    }
    None
}
