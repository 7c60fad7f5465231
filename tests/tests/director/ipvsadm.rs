//! `ipvsadm` with a daemon behind it: what people who know it type, and what it then prints.

use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use lb_lab::{Director, HostSpec, Lab, Load, Output, Result, TestResult, VirtualServer};

use crate::support::{OpenConnection, PATIENCE, answers, answers_of, lab, web};

/// What the real program printed and returned.
const TRANSCRIPT: &str = include_str!("../../../lb-userspace/src/ipvsadm/golden/ipvsadm-transcript.txt");

/// The commands with which the transcript was set up.
const SETUP: &str = "\
ipvsadm -A -t 10.99.0.100:80 -s wlc -p 60
ipvsadm -a -t 10.99.0.100:80 -r 10.0.0.1:80 -g -w 3
ipvsadm -a -t 10.99.0.100:80 -r 10.0.0.2:80 -g
ipvsadm -A -u 10.99.0.100:53 -s mh -b mh-fallback,mh-port
ipvsadm -a -u 10.99.0.100:53 -r 10.0.0.3:53 -g -x 100 -y 50
ipvsadm -A -f 7 -s rr
ipvsadm -a -f 7 -r 10.0.0.2 -g";

/// A shell on the director that finds lb under the names of ipvsadm.
struct Shell<'a> {
    director: &'a Director,
    programs: PathBuf,
}

impl<'a> Shell<'a> {
    fn on(lab: &Lab, director: &'a Director) -> Self {
        let programs = lab.directory().join("programs");
        std::fs::create_dir(&programs).expect("a directory");
        for name in ["ipvsadm", "ipvsadm-save", "ipvsadm-restore"] {
            symlink(director.binary(), programs.join(name)).expect("a link");
        }
        Self { director, programs }
    }

    /// What comes of a line.
    fn try_run(&self, line: &str) -> Result<Output> {
        let found = format!("PATH={}:$PATH; cd {}; {line}", self.programs.display(), self.programs.display());
        let command = self.director.host().command("sh").args(["-c", &found]);
        command.env("LB_CONTROL_SOCKET", self.director.control_socket()).run()
    }

    /// What a line prints; it must succeed, as must all of several.
    fn run(&self, lines: &str) -> Result<String> {
        let mut printed = String::new();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            printed += &self.try_run(line)?.success()?;
        }
        Ok(printed)
    }
}

#[test]
fn prints_and_returns_what_the_real_program_does() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).setting("manage_vips", false).start()?;
    let shell = Shell::on(&lab, &director);
    shell.run(SETUP)?;
    let mut compared = 0;
    for part in TRANSCRIPT.split("\n$ ").skip(1) {
        let (line, expected) = part.split_once('\n').unwrap_or((part, ""));
        let line = line.split("  ").next().unwrap_or(line);
        // Names depend on the machine, and connections are others'.
        if line == "ipvsadm -L" || line == "ipvsadm -L -n -c" {
            continue;
        }
        let expected = expected.split("\n\n").next().unwrap_or(expected).trim_end_matches('\n');
        let expected = expected.replace("Route   1      1          0 ", "Route   1      0          0 ");
        let output = shell.try_run(line)?;
        let mut printed = output.stdout + &output.stderr;
        if expected.lines().any(|line| line.starts_with("rc ")) {
            printed += &format!("rc {}", output.status.code().expect("it ends"));
        } else {
            assert!(output.status.success(), "{line}: {printed}");
        }
        assert_eq!(printed.trim_end_matches('\n'), expected, "{line}");
        compared += 1;
    }
    assert_eq!(compared, 20, "entries of the transcript");

    // Saved rules are restored, and are then the same; the group's addresses are no part of them, and it has none.
    let saved = shell.run("ipvsadm-save -n > rules; cat rules")?;
    assert!(saved.contains("-a -u 10.99.0.100:53 -r 10.0.0.3:53 -g -w 1\n"), "{saved}");
    shell.run("ipvsadm -C")?;
    assert_eq!(shell.run("ipvsadm -S -n")?, "");
    shell.run("ipvsadm -R < rules")?;
    assert_eq!(shell.run("ipvsadm -S -n")?, saved);
    shell.run("ipvsadm-restore < rules")?;
    assert_eq!(shell.run("ipvsadm -S -n")?, saved);

    // Both ways to call it.
    let called = director.cli(["ipvsadm", "-Ln"])?;
    assert_eq!(called, shell.run("ipvsadm -ln")?);
    shell.run("ipvsadm -Z; ipvsadm -Z -u 10.99.0.100:53")?;
    shell.run("ipvsadm -E -t 10.99.0.100:80 -s rr; ipvsadm -e -t 10.99.0.100:80 -r 10.0.0.1 -g -w 7")?;
    let edited = shell.run("ipvsadm -Ln -t 10.99.0.100:80")?;
    assert!(edited.contains("\nTCP  10.99.0.100:80 rr\n") && edited.contains("Route   7      0"), "{edited}");
    shell
        .run("ipvsadm -d -t 10.99.0.100:80 -r 10.0.0.1:80; ipvsadm -D -u 10.99.0.100:53; ipvsadm -D -f 7")?;
    assert!(!shell.run("ipvsadm -Ln")?.contains("10.0.0.1:80 "));
    Ok(())
}

