mod health;

use proptest::prelude::*;
use serde_json::json;

use super::super::change::Keys;
use super::super::configuration::Configuration;
use super::super::difference::difference;
use super::*;

const FILE: &str = r#"# Our director.
[director]
interfaces = ["eth0"]

# What the world sees.
[[virtual_server]]
name = "web"
addresses = ["192.0.2.1:80"]   # and nothing else
scheduler = "rr"

  # The old one.
  [[virtual_server.real_server]]
  address = "192.0.2.10"

  [[virtual_server.real_server]]
  address = "192.0.2.11"
  weight = 3   # it is larger

[[virtual_server]]
addresses = ["192.0.2.1:53"]
protocol = "udp"
scheduler = "sh"
real_server = [{ address = "192.0.2.10" }]
"#;

fn document() -> Document {
    Document::parse("lb.toml", FILE).expect("it is valid")
}

fn change(json: serde_json::Value) -> Change {
    serde_json::from_value(json).expect("it is a change")
}

fn changed(changes: &[Change]) -> Result<Document, String> {
    let (document, mut done) = document().change(&[changes]);
    done.remove(0).map(|_| document.unwrap_or_else(self::document)).map_err(|refused| refused.to_string())
}

/// Lines that are only in one of two texts, marked as diff(1) does.
fn lines(document: &Document) -> Vec<String> {
    let (before, after) = (self::document().text(), document.text());
    let gone = before.lines().filter(|line| !after.lines().any(|other| other == *line));
    let new = after.lines().filter(|line| !before.lines().any(|other| other == *line));
    gone.map(|line| format!("-{line}")).chain(new.map(|line| format!("+{line}"))).collect()
}

#[test]
fn a_change_is_an_edit_that_leaves_everything_else_where_it_was() {
    for (change, edits) in [
        (
            json!({ "op": "edit_server", "service": "web", "server": "192.0.2.11", "set": { "weight": 0 } }),
            &["-  weight = 3   # it is larger", "+  weight = 0   # it is larger"][..],
        ),
        (
            json!({ "op": "edit_server", "service": "web", "server": "192.0.2.11", "set": { "weight": null } }),
            &["-  weight = 3   # it is larger"],
        ),
        (
            json!({ "op": "edit_service", "service": "192.0.2.1:80/tcp", "set": { "persistence": { "timeout": "60s" } } }),
            &["+persistence = { timeout = \"60s\" }"],
        ),
        (
            json!({ "op": "add_server", "service": "web", "server": { "address": "192.0.2.12", "weight": 2 } }),
            &["+  address = \"192.0.2.12\"", "+  weight = 2"],
        ),
        (
            json!({ "op": "add_server", "service": "192.0.2.1:53", "server": { "address": "192.0.2.12" } }),
            &[
                "-real_server = [{ address = \"192.0.2.10\" }]",
                "+real_server = [{ address = \"192.0.2.10\" }, { address = \"192.0.2.12\" }]",
            ],
        ),
        (
            json!({ "op": "remove_server", "service": "web", "server": "192.0.2.10" }),
            &["-  # The old one.", "-  address = \"192.0.2.10\""],
        ),
        (json!({ "op": "set_timeouts", "set": { "udp": "10s" } }), &["+[timeouts]", "+udp = \"10s\""]),
        (
            json!({ "op": "acl", "action": "deny", "prefix": "198.51.100.0/24", "service": "web" }),
            &["+acl = { deny = [\"198.51.100.0/24\"] }"],
        ),
    ] {
        let changed = changed(&[self::change(change.clone())]).expect("it makes sense");
        assert_eq!(lines(&changed), edits, "{change}");
    }
}

#[test]
fn a_virtual_server_is_added_as_one_would_write_it() {
    let add = change(json!({ "op": "add_service", "service": {
        "name": "ssh",
        "addresses": ["192.0.2.2:22"],
        "real_server": [{ "address": "192.0.2.10" }, { "address": "192.0.2.11", "weight": 0 }],
    } }));
    let text = changed(&[add]).expect("it makes sense").text();
    let added = text.strip_prefix(FILE).expect("the rest is as it was");
    let expected = r#"
[[virtual_server]]
name = "ssh"
addresses = ["192.0.2.2:22"]

  [[virtual_server.real_server]]
  address = "192.0.2.10"

  [[virtual_server.real_server]]
  address = "192.0.2.11"
  weight = 0
"#;
    assert_eq!(added, expected);
}

