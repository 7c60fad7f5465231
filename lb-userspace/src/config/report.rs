//! Where diagnostics are collected while a file is read.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::machine::Need;
use super::source::{Located, Source, Span};

/// The file that is read, and what was wrong with it so far.
pub(super) struct Report {
    source: Arc<Source>,
    diagnostics: RefCell<Vec<Diagnostic>>,
    needs: RefCell<Vec<(Need, Located<String>)>>,
}

/// Proof that an error was reported, which only [`Report::error`] gives out: whoever returns this instead of a
/// value has told the operator why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported(());

/// The elements of a list that could be read, so that they can be compared to others although one is missing.
pub(super) struct Partial<T> {
    pub(super) read: Vec<T>,
    pub(super) complete: Result<(), Reported>,
}

impl Report {
    pub(super) fn new(file_name: &str, text: &str) -> Self {
        Self {
            source: Arc::new(Source::new(file_name, text)),
            diagnostics: RefCell::default(),
            needs: RefCell::default(),
        }
    }

    pub(super) fn error(&self, diagnostic: Diagnostic) -> Reported {
        self.diagnostics.borrow_mut().push(Diagnostic { severity: Severity::Error, ..diagnostic });
        Reported(())
    }

    pub(super) fn warning(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(Diagnostic { severity: Severity::Warning, ..diagnostic });
    }

    pub(super) fn span(&self, range: Range<usize>) -> Span {
        Span::new(&self.source, range)
    }

    pub(super) fn located<T>(&self, value: T, range: Range<usize>) -> Located<T> {
        Located { value, span: self.span(range) }
    }

    /// The text as it stands in the file, quotes and escapes included.
    pub(super) fn raw(&self, range: Range<usize>) -> &str {
        self.source.text().get(range).unwrap_or_default()
    }

    /// What the machine has to have, which is not looked at now.
    pub(super) fn need(&self, need: Need, what: Located<String>) {
        self.needs.borrow_mut().push((need, what));
    }

    /// What was wrong, and what the machine has to have.
    pub(super) fn finish(self) -> (Diagnostics, Vec<(Need, Located<String>)>) {
        (Diagnostics::new(self.diagnostics.into_inner()), self.needs.into_inner())
    }
}

impl<T> Partial<T> {
    pub(super) fn of(elements: impl IntoIterator<Item = Result<T, Reported>>) -> Self {
        let mut partial = Self { read: Vec::new(), complete: Ok(()) };
        for element in elements {
            match element {
                Ok(element) => partial.read.push(element),
                Err(reported) => partial.complete = Err(reported),
            }
        }
        partial
    }

    /// Of a list that could not be read at all.
    pub(super) fn none(reported: Reported) -> Self {
        Self { read: Vec::new(), complete: Err(reported) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.read.is_empty() && self.complete.is_ok()
    }

    pub(super) fn map<U>(self, change: impl FnMut(T) -> U) -> Partial<U> {
        Partial { read: self.read.into_iter().map(change).collect(), complete: self.complete }
    }

    /// The same, with what `read` makes of them.
    pub(super) fn try_map<U>(self, read: impl FnMut(T) -> Result<U, Reported>) -> Partial<U> {
        let made = Partial::of(self.read.into_iter().map(read));
        Partial { complete: self.complete.and(made.complete), ..made }
    }

    pub(super) fn all(self) -> Result<Vec<T>, Reported> {
        self.complete.map(|()| self.read)
    }
}

impl<T> Default for Partial<T> {
    /// Of an empty list.
    fn default() -> Self {
        Self { read: Vec::new(), complete: Ok(()) }
    }
}