/// A director that is set up by hand: a VIP, two services, real servers without ports.
#[test]
fn a_cluster_is_set_up_as_the_guides_do() -> TestResult {
    let vip = Ipv4Addr::new(192, 168, 2, 254);
    let real_server = |name: &str, last| {
        HostSpec::real_server(name).address(Ipv4Addr::new(192, 168, 2, last)).ports([80, 21])
    };
    let lab = Lab::builder()
        .subnet(Ipv4Addr::new(192, 168, 2, 0), 24)
        .vip(vip)
        .client("client")
        .host(HostSpec::director("director").address(Ipv4Addr::new(192, 168, 2, 1)))
        .host(real_server("rs1", 2))
        .host(real_server("rs2", 3))
        .build()?;
    let director = Director::on(&lab.director()).start()?;
    let shell = Shell::on(&lab, &director);
    shell.run(
        "ipvsadm -C
ipvsadm -A -t 192.168.2.254:80 -s wlc
ipvsadm -a -t 192.168.2.254:80 -r 192.168.2.2 -g
ipvsadm -a -t 192.168.2.254:80 -r 192.168.2.3 -g
ipvsadm -A -t 192.168.2.254:21 -s wlc
ipvsadm -a -t 192.168.2.254:21 -r 192.168.2.2 -g
ipvsadm -a -t 192.168.2.254:21 -r 192.168.2.3 -g",
    )?;
    let listed = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.2.254:21 wlc
  -> 192.168.2.2:21               Route   1      0          0         
  -> 192.168.2.3:21               Route   1      0          0         
TCP  192.168.2.254:80 wlc
  -> 192.168.2.2:80               Route   1      0          0         
  -> 192.168.2.3:80               Route   1      0          0         
";
    assert_eq!(shell.run("ipvsadm -Ln")?, listed);
    lb_lab::wait_until("both real servers answer", PATIENCE, || {
        answers_of(&lab, vip, 4).is_ok_and(|mut answered| {
            answered.sort();
            answered.dedup();
            answered == ["rs1", "rs2"]
        })
    });
    let response = lab.client().http_get((vip, 21), PATIENCE)?;
    assert!(response.server.starts_with("rs"), "{}", response.server);
    let connections = shell.run("ipvsadm -lcn")?;
    let mut lines = connections.lines();
    assert_eq!(lines.next(), Some("IPVS connection entries"));
    assert_eq!(
        lines.next(),
        Some("pro expire state       source             virtual            destination")
    );
    assert!(
        lines.any(|line| line.starts_with("TCP ") && line.contains(" 192.168.2.254:21   192.168.2.")),
        "{connections}"
    );
    assert_eq!(shell.run("ipvsadm -Lnc")?.lines().next(), Some("IPVS connection entries"));
    let timeouts = shell.run("ipvsadm --set 900 120 60\nipvsadm -L --timeout")?;
    assert_eq!(timeouts, "Timeout (tcp tcpfin udp): 900 120 60\n");
    Ok(())
}

