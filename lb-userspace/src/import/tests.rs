//! Files of other programs and what becomes of them; and that whatever is read, what is written is valid.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config;

/// Knows two names and a service.
struct Few;

impl Resolver for Few {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        match host {
            "www.example.net" => Some(Ipv4Addr::new(192, 0, 2, 1)),
            "rs1" => Some(Ipv4Addr::new(10, 0, 0, 1)),
            _ => None,
        }
    }

    fn port(&self, service: &str, _: &str) -> Option<u16> {
        (service == "http").then_some(80)
    }

    fn names(&self, _: SocketAddr, _: &str) -> Option<(String, String)> {
        None
    }
}

fn imported(file: &str, text: &str) -> Imported {
    import(text, &Options { file, format: None, interfaces: &[], resolver: &Few })
}

/// What is written is what `lb check` takes.
fn is_valid(imported: &Imported) {
    let Some(toml) = &imported.toml else { return };
    if let Err(diagnostics) = config::parse("lb.toml", toml) {
        panic!("{toml}\n{diagnostics}");
    }
}

/// Every case by its name.
fn cases() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/tests/cases");
    let entries = fs::read_dir(directory).expect("the cases");
    let mut cases: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("text"))
        })
        .collect();
    cases.sort();
    cases
}

fn case(name: &str) -> Imported {
    let (_, text) = cases().into_iter().find(|(case, _)| case == name).expect("a case");
    imported(name, &text)
}

fn toml(imported: &Imported) -> &str {
    imported.toml.as_deref().expect("something to convert")
}

#[test]
fn each_case_is_converted_as_its_snapshot() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("tests/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, text) in cases() {
            let imported = imported(&name, &text);
            is_valid(&imported);
            let toml = imported.toml.as_deref().unwrap_or("(nothing)\n");
            insta::assert_snapshot!(name, format!("{toml}\n---- report\n{}", imported.report));
        }
    });
}

#[test]
fn a_file_in_one_line_behind_its_comment_is_the_same_as_one_with_line_breaks() {
    let imported = case("one-line.conf");
    assert_eq!((imported.virtual_servers, imported.real_servers, imported.vrrp_instances), (1, 2, 1));
    let config = config::parse("lb.toml", toml(&imported)).expect("valid").config;
    let server = &config.virtual_servers[0];
    assert_eq!(server.addresses[0].to_string(), "192.168.2.240:80");
    assert_eq!(server.scheduler.name(), "wlc");
    assert_eq!(server.persistence.expect("persistence").timeout.as_secs(), 60);
    assert!(server.real_servers.iter().all(|server| server.weight == 3 && server.health_check.is_some()));
    let router = &config.vrrp_instances[0];
    assert_eq!((router.virtual_router_id, router.priority, router.advert_interval.as_secs()), (51, 100, 5));
}

#[test]
fn a_block_without_its_brace_swallows_nothing() {
    let imported = case("unclosed-script.conf");
    let config = config::parse("lb.toml", toml(&imported)).expect("valid").config;
    let router = &config.vrrp_instances[0];
    assert_eq!(router.track_scripts[0].command, ["/etc/keepalived/check_haproxy.sh"]);
    assert_eq!((router.track_scripts[0].weight, router.priority), (2, 150));
}

#[test]
fn what_is_nothing_of_the_sort_is_nothing() {
    let letter = case("letter.conf");
    assert_eq!(letter.toml, None);
    assert!(!letter.report.remarks().is_empty());
    assert_eq!(imported("empty", "").toml, None);
}

