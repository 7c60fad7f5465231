//! Every file of `tests/cases` against what an operator would read about it.

mod checks;
mod strange;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use lb_common::form::{MAX_FORMS, MAX_FORMS_OF_A_VIP};
use lb_common::limits::{
    MAX_ACL_PREFIXES, MAX_DESTINATIONS, MAX_SERVICE_ADDRESSES, MAX_SERVICES, SLOT_WORDS,
};
use lb_common::selector::HASH_SLOTS;

use super::contract::{SECTIONS, Section};
use super::*;
use crate::scheduler::Scheduler;

/// The start of a valid file.
const DIRECTOR: &str = "[director]\ninterfaces = [\"eth0\"]\n\n";

struct Case {
    name: String,
    /// What `lb check` prints.
    shown: String,
    codes: Vec<Code>,
}

impl Case {
    fn of(name: &str, result: Result<Checked, Diagnostics>) -> Self {
        let (diagnostics, shown) = match result {
            Ok(Checked { config, warnings, .. }) => {
                let shown = format!("{warnings}{}{config:#?}", if warnings.is_empty() { "" } else { "\n\n" });
                (warnings, shown)
            }
            Err(diagnostics) => (diagnostics.clone(), diagnostics.to_string()),
        };
        let codes = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        Self { name: name.to_owned(), shown, codes }
    }
}

/// The names and texts of `tests/cases`.
fn files() -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/cases");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let file = |path: PathBuf| {
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
    };
    let mut files: Vec<_> = paths.map(file).collect();
    files.sort();
    files
}

fn cases() -> Vec<Case> {
    let written = files().into_iter().map(|(name, text)| Case::of(&name, parse("lb.toml", &text)));
    written.chain(generated()).collect()
}

/// Cases that are too long to be written down, or need more than a text.
fn generated() -> Vec<Case> {
    let parse = |text: String| parse("lb.toml", &text);
    vec![
        Case::of("too-many-virtual-servers", parse(many_virtual_servers(MAX_SERVICES + 2, "rr"))),
        Case::of("too-many-addresses", parse(many_addresses(MAX_SERVICE_ADDRESSES + 3))),
        Case::of("too-many-forms", parse(many_forms(MAX_FORMS + 2, "0"))),
        Case::of("too-many-forms-of-a-vip", parse(many_forms_of_a_vip(MAX_FORMS_OF_A_VIP + 1))),
        Case::of("too-many-real-servers", parse(many_real_servers(MAX_DESTINATIONS + 1))),
        Case::of("too-many-prefixes", parse(many_prefixes(MAX_ACL_PREFIXES + 1))),
        Case::of("too-many-slots", parse(many_virtual_servers(MAX_SH_SERVICES + 1, "sh"))),
        Case::of("too-many-real-servers-for-a-table", parse(small_table(252))),
        Case::of("no-such-interface-when-checked", on(&["lo", "eth1", "wlan0"], Severity::Warning)),
        Case::of("no-such-interface-when-run", on(&["lo", "ens3"], Severity::Error)),
        Case::of("no-interfaces-at-all", on(&[], Severity::Error)),
        Case::of("missing-files-when-checked", with_files(Severity::Warning)),
        Case::of("missing-files-when-run", with_files(Severity::Error)),
        Case::of("not-utf8", loaded(b"[director]\ninterfaces = [\"eth0\"] # f\xfcr Web und Mail\n")),
        Case::of("utf16", loaded(b"\xff\xfe[\0d\0i\0r\0e\0c\0t\0o\0r\0]\0\n\0")),
    ]
}

/// The slot map holds two tables of each of as many `sh` services.
const MAX_SH_SERVICES: u32 = SLOT_WORDS / 2 / HASH_SLOTS;

fn virtual_server(number: u32, scheduler: &str, addresses: &[String], real_servers: &[String]) -> String {
    let (addresses, real_servers) = (addresses.join(", "), real_servers.join(", "));
    format!(
        "[[virtual_server]]\nname = \"{number}\"\naddresses = [{addresses}]\nscheduler = \"{scheduler}\"\n\
         real_server = [{real_servers}]\n"
    )
}

fn vip(number: u32, port: u32) -> String {
    format!("\"10.{}.{}.1:{port}\"", 1 + number / 250, number % 250)
}

fn real_server(number: u32) -> String {
    format!("{{ address = \"172.16.{}.{}\" }}", number / 250, 1 + number % 250)
}

fn many_virtual_servers(count: u32, scheduler: &str) -> String {
    let servers = (0..count).map(|i| virtual_server(i, scheduler, &[vip(i, 80)], &[real_server(0)]));
    DIRECTOR.to_owned() + &servers.collect::<String>()
}

/// In virtual servers of up to a thousand.
fn many_addresses(count: u32) -> String {
    let thousand = |i: u32| {
        let ports: Vec<String> = (1..=1000.min(count - i * 1000)).map(|port| vip(i, port)).collect();
        virtual_server(i, "rr", &ports, &[real_server(0)])
    };
    DIRECTOR.to_owned() + &(0..count.div_ceil(1000)).map(thousand).collect::<String>()
}

