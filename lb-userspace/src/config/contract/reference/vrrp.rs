//! The sections of VRRP in words.

use super::{Described, NEEDED, key};

const BASE: &str = "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\nvirtual_addresses = [\"192.168.2.240/24\"]\n";

const WITH_SCRIPT: &str = "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\nvirtual_addresses = [\"192.168.2.240/24\"]\n[[vrrp_instance.track_script]]\ncommand = [\"/etc/lb/check.sh\"]\n";

const WITH_GROUP: &str = "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\nvirtual_addresses = [\"192.168.2.240/24\"]\n[[vrrp_sync_group]]\nname = \"G1\"\ninstances = [\"VI_1\"]\n";

pub(super) const SECTIONS: [&Described; 4] = [&INSTANCE, &AUTHENTICATION, &TRACK_SCRIPT, &SYNC_GROUP];

const INSTANCE: Described = Described {
    header: "[[vrrp_instance]]",
    is: "A virtual router: addresses that one of several directors has ([two directors](high-availability.md)).",
    base: BASE,
    keys: &[
        key("name", "name", NEEDED, r#""VI_1""#, "what `lb vrrp` shows, and scripts are told"),
        key("interface", "name", NEEDED, r#""eth0""#, "where the other directors are"),
        key(
            "virtual_router_id",
            "number, 1 to 255",
            NEEDED,
            "51",
            "the number that all directors of this virtual router have",
        ),
        key(
            "version",
            "`2`, `3`",
            "`2`",
            "3",
            "of the protocol: 2 is for IPv4 and whole seconds, 3 for both families, from 10 ms on",
        ),
        key("priority", "number, 1 to 255", "`100`", "150", "who has the highest is master"),
        key(
            "advert_interval",
            "time",
            "`\"1s\"`",
            r#""2s""#,
            "how often the master says so; all directors have the same",
        ),
        key(
            "preempt",
            "boolean",
            "`true`",
            "false",
            "whether a director of higher priority takes the addresses from a master",
        ),
        key(
            "preempt_delay",
            "time, up to 1000 s",
            "`\"0s\"`",
            r#""30s""#,
            "how long it waits before it does",
        ),
        key(
            "authentication",
            "table",
            "none",
            r#"{ password = "1111" }"#,
            "of version 2: keepalived's `auth_type PASS`",
        ),
        key(
            "virtual_addresses",
            "list of addresses with prefix lengths",
            NEEDED,
            r#"["192.168.2.240/24"]"#,
            "the addresses that the master has",
        ),
        key(
            "excluded_addresses",
            "list of addresses with prefix lengths",
            "`[]`",
            r#"["192.168.2.241/24", "2001:db8::1/64"]"#,
            "addresses that the master has too, of either family, and that are not in its adverts (keepalived's `virtual_ipaddress_excluded`)",
        ),
        key(
            "source_address",
            "address",
            "the interface's first",
            r#""192.168.2.210""#,
            "where adverts are sent from",
        ),
        key(
            "unicast_peers",
            "list of addresses",
            "none: multicast",
            r#"["192.168.2.211"]"#,
            "the other directors, where multicast does not get through",
        ),
        key(
            "track_interfaces",
            "list of names",
            "none",
            r#"["eth1"]"#,
            "the instance is in fault while one of them is down",
        ),
        key(
            "track_script",
            "list of tables",
            "none",
            r#"[{ command = ["/etc/lb/check.sh"] }]"#,
            "programs that say whether it is to be master: below",
        ),
        key(
            "virtual_mac",
            "boolean",
            "`false`",
            "false",
            "`true` is not available, and not needed: neighbours learn the new master's MAC at once",
        ),
        key(
            "notify",
            "command",
            "none",
            r#""/etc/lb/notify.sh""#,
            "is called with `INSTANCE NAME STATE PRIORITY`, as by keepalived",
        ),
    ],
};

const AUTHENTICATION: Described = Described {
    header: "[vrrp_instance.authentication]",
    is: "What keeps directors of other virtual routers apart. It is no protection: the password is in every advert.",
    base: BASE,
    keys: &[key(
        "password",
        "text of up to 8 bytes",
        NEEDED,
        r#""1111""#,
        "what all directors of this virtual router have",
    )],
};

const TRACK_SCRIPT: Described = Described {
    header: "[[vrrp_instance.track_script]]",
    is: "A program that says whether the instance is to be master: exit code 0 is good.",
    base: WITH_SCRIPT,
    keys: &[
        key("command", "command", NEEDED, r#"["/etc/lb/check.sh"]"#, "the program"),
        key("interval", "time, `100ms` to `1h`", "`\"1s\"`", r#""2s""#, "how often it is run"),
        key("timeout", "time, at most `interval`", "`interval`", r#""500ms""#, "how long it may take"),
        key(
            "weight",
            "number, -253 to 253",
            "`0`",
            "-60",
            "is added to the priority while it fails if negative, while it succeeds if positive; with 0 the instance is in fault while it fails",
        ),
        key("fall", "number, 1 to 1000", "`1`", "2", "how many failures in a row count"),
        key("rise", "number, 1 to 1000", "`1`", "2", "how many successes in a row count"),
    ],
};

const SYNC_GROUP: Described = Described {
    header: "[[vrrp_sync_group]]",
    is: "Instances that are always in the same state.",
    base: WITH_GROUP,
    keys: &[
        key("name", "name", NEEDED, r#""G1""#, "the group's"),
        key("instances", "list of names", NEEDED, r#"["VI_1"]"#, "the instances"),
        key(
            "notify",
            "command",
            "none",
            r#""/etc/lb/notify.sh""#,
            "is called with `GROUP NAME STATE PRIORITY`",
        ),
    ],
};
