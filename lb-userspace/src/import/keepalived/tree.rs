//! Words and braces to statements, each with the block that belongs to it.
//!
//! A statement ends with its line, or where the next keyword of its block stands. A block ends with its brace, or where
//! the section of a block around it begins.

use super::super::report::Report;
use super::grammar::{self, Block, FILE, LIST};
use super::lexer::{Kind, Token, Word};
use crate::config::nearest;

/// A keyword with what stands behind it, or an element of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) line: usize,
    /// The keyword as the grammar has it; empty if it has none, and of elements.
    pub(super) keyword: &'static str,
    /// All words as they were written, the keyword among them.
    pub(super) words: Vec<String>,
    /// What stands in its braces; none if it has no braces.
    pub(super) below: Option<Vec<Self>>,
}

impl Statement {
    /// A word behind the first one, counted from 1.
    pub(super) fn argument(&self, place: usize) -> Option<&str> {
        self.words.get(place).map(String::as_str)
    }

    /// All words behind the first one.
    pub(super) fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// As it was written.
    pub(super) fn text(&self) -> String {
        self.words.join(" ")
    }

    /// What stands in its braces.
    pub(super) fn statements(&self) -> &[Self] {
        self.below.as_deref().unwrap_or_default()
    }

    /// The last of its statements with this keyword: with keepalived, too, what is written again counts.
    pub(super) fn find(&self, keyword: &str) -> Option<&Self> {
        self.statements().iter().rfind(|below| below.keyword == keyword)
    }

    pub(super) fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a Self> {
        self.statements().iter().filter(move |below| below.keyword == keyword)
    }
}

/// A block that is being read.
struct Frame {
    block: &'static Block,
    /// Whose block it is, without what stands in it.
    head: Statement,
    statements: Vec<Statement>,
    /// The line of the brace that opened it: what follows on that line is written without line breaks.
    opened: usize,
}

/// Four blocks in one another are the most that keepalived has. What is deeper is left out, so that no file can be so
/// deep that there is no room for it on the stack.
const DEEPEST: usize = 16;

struct Builder<'a> {
    report: &'a mut Report,
    frames: Vec<Frame>,
    /// The statement that is being read.
    current: Option<Statement>,
}

/// The statements of a file.
pub(super) fn statements(tokens: &[Token], report: &mut Report) -> Vec<Statement> {
    let file = Frame { block: &FILE, head: Statement::default(), statements: Vec::new(), opened: 0 };
    let mut builder = Builder { report, frames: vec![file], current: None };
    let mut rest = tokens;
    while let Some((token, following)) = rest.split_first() {
        rest = following;
        match &token.kind {
            Kind::Word(word) if builder.current.is_none() && skips_line(word) => {
                builder.skip(token, following);
                let end = following.iter().position(|token| token.kind == Kind::End);
                rest = &following[end.unwrap_or(following.len())..];
            }
            Kind::Word(word) => builder.word(word, token.line, following),
            Kind::Open => builder.open(token.line),
            Kind::Close => builder.close(token.line),
            Kind::End => builder.finish(),
        }
    }
    builder.end()
}

/// Lines that are for keepalived's reader itself.
fn skips_line(word: &Word) -> bool {
    !word.is_quoted && (word.text.starts_with('@') || word.text.to_ascii_lowercase().starts_with("include"))
}

/// Whether a block is opened on the line that these tokens are the rest of.
fn opens_block(rest: &[Token]) -> bool {
    let end = rest.iter().find(|token| !matches!(token.kind, Kind::Word(_)));
    end.is_some_and(|token| token.kind == Kind::Open)
}