#[test]
fn interfaces_that_are_given_count_before_those_of_the_file() {
    let text = "vrrp_instance A { interface eth7 virtual_router_id 1 virtual_ipaddress { 192.0.2.1 } }";
    let with = |interfaces: &[String]| {
        let imported = import(text, &Options { file: "a", format: None, interfaces, resolver: &Few });
        let config = config::parse("lb.toml", toml(&imported)).expect("valid").config;
        let names = config.director.interfaces.iter().map(|interface| interface.value.clone());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(with(&[]), "eth7");
    assert_eq!(with(&["eth0".to_owned(), "eth1".to_owned()]), "eth0 eth1");
}

#[test]
fn the_format_is_seen_or_said() {
    assert_eq!(detect("# rules\n-A -t 192.0.2.1:80 -s rr\n"), Format::Ipvsadm);
    assert_eq!(detect("virtual_server 1.2.3.4 80 {\n}\nipvsadm -C\n"), Format::Keepalived);
    assert_eq!(detect(""), Format::Keepalived);
}

#[test]
fn remarks_name_the_line() {
    let imported = imported("k.conf", "\n\nvirtual_server 192.0.2.1 80 {\n  lb_kind DR\n  omega\n}\n");
    let shown = imported.report.to_string();
    assert!(shown.contains("k.conf:5: lost: omega: "), "{shown}");
    assert!(toml(&imported).contains("# k.conf:3: virtual_server 192.0.2.1 80\n"));
}

#[test]
fn a_file_of_many_braces_is_read() {
    let deep = "a {".repeat(100_000);
    is_valid(&imported("deep", &deep));
    is_valid(&imported("shallow", &"}\n".repeat(10_000)));
    is_valid(&imported("open", &"vrrp_instance a {\n".repeat(500)));
}

/// Words that configurations are made of, so that random texts come near them.
fn word() -> impl Strategy<Value = String> {
    const WORDS: &str = "global_defs vrrp_instance VI_1 vrrp_sync_group vrrp_script virtual_server group fwmark 7 \
        virtual_server_group real_server 192.0.2.1 192.0.2.2 192.0.2.3-9 2001:db8::1 80 443 0 { { { } } } \n \n \n \n ! # \
        \" interface eth0 eth/0 virtual_router_id 51 300 priority -1 advert_int 0.5 virtual_ipaddress 192.0.2.1/24 \
        authentication auth_pass auth_type PASS notify /bin/x notify_master track_script track_interface weight unicast_peer \
        lb_algo rr wlc mh lb_kind DR NAT TUN lvs_method protocol TCP UDP persistence_timeout persistence_granularity \
        255.255.0.0 quorum hysteresis quorum_up sorry_server delay_loop connect_timeout retry delay_before_retry HTTP_GET \
        SSL_GET TCP_CHECK SMTP_CHECK DNS_CHECK MISC_CHECK UDP_CHECK PING_CHECK url path / /x status_code 200-299 regex ( \
        digest connect_port bindto misc_path misc_timeout helo_name payload require_reply 0x name example.net type A \
        notification_email a@b.c notification_email_from smtp_server lvs_timeouts tcp udp lvs_sync_daemon version 3 \
        inhibit_on_failure uthreshold lthreshold alpha ops flag-1 sh-port ha_suspend $A=1 $A ${A} @x include";
    let words: Vec<String> = WORDS.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    prop_oneof![20 => proptest::sample::select(words), 1 => "\\PC{0,6}"]
}

fn option() -> impl Strategy<Value = String> {
    const WORDS: &str = "-A -a -E -e -d -D -C -t -u -f -6 -s -p -M -o -b -r -g -m -i -w -x -y --set --pe sip 7 300 70000 rr \
        wlc sh mh sh-port mh-fallback flag-1 192.0.2.1:80 192.0.2.1:0 192.0.2.2:80 192.0.2.3 [2001:db8::1]:80 \
        255.255.255.0 www.example.net:http ipvsadm # \n \n \n";
    let words: Vec<String> = WORDS.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    proptest::sample::select(words)
}

proptest! {
    #[test]
    fn any_text_leads_to_a_valid_configuration_or_none(text in "\\PC{0,200}") {
        is_valid(&imported("any", &text));
    }

    #[test]
    fn any_words_of_keepalived_do(words in prop::collection::vec(word(), 0..120)) {
        let text = words.join(" ");
        is_valid(&import(&text, &Options { file: "any", format: Some(Format::Keepalived), interfaces: &[], resolver: &Few }));
    }

    #[test]
    fn any_options_of_ipvsadm_do(words in prop::collection::vec(option(), 0..80)) {
        let text = words.join(" ");
        is_valid(&import(&text, &Options { file: "any", format: Some(Format::Ipvsadm), interfaces: &[], resolver: &Few }));
    }

    /// Real files with pieces missing.
    #[test]
    fn any_part_of_a_case_does(which in any::<prop::sample::Index>(), start in any::<prop::sample::Index>(),
                               end in any::<prop::sample::Index>()) {
        let cases = cases();
        let (name, text) = &cases[which.index(cases.len())];
        let (start, end) = (start.index(text.len() + 1), end.index(text.len() + 1));
        let (start, end) = (text.floor_char_boundary(start.min(end)), text.floor_char_boundary(start.max(end)));
        is_valid(&imported(name, &text[start..end]));
        is_valid(&imported(name, &format!("{}{}", &text[..start], &text[end..])));
    }
}
