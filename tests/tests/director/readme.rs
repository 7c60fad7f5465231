//! The README as its readers follow it. Every block of it has somebody who runs it:
//!
//! ```text
//!   section ──RUN_BY──┬─> a lab of this module: commands typed in order, output compared, TOML read by lb
//!                     └─> xtask's level `package`, on a systemd of its own
//!   cargo xtask … ─────────> xtask's unit tests
//!   what begins as one of EXCLUDED: nobody
//! ```

use std::collections::BTreeSet;
use std::fs;

use lb_lab::page::{blocks, command};
use lb_lab::{Result, TestResult, wait_until};

use crate::quick_start::Reader;
use crate::support::{OpenConnection, PATIENCE};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
/// The test of the level `package`, which types what its section says.
const PACKAGE: &str = include_str!("../../../xtask/src/test/package/checks.sh");

/// Who runs what a section of the README shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    /// Lines of `cargo xtask` alone: see `xtask/src/pages.rs`.
    Xtask,
    /// `cargo xtask test package`.
    Package,
    /// A test of this module.
    OneDirector,
    TwoDirectors,
    Ipvsadm,
    SeveralNetworks,
    Looking,
}

/// The sections that have blocks, in their order.
const RUN_BY: [(&str, Runner); 12] = [
    ("Try it", Runner::Xtask),
    ("Deploy it", Runner::OneDirector),
    ("Check the real servers", Runner::OneDirector),
    ("Two directors", Runner::TwoDirectors),
    ("Watch it", Runner::OneDirector),
    ("Change it while it runs", Runner::OneDirector),
    ("Run it as a service", Runner::Package),
    ("Coming from ipvsadm", Runner::Ipvsadm),
    ("More than one network", Runner::SeveralNetworks),
    ("When it does not work", Runner::Looking),
    ("The doctor", Runner::Looking),
    ("API", Runner::Looking),
];

/// Beginnings of lines that nobody runs, and why.
const EXCLUDED: [(&str, &str); 1] = [("scp ", "machines of a lab have one file system")];

/// A block that is to be run, typed or read.
struct Block {
    section: String,
    before: String,
    language: String,
    text: String,
}

/// Every block of the README but drawings, which are `text`.
fn readme() -> Vec<Block> {
    let page = fs::read_to_string(README).expect("it is there");
    let mut found = Vec::new();
    for section in page.split("\n## ") {
        let title = section.lines().next().unwrap_or_default();
        for (before, language, text) in blocks(section) {
            let [section, before, language, text] = [title, before, language, text].map(str::to_owned);
            found.push(Block { section, before, language, text });
        }
    }
    found.retain(|block| block.language != "text");
    found
}

fn runner(section: &str) -> Option<Runner> {
    RUN_BY.iter().find(|(title, _)| *title == section).map(|(_, runner)| *runner)
}

fn is_excluded(line: &str) -> bool {
    EXCLUDED.iter().any(|(begin, _)| line.starts_with(begin))
}

/// What there is to do in a section beside building and what is excluded.
fn is_for_a_reader(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("cargo xtask ") && !is_excluded(line)
}

/// Where the reader sits, after what the README says before a block.
fn places(before: &str) -> &'static [&'static str] {
    let place = before.trim_end().rsplit("\n\n").next().unwrap_or_default();
    if place.contains("On each real server") {
        &["server-1", "server-2"]
    } else if place.contains("On the client") {
        &["client"]
    } else if place.contains("and on both") {
        &["director", "other"]
    } else {
        &["director"]
    }
}

