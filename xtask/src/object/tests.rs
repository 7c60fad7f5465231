//! Objects made by hand, each with one thing wrong.

use super::{make_words, sources, verify, why_stale};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A minimal ELF: null, `xdp` with one function, symbol table, strings.
struct Sample {
    machine: u16,
    section: &'static [u8],
    program: &'static [u8],
    instructions: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Self { machine: 247, section: b"xdp", program: b"lb", instructions: 200 }
    }
}

impl Sample {
    fn bytes(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let section_name = append_string(&mut strings, self.section);
        let program_name = append_string(&mut strings, self.program);

        let code_at = 64;
        let code_size = self.instructions * 8;
        let symbols_at = code_at + code_size;
        let strings_at = symbols_at + 48;
        let headers_at = strings_at + strings.len() as u64;

        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(18, 0);
        file.extend(self.machine.to_le_bytes());
        file.resize(40, 0);
        file.extend(headers_at.to_le_bytes());
        file.resize(60, 0);
        file.extend(4u16.to_le_bytes());
        file.extend(3u16.to_le_bytes());
        file.resize(symbols_at as usize, 0);

        file.extend([0; 24]);
        file.extend(program_name.to_le_bytes());
        file.extend([0x12, 0]);
        file.extend(1u16.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(code_size.to_le_bytes());
        file.extend(&strings);

        file.extend([0; 64]);
        file.extend(header(section_name, 1, 6, (code_at, code_size), 0));
        file.extend(header(0, 2, 0, (symbols_at, 48), 3));
        file.extend(header(0, 3, 0, (strings_at, strings.len() as u64), 0));
        file
    }
}

fn append_string(strings: &mut Vec<u8>, string: &[u8]) -> u32 {
    let at = strings.len() as u32;
    strings.extend(string);
    strings.push(0);
    at
}

fn header(name: u32, kind: u32, flags: u64, (offset, size): (u64, u64), link: u32) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(name.to_le_bytes());
    header.extend(kind.to_le_bytes());
    header.extend(flags.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(offset.to_le_bytes());
    header.extend(size.to_le_bytes());
    header.extend(link.to_le_bytes());
    header.resize(64, 0);
    header
}

fn verdict(sample: &Sample) -> Result<u64, String> {
    verify(&sample.bytes(), &[("lb", 100)])
}

#[test]
fn an_object_with_its_program_passes_and_its_instructions_are_counted() {
    assert_eq!(verdict(&Sample::default()), Ok(200));
    assert_eq!(verdict(&Sample { section: b"xdp.frags", ..Sample::default() }), Ok(200));
}

#[test]
fn each_kind_of_wrong_object_is_named() {
    let wrong = |sample: Sample| verdict(&sample).unwrap_err();
    assert_eq!(
        wrong(Sample { machine: 62, ..Sample::default() }),
        "is for ELF machine 62, not for BPF (247)"
    );
    assert_eq!(wrong(Sample { section: b".text", ..Sample::default() }), "has no section `xdp`");
    assert_eq!(wrong(Sample { program: b"other", ..Sample::default() }), "has no program `lb`");
    assert_eq!(
        wrong(Sample { instructions: 2, ..Sample::default() }),
        "holds only a stub of `lb` (2 instructions)"
    );
    assert_eq!(verify(b"", &[]).unwrap_err(), "is empty");
    assert_eq!(verify(b"#!/bin/sh", &[]).unwrap_err(), "is not a 64-bit little-endian ELF file");
}

#[test]
fn an_object_cut_anywhere_is_refused_without_a_panic() {
    let whole = Sample { instructions: 120, ..Sample::default() }.bytes();
    for length in 0..whole.len() - 64 {
        assert!(verify(&whole[..length], &[("lb", 100)]).is_err(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn offsets_that_point_anywhere_are_survived() {
    let whole = Sample { instructions: 120, ..Sample::default() }.bytes();
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] = 0xff;
        let _ = verify(&damaged, &[("lb", 100)]);
    }
}

#[test]
fn a_list_of_sources_may_hold_spaces() {
    assert_eq!(
        make_words("/a/one.rs /b\\ c/two.rs \n"),
        [PathBuf::from("/a/one.rs"), PathBuf::from("/b c/two.rs")]
    );
}

#[test]
fn an_object_is_stale_when_a_source_is_newer_or_gone() {
    let directory = std::env::temp_dir().join(format!("lb-xtask-object-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (object, source) = (directory.join("lb-ebpf"), directory.join("main.rs"));
    fs::write(&object, "").unwrap();
    fs::write(&source, "").unwrap();
    fs::write(object.with_extension("d"), format!("{}: {}\n", object.display(), source.display())).unwrap();
    let touch = |age| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(age);
        fs::File::options().write(true).open(&source).unwrap().set_modified(time).unwrap();
    };

    let sources = sources(&object).unwrap();
    assert_eq!(sources, std::slice::from_ref(&source));
    touch(1_000);
    assert_eq!(why_stale(&object, &sources).unwrap(), None);
    touch(9_999_999_999);
    assert_eq!(why_stale(&object, &sources).unwrap(), Some(format!("{} is newer", source.display())));
    fs::remove_file(&source).unwrap();
    assert_eq!(why_stale(&object, &sources).unwrap(), Some(format!("{} is gone", source.display())));
    fs::remove_dir_all(&directory).unwrap();
}
