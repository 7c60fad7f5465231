//! The daemon as a service: what it tells the service manager, and with how few rights it runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lb_lab::{Director, DirectorBuilder, HostSpec, Lab, Load, TestResult};
use nix::sys::signal::Signal;

use crate::support::{OpenConnection, PATIENCE, answers, lab, real_servers, web};

/// Time for the daemon to start, or to say why not, also where a processor is emulated.
const STARTED: Duration = Duration::from_secs(40);

/// A service manager's end of NOTIFY_SOCKET.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(lab: &Lab) -> io::Result<Self> {
        let path = lab.directory().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, path })
    }

    /// The next message that is not of the watchdog.
    fn next(&self) -> io::Result<String> {
        loop {
            let message = self.receive()?;
            if message != "WATCHDOG=1\n" {
                return Ok(message);
            }
        }
    }

    fn receive(&self) -> io::Result<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

fn monotonic_usec() -> u128 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("there is such a clock");
    Duration::from(now).as_micros()
}

#[test]
fn the_service_manager_is_told_of_ready_status_reloads_and_the_end() -> TestResult {
    let lab = lab(2)?;
    let manager = Manager::new(&lab)?;
    let mut director = Director::on(&lab.director())
        .config(web(&lab))
        .timeout(STARTED)
        .variable("NOTIFY_SOCKET", &manager.path)
        .start()?;
    assert_eq!(manager.next()?, "READY=1\nSTATUS=1 virtual server, 2 of 2 real servers up\n");

    let second = lab.real_servers()[1].address().to_string();
    director.cli(["weight", "web", &second, "0"])?;
    assert_eq!(manager.next()?, "STATUS=1 virtual server, 1 of 2 real servers up\n");

    for signal in [None, Some(Signal::SIGHUP)] {
        let before = monotonic_usec();
        match signal {
            Some(signal) => director.signal(signal)?,
            None => drop(director.cli(["reload"])?),
        }
        let message = manager.next()?;
        let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&message);
        assert!((before..=monotonic_usec()).contains(&time.trim_end().parse()?), "{message}");
        assert_eq!(manager.next()?, "READY=1\nSTATUS=1 virtual server, 1 of 2 real servers up\n");
    }

    director.change_config("[[virtual_server]]\naddresses = 7\n")?;
    assert_eq!(director.try_cli(["reload"])?.status.code(), Some(1));
    assert!(manager.next()?.starts_with("RELOADING=1\n"));
    let refused = manager.next()?;
    let line =
        "1 virtual server, 1 of 2 real servers up; the configuration file was not reloaded, see the log";
    assert_eq!(refused, format!("READY=1\nSTATUS={line}\n"));

    director.signal(Signal::SIGTERM)?;
    assert_eq!(manager.next()?, "STOPPING=1\n");
    assert!(director.process()?.wait(PATIENCE)?.success());
    Ok(())
}

#[test]
fn the_watchdog_is_told_in_time_also_under_load_and_not_if_nobody_asks() -> TestResult {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let lab = lab(2)?;
    let manager = Manager::new(&lab)?;
    let _director = Director::on(&lab.director())
        .config(web(&lab))
        .variable("NOTIFY_SOCKET", &manager.path)
        .variable("WATCHDOG_USEC", TIMEOUT.as_micros().to_string())
        .start()?;
    assert!(manager.next()?.starts_with("READY=1\n"));
    let load = Load::to((lab.vip(), 80)).at_once(4).timeout(PATIENCE).start(&lab.client())?;
    let mut last = Instant::now();
    for _ in 0..4 {
        assert_eq!(manager.receive()?, "WATCHDOG=1\n");
        assert!(last.elapsed() < TIMEOUT, "it would have been killed: {:?}", last.elapsed());
        last = Instant::now();
    }
    load.stop();
    load.finish()?;
    Ok(())
}

/// The values of a unit file's keys; one that is set repeatedly has them all.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd").join(name);
    let text = fs::read_to_string(&path).expect("the unit is in the repository");
    let mut values = BTreeMap::<_, Vec<String>>::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        values.entry(key.to_owned()).or_default().extend(value.split_whitespace().map(str::to_owned));
    }
    values
}

/// Becomes a program with these capabilities and no way to more, as systemd does it.
fn with_only<'a>(capabilities: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let names = capabilities.into_iter().map(|name| {
        name.strip_prefix("CAP_").unwrap_or_else(|| panic!("{name} is no capability")).to_lowercase()
    });
    let set: String = names.map(|name| format!(",+{name}")).collect();
    let words = ["setpriv", "--no-new-privs", "--inh-caps=-all"].map(str::to_owned);
    words.into_iter().chain([format!("--bounding-set=-all{set}")]).collect()
}

/// A director whose binary can be run without CAP_DAC_OVERRIDE, wherever it was built.
fn restricted(lab: &Lab, capabilities: &[String]) -> io::Result<DirectorBuilder> {
    let binary = lab.directory().join("lb");
    if !binary.exists() {
        fs::copy(std::env::var_os("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY"), &binary)?;
    }
    Ok(Director::on(&lab.director()).binary(binary).under(with_only(capabilities)).timeout(STARTED))
}

