//! Whether a file is the eBPF object it should be, and of today.
//!
//! Shared, by `#[path]`, with lb-userspace's build script: what xtask accepts, the build embeds.

use std::fs;
use std::path::{Path, PathBuf};

/// A program that an object must hold, and a number of instructions that only a stub stays below.
pub(crate) type Program = (&'static str, u64);

/// What the product's object holds.
pub(crate) const LB_PROGRAMS: &[Program] =
    &[("lb", 100), ("traced", 100), ("explain", 100), ("clock", 4), ("probe_replies", 50)];

const EM_BPF: u16 = 247;
const INSTRUCTION_SIZE: u64 = 8;
const SECTION_HEADER_SIZE: u64 = 64;
const SYMBOL_SIZE: u64 = 24;
const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const EXECUTABLE: u64 = 4;
const FUNCTION: u8 = 2;

/// Checks that an ELF file is a BPF object with these programs, the first of them for XDP; returns how many instructions it has.
///
/// # Errors
/// What is wrong with it, to follow the file's name: "is empty", "has no program `lb`".
pub(crate) fn verify(bytes: &[u8], programs: &[Program]) -> Result<u64, String> {
    if bytes.is_empty() {
        return Err("is empty".into());
    }
    // 64-bit, little-endian, as bpfel-unknown-none is.
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err("is not a 64-bit little-endian ELF file".into());
    }
    let elf = Elf(bytes);
    let cut_short = || String::from("is an ELF file cut short");
    let machine = elf.u16(0, 18).ok_or_else(cut_short)?;
    if machine != EM_BPF {
        return Err(format!("is for ELF machine {machine}, not for BPF ({EM_BPF})"));
    }
    let sections = elf.sections().ok_or_else(cut_short)?;
    let functions = elf.functions(&sections).ok_or_else(cut_short)?;
    if !sections.iter().any(Section::holds_xdp) {
        return Err("has no section `xdp`".into());
    }
    for (program, least) in programs {
        let found = functions.iter().find(|function| {
            function.name == program.as_bytes()
                && sections.get(usize::from(function.section)).is_some_and(Section::holds_programs)
        });
        let instructions =
            found.ok_or_else(|| format!("has no program `{program}`"))?.size / INSTRUCTION_SIZE;
        if instructions < *least {
            return Err(format!("holds only a stub of `{program}` ({instructions} instructions)"));
        }
    }
    let code = sections.iter().filter(|section| section.is_code());
    Ok(code.map(|section| section.size / INSTRUCTION_SIZE).sum())
}

/// The sources an object was built from, as cargo lists them in the `.d` file beside it.
///
/// # Errors
/// What is wrong with that file.
pub(crate) fn sources(object: &Path) -> Result<Vec<PathBuf>, String> {
    let list = object.with_extension("d");
    let text = fs::read_to_string(&list).map_err(|error| format!("read {}: {error}", list.display()))?;
    let (_, sources) =
        text.split_once(": ").ok_or_else(|| format!("{} is no list of sources", list.display()))?;
    Ok(make_words(sources))
}

/// The first source that was changed or removed after the object was built, in words.
///
/// Only what the compiler really read counts, so that touching a test of lb-common does not make the object
/// stale for ever: cargo would not build it again.
///
/// # Errors
/// The object cannot be looked at.
pub(crate) fn why_stale(object: &Path, sources: &[PathBuf]) -> Result<Option<String>, String> {
    let built = modified(object).map_err(|error| format!("read {}: {error}", object.display()))?;
    Ok(sources.iter().find_map(|source| match modified(source) {
        Ok(changed) if changed <= built => None,
        Ok(_) => Some(format!("{} is newer", source.display())),
        Err(_) => Some(format!("{} is gone", source.display())),
    }))
}

fn modified(file: &Path) -> std::io::Result<std::time::SystemTime> {
    fs::metadata(file)?.modified()
}

