//! Texts that are no TOML, in the form of all other diagnostics.

use std::string::FromUtf8Error;

use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::report::{Report, Reported};
use super::source::Span;
use super::suggest::quoted;

/// What a message of the `toml` crate begins with, what it means, and what to write instead. Messages that are
/// not here are shown as they are.
const MEANINGS: [(&str, &str, &str); 13] = [
    ("string values must be quoted", "this text is not in quotes", "write it in double quotes"),
    // The crate guesses by the first letter, t or f.
    ("invalid boolean", "this text is not in quotes", "write it in double quotes, or write true or false"),
    (
        "invalid basic string, expected `\"`",
        "this string is not closed",
        "write \" at its end, on the same line",
    ),
    (
        "invalid literal string, expected `'`",
        "this string is not closed",
        "write ' at its end, on the same line",
    ),
    (
        NO_COMMA,
        "a comma or the end of the array is missing",
        "write , between its elements and ] behind the last",
    ),
    (EQUALS_SIGN, "the array before this is not closed", "write ] behind its last element"),
    (UNCLOSED_ARRAY, "this array is not closed", "write ] behind its last element"),
    ("unclosed table", "this header is not closed", "write ] at its end"),
    ("unclosed array table", "this header is not closed", "write ]] at its end"),
    ("unexpected leading zero", "this number begins with 0", "write it without leading zeros"),
    ("missing escaped value", "this backslash begins no escape", "write two of them for one"),
    ("key with no value", "this is not a key and its value", "write key = value"),
    ("invalid key-value pair, expected key", "this is not a key and its value", "write key = value"),
];

const NO_COMMA: &str = "missing comma between array elements";
const EQUALS_SIGN: &str = "unexpected `=` in array";
const UNCLOSED_ARRAY: &str = "unclosed array, expected `]`";

/// A file with more mistakes than this is something else than TOML.
const MOST: usize = 10;

/// Whether the document can be read further. A key that is there twice is wrong, but leaves no doubt about what
/// the rest of the file says; behind any other mistake the parser can only guess.
pub(super) fn check(errors: &[toml::de::Error], report: &Report) -> Result<(), Reported> {
    let mut mistakes = Vec::new();
    for error in errors {
        let span = report.span(error.span().unwrap_or_default());
        match error.message() {
            "duplicate key" => duplicate(&span, error, report),
            message => mistakes.push((span, message)),
        }
    }
    let mistakes = without_consequences(mistakes);
    let more = mistakes.len().saturating_sub(MOST);
    let mut result = Ok(());
    for (i, (span, message)) in mistakes.iter().take(MOST).enumerate() {
        let is_last = i + 1 == mistakes.len().min(MOST);
        let mut diagnostic = mistake(span, message);
        if is_last && more > 0 {
            diagnostic = diagnostic.help(format!("{more} more lines are not TOML either"));
        }
        if is_last {
            diagnostic = diagnostic.help("the rest of the file is checked once all of it is TOML");
        }
        result = Err(report.error(diagnostic));
    }
    result
}

/// The mistakes that somebody made, without those that the parser sees because of them: one for each line, and
/// nothing behind the place where an array should have ended.
fn without_consequences(mut mistakes: Vec<(Span, &str)>) -> Vec<(Span, &str)> {
    let begins = |message: &str, with: &[&str]| with.iter().any(|begin| message.starts_with(begin));
    let is_unclosed = mistakes.iter().any(|(_, message)| begins(message, &[EQUALS_SIGN, UNCLOSED_ARRAY]));
    mistakes.sort_by_key(|(span, _)| span.start());
    mistakes.dedup_by_key(|(span, _)| span.line());
    let of_array = |message: &str| begins(message, &[NO_COMMA, EQUALS_SIGN, UNCLOSED_ARRAY]);
    if is_unclosed && let Some(first) = mistakes.iter().position(|(_, message)| of_array(message)) {
        mistakes.truncate(first + 1);
    }
    mistakes
}

fn mistake(span: &Span, message: &str) -> Diagnostic {
    let (meaning, help) = match MEANINGS.iter().find(|(begin, ..)| message.starts_with(begin)) {
        Some(("string values must be quoted", ..)) if span.text().is_empty() => {
            ("the value is missing", Some("write a value behind the ="))
        }
        Some((_, meaning, help)) => (*meaning, Some(*help)),
        None => (message, None),
    };
    let diagnostic = Diagnostic::new(Code::Syntax, span, format!("not TOML: {meaning}"));
    match help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

fn duplicate(span: &Span, error: &toml::de::Error, report: &Report) {
    let start = error.span().unwrap_or_default().start;
    let is_header = report.raw(0..start).trim_end().ends_with('[');
    let (message, help) = if is_header {
        let help = "write all of its keys below one header; only a section with two brackets on each side, such as \
                    [[virtual_server]], can be there again";
        (format!("the section {} is there twice", quoted(span.text())), help)
    } else {
        (format!("the key {} is there twice in one section", quoted(span.text())), "remove one of the two")
    };
    report.error(Diagnostic::new(Code::DuplicateKey, span, message).help(help));
}

/// A file that is not even text.
pub(super) fn not_utf8(file_name: &str, error: &FromUtf8Error) -> Diagnostics {
    let valid = error.utf8_error().valid_up_to();
    // Each bad sequence is shown as one replacement character; all before it stays as it is.
    let report = Report::new(file_name, &String::from_utf8_lossy(error.as_bytes()));
    let span = report.span(valid..valid + char::REPLACEMENT_CHARACTER.len_utf8());
    let diagnostic = Diagnostic::new(Code::NotUtf8, &span, "the file is not UTF-8");
    let diagnostic = diagnostic.label("this is no character");
    report.error(diagnostic.help("type the character again, or save the whole file as UTF-8"));
    report.finish().0
}