#[test]
fn what_makes_no_sense_is_refused_as_in_the_file() {
    let web = |set| json!({ "op": "edit_service", "service": "web", "set": set });
    let server = |set| json!({ "op": "edit_server", "service": "web", "server": "192.0.2.10", "set": set });
    for (change, problem) in [
        (json!({ "op": "remove_service", "service": "wbe" }), "did you mean \"web\"?"),
        (
            json!({ "op": "remove_server", "service": "web", "server": "192.0.2.12" }),
            "has no real server 192.0.2.12",
        ),
        (web(json!({ "scheduler": "wr" })), "there is no scheduler `wr`; did you mean \"wrr\"?"),
        (web(json!({ "schedular": "rr" })), "did you mean `scheduler`?"),
        (web(json!({ "addresses": null })), "`addresses` is missing"),
        (web(json!({ "real_server": [] })), "one by one"),
        (server(json!({ "weight": 65_536 })), "65536"),
        (server(json!({ "weight": "3" })), "`weight` must be an integer, not a string"),
        (server(json!({ "address": "192.0.2.11" })), "is a real server of this virtual server already"),
        (
            json!({ "op": "add_service", "service": { "name": "web", "addresses": ["192.0.2.3:80"] } }),
            "there is a virtual server \"web\" already",
        ),
        (
            json!({ "op": "add_service", "service": { "addresses": ["192.0.2.1:53"], "protocol": "udp" } }),
            "\"udp-192.0.2.1-53\" already",
        ),
        (
            json!({ "op": "add_service", "service": { "name": "x", "addresses": ["192.0.2.1:80"] } }),
            "192.0.2.1:80/tcp is a virtual server's address already",
        ),
        (
            json!({ "op": "add_server", "service": "web", "server": { "address": "192.0.2.10:80" } }),
            "has the real server 192.0.2.10 already",
        ),
        (
            json!({ "op": "acl", "action": "remove", "prefix": "10.0.0.0/8" }),
            "10.0.0.0/8 is neither denied nor allowed",
        ),
        (
            json!({ "op": "acl", "action": "deny", "prefix": "2001:db8::/32", "service": "web" }),
            "no client of a virtual server of IPv4 is in 2001:db8::/32",
        ),
    ] {
        let refused = changed(&[self::change(change.clone())]).expect_err("it makes no sense");
        assert!(refused.contains(problem), "{change}: {refused}");
    }
}

#[test]
fn changes_of_one_group_are_made_together_or_not_at_all() {
    let remove = change(json!({ "op": "remove_service", "service": "web" }));
    let instead =
        change(json!({ "op": "add_service", "service": { "name": "new", "addresses": ["192.0.2.1:80"] } }));
    let bad = change(json!({ "op": "set_timeouts", "set": { "tcp": "0s" } }));
    let unknown = change(json!({ "op": "remove_service", "service": "nothing" }));
    assert!(changed(&[remove.clone(), instead]).is_ok(), "one makes room for the other");
    let (unchanged, done) = document().change(&[&[remove.clone(), unknown], &[remove, bad]]);
    assert!(unchanged.is_none());
    assert_eq!(done[0].as_ref().map_err(|refused| refused.change), Err(Some(1)));
    assert_eq!(done[1].as_ref().map_err(|refused| refused.change), Err(None));
}

