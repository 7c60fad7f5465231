//! A daemon that is killed, stopped, started again: traffic goes on.

use std::time::Duration;

use lb_lab::{Director, Load, TestResult, VirtualServer};

use crate::support::{OpenConnection, PATIENCE, answers, lab, real_servers, web};

#[test]
fn killing_the_daemon_does_not_interrupt_forwarding_and_the_next_one_takes_over() -> TestResult {
    let lab = lab(2)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    let server = open.ask().expect("it answers");
    director.kill()?;
    assert_eq!(open.ask().expect("an open connection goes on without the daemon"), server);
    assert_eq!(answers(&lab, 3)?.len(), 3, "new connections too");
    director.start()?;
    let log = director.process()?.log();
    assert!(log.contains("took over the program attached to eth0"), "{log}");
    assert_eq!(open.ask().expect("an open connection survives the takeover"), server);
    let counted =
        real_servers(&director)?.iter().filter_map(|s| s["stats"]["connections"].as_u64()).sum::<u64>();
    assert_eq!(counted, 4, "counters go on");
    Ok(())
}

#[test]
fn ten_restarts_under_load_lose_nothing() -> TestResult {
    let lab = lab(3)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let load = Load::to((lab.vip(), 80)).at_once(8).timeout(PATIENCE).start(&lab.client())?;
    for round in 0..10 {
        if round % 2 == 0 {
            director.kill()?;
            director.start()?;
        } else {
            director.restart()?;
        }
        let before = load.answered();
        lb_lab::wait_until("load goes on", PATIENCE, || load.answered() > before + 50);
    }
    load.stop();
    let report = load.finish()?;
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(report.answered > 500);
    Ok(())
}

#[test]
fn on_exit_keep_goes_on_forwarding_and_detach_does_not() -> TestResult {
    let lab = lab(1)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    assert!(director.stop()?.success());
    assert_eq!(answers(&lab, 2)?, ["rs1"; 2]);
    drop(director);
    let mut director =
        Director::on(&lab.director()).setting("on_exit", "\"detach\"").config(web(&lab)).start()?;
    assert_eq!(answers(&lab, 2)?, ["rs1"; 2]);
    assert!(director.stop()?.success());
    assert!(lab.client().http_get((lab.vip(), 80), Duration::from_millis(300)).is_err());
    let link = lab.director().run(["ip", "-details", "link", "show", "dev", "eth0"])?;
    assert!(!link.contains("xdp"), "{link}");
    let addresses = lab.director().run(["ip", "address", "show", "dev", "eth0"])?;
    assert!(!addresses.contains(&lab.vip().to_string()), "{addresses}");
    let left = std::fs::read_dir(director.bpffs()).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(left, 0, "nothing stays pinned");
    Ok(())
}

#[test]
fn a_restart_with_another_file_keeps_the_connections_of_what_stayed() -> TestResult {
    let lab = lab(3)?;
    let servers = lab.real_servers();
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let mut open: Vec<OpenConnection> =
        (0..3).map(|_| OpenConnection::open(&lab.client(), lab.vip())).collect::<lb_lab::Result<_>>()?;
    let before: Vec<String> = open.iter_mut().map(|open| open.ask().expect("it answers")).collect();
    assert_eq!(before, ["rs3", "rs2", "rs1"]);
    // rs2 goes, the order changes, another service comes.
    let smaller = VirtualServer::tcp("renamed", lab.vip(), 80)
        .real_server(servers[2].address(), 1)
        .real_server(servers[0].address(), 1);
    let other = VirtualServer::udp("dns", lab.vip(), 53).hosts(&servers);
    director.change_config(format!("{other}\n{smaller}"))?;
    director.restart()?;
    assert_eq!(open[0].ask().expect("rs3 stayed"), "rs3");
    assert_eq!(open[2].ask().expect("rs1 stayed"), "rs1");
    assert!(open[1].ask().is_err(), "rs2 is gone: a reset, not silence");
    assert_eq!(answers(&lab, 4)?, ["rs1", "rs3", "rs1", "rs3"]);
    Ok(())
}

#[test]
fn connections_move_to_a_table_of_another_size() -> TestResult {
    let lab = lab(2)?;
    let mut director =
        Director::on(&lab.director()).setting("max_connections", 4096).config(web(&lab)).start()?;
    let mut open: Vec<OpenConnection> =
        (0..20).map(|_| OpenConnection::open(&lab.client(), lab.vip())).collect::<lb_lab::Result<_>>()?;
    let before: Vec<String> = open.iter_mut().map(|open| open.ask().expect("it answers")).collect();
    director.kill()?;
    drop(director);
    let mut director =
        Director::on(&lab.director()).setting("max_connections", 65_536).config(web(&lab)).start()?;
    let log = director.process()?.log();
    assert!(log.contains("of another size: moved"), "{log}");
    let after: Vec<String> = open.iter_mut().map(|open| open.ask().expect("it survived")).collect();
    assert_eq!(after, before);
    let active: u64 =
        real_servers(&director)?.iter().filter_map(|server| server["active_connections"].as_u64()).sum();
    assert_eq!(active, 20);
    Ok(())
}

/// After an upgrade to a version that lays its maps out anew: nothing has to be removed by hand, and there is a program
/// on the interface at every moment.
#[test]
fn what_a_version_with_another_layout_attached_is_taken_over() -> TestResult {
    let lab = lab(2)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    assert_eq!(answers(&lab, 2)?.len(), 2);
    director.kill()?;
    let layouts = || -> lb_lab::Result<Vec<std::path::PathBuf>> {
        let entries = std::fs::read_dir(director.bpffs()).expect("it is there");
        Ok(entries.map(|entry| entry.expect("it is there").path()).collect())
    };
    let [ours] = &layouts()?[..] else { panic!("{:?}", layouts()?) };
    let other = director.bpffs().join("layout-1");
    std::fs::rename(ours, &other)?;
    let ours = ours.clone();
    assert_eq!(answers(&lab, 2)?.len(), 2, "the program does not need its pins");
    director.start()?;
    let log = director.process()?.log();
    assert!(log.contains("took over the program attached to eth0"), "{log}");
    assert!(log.contains("layout-1 was another version's"), "{log}");
    assert!(ours.exists() && !other.exists());
    assert_eq!(answers(&lab, 4)?.len(), 4);
    let counted = real_servers(&director)?;
    let counted: u64 = counted.iter().filter_map(|server| server["stats"]["connections"].as_u64()).sum();
    assert_eq!(counted, 4, "what was counted before is not known any more");
    Ok(())
}
