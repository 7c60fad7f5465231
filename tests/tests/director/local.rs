//! The director itself as a real server ("local node").

use std::collections::BTreeMap;

use lb_lab::{Director, HostSpec, Lab, LabBuilder, TestResult};

use crate::support::{answers, answers_of, real_servers, web, web6};

fn director_that_serves() -> LabBuilder {
    Lab::builder().client("client").host(HostSpec::director("director").serving()).real_servers(2)
}

fn count(names: Vec<String>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn four_each() -> BTreeMap<String, u32> {
    ["director", "rs1", "rs2"].map(|name| (name.to_owned(), 4)).into()
}

#[test]
fn the_director_itself_answers_for_its_share() -> TestResult {
    let lab = director_that_serves().build()?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    assert_eq!(count(answers(&lab, 12)?), four_each());
    let listed = real_servers(&director)?;
    let own = listed.iter().find(|server| server["address"] == lab.director().address().to_string());
    let own = own.expect("the director is listed");
    assert_eq!((&own["state"], &own["mac"]), (&"up".into(), &serde_json::Value::Null));
    assert_eq!(own["stats"]["connections"], 4);
    let table = director.cli(["list", "-n"])?;
    let line = table.lines().find(|line| line.contains(&lab.director().address().to_string()));
    assert!(line.is_some_and(|line| line.contains(" up ") && line.ends_with("local")), "{table}");
    Ok(())
}

#[test]
fn the_director_itself_answers_for_its_share_of_ipv6() -> TestResult {
    let lab = director_that_serves().ipv6().build()?;
    let _director = Director::on(&lab.director()).config(web6(&lab)).start()?;
    assert_eq!(count(answers_of(&lab, lab.vip6(), 12)?), four_each());
    Ok(())
}