#[test]
fn who_is_to_blame_does_not_cost_others_their_change() {
    let weight = |server: &str, weight: u32| {
        change(
            json!({ "op": "edit_server", "service": "web", "server": server, "set": { "weight": weight } }),
        )
    };
    let changes = [
        weight("192.0.2.10", 5),
        weight("192.0.2.11", 70_000),
        weight("192.0.2.11", 7),
        weight("192.0.2.10", 5),
    ];
    let groups: Vec<&[Change]> = changes.iter().map(std::slice::from_ref).collect();
    let (changed, done) = document().change(&groups);
    let done: Vec<Option<bool>> = done.into_iter().map(Result::ok).collect();
    assert_eq!(done, [Some(true), None, Some(true), Some(false)]);
    let changed = changed.expect("some made a difference");
    let weights: Vec<u32> =
        changed.config().virtual_servers[0].real_servers.iter().map(|server| server.weight).collect();
    assert_eq!(weights, [5, 7]);
}

/// It was refused, for lack of a section to add to.
#[test]
fn a_file_with_nothing_in_it_can_be_added_to_and_one_can_be_cleared() {
    let bare = Document::parse("lb.toml", "director.interfaces = [\"eth0\"]\n").expect("it is valid");
    let add = difference(&bare, &document());
    let (full, done) = bare.change(&[&add]);
    assert_eq!(done, [Ok(true)]);
    let full = full.expect("it is different");
    assert_eq!(full.config().virtual_servers, document().config().virtual_servers);
    let (empty, _) = full.change(&[&[Change::Clear]]);
    assert_eq!(empty.expect("it is different").config(), bare.config());
    let inline = format!("virtual_server = [{{ addresses = [\"192.0.2.1:80\"] }}]\n{}", bare.text());
    let inline = Document::parse("lb.toml", &inline).expect("it is valid");
    let add = change(
        json!({ "op": "add_server", "service": "192.0.2.1:80", "server": { "address": "192.0.2.9" } }),
    );
    let (added, done) = inline.change(&[&[add]]);
    let added = added.expect("it is different");
    assert_eq!((done, added.config().virtual_servers[0].real_servers.len()), (vec![Ok(true)], 1));
}

/// `ipvsadm -C; ipvsadm -A -f 7`, as scripts begin, left a group that no packet belonged to.
#[test]
fn a_group_that_is_added_by_its_number_has_the_addresses_that_the_file_gives_it() {
    let file = FILE.replace("name = \"web\"", "name = \"web\"\nfwmark = 7");
    let file = Document::parse("lb.toml", &file).expect("it is valid");
    let (mut configuration, _) = Configuration::new(std::path::Path::new("lb.toml"), file, &[]);
    let add =
        |mark: u32| change(json!({ "op": "add_service", "service": { "fwmark": mark, "scheduler": "wlc" } }));
    assert_eq!(configuration.change(&[&[Change::Clear, add(7), add(8)]]), [Ok(true)]);
    let [bound, unbound] = &configuration.config().virtual_servers[..] else { panic!("there are two") };
    assert_eq!((bound.name.as_str(), bound.addresses.len(), bound.scheduler.name()), ("web", 1, "wlc"));
    assert!(bound.real_servers.is_empty());
    assert_eq!((unbound.name.as_str(), unbound.addresses.len()), ("fwmark-8", 0));
}

/// What was denied by command hid what the file denied later.
#[test]
fn a_file_that_denies_more_denies_it_beside_what_was_denied_by_command() {
    let text = |deny: &str| format!("acl.deny = [{deny}]\n{FILE}");
    let file = |deny: &str| Document::parse("lb.toml", &text(deny)).expect("it is valid");
    let path = std::path::Path::new("lb.toml");
    let (mut configuration, _) = Configuration::new(path, file("\"198.51.100.0/24\""), &[]);
    let deny = |service: Option<&str>| {
        change(json!({ "op": "acl", "action": "deny", "prefix": "203.0.113.0/24", "service": service }))
    };
    configuration.change(&[&[deny(None)], &[deny(Some("web"))]]);
    let (reloaded, done) = configuration.reload(file("\"198.51.100.0/24\", \"192.0.2.128/25\""));
    assert_eq!(done.forgotten, []);
    assert_eq!(reloaded.config().acl.deny.len(), 3);
    assert_eq!(reloaded.config().virtual_servers[0].acl.deny.len(), 1);
    assert_eq!(reloaded.runtime().len(), 2);
}

