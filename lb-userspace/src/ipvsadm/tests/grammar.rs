//! What command lines ask for.

use serde_json::{Value, json};

use super::{Noting, service};
use crate::sync::SyncStatus;

fn change(words: &str) -> Value {
    let mut daemon = Noting::default();
    let outcome = daemon.run(words);
    assert_eq!((outcome.code, outcome.out.as_str()), (0, ""), "{words}: {}", outcome.err);
    let mut changes = daemon.made.concat();
    assert_eq!(changes.len(), 1, "{words}");
    changes.remove(0)
}

#[test]
fn changes_are_in_the_words_of_the_configuration() {
    let add = |service: Value| json!({ "op": "add_service", "service": service });
    for (words, expected) in [
        (
            "-A -t 192.0.2.1:80",
            add(json!({ "addresses": ["192.0.2.1:80"], "protocol": "tcp", "scheduler": "wlc" })),
        ),
        (
            "--add-service --udp-service=192.0.2.1:domain --scheduler rr -o",
            add(json!({
                "addresses": ["192.0.2.1:53"], "protocol": "udp", "scheduler": "rr", "one_packet": true
            })),
        ),
        (
            "-At www.example.net:http -s mh -b mh-port,mh-fallback -p -M 255.255.255.0",
            add(json!({
                "addresses": ["192.0.2.1:80"], "protocol": "tcp", "scheduler": "mh",
                "scheduler_flags": ["mh-fallback", "mh-port"],
                "persistence": { "timeout": "300s", "mask_v4": 24 }
            })),
        ),
        (
            "-A -t 192.0.2.1 -s sh -b flag-2 -p60",
            add(json!({
                "addresses": ["192.0.2.1:0"], "protocol": "tcp", "scheduler": "sh", "scheduler_flags": ["sh-port"],
                "persistence": { "timeout": "60s", "mask_v4": 32 }
            })),
        ),
        (
            "-A -t [2001:db8::1]:80 -s rr -p 60 -M 64",
            add(json!({
                "addresses": ["[2001:db8::1]:80"], "protocol": "tcp", "scheduler": "rr",
                "persistence": { "timeout": "60s", "mask_v6": 64 }
            })),
        ),
        (
            "-A -f 7 -6 -s rr -p 60",
            add(
                json!({ "fwmark": 7, "scheduler": "rr", "persistence": { "timeout": "60s", "mask_v6": 128 } }),
            ),
        ),
        (
            "-A -f 7 -o",
            add(json!({ "fwmark": 7, "protocol": "udp", "scheduler": "wlc", "one_packet": true })),
        ),
        // What is left out becomes as it is by default: IPVS edits as a whole.
        (
            "-E -t 192.0.2.1:80 -s rr",
            json!({
                "op": "edit_service", "service": "192.0.2.1:80/tcp",
                "set": { "scheduler": "rr", "scheduler_flags": null, "persistence": null, "one_packet": null }
            }),
        ),
        ("-D -f 7", json!({ "op": "remove_service", "service": "fwmark:7" })),
        ("-C", json!({ "op": "clear" })),
        (
            "-a -t 192.0.2.1:80 -r rs1:8080 -g -w 3 -x 100 -y 50",
            json!({
                "op": "add_server", "service": "192.0.2.1:80/tcp",
                "server": { "address": "10.0.0.1", "weight": 3, "upper_threshold": 100, "lower_threshold": 50 }
            }),
        ),
        (
            "-e -u 192.0.2.1:53 -r 10.0.0.1",
            json!({
                "op": "edit_server", "service": "192.0.2.1:53/udp", "server": "10.0.0.1",
                "set": { "weight": 1, "upper_threshold": 0, "lower_threshold": 0 }
            }),
        ),
        (
            "-d -r 10.0.0.1 -t [2001:db8::1]:80",
            json!({ "op": "remove_server", "service": "[2001:db8::1]:80/tcp", "server": "10.0.0.1" }),
        ),
        (
            "-d -f 7 -r 10.0.0.1:8080",
            json!({ "op": "remove_server", "service": "fwmark:7", "server": "10.0.0.1" }),
        ),
        ("--set 100 0 30", json!({ "op": "set_timeouts", "set": { "tcp": "100s", "udp": "30s" } })),
    ] {
        assert_eq!(change(words), expected, "{words}");
    }
}

