//! What came of the statements that are not simply the same afterwards.

use std::collections::HashSet;
use std::fmt;

/// How much of a statement is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing: lb has no equivalent, or it was wrong.
    Lost,
    /// It was carried over, and does something else.
    Changed,
    /// It was carried over, or need not be; there is something to know.
    Note,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Changed => "changed",
            Self::Note => "note",
        }
    }
}

/// What is to be said of one statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remark {
    /// The line of the file that was converted, counted from 1; 0 if it is about the whole.
    pub line: usize,
    /// How much is left.
    pub kind: Kind,
    /// The statement, as it was written.
    pub subject: String,
    /// What became of it, and what can be done.
    pub text: String,
}

/// All remarks, in the order of the file. Displayed, it is a line for each of them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    file: String,
    remarks: Vec<Remark>,
    said: HashSet<Remark>,
}

/// Longer statements are cut: the line's number says where all of it is.
const LONGEST_SUBJECT: usize = 70;

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self { file: shown(file, usize::MAX), ..Self::default() }
    }

    pub(super) fn lost(&mut self, line: usize, subject: &str, text: impl Into<String>) {
        self.add(line, Kind::Lost, subject, text.into());
    }

    pub(super) fn changed(&mut self, line: usize, subject: &str, text: impl Into<String>) {
        self.add(line, Kind::Changed, subject, text.into());
    }

    pub(super) fn note(&mut self, line: usize, subject: &str, text: impl Into<String>) {
        self.add(line, Kind::Note, subject, text.into());
    }

    fn add(&mut self, line: usize, kind: Kind, subject: &str, text: String) {
        let remark = Remark { line, kind, subject: shown(subject, LONGEST_SUBJECT), text };
        // The same is found again where a statement counts for several sections.
        if self.said.insert(remark.clone()) {
            self.remarks.push(remark);
        }
    }

    /// In the order of the file.
    pub(super) fn sort(&mut self) {
        self.remarks.sort_by_key(|remark| remark.line);
    }

    /// Each of them.
    #[must_use]
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// What the file is called.
    pub(super) fn file(&self) -> &str {
        &self.file
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Remark { line, kind, subject, text } in &self.remarks {
            f.write_str(&self.file)?;
            if *line > 0 {
                write!(f, ":{line}")?;
            }
            write!(f, ": {}: ", kind.name())?;
            if !subject.is_empty() {
                write!(f, "{subject}: ")?;
            }
            writeln!(f, "{text}")?;
        }
        Ok(())
    }
}

/// Text of the file on one line, cut if it is long.
pub(super) fn shown(text: &str, longest: usize) -> String {
    let clean = |character: char| if character.is_control() { ' ' } else { character };
    let mut shown: String = text.chars().take(longest).map(clean).collect();
    if text.chars().nth(longest).is_some() {
        shown.push('…');
    }
    shown
}