/// "Nothing is different" was said of these.
#[test]
fn a_reload_names_what_is_different_beside_virtual_servers() {
    let instance = |name: &str, priority: u8| {
        format!(
            "[[vrrp_instance]]\nname = \"{name}\"\ninterface = \"eth0\"\nvirtual_router_id = 51\npriority = {priority}\n\
                 virtual_addresses = [\"192.0.2.240\"]\n"
        )
    };
    let file = |director: &str, sections: &str| {
        let text = FILE.replacen("[director]", &format!("[director]\n{director}"), 1) + sections;
        Document::parse("lb.toml", &text).expect("it is valid")
    };
    let before = file("", &instance("VI_1", 100));
    let path = std::path::Path::new("lb.toml");
    let (configuration, _) = Configuration::new(path, before.clone(), &[]);
    let others = |after: Document| configuration.reload(after).1.others;
    assert_eq!(others(before), Vec::<String>::new());
    // Where it stands makes no difference.
    assert_eq!(others(file("# a line more", &instance("VI_1", 100))), Vec::<String>::new());
    assert_eq!(others(file("", &instance("VI_1", 150))), ["[[vrrp_instance]] VI_1"]);
    assert_eq!(
        others(file("", &instance("VI_2", 100))),
        ["[[vrrp_instance]] VI_1", "[[vrrp_instance]] VI_2"]
    );
    let reloaded = configuration
        .reload(file("peers = [\"192.0.2.7\"]\nbpffs = \"/sys/fs/bpf/x\"", &instance("VI_1", 100)))
        .1;
    assert_eq!((reloaded.others, reloaded.at_restart), (vec!["director.peers".to_owned()], vec!["bpffs"]));
}

/// They were taken for others, for the address of one is written in brackets.
#[test]
fn real_servers_are_those_that_the_reader_of_the_file_finds() {
    let file = "director.interfaces = [\"eth0\"]\n[[virtual_server]]\nname = \"web\"\naddresses = [\"[2001:db8::1]:80\"]\n\
                real_server = [{ address = \"[2001:db8::10]\" }, { address = \"2001:db8::11\" }]\n";
    let document = Document::parse("lb.toml", file).expect("it is valid");
    let remove = change(json!({ "op": "remove_server", "service": "web", "server": "2001:db8::11" }));
    let (changed, done) = document.change(&[&[remove]]);
    assert_eq!(done, [Ok(true)]);
    let left = &changed.expect("it is different").config().virtual_servers[0].real_servers.clone();
    assert_eq!(left.iter().map(|server| server.address.to_string()).collect::<Vec<_>>(), ["2001:db8::10"]);
}

#[test]
fn a_list_that_is_written_and_empty_can_be_added_to() {
    let file = "virtual_server = []\ndirector.interfaces = [\"eth0\"]\n";
    let document = Document::parse("lb.toml", file).expect("it is valid");
    let add = change(json!({ "op": "add_service", "service": { "addresses": ["192.0.2.1:80"] } }));
    let (changed, _) = document.change(&[&[add]]);
    assert_eq!(changed.expect("it is different").config().virtual_servers.len(), 1);
}

/// What is changed between the question for the text and the file's being written is neither lost nor undone.
#[test]
fn what_is_changed_while_it_is_saved_stays() {
    let path = std::path::Path::new("lb.toml");
    let (mut configuration, _) = Configuration::new(path, document(), &[]);
    let weight = |weight: u32| {
        change(
            json!({ "op": "edit_server", "service": "web", "server": "192.0.2.11", "set": { "weight": weight } }),
        )
    };
    configuration.change(&[&[weight(0)]]);
    let saved = Document::parse("lb.toml", &configuration.text()).expect("it is valid");
    configuration.change(&[&[weight(3)]]);
    assert!(configuration.runtime().is_empty(), "it is as in the file");
    let rebased = configuration.rebased(saved);
    assert_eq!(rebased.config(), configuration.config());
    assert_eq!(rebased.runtime().as_ref(), [weight(3)]);
}

