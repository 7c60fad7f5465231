//! Text to words, braces and ends of lines, as leniently as anybody may have written them.
//!
//! keepalived reads a file line by line; what people keep and pass on has lost its line breaks, spaces or comments'
//! ends at times, so a brace is a brace wherever it stands.

use super::super::report::Report;

/// What a file is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Counted from 1.
    pub(super) line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word(Word),
    Open,
    Close,
    /// The end of a line.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// A quoted word is no keyword.
    pub(super) is_quoted: bool,
}

/// All of a text. What is in comments is left out, except if no section is left: then a comment has swallowed it.
pub(super) fn tokens(text: &str, report: &mut Report) -> Vec<Token> {
    let text = text.trim_start_matches('\u{feff}');
    let found = scan(text, report);
    let begins = |token: &Token| matches!(&token.kind, Kind::Word(word) if BEGINNINGS.contains(&&*word.text));
    if found.iter().any(begins) {
        return found;
    }
    let swallowed = text.lines().enumerate().find_map(|(line, text)| Some((line + 1, revealed(text)?)));
    let Some((line, configuration)) = swallowed else { return found };
    let keyword = configuration.split_whitespace().next().unwrap_or_default();
    let message = "the whole configuration stands behind a comment in one line; read from here on";
    report.note(line, keyword, message);
    let mut tokens = scan(configuration, report);
    tokens.iter_mut().for_each(|token| token.line += line - 1);
    tokens
}

/// Keywords that a configuration begins with.
const BEGINNINGS: [&str; 6] = [
    "global_defs",
    "vrrp_instance",
    "vrrp_script",
    "vrrp_sync_group",
    "virtual_server",
    "virtual_server_group",
];

/// Whether a line has the beginning of a section in it.
pub(super) fn begins_section(line: &str) -> bool {
    line.contains('{') && BEGINNINGS.into_iter().any(|keyword| line.contains(keyword))
}

/// What of a comment is a section with its braces.
fn revealed(comment: &str) -> Option<&str> {
    let section = |keyword: &str| {
        let start = comment.find(keyword)?;
        let rest = &comment[start..];
        rest.find('{').filter(|open| rest[*open..].contains('}')).map(|_| start)
    };
    BEGINNINGS.into_iter().filter_map(section).min().map(|start| &comment[start..])
}

fn scan(text: &str, report: &mut Report) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, content) in text.lines().enumerate() {
        let mut line = Line { rest: content, number: number + 1, tokens: &mut tokens };
        line.scan(report);
        tokens.push(Token { kind: Kind::End, line: number + 1 });
    }
    tokens
}

/// A line that is being read.
struct Line<'a> {
    rest: &'a str,
    number: usize,
    tokens: &'a mut Vec<Token>,
}

impl Line<'_> {
    fn scan(&mut self, report: &mut Report) {
        loop {
            self.rest = self.rest.trim_start();
            let Some(first) = self.rest.chars().next() else { return };
            match first {
                // `decomment` of keepalived's lib/parser.c: anywhere outside quotes.
                '#' | '!' => return,
                '{' => self.brace(Kind::Open),
                '}' => self.brace(Kind::Close),
                '"' => self.quoted(report),
                _ => self.word(),
            }
        }
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, line: self.number });
    }

    fn brace(&mut self, kind: Kind) {
        self.rest = &self.rest[1..];
        self.push(kind);
    }

    fn quoted(&mut self, report: &mut Report) {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((place, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[place + 1..];
                    return self.push(Kind::Word(Word { text, is_quoted: true }));
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => text.push('\\'),
                },
                other => text.push(other),
            }
        }
        report.note(self.number, self.rest, "the quotation mark is not closed; taken to end with the line");
        self.rest = "";
        self.push(Kind::Word(Word { text, is_quoted: true }));
    }

    fn word(&mut self) {
        let mut in_variable = false;
        let mut before = ' ';
        let end = self.rest.char_indices().find_map(|(place, character)| {
            let is_end = match character {
                // `${NAME}`
                '{' if before == '$' => {
                    in_variable = true;
                    false
                }
                '}' if in_variable => {
                    in_variable = false;
                    false
                }
                '{' | '}' | '"' | '#' | '!' => true,
                other => other.is_whitespace(),
            };
            before = character;
            is_end.then_some(place)
        });
        let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        self.push(Kind::Word(Word { text: text.to_owned(), is_quoted: false }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let shown = |token: Token| match token.kind {
            Kind::Word(word) => word.text,
            Kind::Open => "{".to_owned(),
            Kind::Close => "}".to_owned(),
            Kind::End => ";".to_owned(),
        };
        tokens(text, &mut Report::new("test")).into_iter().map(shown).collect()
    }

    #[test]
    fn a_brace_needs_no_space() {
        assert_eq!(words("TCP_CHECK{port 80}}"), ["TCP_CHECK", "{", "port", "80", "}", "}", ";"]);
    }

    #[test]
    fn comments_begin_anywhere_but_in_quotes() {
        let found = words("! all of it\nweight 3#three\nscript \"a # b\" ! why\n");
        assert_eq!(found, [";", "weight", "3", ";", "script", "a # b", ";"]);
    }

    #[test]
    fn quotes_escape_themselves() {
        assert_eq!(words(r#"a "b \"c\" \d \\" e"#), ["a", r#"b "c" \d \"#, "e", ";"]);
        assert_eq!(words("a \"b"), ["a", "b", ";"]);
    }

    #[test]
    fn a_variable_has_braces_of_its_own() {
        assert_eq!(words("priority ${PRIO} {"), ["priority", "${PRIO}", "{", ";"]);
    }

    #[test]
    fn what_a_comment_has_swallowed_is_found_again() {
        let mut report = Report::new("test");
        let found = tokens("\n! Configuration File for keepalivedglobal_defs { router_id x }", &mut report);
        assert_eq!(found.len(), 6);
        assert_eq!(found[0].line, 2);
        assert_eq!(report.remarks().len(), 1);
        // A comment beside a configuration is one.
        assert_eq!(words("# global_defs { }\nvrrp_script x"), [";", "vrrp_script", "x", ";"]);
    }
}
