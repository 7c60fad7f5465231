//! Health checks beyond what a snapshot shows; and their page in the manual, which is right as long as this passes.

use std::fs;

use super::super::contract::{OF_SERVICE, SMTP, Section, VIRTUAL_SERVER};
use super::super::{Probe, parse};
use super::DIRECTOR;

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/health-checks.md")).unwrap()
}

/// The examples: each a whole file, or a part of a virtual server.
fn examples(page: &str) -> impl Iterator<Item = &str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[test]
fn each_example_of_the_manual_is_valid() {
    const SERVICE: &str = "[[virtual_server]]\naddresses = [\"192.168.2.240:80\"]\n";
    const SERVER: &str = "[[virtual_server.real_server]]\naddress = \"192.168.2.212\"\n";
    let mut probes = Vec::new();
    let page = page();
    for example in examples(&page) {
        let has_service = example.contains("[[virtual_server]]") || example.contains("[smtp]");
        let has_server = example.contains("real_server]]")
            || example.contains("real_server = ")
            || example.contains("[smtp]");
        let (service, server) =
            (if has_service { "" } else { SERVICE }, if has_server { "" } else { SERVER });
        let director = if example.contains("[director]") { "" } else { DIRECTOR };
        let file = format!("{director}{service}{example}{server}");
        let checked = parse("lb.toml", &file).unwrap_or_else(|wrong| panic!("{example}\n{wrong}"));
        assert!(checked.warnings.is_empty(), "{example}\n{}", checked.warnings);
        let servers = checked.config.virtual_servers.into_iter().flat_map(|service| service.real_servers);
        let checks = servers.filter_map(|server| server.health_check);
        probes.extend(checks.map(|check| match check.probe {
            Probe::Icmp => "icmp",
            Probe::Tcp(_) => "tcp",
            Probe::Udp(_) => "udp",
            Probe::Http(_) => "http",
            Probe::Dns(_) => "dns",
            Probe::Smtp(_) => "smtp",
            Probe::Exec(_) => "exec",
        }));
    }
    for probe in ["icmp", "tcp", "udp", "http", "dns", "smtp", "exec"] {
        assert!(probes.contains(&probe), "no example of {probe}");
    }
}

/// A row of a table begins with the key.
#[test]
fn each_key_is_in_the_manual() {
    const REACTIONS: [&str; 9] = [
        "quorum",
        "hysteresis",
        "quorum_up",
        "quorum_down",
        "inhibit_on_failure",
        "slow_start",
        "ha_suspend",
        "alpha",
        "notify",
    ];
    assert!(REACTIONS.iter().all(|key| VIRTUAL_SERVER.keys.contains(key)));
    let sections: [&Section; 10] = [
        &OF_SERVICE.check,
        &OF_SERVICE.flap,
        &OF_SERVICE.tcp,
        &OF_SERVICE.udp,
        &OF_SERVICE.http,
        &OF_SERVICE.tls,
        &OF_SERVICE.dns,
        &OF_SERVICE.smtp,
        &OF_SERVICE.exec,
        &SMTP,
    ];
    let of_sections = sections.into_iter().flat_map(|section| section.keys);
    let page = page();
    for key in of_sections.chain(&REACTIONS) {
        assert!(page.contains(&format!("| `{key}`")), "`{key}` has no row");
    }
}

#[test]
fn checks_that_are_equal_are_one() {
    let file = format!(
        "{DIRECTOR}[[virtual_server]]\naddresses = [\"192.168.2.240:80\"]\n\
         health_check = {{ interval = \"2s\", http = {{ path = \"/healthz\" }} }}\n\
         real_server = [\n\
         {{ address = \"192.168.2.10\" }},\n\
         {{ address = \"192.168.2.11\" }},\n\
         {{ address = \"192.168.2.12\", health_check = {{ http = {{ path = \"/healthz\", port = 80 }} }} }},\n\
         {{ address = \"192.168.2.13\", health_check = {{ retries = 9 }} }},\n]\n"
    );
    let config = parse("lb.toml", &file).unwrap().config;
    let checks: Vec<_> = config.virtual_servers[0]
        .real_servers
        .iter()
        .map(|server| server.health_check.clone().unwrap())
        .collect();
    assert!(std::ptr::eq(&*checks[0], &*checks[1]));
    assert!(std::ptr::eq(&*checks[0], &*checks[2]));
    assert_eq!(checks[3].retries, 9);
    assert_eq!(checks[3].probe, checks[0].probe);
}

#[test]
fn the_vip_that_is_probed_has_the_port() {
    let file = |addresses: &str| {
        format!(
            "{DIRECTOR}[[virtual_server]]\naddresses = [{addresses}]\n\
             health_check = {{ interval = \"2s\", target = \"vip\", tcp = {{ port = 443 }} }}\n\
             real_server = [{{ address = \"192.168.2.10\" }}]\n"
        )
    };
    for (addresses, vip) in [
        ("\"192.168.2.240:80\", \"192.168.2.241:443\"", "192.168.2.241"),
        ("\"192.0.2.0/28:443\", \"192.168.2.241:400-500\"", "192.168.2.241"),
        ("\"192.168.2.240:0\"", "192.168.2.240"),
        ("\"192.168.2.240:80\"", "192.168.2.240"),
    ] {
        let config = parse("lb.toml", &file(addresses)).unwrap().config;
        let service = &config.virtual_servers[0];
        let check = service.real_servers[0].health_check.clone().unwrap();
        assert_eq!(service.probed_vip(check.probe.port()), Some(vip.parse().unwrap()), "{addresses}");
    }
}