/// What the real program does and lb does not, each with a reason.
#[test]
fn what_lb_cannot_do_is_said_clearly() {
    for (words, code, message) in [
        ("-a -t 192.0.2.1:80 -r 10.0.0.1 -m", 2, "direct routing only: -m (masquerading, NAT)"),
        ("-e -t 192.0.2.1:80 -r 10.0.0.1 -i", 2, "direct routing only: -i (ipip, tunneling)"),
        ("-a -f 7 -r 10.0.0.1 -i --tun-type gre", 2, "direct routing only: -i (ipip, tunneling)"),
        ("-A --sctp-service 192.0.2.1:80 -s rr", 2, "SCTP is not possible"),
        ("-A -t 192.0.2.1:80 -p -M 255.0.255.0", 2, "-M 255.0.255.0 is no such mask"),
        ("-A -t 192.0.2.1:80 -p -M 0.0.0.0", 2, "-M 0.0.0.0 is no such mask"),
        ("-A -t 192.0.2.1:80 -s rr -b flag-1", 2, "incompatible scheduler flag `flag-1'"),
        ("-a -t 192.0.2.1:80 -r 10.0.0.1 -w 65536", 2, "illegal weight specified"),
    ] {
        let mut daemon = Noting::default();
        let outcome = daemon.run(words);
        assert_eq!((outcome.code, outcome.out.as_str()), (code, ""), "{words}");
        assert!(outcome.err.contains(message), "{words}: {}", outcome.err);
        assert_eq!(daemon.asked, 0, "{words}");
    }
}

#[test]
fn to_start_the_synchronisation_daemon_is_to_write_a_section() {
    let mut daemon = Noting { has_sync_key: true, ..Noting::default() };
    let words =
        "--start-daemon backup --mcast-interface eth1 --syncid 7 --mcast-group 224.0.0.90 --mcast-port 9000";
    assert!(daemon.run(words).is_silent_success());
    assert!(daemon.run("--start-daemon master --mcast-interface eth0").is_silent_success());
    let set = |interface: &str, group: &str| json!({ "op": "set_sync", "set": { "interface": interface, "group": group, "key_file": "/etc/lb/sync.key" } });
    assert_eq!(daemon.made.concat(), [set("eth1", "224.0.0.90:9000"), set("eth0", "224.0.0.81:8848")]);
    let without = daemon.run("--start-daemon master");
    assert!(without.code != 0 && without.err.contains("--mcast-interface"), "{}", without.err);

    let sync = SyncStatus { interface: Some("eth0".to_owned()), ..SyncStatus::default() };
    let mut daemon = Noting { sync, ..Noting::default() };
    assert!(daemon.run("--stop-daemon master").is_silent_success());
    let keys = ["interface", "group", "peers", "port", "key_file", "refresh"];
    let none: serde_json::Map<_, _> = keys.into_iter().map(|key| (key.to_owned(), Value::Null)).collect();
    assert_eq!(daemon.made.concat(), [json!({ "op": "set_sync", "set": none })]);
}

/// The configuration says whether there is one.
#[test]
fn the_synchronisation_daemons_are_what_is_configured() {
    let none = "make /etc/lb/sync.key on one of them";
    for (interface, group, words, code, says) in [
        (None, None, "--start-daemon master --mcast-interface eth0", 1, none),
        (None, None, "--stop-daemon backup", 255, "No daemon is running"),
        (Some("eth0"), None, "--start-daemon backup --mcast-interface eth0", 255, "Daemon has already run"),
        (None, None, "-L --daemon", 0, ""),
        (
            Some("eth0"),
            Some("224.0.0.81:8848"),
            "-L --daemon",
            0,
            "master sync daemon (mcast=eth0, syncid=0, group=224.0.0.81, port=8848, ttl=1)\n\
             backup sync daemon (mcast=eth0, syncid=0, group=224.0.0.81, port=8848, ttl=1)\n",
        ),
    ] {
        let [interface, group] = [interface, group].map(|text: Option<&str>| text.map(str::to_owned));
        let sync = SyncStatus { interface, group, ..SyncStatus::default() };
        let mut daemon = Noting { sync, ..Noting::default() };
        let outcome = daemon.run(words);
        assert_eq!(outcome.code, code, "{words}");
        assert!(outcome.out.contains(says) || outcome.err.contains(says), "{words}: {}", outcome.err);
    }
}

