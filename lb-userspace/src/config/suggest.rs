//! What somebody may have meant, and how to quote what they wrote.

use std::cmp::Reverse;
use std::fmt::Display;

/// The candidate that a word abbreviates, or differs from by a typo: one letter of a short candidate, a third of
/// the letters of a longer one.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No name is that long, and the comparison takes the product of both lengths.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let common = |candidate: &str| word.chars().zip(candidate.chars()).take_while(|(a, b)| a == b).count();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(typos, candidate)| {
            let abbreviated = word.len() >= 3 && candidate.starts_with(&word);
            abbreviated || *typos <= (candidate.chars().count() / 3).max(1)
        })
        .min_by_key(|(typos, candidate)| (*typos, Reverse(common(candidate))))
        .map(|(_, candidate)| candidate)
}

/// Text of the file in backticks: on one line, and cut if it is long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    let mut shown = String::from("`");
    for character in text.chars().take(LONGEST) {
        match character {
            control if control.is_control() => shown.extend(control.escape_default()),
            visible => shown.push(visible),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

/// Whether text of the file can be repeated in a remedy.
pub(super) fn is_short(text: &str) -> bool {
    text.len() < 64 && !text.contains(char::is_control)
}

/// A word as it is written in the file.
pub(super) fn in_quotes(word: impl Display) -> String {
    format!("\"{word}\"")
}

/// `a, b or c`.
pub(super) fn alternatives(words: impl IntoIterator<Item = String>) -> String {
    let words: Vec<String> = words.into_iter().collect();
    match words.as_slice() {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        words => words.concat(),
    }
}