/// In one virtual server.
fn many_forms(count: u32, ports: &str) -> String {
    let vip = |number| format!("\"10.{}.{}.0/28:{ports}\"", 1 + number / 250, number % 250);
    let vips: Vec<String> = (0..count).map(vip).collect();
    DIRECTOR.to_owned() + &virtual_server(0, "rr", &vips, &[real_server(0)])
}

fn many_forms_of_a_vip(count: usize) -> String {
    let ports = |number| format!("\"10.0.0.1:{}-{}\"", 10 * number + 10, 10 * number + 15);
    let ports: Vec<String> = (0..count).map(ports).collect();
    DIRECTOR.to_owned() + &virtual_server(0, "rr", &ports, &[real_server(0)])
}

/// Of the smallest size, which has 251 slots.
fn small_table(count: u32) -> String {
    let real_servers: Vec<String> = (0..count).map(real_server).collect();
    format!("{DIRECTOR}{}mh_table_size = 251\n", virtual_server(0, "mh", &[vip(0, 80)], &real_servers))
}

/// In virtual servers of up to a thousand.
fn many_real_servers(count: u32) -> String {
    let thousand = |i: u32| {
        let real_servers: Vec<String> = (0..1000.min(count - i * 1000)).map(real_server).collect();
        virtual_server(i, "rr", &[vip(i, 80)], &real_servers)
    };
    DIRECTOR.to_owned() + &(0..count.div_ceil(1000)).map(thousand).collect::<String>()
}

fn many_prefixes(count: u32) -> String {
    let prefixes: Vec<String> =
        (0..count).map(|i| format!("\"10.{}.{}.{}\",\n", i >> 16, i >> 8 & 255, i & 255)).collect();
    format!("{DIRECTOR}[acl]\ndeny = [\n\"2001:db8::/32\",\n{}]\n", prefixes.concat())
}

/// A valid file on a machine with these interfaces.
fn on(interfaces: &[&str], severity: Severity) -> Result<Checked, Diagnostics> {
    let checked = parse("lb.toml", DIRECTOR)?;
    let machine = Machine { interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect() };
    let warnings = checked.warnings.clone().merge(check_machine(&checked, &machine, severity));
    if warnings.has_errors() { Err(warnings) } else { Ok(Checked { warnings, ..checked }) }
}

/// A file that names what no machine has.
fn with_files(severity: Severity) -> Result<Checked, Diagnostics> {
    const FILES: &str = r#"
[[virtual_server]]
addresses = ["192.168.2.240:80"]
quorum_up = ["/nonexistent/up.sh"]
quorum_down = ["/proc"]
notify = ["/proc/version"]
health_check = { interval = "2s", bind = "192.0.2.254", http = { tls = { ca_file = "/nonexistent/ca.pem" } } }
real_server = [
  { address = "192.168.2.212" },
  { address = "192.168.2.213", health_check = { exec = { command = ["/bin/sh", "/nonexistent"] } } },
  { address = "192.168.2.214", health_check = { exec = { command = ["/nonexistent/check.sh"] } } },
]

[sync]
interface = "eth0"
group = "224.0.0.81:8848"
key_file = "/nonexistent/sync.key"
"#;
    let checked = parse("lb.toml", &format!("{DIRECTOR}{FILES}"))?;
    let warnings = checked.warnings.clone().merge(check_files(&checked, severity));
    if warnings.has_errors() { Err(warnings) } else { Ok(Checked { warnings, ..checked }) }
}

/// A file of these bytes; its directory is left out of what is shown.
fn loaded(bytes: &[u8]) -> Result<Checked, Diagnostics> {
    let error = String::from_utf8(bytes.to_vec()).unwrap_err();
    Err(syntax::not_utf8("lb.toml", &error))
}

fn snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("tests/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn each_case_reads_as_its_snapshot() {
    snapshots().bind(|| {
        for case in cases() {
            insta::assert_snapshot!(case.name, case.shown);
        }
    });
}

/// A diagnostic that nobody has looked at is a diagnostic that nobody understands.
#[test]
fn each_code_is_in_a_snapshot() {
    let shown: HashSet<Code> = cases().into_iter().flat_map(|case| case.codes).collect();
    let missing: Vec<&Code> = Code::ALL.iter().filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no case of {missing:?}");
    let names: HashSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len(), "each code has its own name");
}

#[test]
fn as_many_as_there_may_be_are_valid() {
    for text in [
        many_virtual_servers(MAX_SERVICES, "rr"),
        many_addresses(MAX_SERVICE_ADDRESSES),
        many_forms(MAX_FORMS, "0"),
        many_forms_of_a_vip(MAX_FORMS_OF_A_VIP),
        many_real_servers(MAX_DESTINATIONS),
        many_prefixes(MAX_ACL_PREFIXES),
        many_virtual_servers(MAX_SH_SERVICES, "sh"),
        small_table(251),
    ] {
        assert!(parse("lb.toml", &text).is_ok());
    }
}

