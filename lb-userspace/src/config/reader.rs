//! Tables and values of the file: asked for a type, they give it or say what they are instead.

use std::ops::{Deref, Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::contract::{FILE, KEEPALIVED, SECTIONS, Section};
use super::diagnostic::{Code, Diagnostic};
use super::report::{Partial, Report, Reported};
use super::source::{Located, Span};
use super::suggest::{alternatives, in_quotes, is_short, nearest, quoted};

/// A section whose keys are all known.
pub(super) struct Table<'a> {
    section: &'static Section,
    entries: &'a DeTable<'a>,
    header: Range<usize>,
    report: &'a Report,
    unknown: Option<Reported>,
}

/// A value, and the key that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    key: &'a str,
    is_element: bool,
    value: &'a Spanned<DeValue<'a>>,
    report: &'a Report,
}

/// A string, or a part of one.
#[derive(Clone)]
pub(super) struct Text<'a> {
    text: &'a str,
    report: &'a Report,
    /// The whole token with its quotes, or the part.
    range: Range<usize>,
    /// Where the text begins in the file; none if it was written with escapes and so has no places of its own.
    start: Option<usize>,
}

impl<'a> Table<'a> {
    /// The file itself.
    pub(super) fn root(entries: &'a DeTable<'a>, report: &'a Report) -> Self {
        Self::new(&FILE, entries, 0..0, report)
    }

    fn new(
        section: &'static Section,
        entries: &'a DeTable<'a>,
        header: Range<usize>,
        report: &'a Report,
    ) -> Self {
        let mut table = Self { section, entries, header, report, unknown: None };
        for (key, value) in entries {
            let name: &str = key.get_ref();
            if !section.keys.contains(&name) {
                table.unknown = Some(table.unknown(name, key.span(), value.get_ref()));
            }
        }
        table
    }

    /// Where to say that something is missing.
    pub(super) fn header(&self) -> Span {
        self.report.span(self.header.clone())
    }

    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// Whether a key was refused: it may be what seems to be missing.
    pub(super) fn unknown_key(&self) -> Option<Reported> {
        self.unknown
    }

    pub(super) fn optional(&self, key: &str) -> Option<Value<'a>> {
        debug_assert!(self.section.keys.contains(&key), "{key} is missing in contract.rs");
        let (key, value) = self.entries.get_key_value(key)?;
        Some(Value { key: key.get_ref(), is_element: false, value, report: self.report })
    }

    /// A key without a default. `help` says what to write.
    pub(super) fn required(&self, key: &str, help: impl Into<String>) -> Result<Value<'a>, Reported> {
        self.optional(key).ok_or_else(|| {
            let message = match SECTIONS.into_iter().find(|section| section.key() == key) {
                Some(section) => format!("the section {} is missing", section.header),
                None => format!("`{key}` is missing in {}", self.section.header),
            };
            self.report.error(Diagnostic::new(Code::MissingKey, &self.header(), message).help(help))
        })
    }

    /// What `read` makes of a key's value, or the default.
    pub(super) fn value_or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(Value<'a>) -> Result<T, Reported>,
    ) -> Result<T, Reported> {
        self.optional(key).map_or(Ok(default), read)
    }

    fn unknown(&self, key: &str, range: Range<usize>, value: &DeValue<'_>) -> Reported {
        let in_file = std::ptr::eq(self.section, &FILE);
        let message = if in_file {
            format!("unknown section or key {}", quoted(key))
        } else {
            format!("unknown key {} in {}", quoted(key), self.section.header)
        };
        let diagnostic = Diagnostic::new(Code::UnknownKey, &self.report.span(range), message);
        let is_section = matches!(value, DeValue::Table(_) | DeValue::Array(_));
        let sections = self.nearby(|section| is_section && section.key() == key);
        let elsewhere = self.nearby(|section| section.keys.contains(&key));
        let is_known = |name: &str| self.section.keys.contains(&name);
        let keepalived =
            KEEPALIVED.into_iter().find(|(theirs, ours)| theirs.eq_ignore_ascii_case(key) && is_known(ours));
        let help = if let Some(section) = sections.first() {
            format!("did you mean the section {}?", section.header)
        } else if let Some((_, ours)) = keepalived {
            format!("write `{ours}`: that is what it is called here")
        } else if let Some(known) = nearest(key, self.section.keys.iter().copied()) {
            format!("did you mean `{known}`?")
        } else if !elsewhere.is_empty() {
            let headers = elsewhere.iter().map(|section| section.header.to_owned());
            format!("`{key}` belongs in {}", alternatives(headers))
        } else if in_file {
            let headers = SECTIONS[1..].iter().map(|section| section.header);
            let headers: Vec<&str> = headers.filter(|header| !header.contains("health_check.")).collect();
            format!("the sections are {}", headers.join(", "))
        } else if self.section.keys.is_empty() {
            format!("{} has no keys: remove it", self.section.header)
        } else {
            format!("the keys of {} are {}", self.section.header, self.section.keys.join(", "))
        };
        self.report.error(diagnostic.help(help))
    }

    /// Of the sections that are meant perhaps, those whose headers have most in common with this one's.
    fn nearby(&self, is_meant: impl Fn(&Section) -> bool) -> Vec<&'static Section> {
        let names = |section: &'static Section| section.path().split('.');
        let common =
            |section| names(section).zip(names(self.section)).take_while(|(one, other)| one == other).count();
        let meant: Vec<&Section> = SECTIONS.into_iter().filter(|section| is_meant(section)).collect();
        let most = meant.iter().map(|section| common(section)).max();
        let nearest = meant.into_iter().filter(|section| Some(common(section)) == most);
        nearest.take(if most == Some(0) { 1 } else { SECTIONS.len() }).collect()
    }
}

