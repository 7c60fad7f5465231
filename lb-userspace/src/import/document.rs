//! Sections, keys and values that know which line of the other file they are from, and their text in TOML.

use std::ops::Range;

use super::report::shown;

/// A file of sections.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    /// Comments at the top.
    pub(super) head: Vec<String>,
    pub(super) sections: Vec<Section>,
    /// Comments at the end: sections that cannot be written yet.
    pub(super) tail: Vec<String>,
}

/// A section, and those below it.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// `director`, `virtual_server.real_server`.
    path: &'static str,
    /// Whether there may be several: `[[…]]`.
    is_list: bool,
    /// Where it comes from; 0 if from nowhere.
    pub(super) line: usize,
    /// The statement that it comes from.
    pub(super) subject: String,
    /// Said above it, besides where it comes from.
    pub(super) comments: Vec<String>,
    pub(super) keys: Vec<Key>,
    pub(super) below: Vec<Self>,
    is_gone: bool,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) value: Value,
    line: usize,
    is_gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Boolean(bool),
    List(Vec<Element>),
    Table(Vec<(&'static str, Self)>),
}

/// An element of a list, from a line of its own.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) line: usize,
    pub(super) value: Value,
    is_gone: bool,
}

/// Where it comes from does not make it another one.
impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Element {}

/// A piece of a document: a section, a key of it, an element of that key's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    section: usize,
    key: Option<usize>,
    element: Option<usize>,
}

/// A document as text, and where its pieces are in that, in bytes.
pub(super) struct Rendered {
    pub(super) text: String,
    pieces: Vec<(Range<usize>, Place)>,
}

/// What was taken out of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) line: usize,
    pub(super) subject: String,
}

/// Without these, a section says nothing.
const ESSENTIAL: [(&str, &str); 12] = [
    ("virtual_server.real_server", "address"),
    ("virtual_server", "addresses"),
    ("vrrp_instance", "name"),
    ("vrrp_instance", "interface"),
    ("vrrp_instance", "virtual_router_id"),
    ("vrrp_instance", "virtual_addresses"),
    ("vrrp_instance.track_script", "command"),
    ("vrrp_sync_group", "name"),
    ("vrrp_sync_group", "instances"),
    ("smtp", "server"),
    ("smtp", "from"),
    ("smtp", "to"),
];

impl Section {
    pub(super) fn table(path: &'static str, line: usize, subject: impl Into<String>) -> Self {
        Self {
            path,
            is_list: false,
            line,
            subject: subject.into(),
            comments: Vec::new(),
            keys: Vec::new(),
            below: Vec::new(),
            is_gone: false,
        }
    }

    pub(super) fn one_of(path: &'static str, line: usize, subject: impl Into<String>) -> Self {
        Self { is_list: true, ..Self::table(path, line, subject) }
    }

    pub(super) fn set(&mut self, line: usize, name: &'static str, value: impl Into<Value>) {
        self.keys.retain(|key| key.name != name);
        self.keys.push(Key { name, value: value.into(), line, is_gone: false });
    }

    /// Whether it is one of those with this path.
    pub(super) fn is(&self, path: &str) -> bool {
        self.path == path
    }

    fn render(&self, file: &str, count: &mut usize, rendered: &mut Rendered) {
        let section = *count;
        *count += 1;
        if self.is_gone {
            self.below.iter().for_each(|below| below.skip(count));
            return;
        }
        let Rendered { text, pieces } = rendered;
        let depth = self.path.matches('.').count();
        let indent = "  ".repeat(depth);
        // What belongs to the section above without a break is a table of its own.
        text.push('\n');
        if self.line > 0 {
            comment(text, &indent, &format!("{file}:{}: {}", self.line, shown(&self.subject, 60)));
        }
        self.comments.iter().for_each(|line| comment(text, &indent, line));
        let start = text.len();
        let header = if self.is_list { format!("[[{}]]", self.path) } else { format!("[{}]", self.path) };
        text.push_str(&indent);
        text.push_str(&header);
        pieces.push((start..text.len(), Place { section, key: None, element: None }));
        text.push('\n');
        for (place, key) in self.keys.iter().enumerate().filter(|(_, key)| !key.is_gone) {
            let start = text.len();
            text.push_str(&format!("{indent}{} = ", key.name));
            let place = Place { section, key: Some(place), element: None };
            if let Value::List(elements) = &key.value {
                list(text, elements, |range, element| {
                    pieces.push((range, Place { element: Some(element), ..place }));
                });
            } else {
                key.value.write(text);
            }
            pieces.push((start..text.len(), place));
            text.push('\n');
        }
        for below in &self.below {
            below.render(file, count, rendered);
        }
    }

    fn skip(&self, count: &mut usize) {
        *count += 1;
        self.below.iter().for_each(|below| below.skip(count));
    }

