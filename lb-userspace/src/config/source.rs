//! The text of a configuration file, and places in it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A file's text under the name that diagnostics show.
pub(super) struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        Self { name: name.to_owned(), text: text.to_owned(), line_starts }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The line that holds this byte, counted from 0.
    fn line(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte).saturating_sub(1)
    }

    /// Where a line begins; beyond the last line, where the text ends.
    fn line_start(&self, line: usize) -> usize {
        self.line_starts.get(line).copied().unwrap_or(self.text.len())
    }
}

/// A place in a configuration file: never past its end, never within a character, never of several lines.
#[derive(Clone)]
pub struct Span {
    source: Arc<Source>,
    range: Range<usize>,
}

impl Span {
    /// The place nearest to `range`. Of several lines it is the first; behind the last line's text it is the end
    /// of that text.
    pub(super) fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        let text = source.text();
        let last = text.trim_end().len();
        let start = text.floor_char_boundary(range.start.min(last));
        let end = text.ceil_char_boundary(range.end.clamp(start, last));
        let first_line = text[start..end].lines().next().map_or(0, str::len);
        Self { source: Arc::clone(source), range: start..start + first_line }
    }

    /// The file, by the name under which it was read.
    #[must_use]
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.source.line(self.range.start) + 1
    }

    /// The column in characters, counted from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        let line_start = self.source.line_start(self.source.line(self.range.start));
        self.source.text()[line_start..self.range.start].chars().count() + 1
    }

    /// The text there.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.source.text()[self.range.clone()]
    }

    /// The position in the file in bytes.
    pub(crate) fn start(&self) -> usize {
        self.range.start
    }

    /// The whole line.
    pub(super) fn whole_line(&self) -> &str {
        let line = self.source.line(self.range.start);
        &self.source.text()[self.source.line_start(line)..self.source.line_start(line + 1)]
    }

    /// The place in that line, in bytes.
    pub(super) fn in_line(&self) -> Range<usize> {
        let start = self.source.line_start(self.source.line(self.range.start));
        self.range.start - start..self.range.end - start
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line(), self.column())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value and where the file has it. Two are equal if their values are, wherever they stand.
#[derive(Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: fmt::Display> fmt::Display for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.value, self.span)
    }
}

/// Each value that equals an earlier one: its place, and the place of the first of them.
pub(super) fn repetitions<'a, T: Eq + Hash + Clone>(
    values: impl IntoIterator<Item = (T, &'a Span)>,
) -> Vec<(T, &'a Span, &'a Span)> {
    let mut first_places = HashMap::new();
    let mut repetitions = Vec::new();
    for (value, span) in values {
        let first = *first_places.entry(value.clone()).or_insert(span);
        if !std::ptr::eq(first, span) {
            repetitions.push((value, span, first));
        }
    }
    repetitions
}