impl Builder<'_> {
    /// The innermost block: that of the file is never closed.
    fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            let head = Statement::default();
            self.frames.push(Frame { block: &FILE, head, statements: Vec::new(), opened: 0 });
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn skip(&mut self, token: &Token, rest: &[Token]) {
        let words = std::iter::once(token).chain(rest).map_while(|token| match &token.kind {
            Kind::Word(word) => Some(word.text.as_str()),
            _ => None,
        });
        let text = words.collect::<Vec<_>>().join(" ");
        if text.starts_with('@') {
            let remedy = "a line for one of several machines; convert the file of each machine by itself, with the lines \
                          that are for it";
            self.report.lost(token.line, &text, remedy);
        } else {
            self.report.lost(
                token.line,
                &text,
                "the files that are included have to be converted by themselves",
            );
        }
    }

    fn word(&mut self, word: &Word, line: usize, rest: &[Token]) {
        let starts_block = !word.is_quoted && opens_block(rest);
        if starts_block && self.current.is_none() {
            self.find_block_of(&word.text, line);
        }
        let Frame { block, opened, .. } = *self.frame();
        let known = if word.is_quoted { None } else { block.word(&word.text) };
        if let (Some(current), Some(_)) = (&self.current, known)
            && !block.is_list
        {
            let is_full = match block.word(&current.words[0]) {
                Some(keyword) => {
                    current.arguments().len() >= keyword.least && (!keyword.takes_line || opened == line)
                }
                None => true,
            };
            if is_full {
                self.finish();
            }
        }
        match &mut self.current {
            Some(current) => current.words.push(word.text.clone()),
            None => {
                let keyword =
                    if word.is_quoted || block.is_list { None } else { self.keyword(&word.text, line) };
                let keyword = keyword.map_or("", |keyword| keyword.name);
                self.current = Some(Statement { line, keyword, words: vec![word.text.clone()], below: None });
            }
        }
    }

    /// The keyword that a word is, or is a typo of.
    fn keyword(&mut self, text: &str, line: usize) -> Option<&'static grammar::Word> {
        let block = self.frame().block;
        if let Some(known) = block.word(text) {
            return Some(known);
        }
        // Two letters of a long word; what is shorter may be anything.
        let is_typo =
            |name: &str| text.len() >= 6 && strsim::damerau_levenshtein(&text.to_lowercase(), name) <= 2;
        let meant = nearest(text, block.words.iter().map(|word| word.name)).filter(|name| is_typo(name))?;
        self.report.note(line, text, format!("taken for {meant}"));
        block.word(meant)
    }

    /// Closes blocks, or opens the last one again, so that a section is where it belongs.
    fn find_block_of(&mut self, keyword: &str, line: usize) {
        let frame = self.frame();
        if frame.block.word(keyword).is_some() {
            return;
        }
        let around = self.frames.iter().rposition(|frame| frame.block.word(keyword).is_some());
        if let Some(around) = around {
            while self.frames.len() > around + 1 {
                let text = self.frame().head.text();
                let opened = self.frame().opened;
                self.report.note(
                    line,
                    keyword,
                    format!("the brace of {text} in line {opened} is missing here"),
                );
                self.close(line);
            }
            return;
        }
        let frame = self.frame();
        let last = frame.statements.last().and_then(|last| frame.block.word(last.keyword));
        let Some(block) = last.and_then(|last| last.block).filter(|block| block.word(keyword).is_some())
        else {
            return;
        };
        let Some(mut head) = frame.statements.pop() else { return };
        let message = format!("a brace too many before it; taken as part of {}", head.text());
        self.report.note(line, keyword, message);
        let statements = head.below.take().unwrap_or_default();
        let opened = head.line;
        self.frames.push(Frame { block, head, statements, opened });
    }

    fn finish(&mut self) {
        if let Some(current) = self.current.take() {
            self.frame().statements.push(current);
        }
    }

    fn open(&mut self, line: usize) {
        let block = self.frame().block;
        let head = self.current.take().or_else(|| {
            // The brace may stand on a line of its own.
            self.frame().statements.pop_if(|last| last.below.is_none() && !block.is_list)
        });
        let head = head.unwrap_or_else(|| {
            self.report.note(line, "{", "nothing stands before this brace; what is in it is left out");
            Statement { line, ..Statement::default() }
        });
        let inner = block.word(head.keyword).and_then(|word| word.block).unwrap_or(&LIST);
        self.frames.push(Frame { block: inner, head, statements: Vec::new(), opened: line });
    }

    fn close(&mut self, line: usize) {
        self.finish();
        if self.frames.len() <= 1 {
            self.report.note(line, "}", "a brace too many; ignored");
            return;
        }
        let is_too_deep = self.frames.len() > DEEPEST;
        if let Some(Frame { mut head, statements, .. }) = self.frames.pop()
            && !is_too_deep
        {
            head.below = Some(statements);
            self.frame().statements.push(head);
        }
    }

    fn end(mut self) -> Vec<Statement> {
        self.finish();
        while self.frames.len() > 1 {
            let (text, line) = (self.frame().head.text(), self.frame().opened);
            self.report.note(line, &text, "its closing brace is missing; taken to be at the end of the file");
            self.close(line);
        }
        self.frames.pop().map(|file| file.statements).unwrap_or_default()
    }
}