    /// The section of this number, counted as they are rendered.
    fn numbered(&mut self, number: &mut usize) -> Option<&mut Self> {
        if *number == 0 {
            return Some(self);
        }
        *number -= 1;
        self.below.iter_mut().find_map(|below| below.numbered(number))
    }

    fn remove(&mut self) -> Removed {
        self.is_gone = true;
        Removed { line: self.line, subject: self.subject.clone() }
    }
}

impl Document {
    /// Its text; `file` is what the other file is called.
    pub(super) fn render(&self, file: &str) -> Rendered {
        let mut rendered = Rendered { text: String::new(), pieces: Vec::new() };
        self.head.iter().for_each(|line| comment(&mut rendered.text, "", line));
        let mut count = 0;
        for section in &self.sections {
            section.render(file, &mut count, &mut rendered);
        }
        if !self.tail.is_empty() {
            rendered.text.push('\n');
            self.tail.iter().for_each(|line| comment(&mut rendered.text, "", line));
        }
        rendered
    }

    /// Takes a piece out, or what makes no sense without it; none if it is out already.
    pub(super) fn remove(&mut self, place: Place) -> Option<Removed> {
        let mut number = place.section;
        let section = self.sections.iter_mut().find_map(|section| section.numbered(&mut number))?;
        if section.is_gone {
            return None;
        }
        let Some(key_place) = place.key else { return Some(section.remove()) };
        let key = section.keys.get_mut(key_place).filter(|key| !key.is_gone)?;
        let (mut line, mut subject) = (key.line, String::new());
        if let (Some(element), Value::List(elements)) = (place.element, &mut key.value) {
            let element = elements.get_mut(element).filter(|element| !element.is_gone)?;
            element.is_gone = true;
            if element.line > 0 {
                line = element.line;
            }
            element.value.write(&mut subject);
            if elements.iter().any(|element| !element.is_gone) {
                return Some(Removed { line, subject });
            }
        }
        key.is_gone = true;
        let name = key.name;
        if ESSENTIAL.contains(&(section.path, name)) {
            return Some(section.remove());
        }
        let subject = if subject.is_empty() { name.to_owned() } else { subject };
        Some(Removed { line: if line > 0 { line } else { section.line }, subject })
    }
}

impl Rendered {
    /// The smallest piece that holds this byte.
    pub(super) fn piece(&self, byte: usize) -> Option<Place> {
        let around = self.pieces.iter().filter(|(range, _)| range.contains(&byte) || range.end == byte);
        around.min_by_key(|(range, _)| range.len()).map(|(_, place)| *place)
    }
}

impl Value {
    fn write(&self, text: &mut String) {
        match self {
            // One line, whatever is in it: TOML's basic strings with everything escaped that is not printed.
            Self::Text(value) => {
                text.push('"');
                for character in value.chars() {
                    match character {
                        '"' | '\\' => text.extend(['\\', character]),
                        '\n' => text.push_str("\\n"),
                        '\r' => text.push_str("\\r"),
                        '\t' => text.push_str("\\t"),
                        control if control.is_control() => {
                            text.push_str(&format!("\\U{:08X}", u32::from(control)));
                        }
                        other => text.push(other),
                    }
                }
                text.push('"');
            }
            Self::Number(number) => text.push_str(&number.to_string()),
            Self::Boolean(boolean) => text.push_str(&boolean.to_string()),
            Self::List(elements) => list(text, elements, |_, _| {}),
            Self::Table(keys) if keys.is_empty() => text.push_str("{}"),
            Self::Table(keys) => {
                text.push_str("{ ");
                for (place, (name, value)) in keys.iter().enumerate() {
                    text.push_str(if place > 0 { ", " } else { "" });
                    text.push_str(&format!("{name} = "));
                    value.write(text);
                }
                text.push_str(" }");
            }
        }
    }
}

fn list(text: &mut String, elements: &[Element], mut piece: impl FnMut(Range<usize>, usize)) {
    text.push('[');
    let left = elements.iter().enumerate().filter(|(_, element)| !element.is_gone);
    for (written, (place, element)) in left.enumerate() {
        text.push_str(if written > 0 { ", " } else { "" });
        let start = text.len();
        element.value.write(text);
        piece(start..text.len(), place);
    }
    text.push(']');
}

fn comment(text: &mut String, indent: &str, line: &str) {
    let line = format!("{indent}# {}", shown(line, usize::MAX));
    text.push_str(line.trim_end());
    text.push('\n');
}

impl Element {
    pub(super) fn new(line: usize, value: impl Into<Value>) -> Self {
        Self { line, value: value.into(), is_gone: false }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<Vec<Element>> for Value {
    fn from(elements: Vec<Element>) -> Self {
        Self::List(elements)
    }
}

impl From<Vec<String>> for Value {
    fn from(words: Vec<String>) -> Self {
        Self::List(words.into_iter().map(|word| Element::new(0, word)).collect())
    }
}
