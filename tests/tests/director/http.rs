//! `director.http`: what whoever reaches it may ask a daemon that forwards.

use std::fs;

use lb_lab::{Director, Host, Result, TestResult, wait_until};
use serde_json::Value;

use crate::support::{PATIENCE, answers, lab, lab6, list, web};

/// What curl gets there: the status, and the body.
fn curl(host: &Host, url: &str, options: &[&str]) -> Result<(String, String)> {
    let words = ["curl", "-sS", "--max-time", "5", "-w", "\n%{http_code}"];
    let answer = host.run(words.iter().chain(options).chain(&[url]))?;
    let (body, status) = answer.rsplit_once('\n').expect("a status behind the body");
    Ok((status.to_owned(), body.to_owned()))
}

#[test]
fn whoever_reaches_it_reads_what_root_reads_and_changes_nothing() -> TestResult {
    let lab = lab(2)?;
    let address = lab.director().address();
    let config = Director::on(&lab.director()).config(web(&lab));
    let director = config.setting("http", format!("\"{address}:9811\"")).start()?;
    answers(&lab, 4)?;
    let url = |path: &str| format!("http://{address}:9811{path}");
    // From where it runs, and from another machine.
    for host in [lab.director(), lab.client()] {
        let (status, listed) = curl(&host, &url("/v1/virtual_servers"), &[])?;
        assert_eq!(status, "200");
        let mut listed: Value = serde_json::from_str(&listed)?;
        let mut expected = list(&director)?;
        // They change by themselves.
        for listed in [&mut listed, &mut expected] {
            let servers = listed["virtual_servers"][0]["real_servers"].as_array_mut().expect("a list");
            servers.iter_mut().for_each(|server| server["rate"] = Value::Null);
            listed["virtual_servers"][0]["rate"] = Value::Null;
        }
        assert_eq!(listed, expected);
        for (path, options, status) in [
            ("/v1/virtual_servers", &["--head"][..], "200"),
            ("/v1/openapi.json", &[], "200"),
            ("/v1/configuration", &[], "403"),
            ("/v1/connections", &[], "403"),
            ("/v1/weight", &["--json", r#"{"service":"web","server":"10.0.0.1","weight":0}"#], "403"),
            ("/v1/director", &["-H", "Host: attacker.example"], "421"),
        ] {
            let (found, body) = curl(&host, &url(path), options)?;
            assert_eq!(found, status, "{path} {options:?}: {body}");
        }
    }
    assert_eq!(list(&director)?["virtual_servers"][0]["real_servers"][0]["weight"], 1);
    assert!(director.try_cli(["reload"])?.status.success(), "its own address is in nobody's way");
    Ok(())
}

#[test]
fn a_reload_moves_it_and_refuses_an_address_that_cannot_be_had() -> TestResult {
    let lab = lab6(1)?;
    let config = Director::on(&lab.director()).config(web(&lab));
    let director = config.setting("http", "\"127.0.0.1:9811\"").start()?;
    let configure = |from: &str, to: &str| -> TestResult {
        let text = fs::read_to_string(director.config_file())?;
        assert!(text.contains(from), "{text}");
        Ok(fs::write(director.config_file(), text.replace(from, to))?)
    };
    let answers_at = |url: &str| curl(&lab.director(), url, &[]).is_ok_and(|(status, _)| status == "200");
    wait_until("it answers", PATIENCE, || answers_at("http://127.0.0.1:9811/v1/director"));
    configure("127.0.0.1:9811", "192.0.2.77:9812")?;
    let refused = director.try_cli(["reload"])?;
    let expected = "listen on director.http = \"192.0.2.77:9812\": ";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    assert!(answers_at("http://localhost:9811/v1/director"), "as before");
    // The socket of the other family, with the same port, and then another.
    for (from, to) in [("192.0.2.77:9812", "[::1]:9811"), ("[::1]:9811", "[::1]:9813")] {
        configure(from, to)?;
        director.cli(["reload"])?;
        let url = format!("http://{to}/v1/director");
        wait_until(&format!("it answers at {to}"), PATIENCE, || answers_at(&url));
    }
    assert!(!answers_at("http://127.0.0.1:9811/v1/director") && !answers_at("http://[::1]:9811/v1/director"));
    configure("http = \"[::1]:9813\"", "")?;
    director.cli(["reload"])?;
    wait_until("it is gone", PATIENCE, || !answers_at("http://[::1]:9813/v1/director"));
    Ok(())
}