/// Names, addresses and servers from few, so that changes meet.
fn any_change() -> impl Strategy<Value = Change> {
    let service = prop_oneof![Just("web"), Just("udp-192.0.2.1-53"), Just("a"), Just("b")];
    let server = || (10u8..14).prop_map(|last| IpAddr::from([192, 0, 2, last]));
    let table = (server(), 0u32..4, any::<bool>()).prop_map(|(address, weight, is_written)| {
        let mut table = Keys::from_iter([("address".to_owned(), address.to_string().into())]);
        if is_written {
            table.insert("weight".to_owned(), weight.into());
        }
        table
    });
    let set = prop_oneof![
        (0u32..4).prop_map(|weight| json!({ "weight": weight })),
        Just(json!({ "weight": null })),
        Just(json!({ "upper_threshold": 9, "lower_threshold": 5 })),
    ]
    .prop_map(|set| set.as_object().cloned().unwrap_or_default());
    let properties = prop_oneof![
        Just(json!({ "scheduler": "wrr" })),
        Just(json!({ "scheduler": "mh", "scheduler_flags": ["mh-port"] })),
        Just(json!({ "scheduler": null, "scheduler_flags": null, "persistence": { "timeout": "50s" } })),
        (1u32..4).prop_map(|mark| json!({ "fwmark": mark })),
    ]
    .prop_map(|set| set.as_object().cloned().unwrap_or_default());
    let added = (
        prop_oneof![Just("a"), Just("b"), Just("web")],
        1u32..5,
        proptest::collection::vec(table.clone(), 0..3),
    )
        .prop_map(|(name, port, servers)| {
            let keys =
                json!({ "name": name, "addresses": [format!("192.0.2.1:{port}")], "real_server": servers });
            keys.as_object().cloned().unwrap_or_default()
        });
    let name = service.prop_map(str::to_owned);
    prop_oneof![
        3 => added.prop_map(|service| Change::AddService { service }),
        2 => (name.clone(), properties).prop_map(|(service, set)| Change::EditService { service, set }),
        1 => name.clone().prop_map(|service| Change::RemoveService { service }),
        3 => (name.clone(), table).prop_map(|(service, server)| Change::AddServer { service, server }),
        3 => (name.clone(), server(), set)
            .prop_map(|(service, server, set)| Change::EditServer { service, server, set }),
        2 => (name, server()).prop_map(|(service, server)| Change::RemoveServer { service, server }),
        1 => Just(change(json!({ "op": "set_timeouts", "set": { "tcp": "60s" } }))),
        1 => Just(change(json!({ "op": "acl", "action": "deny", "prefix": "198.51.100.0/24" }))),
    ]
}

/// A configuration without what is a matter of order.
fn in_order(config: &Config) -> Config {
    let mut config = config.clone();
    for server in &mut config.virtual_servers {
        server.real_servers.sort_by_key(|server| server.address);
    }
    config.virtual_servers.sort_by(|one, other| one.name.cmp(&other.name));
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever was changed, the next start makes the same of it, and so does `lb save`.
    #[test]
    fn a_restart_finds_what_was_changed(changes in proptest::collection::vec(any_change(), 0..12)) {
        let path = std::path::Path::new("lb.toml");
        let (mut configuration, _) = Configuration::new(path, document(), &[]);
        for change in &changes {
            configuration.change(&[std::slice::from_ref(change)]);
        }
        let text = serde_json::to_string(&configuration.remembered()).expect("it is JSON");
        let remembered: super::super::Remembered = serde_json::from_str(&text).expect("it is ours");
        let (restarted, forgotten) = Configuration::new(path, document(), &remembered.changes);
        prop_assert_eq!(forgotten, vec![]);
        prop_assert_eq!(in_order(restarted.config()), in_order(configuration.config()));
        prop_assert_eq!(restarted.remembered(), restarted.remembered());
        let saved = Document::parse("lb.toml", &configuration.text()).expect("it is valid");
        prop_assert_eq!(saved.config(), configuration.config());
        let (reloaded, done) = configuration.reload(saved);
        prop_assert_eq!(done.changes, vec![], "nothing is different");
        prop_assert_eq!(done.forgotten, vec![], "what is there already is as it was wanted");
        prop_assert_eq!(reloaded.runtime().len(), 0, "everything is in the file");
    }
}