/// A line without what is different each time: numbers, addresses.
fn shape(line: &str) -> String {
    let is_mac = |word: &str| word.matches(':').count() >= 5;
    let word = |word| if is_mac(word) || word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// Checks that a command printed lines like those that the page shows; `...` stands for any.
fn assert_like(printed: &str, shown: &str) {
    let mut lines = printed.lines();
    for line in shown.lines().filter(|line| *line != "...") {
        let found = lines.any(|printed| shape(printed) == shape(line));
        assert!(found, "{line:?} is not in, or not behind what is shown before it:\n{printed}");
    }
}

/// Does what a block says; how many commands that was.
fn follow(reader: &mut Reader, block: &Block) -> Result<usize> {
    let mut typed = 0;
    match block.language.as_str() {
        "toml" => reader.writes(&block.text)?,
        "" => {
            for line in block.text.lines().filter(|line| is_for_a_reader(line)) {
                for host in places(&block.before) {
                    println!("{host}# {line}");
                    reader.types(host, line)?;
                    typed += 1;
                }
            }
        }
        "console" => {
            let (line, shown) = block.text.split_once('\n').expect("a command and what it prints");
            let (host, words) = command(line);
            assert_like(&reader.types(host, words)?, shown);
            typed += 1;
        }
        other => {
            panic!("{other:?}: commands are in blocks of no language or in `console`, drawings in `text`")
        }
    }
    Ok(typed)
}

/// Does what the sections of a runner say.
fn follow_all(reader: &mut Reader, runner: Runner) -> TestResult {
    let mut typed = 0;
    for block in readme().iter().filter(|block| self::runner(&block.section) == Some(runner)) {
        typed += follow(reader, block).map_err(|error| format!("{}: {error}", block.section))?;
    }
    println!("{runner:?}: {typed} commands");
    Ok(())
}

/// The file that the README has its reader write first.
fn file() -> String {
    let block = readme().into_iter().find(|block| block.section == "Deploy it" && block.language == "toml");
    block.expect("it is there").text
}

#[test]
fn every_block_of_the_readme_has_somebody_who_runs_it() {
    let blocks = readme();
    let found: BTreeSet<&str> = blocks.iter().map(|block| block.section.as_str()).collect();
    let known: BTreeSet<&str> = RUN_BY.iter().map(|(title, _)| *title).collect();
    assert_eq!(found, known, "sections with blocks (left) and those that RUN_BY names (right)");
    for block in &blocks {
        let runner = runner(&block.section).expect("compared above");
        let language = block.language.as_str();
        assert!(["", "toml", "console"].contains(&language), "{}: {language:?}", block.section);
        let lines = block.text.lines().filter(|line| is_for_a_reader(line));
        for line in lines {
            let is_run = match runner {
                Runner::Xtask => false,
                // A unit test of xtask's compares their order, too.
                Runner::Package => {
                    let words = line.split(" #").next().unwrap_or(line).trim();
                    language.is_empty() && PACKAGE.contains(&format!("\nreadme '{words}'\n"))
                }
                _ => true,
            };
            assert!(is_run, "{}: {runner:?} does not run {line:?}", block.section);
        }
    }
    for (begin, why) in EXCLUDED {
        let lines = blocks.iter().flat_map(|block| block.text.lines());
        let count = lines.filter(|line| line.starts_with(begin)).count();
        assert!(count > 0, "{begin:?} is excluded and nowhere");
        println!("not run: {count} lines that begin with {begin:?}: {why}");
    }
}

#[test]
fn one_director_is_deployed_watched_and_changed() -> TestResult {
    let mut reader = Reader::new()?;
    follow_all(&mut reader, Runner::OneDirector)?;
    reader.asks()?;
    let saved = reader.saved();
    assert!(saved.contains("name = \"web\"") && saved.contains("upper_threshold = 1000"), "{saved}");
    Ok(())
}

#[test]
fn two_directors_take_over_from_each_other() -> TestResult {
    let mut reader = Reader::new()?;
    for server in ["server-1", "server-2"] {
        reader.types(server, "lb real-server up --vip 192.168.2.240")?;
    }
    reader.writes(&file())?;
    reader.types("director", "lb run")?;
    let blocks = readme();
    let mut blocks = blocks.iter().filter(|block| runner(&block.section) == Some(Runner::TwoDirectors));
    for block in blocks.by_ref().take(2) {
        follow(&mut reader, block)?;
    }
    // As the text says.
    reader.types("director", "lb reload")?;
    reader.types("other", "lb run")?;
    is_master(&mut reader, "director", "other")?;
    for block in blocks {
        follow(&mut reader, block)?;
    }
    let mut open = OpenConnection::open(&reader.lab.client(), reader.lab.vip())?;
    let server = open.ask()?;
    wait_until("the second one knows the connection", PATIENCE, || {
        let known = reader.types("other", "lb connections --json").unwrap_or_default();
        let told = reader.types("other", "lb sync --json").unwrap_or_default();
        let is_heard = told.contains("\"192.168.2.210") && known.contains("ESTABLISHED");
        if is_heard { Ok(()) } else { Err(format!("{known}{told}")) }
    });

    let mut first = reader.directors.remove("director").expect("it runs");
    first.stop()?;
    reader.directors.insert("director".to_owned(), first);
    let address = |reader: &mut Reader, host| reader.types(host, "ip -brief address show dev eth0");
    wait_until("the address has moved", PATIENCE, || {
        address(&mut reader, "other").is_ok_and(|shown| shown.contains("192.168.2.240/"))
    });
    assert!(!address(&mut reader, "director")?.contains("192.168.2.240/"));
    assert_eq!(open.ask()?, server, "the connection has survived");
    reader.asks()?;
    Ok(())
}

/// Waits until `lb vrrp` says so on both.
fn is_master(reader: &mut Reader, master: &str, backup: &str) -> Result<()> {
    for (host, state) in [(master, "\"master\""), (backup, "\"backup\"")] {
        wait_until(&format!("{host} is {state}"), PATIENCE * 2, || {
            let told = reader.types(host, "lb vrrp --json").map_err(|error| error.to_string())?;
            if told.contains(&format!("\"state\": {state}")) { Ok(()) } else { Err(told) }
        });
    }
    Ok(())
}

#[test]
fn ipvsadm_sets_up_lists_and_restores() -> TestResult {
    let mut reader = Reader::new()?;
    reader.types("server-1", "lb real-server up --vip 192.168.2.240")?;
    reader.writes("[director]\ninterfaces = [\"eth0\"]\n")?;
    reader.types("director", "lb run")?;
    // What an earlier ipvsadm saved.
    let rules = "-A -t 192.168.2.240:80 -s rr\n-a -t 192.168.2.240:80 -r 192.168.2.212:80 -g -w 3\n";
    fs::write(reader.lab.directory().join("rules"), rules)?;
    follow_all(&mut reader, Runner::Ipvsadm)?;
    assert_eq!(reader.types("director", "ipvsadm-save -n")?, rules, "restored");
    reader.asks()?;
    // These are in the text.
    let imported = reader.types("director", "ipvsadm-save -n | lb import -")?;
    assert!(imported.contains("address = \"192.168.2.212\""), "{imported}");
    Ok(())
}

/// The second interface is another machine's: `lb check` warns of it.
#[test]
fn several_networks_are_a_file_that_is_right() -> TestResult {
    let mut reader = Reader::new()?;
    reader.writes(&file())?;
    follow_all(&mut reader, Runner::SeveralNetworks)
}

/// One real server answers ARP for the VIP, as in the doctor's example.
#[test]
fn what_explain_the_doctor_and_the_api_answer_is_as_shown() -> TestResult {
    let mut reader = Reader::new()?;
    reader.types("server-1", "lb real-server up --vip 192.168.2.240")?;
    reader.types("server-2", "ip address add 192.168.2.240/32 dev lo")?;
    reader.writes(&file())?;
    reader.writes("[[virtual_server]]\nname = \"web\"\n")?;
    reader.types("director", "lb run")?;
    for server in ["192.168.2.212", "192.168.2.213"] {
        wait_until(&format!("{server} is up"), PATIENCE, || {
            let listed = reader.types("director", "lb list -n").unwrap_or_default();
            let is_up = |line: &str| line.contains(server) && !line.contains("unresolved");
            if listed.lines().any(is_up) { Ok(()) } else { Err(listed) }
        });
    }
    follow_all(&mut reader, Runner::Looking)
}