#[test]
fn the_unit_s_capabilities_are_enough_for_all_that_a_director_does() -> TestResult {
    let unit = unit("lb.service");
    assert_eq!(unit["NoNewPrivileges"], ["yes"]);
    let lab = lab(2)?;
    let mut director = restricted(&lab, &unit["CapabilityBoundingSet"])?.config(web(&lab)).start()?;
    answers(&lab, 4)?;
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    let server = open.ask()?;
    assert_eq!(real_servers(&director)?.len(), 2);
    let (client, vip) = (format!("{}:40000", lab.client().address()), format!("{}:80", lab.vip()));
    let explained = director.cli(["explain", &client, &vip, "tcp"])?;
    assert!(explained.contains("XDP_TX"), "{explained}");
    let text = fs::read_to_string(director.config_file())?;
    fs::write(director.config_file(), text.replace("scheduler = \"rr\"", "scheduler = \"wrr\""))?;
    assert!(director.cli(["reload"])?.contains("reloaded: 1 change"));
    director.cli(["weight", "web", &lab.real_servers()[0].address().to_string(), "5"])?;
    director.cli(["acl", "deny", "192.0.2.0/24"])?;
    assert!(director.cli(["connections"])?.contains("ESTABLISHED"));

    // The next one takes the attachment over, and so does one with other tables.
    director.restart()?;
    assert_eq!(open.ask()?, server);
    director.kill()?;
    let text = fs::read_to_string(director.config_file())?;
    fs::write(
        director.config_file(),
        text.replace("[director]", "[director]\nmax_connections = 65536\non_exit = \"detach\""),
    )?;
    director.start()?;
    assert_eq!(open.ask()?, server);
    answers(&lab, 2)?;
    director.stop()?;
    let log = director.process()?.log();
    for problem in ["WARN", "ERROR", "not permitted", "denied"] {
        assert!(!log.contains(problem), "{problem}:\n{log}");
    }
    let left = fs::read_dir(director.bpffs()).map_or(0, Iterator::count);
    assert_eq!(left, 0, "on_exit = \"detach\"");
    Ok(())
}

/// A capability that nothing needs any more goes.
#[test]
fn none_of_the_unit_s_capabilities_can_be_left_out_and_an_error_names_them() -> TestResult {
    let all = &unit("lb.service")["CapabilityBoundingSet"];
    let lab = lab(1)?;
    let router = "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\nvirtual_addresses = ";
    let router = format!("{router}[\"{}/24\"]", lab.vip());
    for missing in all {
        let others: Vec<String> = all.iter().filter(|name| *name != missing).cloned().collect();
        let error = match restricted(&lab, &others)?.config(web(&lab)).config(&router).start() {
            Err(error) => error.to_string(),
            // The thread of VRRP says so by itself.
            Ok(mut director)
                if ["CAP_SYS_NICE", "CAP_IPC_LOCK", "CAP_NET_RAW"].contains(&missing.as_str()) =>
            {
                director.process()?.wait_for_line(missing, STARTED)?;
                director.process()?.log()
            }
            Ok(mut director) => director.process()?.log(),
        };
        assert!(error.contains(missing), "without {missing}:\n{error}");
    }
    Ok(())
}

#[test]
fn without_a_bpffs_and_the_right_to_mount_one_it_says_what_to_do() -> TestResult {
    let lab = lab(1)?;
    let pins = format!("{:?}", lab.directory().join("pins"));
    let director = restricted(&lab, &unit("lb.service")["CapabilityBoundingSet"])?;
    let error = director.setting("bpffs", pins).config(web(&lab)).start().err().expect("refused").to_string();
    for part in ["mount a bpffs on", "CAP_SYS_ADMIN", "`mount -t bpf bpf"] {
        assert!(error.contains(part), "{part}:\n{error}");
    }
    Ok(())
}

#[test]
fn a_real_server_s_unit_can_do_what_it_does() -> TestResult {
    let unit = unit("lb-real-server@.service");
    let lab = Lab::builder().ipv6().host(HostSpec::other("server")).build()?;
    let server = lab.host("server");
    let binary = lab.directory().join("lb");
    fs::copy(std::env::var_os("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY"), &binary)?;
    let state = lab.directory().join("real-server.json");
    let run = |key: &str, vip: &str| {
        let words = &unit[key];
        assert_eq!(words[0], "/usr/bin/lb");
        let arguments = words[1..].iter().map(|word| word.replace("%I", vip));
        let [wrapper, options @ ..] = &with_only(&unit["CapabilityBoundingSet"])[..] else { unreachable!() };
        let command = server.command(wrapper).args(options).arg(&binary).args(arguments);
        command.arg("--state-file").arg(&state).run()?.success()
    };
    for vip in ["192.0.2.7", "2001:db8::7", "198.51.100.0/28"] {
        assert!(run("ExecStart", vip)?.contains(&format!("added {vip}")));
    }
    assert_eq!(server.run(["cat", "/proc/sys/net/ipv4/conf/all/arp_ignore"])?, "1\n");
    for vip in ["2001:db8::7", "198.51.100.0/28", "192.0.2.7"] {
        assert!(run("ExecStop", vip)?.contains(&format!("removed {vip}")));
    }
    assert_eq!(server.run(["cat", "/proc/sys/net/ipv4/conf/all/arp_ignore"])?, "0\n");
    Ok(())
}
