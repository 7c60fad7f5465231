//! Every key in words: what `docs/configuration.md` is made of.
//!
//! A test keeps it complete, has every example read as the file is, and compares the page with what is in the repository.
//! `cargo xtask docs` writes it anew.

mod health_check;
mod vrrp;

use super::super::parse;
use super::{SECTIONS, Section};

/// A key.
pub(super) struct Key {
    pub(super) key: &'static str,
    /// What is written: a type in words.
    pub(super) kind: &'static str,
    /// What counts if it is not written; in backquotes if that could be written.
    pub(super) default: &'static str,
    /// As it is written.
    pub(super) example: &'static str,
    /// What it means.
    pub(super) is: &'static str,
}

/// A section in words.
pub(super) struct Described {
    /// As the contract has it.
    header: &'static str,
    /// What it is.
    is: &'static str,
    keys: &'static [Key],
    /// A file in which the section is complete without the key that an example is of.
    base: &'static str,
}

/// A key, in the order of the page's columns.
pub(super) const fn key(
    key: &'static str,
    kind: &'static str,
    default: &'static str,
    example: &'static str,
    is: &'static str,
) -> Key {
    Key { key, kind, default, example, is }
}

/// A key that has to be written.
pub(super) const NEEDED: &str = "has to be written";

const SERVICE: &str = "[[virtual_server]]\naddresses = [\"192.168.2.240:80\"]\n[[virtual_server.real_server]]\naddress = \"192.168.2.212\"\n";

const DIRECTOR: Described = Described {
    header: "[director]",
    is: "The director itself: its interfaces, where its programs and its socket are. All but `on_exit`, `manage_vips`, `peers`, `vlan_offload`, `http`, `http_names` and `http_admin_file` count from the next start on.",
    base: "",
    keys: &[
        key(
            "interfaces",
            "list of names",
            NEEDED,
            r#"["eth0", "eth1"]"#,
            "where the VIPs' traffic arrives, and those that real servers are behind; up to 16",
        ),
        key(
            "xdp_mode",
            "`auto`, `native`, `generic`",
            "`\"auto\"`",
            r#""native""#,
            "who runs the program: the driver, or the network stack. `auto` takes the driver where it can, and says so where it cannot",
        ),
        key(
            "bpffs",
            "absolute path",
            "`\"/sys/fs/bpf/lb\"`",
            r#""/sys/fs/bpf/lb""#,
            "where maps and programs are pinned, so that they outlive the daemon; a bpffs is mounted if there is none",
        ),
        key(
            "control_socket",
            "absolute path",
            "`\"/run/lb/lb.sock\"`",
            r#""/run/lb/lb.sock""#,
            "the daemon's socket. What is changed by command is remembered beside it",
        ),
        key(
            "http",
            "address and port",
            "off",
            r#""127.0.0.1:9811""#,
            "metrics, the read-only API and the status page. A reload may name another address",
        ),
        key(
            "http_names",
            "list of host names",
            "`[]`",
            r#"["lb.example.net"]"#,
            "names by which browsers may ask for it, besides its address and this machine's own name",
        ),
        key(
            "http_admin_file",
            "absolute path",
            "off",
            r#""/etc/lb/admin.key""#,
            "a file with the secret that opens the status page's buttons: drain, enable and weight, and nothing else. At least 16 bytes, readable by root only",
        ),
        key(
            "max_connections",
            "number, 1024 to 67108864",
            "`1048576`",
            "2097152",
            "how many connections of each family are remembered at once; a million takes 64 MiB. Another number takes the connections along",
        ),
        key(
            "on_exit",
            "`keep`, `detach`",
            "`\"keep\"`",
            r#""detach""#,
            "whether forwarding goes on when the daemon ends in order",
        ),
        key(
            "manage_vips",
            "boolean",
            "`true`",
            "false",
            "without a `[[vrrp_instance]]`: the VIPs are added to the interface and announced",
        ),
        key(
            "peers",
            "list of MACs or addresses",
            "none",
            r#"["192.168.2.211"]"#,
            "other directors that are real servers too: their frames are never scheduled again; up to 8",
        ),
        key(
            "vlan_offload",
            "`auto`, `keep`",
            "`\"auto\"`",
            r#""keep""#,
            "`auto` switches off that the NIC removes VLAN tags, where a VLAN is configured; `keep` leaves it as it is",
        ),
    ],
};