/// Splits a makefile's word list, where a space in a word is written `\ `.
fn make_words(text: &str) -> Vec<PathBuf> {
    let mut words = vec![String::new()];
    let mut characters = text.trim_end().chars().peekable();
    while let Some(character) = characters.next() {
        match (character, words.last_mut()) {
            ('\\', Some(word)) if characters.next_if_eq(&' ').is_some() => word.push(' '),
            (' ' | '\n', _) => words.push(String::new()),
            (_, Some(word)) => word.push(character),
            (_, None) => {}
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).map(PathBuf::from).collect()
}

struct Elf<'a>(&'a [u8]);

struct Section<'a> {
    name: &'a [u8],
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
    /// For a symbol table: the section of its strings.
    link: u32,
}

struct Function<'a> {
    name: &'a [u8],
    section: u16,
    size: u64,
}

impl Section<'_> {
    fn is_code(&self) -> bool {
        self.kind == PROGBITS && self.flags & EXECUTABLE != 0
    }

    fn holds_xdp(&self) -> bool {
        self.is_code() && (self.name == b"xdp" || self.name.starts_with(b"xdp."))
    }

    fn holds_programs(&self) -> bool {
        self.holds_xdp() || self.is_code() && self.name == b"classifier"
    }
}

/// Reads a field of the structure at an offset; `None` beyond the end. Layouts are the ELF-64 specification's.
impl<'a> Elf<'a> {
    fn bytes<const N: usize>(&self, at: u64, field: u64) -> Option<[u8; N]> {
        let start = usize::try_from(at.checked_add(field)?).ok()?;
        self.0.get(start..start.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: u64, field: u64) -> Option<u16> {
        self.bytes(at, field).map(u16::from_le_bytes)
    }

    fn u32(&self, at: u64, field: u64) -> Option<u32> {
        self.bytes(at, field).map(u32::from_le_bytes)
    }

    fn u64(&self, at: u64, field: u64) -> Option<u64> {
        self.bytes(at, field).map(u64::from_le_bytes)
    }

    /// The string, ended by a zero byte, that a structure's first field names as an offset into a table.
    fn name(&self, strings: u64, at: u64) -> Option<&'a [u8]> {
        let start = strings.checked_add(u64::from(self.u32(at, 0)?))?;
        self.0.get(usize::try_from(start).ok()?..)?.split(|byte| *byte == 0).next()
    }

    fn sections(&self) -> Option<Vec<Section<'a>>> {
        let start = self.u64(0, 40)?;
        let header = |index: u16| start.checked_add(SECTION_HEADER_SIZE * u64::from(index));
        let names = self.u64(header(self.u16(0, 62)?)?, 24)?;
        (0..self.u16(0, 60)?)
            .map(|index| {
                let at = header(index)?;
                Some(Section {
                    name: self.name(names, at)?,
                    kind: self.u32(at, 4)?,
                    flags: self.u64(at, 8)?,
                    offset: self.u64(at, 24)?,
                    size: self.u64(at, 32)?,
                    link: self.u32(at, 40)?,
                })
            })
            .collect()
    }

    fn functions(&self, sections: &[Section<'_>]) -> Option<Vec<Function<'a>>> {
        let Some(table) = sections.iter().find(|section| section.kind == SYMTAB) else {
            return Some(Vec::new());
        };
        let names = sections.get(usize::try_from(table.link).ok()?)?.offset;
        let mut functions = Vec::new();
        for index in 0..table.size / SYMBOL_SIZE {
            let at = table.offset.checked_add(index * SYMBOL_SIZE)?;
            let [info] = self.bytes(at, 4)?;
            if info & 0xf == FUNCTION {
                functions.push(Function {
                    name: self.name(names, at)?,
                    section: self.u16(at, 6)?,
                    size: self.u64(at, 16)?,
                });
            }
        }
        Some(functions)
    }
}

#[cfg(test)]
// Said in full because, where another crate includes this file, rustfmt would look beside it.
#[path = "object/tests.rs"]
mod tests;