/// As the kernel does it (`ip_vs_genl_set_cmd`): whether the service exists is looked at before all else.
#[test]
fn what_ipvs_refuses_is_refused_in_its_order() {
    let listed = vec![service(&["192.0.2.1:80"], "rr", &[("10.0.0.1", 1)])];
    for (words, message) in [
        ("-A -t 192.0.2.1:80 -s nope", "Service already exists"),
        ("-A -t 192.0.2.1:81 -s nope", "Scheduler or persistence engine not found"),
        ("-A -u 192.0.2.1:80 --pe sip", "Scheduler or persistence engine not found"),
        ("-E -t 192.0.2.1:80 -s nope", "Scheduler or persistence engine not found"),
        ("-E -t 192.0.2.1:81 -s nope", "No such service"),
        ("-D -t 192.0.2.1:81", "No such service"),
        ("-D -u 192.0.2.1:80", "No such service"),
        ("-Z -t 192.0.2.1:81", "No such service"),
        ("-a -t 192.0.2.1:80 -r 10.0.0.2 -y 6", "Numerical result out of range"),
        ("-a -t 192.0.2.1:81 -r 10.0.0.2 -x 5 -y 6", "Service not defined"),
        ("-d -t 192.0.2.1:80 -r 10.0.0.1:8080", "No such destination"),
        ("-d -t 192.0.2.1:81 -r 10.0.0.1:8080", "Service not defined"),
    ] {
        let mut daemon = Noting::with(listed.clone());
        let outcome = daemon.run(words);
        assert_eq!((outcome.code, outcome.err), (255, format!("{message}\n")), "{words}");
        assert_eq!(daemon.changes(), [""; 0], "{words}");
    }
    let outcome = Noting::with(listed).run("-L -t 192.0.2.1:81");
    assert_eq!((outcome.code, outcome.err.as_str()), (1, "No such service\n"));
}

/// A group without a mark is a service for each address to whoever lists it.
#[test]
fn removing_one_address_of_a_group_leaves_the_others() {
    let group = service(&["192.0.2.1:80", "192.0.2.1:443"], "rr", &[]);
    let mut daemon = Noting::with(vec![group, service(&["192.0.2.2:80"], "rr", &[])]);
    assert!(daemon.run("-D -t 192.0.2.1:80").is_silent_success());
    assert!(daemon.run("-D -t 192.0.2.2:80").is_silent_success());
    let expected = [
        json!({ "op": "edit_service", "service": "of 192.0.2.1:80", "set": { "addresses": ["192.0.2.1:443"] } }),
        json!({ "op": "remove_service", "service": "of 192.0.2.2:80" }),
    ];
    assert_eq!(daemon.made.concat(), expected);
}

#[test]
fn counters_are_zeroed_of_one_or_all() {
    let mut group = service(&["192.0.2.1:80"], "rr", &[]);
    group.fwmark = Some(7);
    let mut daemon = Noting::with(vec![group]);
    assert!(daemon.run("-Z").is_silent_success());
    assert!(daemon.run("-Z -f 7").is_silent_success());
    assert_eq!(daemon.zeroed, [None, Some("of 192.0.2.1:80".to_owned())]);
    assert_eq!(daemon.run("-Z -t 192.0.2.1:80").code, 255, "by mark only");
}

#[test]
fn a_group_that_nothing_belongs_to_is_accepted_with_a_warning() {
    let mut daemon = Noting::default();
    let outcome = daemon.run("-A -f 7 -s rr");
    assert_eq!((outcome.code, daemon.made.len()), (0, 1));
    assert!(outcome.err.starts_with("ipvsadm: group 7 has no addresses yet"), "{}", outcome.err);
}

#[test]
fn help_and_version_are_not_errors() {
    let help = Noting::default().run("-h");
    assert!(help.code == 0 && help.out.contains("  ipvsadm -A|E virtual-service"), "{}", help.out);
    for option in ["--tcp-service", "--persistent-conn", "lblcr", "wlc if left out"] {
        assert!(help.out.contains(option), "{option}");
    }
    let version = Noting::default().run("--version");
    assert!(version.code == 0 && version.out.starts_with("ipvsadm v1.31,"), "{}", version.out);
}