impl<'a> Value<'a> {
    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// The key that it belongs to.
    pub(super) fn key(&self) -> &'a str {
        self.key
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::String(_))
    }

    /// `help` says what to write instead of another type.
    pub(super) fn text(self, help: &str) -> Result<Text<'a>, Reported> {
        let DeValue::String(text) = self.value.get_ref() else {
            return Err(self.wrong_type("a string", help));
        };
        let range = self.value.span();
        let verbatim = self.report.raw(range.start + 1..range.end.saturating_sub(1)) == text;
        let start = verbatim.then_some(range.start + 1);
        Ok(Text { text, report: self.report, range, start })
    }

    pub(super) fn boolean(self, help: &str) -> Result<bool, Reported> {
        self.value.get_ref().as_bool().ok_or_else(|| self.wrong_type("`true` or `false`", help))
    }

    /// `help` says what the number means, whatever is wrong with it.
    pub(super) fn integer(self, limits: RangeInclusive<u32>, help: &str) -> Result<u32, Reported> {
        let integer = match self.value.get_ref() {
            DeValue::Integer(integer) => integer,
            DeValue::String(text) if text.parse::<u32>().is_ok() && is_short(text) => {
                return Err(self.wrong_type("an integer", &format!("write {text} without quotes")));
            }
            _ => return Err(self.wrong_type("an integer", help)),
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        number.filter(|number| limits.contains(number)).ok_or_else(|| {
            let (least, most) = limits.into_inner();
            let written = quoted(self.report.raw(self.value.span()));
            let message = format!("`{}` must be from {least} to {most}, not {written}", self.key);
            self.report.error(Diagnostic::new(Code::OutOfRange, &self.span(), message).help(help))
        })
    }

    /// A number that is at most `most` away from 0. `help` says what it means, whatever is wrong with it.
    pub(super) fn signed(self, most: u32, help: &str) -> Result<i16, Reported> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            return Err(self.wrong_type("an integer", help));
        };
        let number = i16::from_str_radix(integer.as_str(), integer.radix()).ok();
        number.filter(|number| u32::from(number.unsigned_abs()) <= most).ok_or_else(|| {
            let written = quoted(self.report.raw(self.value.span()));
            let message = format!("`{}` must be from -{most} to {most}, not {written}", self.key);
            self.report.error(Diagnostic::new(Code::OutOfRange, &self.span(), message).help(help))
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(self, names: &[(&str, T)]) -> Result<T, Reported> {
        let words = names.iter().map(|(name, _)| *name);
        let help = format!("write {} = {}", self.key, alternatives(words.clone().map(in_quotes)));
        let text = self.text(&help)?;
        let found = names.iter().find(|(name, _)| *name == text.as_str());
        found.map(|(_, value)| *value).ok_or_else(|| {
            let message = format!("`{}` cannot be {}", self.key, quoted(&text));
            let diagnostic = Diagnostic::new(Code::UnknownValue, &self.span(), message);
            let diagnostic = match nearest(&text, words) {
                Some(word) => diagnostic.help(format!("did you mean \"{word}\"?")),
                None => diagnostic,
            };
            self.report.error(diagnostic.help(help))
        })
    }

    /// The elements of an array. `example` is an element as it may be written.
    pub(super) fn list(self, example: &str) -> Result<Vec<Self>, Reported> {
        match self.value.get_ref() {
            DeValue::Array(elements) => {
                Ok(elements.iter().map(|value| Self { value, is_element: true, ..self }).collect())
            }
            // One element without its brackets is the likeliest mistake.
            DeValue::String(text) if is_short(text) => {
                Err(self.wrong_type("an array", &format!("write {} = [\"{text}\"]", self.key)))
            }
            _ => Err(self.wrong_type("an array", &format!("write {} = [{example}]", self.key))),
        }
    }

    /// A section that is there once.
    pub(super) fn table(self, section: &'static Section) -> Result<Table<'a>, Reported> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Ok(Table::new(section, entries, self.value.span(), self.report)),
            DeValue::Array(_) => Err(self.wrong_type(
                "one section",
                &format!("write {} with one bracket on each side: there is only one", section.header),
            )),
            _ => Err(self.wrong_type("a section", &format!("write {} and its keys below", section.header))),
        }
    }

    /// A section that is written as a value. `example` is one.
    pub(super) fn inline_table(
        self,
        section: &'static Section,
        example: &str,
    ) -> Result<Table<'a>, Reported> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Ok(Table::new(section, entries, self.value.span(), self.report)),
            _ => Err(self.wrong_type("a table", &format!("write {} = {example}", self.key))),
        }
    }

    /// A section that is there any number of times.
    pub(super) fn tables(self, section: &'static Section) -> Partial<Table<'a>> {
        let DeValue::Array(elements) = self.value.get_ref() else {
            let help =
                format!("write {} with two brackets on each side: there can be several", section.header);
            return Partial::none(self.wrong_type("an array of sections", &help));
        };
        Partial::of(elements.iter().map(|value| Self { value, is_element: true, ..self }.table(section)))
    }

    pub(super) fn span(&self) -> Span {
        self.report.span(self.value.span())
    }

    pub(super) fn located<T>(&self, value: T) -> Located<T> {
        self.report.located(value, self.value.span())
    }

    fn wrong_type(&self, expected: &str, help: &str) -> Reported {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let subject = if self.is_element { "each element of " } else { "" };
        let message = format!("{subject}`{}` must be {expected}, not {found}", self.key);
        let diagnostic = Diagnostic::new(Code::WrongType, &self.span(), message);
        self.report.error(diagnostic.help(help))
    }
}

