//! `ipvsadm -R` and `ipvsadm-restore`.

use super::{Noting, service};

/// What ipvsadm 1.31 printed for `-S -n`, on Linux 6.1.
const SAVED: &str = "\
-A -t 1.2.3.4:80 -s rr
-A -t 1.2.3.4:81 -s rr
-a -t 1.2.3.4:81 -r 10.0.0.2:81 -g -w 1
-a -t 1.2.3.4:81 -r 127.0.0.1:81 -g -w 1
-A -t 1.2.3.4:84 -s rr -p 360 -M 255.255.255.0
-A -t 1.2.3.4:91 -s sh -b sh-port
-A -u 1.2.3.4:53 -s rr -o
-A -t [2001:db8::1]:80 -s rr -p 360 -M 64
-A -f 7 -6 -s rr
-a -f 7 -6 -r [2001:db8::10]:0 -g -w 1
";

#[test]
fn a_file_of_the_real_program_is_restored_as_one_change() {
    let mut daemon = Noting::default();
    let outcome = daemon.run_with("-R", SAVED);
    assert_eq!((outcome.code, outcome.out.as_str()), (0, ""));
    assert_eq!(outcome.err.lines().count(), 1, "of the group: {}", outcome.err);
    assert_eq!(daemon.made.iter().map(Vec::len).collect::<Vec<_>>(), [10]);
    let again = daemon.call(|session| session.restore_anew(&mut SAVED.as_bytes()));
    assert_eq!(again.code, 0);
    let changes = &daemon.made[1];
    assert_eq!((changes.len(), changes[0]["op"].as_str()), (11, Some("clear")));
}

#[test]
fn lines_may_begin_with_the_name_and_be_empty_or_comments() {
    let mut daemon = Noting::default();
    let text = "# rules\n\n  ipvsadm -A -t 192.0.2.1:80 -s rr # web\n\t-C\r\n";
    assert!(daemon.run_with("-R", text).is_silent_success());
    assert_eq!(daemon.changes().len(), 2);
}

/// As if each line had been typed: the others are done, and the last one decides the exit code.
#[test]
fn a_line_that_is_refused_does_not_keep_the_others_from_being_done() {
    let lines = |range: std::ops::Range<u32>| -> String {
        range.map(|n| format!("-a -t 192.0.2.1:80 -r 10.0.0.{n} -g\n")).collect()
    };
    let mut daemon = Noting::with(vec![service(&["192.0.2.1:80"], "rr", &[])]);
    let _ = daemon.run_with("-R", &lines(3..5));
    let refused = std::mem::take(&mut daemon.made);
    // One that is listed, and one that came a moment ago.
    daemon.refused = refused.concat().iter().map(|change| (change.to_string(), "server_exists")).collect();
    daemon.listed = vec![service(&["192.0.2.1:80"], "rr", &[("10.0.0.4", 1)])];
    let outcome = daemon.run_with("-R", &lines(0..10));
    assert_eq!(outcome.code, 0);
    assert_eq!(outcome.err, "Destination already exists\n".repeat(2));
    assert_eq!(daemon.changes().len(), 8);
    assert_eq!(daemon.made.iter().map(Vec::len).collect::<Vec<_>>(), [3, 5]);
    for end in [4, 5] {
        let outcome = daemon.run_with("-R", &lines(0..end));
        assert_eq!(outcome.code, 255, "the last line was refused");
    }
    let outcome = daemon.run_with("-R", "-C\n-A -t 192.0.2.1:80 --unknown\n-C\n");
    assert_eq!((outcome.code, outcome.err.as_str()), (0, "--unknown: unknown option\n"));
}

/// Each line was a question: of some thousand real servers that took minutes.
#[test]
fn a_table_that_is_there_already_is_refused_at_once() {
    let servers: Vec<String> = (0..400).map(|n| format!("10.0.{}.{}", n / 200, n % 200)).collect();
    let listed: Vec<(&str, u32)> = servers.iter().map(|server| (server.as_str(), 1)).collect();
    let mut daemon = Noting::with(vec![service(&["192.0.2.1:80"], "rr", &listed)]);
    let rules = daemon.run("-S -n").out;
    let _ = daemon.run_with("-R", &rules);
    let changes = daemon.changes();
    daemon.refused = changes.into_iter().map(|change| (change, "server_exists")).collect();
    daemon.asked = 0;
    let outcome =
        daemon.run_with("-R", &(rules + "-a -t 192.0.2.9:80 -r 10.0.0.1\n-A -f 7\n-e -f 7 -r 10.0.0.1\n"));
    let said: Vec<&str> = outcome.err.lines().collect();
    assert_eq!((said.len(), outcome.code), (404, 255));
    assert_eq!((said[0], said[1]), ("Service already exists", "Destination already exists"));
    assert_eq!(said[401..403], ["Service not defined", "No such destination"]);
    assert_eq!(daemon.asked, 3, "all, what there is, and what is left: the group");
}

/// `fail()` of ipvsadm.c exits.
#[test]
fn a_line_that_makes_no_sense_is_the_end_of_all() {
    let mut daemon = Noting::default();
    let outcome = daemon.run_with("-R", "-C\n-A -t bad -s rr\n-C\n");
    assert_eq!(
        (outcome.code, outcome.err.as_str()),
        (2, "illegal virtual server address[:port] specified\n")
    );
    assert_eq!(daemon.changes().len(), 1, "what came before it is done");
    let outcome = Noting::default().run_with("-R", "-R\n");
    assert_eq!(outcome.code, 255);
    assert!(outcome.err.starts_with("Try `ipvsadm -h'"));
}

#[test]
fn many_lines_are_a_few_changes() {
    let mut daemon = Noting::default();
    let text: String = (0..1200).map(|n| format!("-A -t 192.0.2.1:{} -s rr\n", 1 + n)).collect();
    assert!(daemon.run_with("-R", &text).is_silent_success());
    assert_eq!(daemon.made.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 200]);
}

#[test]
fn a_listing_in_between_sees_what_came_before_it() {
    let mut daemon = Noting::default();
    let outcome = daemon.run_with("-R", "-C\n-L --timeout\n-C\n");
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "Timeout (tcp tcpfin udp): 900 120 300\n"));
    assert_eq!(daemon.made.len(), 2);
}