const TIMEOUTS: Described = Described {
    header: "[timeouts]",
    is: "How long connections are remembered without a frame (`ipvsadm --set`).",
    base: "",
    keys: &[
        key("tcp", "time", "`\"15m\"`", r#""1h 30m""#, "an established TCP connection"),
        key("tcp_fin", "time", "`\"2m\"`", r#""1m""#, "one that one side has closed"),
        key("udp", "time", "`\"5m\"`", r#""30s""#, "a flow of UDP"),
    ],
};

const ACL: Described = Described {
    header: "[acl]",
    is: "Whose new connections are let in; of all virtual servers, or with `acl = { … }` in a `[[virtual_server]]` of that one. The longest prefix counts.",
    base: "",
    keys: &[
        key(
            "deny",
            "list of prefixes",
            "none",
            r#"["198.51.100.0/24", "2001:db8:bad::/48"]"#,
            "these are refused",
        ),
        key(
            "allow",
            "list of prefixes",
            "all",
            r#"["192.0.2.0/24"]"#,
            "if there are any, only these are let in",
        ),
    ],
};

const SMTP: Described = Described {
    header: "[smtp]",
    is: "Where mail about real servers and VRRP is sent.",
    base: "[smtp]\nserver = \"192.0.2.25\"\nfrom = \"lb@example.net\"\nto = [\"ops@example.net\"]\n",
    keys: &[
        key(
            "server",
            "name or address, with a port if that is not 25",
            NEEDED,
            r#""192.0.2.25:25""#,
            "the mail server",
        ),
        key("from", "mail address", NEEDED, r#""lb@example.net""#, "the sender"),
        key("to", "list of mail addresses", NEEDED, r#"["ops@example.net"]"#, "the receivers"),
        key("connect_timeout", "time", "`\"30s\"`", r#""5s""#, "how long it may take to connect"),
        key("helo_name", "name", "the host's name", r#""lb.example.net""#, "what is said after HELO"),
    ],
};

const SYNC: Described = Described {
    header: "[sync]",
    is: "Connections shared with other directors ([how](synchronisation.md)).",
    base: "[sync]\ninterface = \"eth0\"\ngroup = \"224.0.0.81:8848\"\nkey_file = \"/etc/lb/sync.key\"\n",
    keys: &[
        key("interface", "name", NEEDED, r#""eth1""#, "where the others are reached"),
        key(
            "group",
            "multicast address and port",
            "either this or `peers`",
            r#""224.0.0.81:8848""#,
            "where directors of one segment tell each other",
        ),
        key(
            "peers",
            "list of addresses and ports",
            "either this or `group`",
            r#"["192.168.2.211:8848"]"#,
            "the others' own addresses; up to 32",
        ),
        key("port", "number, 1 to 65535", "`8848`", "8850", "this director's, with `peers`"),
        key(
            "key_file",
            "absolute path",
            NEEDED,
            r#""/etc/lb/sync.key""#,
            "the secret that all directors have, readable by root only",
        ),
        key(
            "refresh",
            "time, `1s` to `1h`",
            "`\"60s\"`",
            r#""30s""#,
            "how often connections that last are told of again",
        ),
    ],
};

const VIRTUAL_SERVER: Described = Described {
    header: "[[virtual_server]]",
    is: "A virtual server: what clients connect to.",
    base: "[[virtual_server]]\naddresses = [\"192.168.2.240:80\"]\nscheduler = \"wrr\"\n[virtual_server.health_check]\ninterval = \"2s\"\ntcp = { port = 80 }\n[[virtual_server.real_server]]\naddress = \"192.168.2.212\"\n",
    keys: &[
        key(
            "name",
            "name",
            "made of protocol, VIP and port: `tcp-192.168.2.240-80`",
            r#""web""#,
            "what commands call it",
        ),
        key(
            "addresses",
            "list of VIPs with ports",
            "has to be written, unless there is a `fwmark`",
            r#"["192.168.2.240:80", "192.168.2.240:8000-8100"]"#,
            "its addresses, all of one family: a port, a range of ports, `:0` for any port, a prefix of VIPs (`\"192.0.2.0/28:80\"`), IPv6 in brackets",
        ),
        key("protocol", "`tcp`, `udp`", "`\"tcp\"`", r#""udp""#, "the protocol"),
        key(
            "scheduler",
            "`rr`, `wrr`, `lc`, `wlc`, `lblc`, `lblcr`, `dh`, `sh`, `sed`, `nq`, `mh`, `fo`, `ovf`, `twos`",
            "`\"wlc\"`",
            r#""mh""#,
            "who gets a new connection, as IPVS chooses",
        ),
        key(
            "scheduler_flags",
            "list of `sh-port`, `sh-fallback`, `mh-port`, `mh-fallback`",
            "none",
            r#"["sh-port"]"#,
            "of `sh` and `mh`: the client's port counts too; another real server is taken where one is not usable",
        ),
        key(
            "mh_table_size",
            "one of IPVS's table sizes",
            "`4093`",
            "65521",
            "slots of `mh`: with more, fewer clients move when a real server goes",
        ),
        key("persistence", "table", "none", r#"{ timeout = "5m" }"#, "clients keep their real server: below"),
        key("fwmark", "number", "none", "7", "the number by which ipvsadm knows the group (`-f 7`)"),
        key(
            "on_down",
            "`keep`, `reschedule`, `reset`",
            "`\"keep\"`",
            r#""reschedule""#,
            "what becomes of TCP connections of a real server that is down: they stay, go to another one, or are answered with a reset",
        ),
        key(
            "sorry_server",
            "address",
            "none",
            r#""192.168.2.250""#,
            "who gets new connections that no real server can get",
        ),
        key("one_packet", "boolean", "`false`", "true", "of UDP: every datagram is scheduled by itself"),
        key(
            "real_server",
            "list of tables",
            "none",
            r#"[{ address = "192.168.2.212", weight = 3 }]"#,
            "its real servers: below",
        ),
        key(
            "acl",
            "table",
            "none",
            r#"{ deny = ["198.51.100.0/24"] }"#,
            "whose new connections this one lets in: `[acl]` above",
        ),
        key(
            "health_check",
            "table",
            "none",
            r#"{ interval = "2s", tcp = {} }"#,
            "how its real servers are checked: below",
        ),
        key(
            "quorum",
            "number from 1 on",
            "`1`",
            "3",
            "the sum of weights that usable real servers have to have",
        ),
        key(
            "hysteresis",
            "number, less than `quorum`",
            "`0`",
            "0",
            "how far above or below the sum has to be for that to change",
        ),
        key(
            "quorum_up",
            "command",
            "none",
            r#"["/etc/lb/up.sh", "web"]"#,
            "is run when the quorum is reached",
        ),
        key("quorum_down", "command", "none", r#"["/etc/lb/down.sh"]"#, "is run when it is lost"),
        key(
            "inhibit_on_failure",
            "boolean",
            "`false`",
            "true",
            "a real server that is down has weight 0 and keeps its connections",
        ),
        key(
            "slow_start",
            "time, up to a day",
            "`\"0s\"`",
            r#""30s""#,
            "in what time a real server that is up again gets its whole share",
        ),
        key(
            "ha_suspend",
            "boolean",
            "`false`",
            "true",
            "nothing is checked while this machine does not have the VIP",
        ),
        key("alpha", "boolean", "`false`", "true", "real servers get nothing until a check has succeeded"),
        key(
            "notify",
            "command",
            "none",
            r#"["/etc/lb/notify.sh"]"#,
            "is told of each real server that is up or down",
        ),
    ],
};

const PERSISTENCE: Described = Described {
    header: "[virtual_server.persistence]",
    is: "New connections of a client go to the real server that it has.",
    base: SERVICE,
    keys: &[
        key(
            "timeout",
            "time",
            "`\"5m\"`",
            r#""10m""#,
            "how long that lasts after the client's last connection",
        ),
        key("mask_v4", "number of bits, 1 to 32", "`32`", "24", "how much of an IPv4 address makes a client"),
        key("mask_v6", "number of bits, 1 to 128", "`128`", "64", "the same of an IPv6 address"),
    ],
};

const REAL_SERVER: Described = Described {
    header: "[[virtual_server.real_server]]",
    is: "A real server.",
    base: SERVICE,
    keys: &[
        key("address", "address", NEEDED, r#""192.168.2.213""#, "where it is; the port is always the VIP's"),
        key("weight", "number, 0 to 65535", "`1`", "3", "its share; with 0 it gets no new connections"),
        key(
            "mac",
            "MAC",
            "found by asking the network",
            r#""02:00:00:00:00:01""#,
            "where frames go, whatever the network says",
        ),
        key(
            "vlan",
            "number, 1 to 4094",
            "that of its route, or the frame's own",
            "100",
            "the VLAN that it is in, on a trunk",
        ),
        key(
            "upper_threshold",
            "number",
            "`0`: none",
            "1000",
            "with more connections than this it gets no new ones, until it has fewer than `lower_threshold`",
        ),
        key(
            "lower_threshold",
            "number",
            "`0`: three quarters of `upper_threshold`",
            "0",
            "see `upper_threshold`",
        ),
        key(
            "health_check",
            "table",
            "the virtual server's",
            r#"{ enabled = false }"#,
            "what is different for this one: the keys of `[virtual_server.health_check]`",
        ),
    ],
};

/// All sections, in the order of the page.
fn described() -> Vec<&'static Described> {
    let first = [&DIRECTOR, &TIMEOUTS, &ACL, &VIRTUAL_SERVER, &PERSISTENCE, &REAL_SERVER];
    let first = first.into_iter().chain(health_check::SECTIONS);
    first.chain(vrrp::SECTIONS).chain([&SYNC, &SMTP]).collect()
}

/// The page.
fn page() -> String {
    let mut page = String::from(
        "<!-- Made by `cargo xtask docs`, of config/contract/reference.rs; a test compares. -->\n\n\
         # Every option\n\n\
         The configuration is one TOML file, `/etc/lb/lb.toml` if nobody says otherwise. `lb check` says everything that is wrong \
         with one, with its place and what would be right. A file without virtual servers is valid.\n\n\
         A *time* is text with units (`\"500ms\"`, `\"6s\"`, `\"1h 30m\"`), a *command* a list of an absolute path and its \
         arguments, run without a shell.\n",
    );
    for section in described() {
        page += &format!("\n## `{}`\n\n{}\n\n", section.header, section.is);
        if section.keys.is_empty() {
            continue;
        }
        page += "| key | is written as | default | example | meaning |\n|---|---|---|---|---|\n";
        for Key { key, kind, default, example, is } in section.keys {
            let example = example.replace('|', "\\|");
            page += &format!("| `{key}` | {kind} | {default} | `{example}` | {is} |\n");
        }
    }
    page
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

#[test]
fn the_page_of_all_options_is_up_to_date() {
    let page = page();
    if std::env::var_os("LB_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(found == page, "docs/configuration.md is stale: run `cargo xtask docs`");
}

#[test]
fn every_key_of_the_contract_is_described_once() {
    // Of a real server's own check the keys are the same.
    let is_repeated = |section: &&&Section| {
        section.path().starts_with("virtual_server.real_server.health_check") || section.header == "the file"
    };
    let known: Vec<&&Section> = SECTIONS.iter().filter(|section| !is_repeated(section)).collect();
    let headers: Vec<&str> = known.iter().map(|section| section.header).collect();
    for section in described() {
        assert!(headers.contains(&section.header), "{} is no section of the contract", section.header);
    }
    for section in known {
        let mut found = described().into_iter().filter(|described| described.header == section.header);
        let described = found.next().unwrap_or_else(|| panic!("{} is not described", section.header));
        assert!(found.next().is_none(), "{} is described twice", section.header);
        let keys: Vec<&str> = described.keys.iter().map(|key| key.key).collect();
        for key in section.keys {
            assert_eq!(keys.iter().filter(|known| *known == key).count(), 1, "{}: {key}", section.header);
        }
        for key in keys {
            assert!(section.keys.contains(&key), "{}: {key} is no key", section.header);
        }
    }
}

/// What has to go where this key is written: it excludes them.
fn excluded(header: &str, key: &str) -> &'static [&'static str] {
    match (header, key) {
        ("[sync]", "peers" | "port") => &["group"],
        ("[[virtual_server]]", "one_packet") => &["on_down"],
        ("[virtual_server.health_check]", "icmp" | "udp" | "http" | "dns" | "smtp" | "exec") => &["tcp"],
        ("[virtual_server.health_check.udp]", "payload") => &["payload_hex"],
        ("[virtual_server.health_check.http]", "agent") => &["body_regex"],
        _ => &[],
    }
}

/// What has to be there besides.
fn needed(header: &str, key: &str) -> &'static str {
    match (header, key) {
        ("[director]", "http_names" | "http_admin_file") => "http = \"127.0.0.1:9811\"",
        ("[sync]", "port") => "peers = [\"192.168.2.211:8848\"]",
        ("[[virtual_server]]", "scheduler_flags") => "scheduler = \"sh\"",
        ("[[virtual_server]]", "mh_table_size") => "scheduler = \"mh\"",
        ("[[virtual_server]]", "one_packet") => "protocol = \"udp\"",
        ("[[virtual_server.real_server]]", "lower_threshold") => "upper_threshold = 1000",
        _ => "",
    }
}

#[test]
fn every_example_of_the_page_is_read() {
    for Described { header, keys, base, .. } in described() {
        let section =
            SECTIONS.iter().find(|section| section.header == *header).expect("it is in the contract");
        for key in keys.iter().filter(|key| section.keys.contains(&key.key)) {
            let file = with_example(section, base, key);
            let checked = parse("lb.toml", &file);
            checked.unwrap_or_else(|wrong| panic!("{header} {}: {file}\n{wrong}", key.key));
        }
    }
}

/// `base` with the example of a key in its place.
fn with_example(section: &Section, base: &str, key: &Key) -> String {
    use toml::{Table, Value};
    let table = |text: String| text.parse::<Table>().unwrap_or_else(|error| panic!("{}: {error}", key.key));
    let mut file = table(base.to_owned());
    let director = file.entry("director").or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(director) = director {
        director.insert("interfaces".to_owned(), vec!["eth0"].into());
    }
    let mut place = &mut file;
    for word in section.path().split('.') {
        let is_list = section.header.starts_with("[[") && section.key() == word;
        let empty = || Value::Table(Table::new());
        let made = place.entry(word).or_insert_with(|| if is_list { vec![empty()].into() } else { empty() });
        let made = if let Value::Array(list) = made { &mut list[0] } else { made };
        place = made.as_table_mut().expect("a section is a table");
    }
    for other in excluded(section.header, key.key) {
        place.remove(*other);
    }
    place.extend(table(format!("{}\n{} = {}\n", needed(section.header, key.key), key.key, key.example)));
    toml::to_string(&file).expect("it was TOML")
}