/// A director with keepalived's configuration, of which ipvsadm shows and saves what is done.
#[test]
fn a_configured_cluster_is_looked_at_saved_and_changed() -> TestResult {
    let vip = Ipv4Addr::new(172, 16, 40, 160);
    let host = |spec: HostSpec, last| spec.address(Ipv4Addr::new(172, 16, 40, last));
    let lab = Lab::builder()
        .subnet(Ipv4Addr::new(172, 16, 40, 0), 24)
        .vip(vip)
        .host(host(HostSpec::client("ittools"), 250))
        .host(host(HostSpec::director("lvs01"), 153))
        .host(host(HostSpec::real_server("nginx01"), 151))
        .host(host(HostSpec::real_server("nginx02"), 152))
        .build()?;
    let service = VirtualServer::tcp("web", vip, 80).hosts(&lab.real_servers());
    let director =
        Director::on(&lab.director()).config(service.line("persistence = { timeout = \"5s\" }")).start()?;
    let shell = Shell::on(&lab, &director);
    let rules = "\
-A -t 172.16.40.160:80 -s rr -p 5
-a -t 172.16.40.160:80 -r 172.16.40.151:80 -g -w 1
-a -t 172.16.40.160:80 -r 172.16.40.152:80 -g -w 1
";
    let listed = shell.run("ipvsadm -Ln")?;
    assert!(listed.contains("\nTCP  172.16.40.160:80 rr persistent 5\n  -> 172.16.40.151:80 "), "{listed}");
    assert_eq!(shell.run("ipvsadm-save -n >ipvsadm.rules; cat ipvsadm.rules")?, rules);
    let named = shell.run("ipvsadm-save >names; cat names")?;
    assert_eq!(named.lines().count(), 3, "{named}");
    let mut open = OpenConnection::open(&lab.client(), vip)?;
    let name = open.ask().expect("it answers");
    assert_eq!(answers_of(&lab, vip, 3)?, [name.as_str(); 3], "it is remembered");
    let held = shell.run("ipvsadm -Ln --persistent-conn -t 172.16.40.160:80")?;
    let clients = held.lines().filter(|line| line.starts_with("  -> 172") && line.contains(" 1         1 "));
    assert_eq!(clients.count(), 1, "one client, one real server: {held}");
    let connections = shell.run("ipvsadm -Lnc")?;
    let template = connections.lines().find(|line| line.contains(" NONE "));
    let template = template.unwrap_or_else(|| panic!("no template in {connections}"));
    let end = template.split("NONE").nth(1).expect("something behind it").split_whitespace();
    let end: Vec<&str> = end.collect();
    assert_eq!(end[..2], ["172.16.40.250:0", "172.16.40.160:80"], "{template}");

    // As the guide's examples go on: another scheduler, a real server less, and all of it back from the file.
    shell.run(
        "ipvsadm -E -t 172.16.40.160:80 -s wrr
ipvsadm -d -t 172.16.40.160:80 -r 172.16.40.152:80",
    )?;
    let changed = shell.run("ipvsadm -S -n")?;
    assert_eq!(
        changed,
        "-A -t 172.16.40.160:80 -s wrr\n-a -t 172.16.40.160:80 -r 172.16.40.151:80 -g -w 1\n"
    );
    shell.run("ipvsadm-restore < names")?;
    assert_eq!(shell.run("ipvsadm -S -n")?, rules);
    Ok(())
}

#[test]
fn restoring_what_there_is_disturbs_nobody() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let shell = Shell::on(&lab, &director);
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    let name = open.ask().expect("it answers");
    shell.run("ipvsadm-save -n > rules")?;
    let load = Load::to((lab.vip(), 80)).at_once(4).timeout(PATIENCE).start(&lab.client())?;
    for _ in 0..10 {
        shell.run("ipvsadm-restore < rules")?;
    }
    load.stop();
    let report = load.finish()?;
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(open.ask().expect("it goes on"), name);
    assert_eq!(answers(&lab, 4)?.len(), 4);
    Ok(())
}

/// A group with a mark in the file is what `-f` means; one that nobody configured gets no packets.
#[test]
fn a_group_is_edited_by_its_mark() -> TestResult {
    let lab = lab(2)?;
    let group = VirtualServer::tcp("web", lab.vip(), 80).address(lab.vip(), 443).line("fwmark = 7");
    let director = Director::on(&lab.director()).config(group.hosts(&lab.real_servers()[..1])).start()?;
    let shell = Shell::on(&lab, &director);
    let servers = lab.real_servers();
    let (first, second) = (servers[0].address(), servers[1].address());
    let listed = shell.run("ipvsadm -Ln")?;
    assert!(listed.contains(&format!("\nFWM  7 rr\n  -> {first}:0 ")), "{listed}");
    let there = shell.try_run("ipvsadm -A -f 7 -s wlc")?;
    assert_eq!((there.status.code(), there.stderr.as_str()), (Some(255), "Service already exists\n"));
    shell.run(&format!("ipvsadm -a -f 7 -r {second} -g -w 2\nipvsadm -d -f 7 -r {first}"))?;
    assert_eq!(answers(&lab, 3)?, ["rs2"; 3]);
    let saved = shell.try_run("ipvsadm -S -n")?;
    assert_eq!(saved.stdout, format!("-A -f 7 -s rr\n-a -f 7 -r {second}:0 -g -w 2\n"));
    assert!(saved.stderr.contains("the addresses of group 7 are not part of the rules"), "{}", saved.stderr);
    let unbound = shell.try_run("ipvsadm -A -f 8 -s rr")?;
    assert!(unbound.status.success() && unbound.stderr.contains("group 8 has no addresses yet"));
    assert!(shell.run("ipvsadm -Ln")?.contains("\nFWM  8 rr\n"));
    // The remedy that is told.
    let set = format!("addresses=[\"{}:8080\"]", lab.vip());
    assert!(unbound.stderr.contains("lb edit service fwmark-8 --set 'addresses=["), "{}", unbound.stderr);
    director.cli(["edit", "service", "fwmark-8", "--set", &set])?;
    shell.run(&format!("ipvsadm -a -f 8 -r {first}"))?;
    let named = shell.try_run(&format!("ipvsadm -A -t {}:8080 -s rr", lab.vip()))?;
    assert_eq!(named.stderr, "Service already exists\n", "as one of the group");
    let refused = shell.try_run(&format!("ipvsadm -a -f 8 -r {first} -m"))?;
    assert!(refused.status.code() == Some(2) && refused.stderr.contains("direct routing only"));
    Ok(())
}