impl<'a> Text<'a> {
    /// A text that is in no file.
    pub(super) fn alone(text: &'a str, report: &'a Report) -> Self {
        Self { text, report, range: 0..text.len(), start: Some(0) }
    }

    pub(super) fn span(&self) -> Span {
        self.report.span(self.range.clone())
    }

    pub(super) fn as_str(&self) -> &str {
        self.text
    }

    pub(super) fn located<T>(&self, value: T) -> Located<T> {
        self.report.located(value, self.range.clone())
    }

    /// The parts before and behind the first such character.
    pub(super) fn halves(&self, separator: char) -> Option<(Self, Self)> {
        let (before, _) = self.text.split_once(separator)?;
        let behind = before.len() + separator.len_utf8();
        Some((self.part(0..before.len()), self.part(behind..self.text.len())))
    }

    /// A part, by its bytes.
    pub(super) fn part(&self, bytes: Range<usize>) -> Self {
        let text = self.text.get(bytes.clone()).unwrap_or_default();
        match self.start {
            Some(start) => {
                let range = start + bytes.start..start + bytes.end;
                Self { text, report: self.report, start: Some(range.start), range }
            }
            None => Self { text, ..self.clone() },
        }
    }

    pub(super) fn error(&self, code: Code, message: impl Into<String>, help: impl Into<String>) -> Reported {
        self.report.error(Diagnostic::new(code, &self.span(), message).help(help))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.text
    }
}
