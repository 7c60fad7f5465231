//! `$NAME=value` at the beginning of a line, and `$NAME` or `${NAME}` behind it.

use std::collections::HashMap;

use super::super::report::Report;
use super::lexer::{Kind, Token};

/// The tokens without definitions, and with values in place of names.
pub(super) fn substituted(tokens: &[Token], report: &mut Report) -> Vec<Token> {
    let mut values: HashMap<String, String> = HashMap::new();
    let mut lines = Vec::new();
    for line in tokens.split_inclusive(|token| token.kind == Kind::End) {
        match definition(line) {
            Some((name, value)) => {
                let value = replaced(&value, &values);
                values.insert(name, value);
            }
            None => lines.extend(line.iter().cloned()),
        }
    }
    for token in &mut lines {
        if let Kind::Word(word) = &mut token.kind
            && word.text.contains('$')
        {
            word.text = replaced(&word.text, &values);
            if word.text.starts_with('$') && !word.is_quoted {
                report.lost(
                    token.line,
                    &word.text,
                    "a variable that has no value in this file; write the value",
                );
            }
        }
    }
    lines
}

/// Longer ones are of nobody's making.
const LONGEST: usize = 4096;

fn definition(line: &[Token]) -> Option<(String, String)> {
    let (Token { kind: Kind::Word(first), .. }, rest) = line.split_first()? else { return None };
    if first.is_quoted {
        return None;
    }
    let (name, value) = first.text.strip_prefix('$')?.split_once('=')?;
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let words = rest.iter().filter_map(|token| match &token.kind {
        Kind::Word(word) => Some(word.text.as_str()),
        _ => None,
    });
    let value: Vec<&str> = std::iter::once(value).filter(|value| !value.is_empty()).chain(words).collect();
    is_name(name).then(|| (name.to_owned(), value.join(" ")))
}

fn replaced(text: &str, values: &HashMap<String, String>) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        replaced.push_str(&rest[..start]);
        let behind = &rest[start + 1..];
        let (name, end) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let is_end = |character: char| !character.is_ascii_alphanumeric() && character != '_';
                let end = behind.find(is_end).unwrap_or(behind.len());
                (&behind[..end], end)
            }
        };
        match values.get(name) {
            Some(value) if replaced.len() + value.len() <= LONGEST => {
                replaced.push_str(value);
                rest = &behind[end..];
            }
            _ => {
                replaced.push('$');
                rest = behind;
            }
        }
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    #[test]
    fn names_become_values() {
        let mut report = Report::new("test");
        let text = "$VIP=192.0.2.1\n$BOTH=$VIP 80\nvirtual_server ${VIP} 80 { $UNKNOWN }\na \"x$VIP-\"\n";
        let found = substituted(&tokens(text, &mut report), &mut report);
        let words: Vec<&str> = found
            .iter()
            .filter_map(|token| match &token.kind {
                Kind::Word(word) => Some(word.text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(words, ["virtual_server", "192.0.2.1", "80", "$UNKNOWN", "a", "x192.0.2.1-"]);
        assert_eq!(report.remarks().len(), 1);
    }
}