/// A file with one key in one section. Keys that miss in the section are reported too.
fn file_with(section: &Section, key: &str, value: &str) -> String {
    match section.header {
        header if header.contains("real_server.") => format!(
            "{DIRECTOR}[[virtual_server]]\n[[virtual_server.real_server]]\n{header}\n{key} = {value}\n"
        ),
        header if header.contains("virtual_server.") => {
            format!("{DIRECTOR}[[virtual_server]]\n{header}\n{key} = {value}\n")
        }
        header if header.contains("vrrp_instance.") => {
            format!("{DIRECTOR}[[vrrp_instance]]\nname = \"VI_1\"\n{header}\n{key} = {value}\n")
        }
        header if header.starts_with('[') => format!("{header}\n{key} = {value}\n"),
        _ => format!("{key} = {value}\n"),
    }
}

fn codes_at(text: &str, key: &str) -> Vec<(Code, Severity)> {
    let diagnostics = match parse("lb.toml", text) {
        Ok(checked) => checked.warnings,
        Err(diagnostics) => diagnostics,
    };
    let at_key = diagnostics.iter().filter(|found| found.span.text() == key);
    at_key.map(|found| (found.code, found.severity)).collect()
}

/// Otherwise a key could be listed as known and do nothing.
#[test]
fn each_known_key_is_read() {
    for section in SECTIONS {
        for key in section.keys {
            let found = codes_at(&file_with(section, key, "2024-02-29"), "2024-02-29");
            assert_eq!(found, [(Code::WrongType, Severity::Error)], "{key} of {}", section.header);
        }
    }
}

/// At the start and by a reload alike.
#[test]
fn an_administrators_secret_that_is_none_is_an_error_with_a_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.key");
    let keys = format!("http = \"127.0.0.1:9811\"\nhttp_admin_file = {path:?}\n");
    let checked = parse("lb.toml", &format!("[director]\ninterfaces = [\"eth0\"]\n{keys}")).unwrap();
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    let found = || check_files(&checked, Severity::Error);
    let missing = found().to_string();
    assert!(
        missing.contains("No such file") && missing.contains("create it: head -c 32 /dev/urandom"),
        "{missing}"
    );
    assert!(!missing.contains("all directors"), "it is this one's: {missing}");
    for (mode, content, says) in [
        (0o600, "short", "write at least 16: head -c 32 /dev/urandom"),
        (0o644, "correct horse battery staple", "= help: chmod 600 "),
    ] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let found = found();
        assert!(found.has_errors() && found.to_string().contains(says), "{found}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(found().is_empty(), "{}", found());
}

/// Whatever IPVS calls a scheduler is here.
#[test]
fn each_scheduler_of_ipvs_is_known() {
    for name in
        ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf", "twos"]
    {
        assert!(Scheduler::by_name(name).is_some(), "{name}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lb.toml");
    let error = load(&path).unwrap_err().to_string();
    let expected =
        format!("read configuration {}: No such file or directory (os error 2); create it, ", path.display());
    assert!(error.starts_with(&expected), "{error}");
    let error = load(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("Is a directory (os error 21); name a file in it with --config"), "{error}");
}

#[test]
fn a_loaded_file_goes_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lb.toml");
    fs::write(&path, "[director]\ninterfaces = []\n").unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains(&format!("--> {}:2:14\n", path.display())), "{error}");
    fs::write(&path, b"[director]\ninterfaces = [\"\xff\"]\n").unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains(&format!("--> {}:2:16\n", path.display())), "{error}");
    fs::write(&path, DIRECTOR).unwrap();
    assert_eq!(load(&path).unwrap().config.director.interfaces[0].value, "eth0");
}

#[test]
fn configurations_are_equal_wherever_their_lines_are() {
    let one = parse("lb.toml", DIRECTOR).unwrap().config;
    let moved = parse("other.toml", &format!("# a comment\n\n{DIRECTOR}")).unwrap().config;
    let other = parse("lb.toml", &DIRECTOR.replace("eth0", "eth1")).unwrap().config;
    assert_eq!(one, moved);
    assert_ne!(one, other);
}

#[test]
fn a_byte_order_mark_is_no_mistake() {
    assert!(parse("lb.toml", &format!("\u{feff}{DIRECTOR}")).is_ok());
}

#[test]
fn a_typo_is_found_and_a_different_word_is_not() {
    let keys = ["scheduler", "addresses", "name"];
    assert_eq!(nearest("shceduler", keys), Some("scheduler"));
    assert_eq!(nearest("sched", keys), Some("scheduler"));
    assert_eq!(nearest("Address", keys), Some("addresses"));
    assert_eq!(nearest("port", keys), None);
    assert_eq!(nearest("", keys), None);
    assert_eq!(nearest(&"scheduler".repeat(100), keys), None);
}
