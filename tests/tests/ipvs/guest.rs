//! A user-mode Linux with IPVS: a kernel that runs as an ordinary program, and ends with it.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use lb_lab::try_wait_until;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::service::Service;

/// Below it lie user-mode Linux, its modules, ipvsadm and busybox, as Debian's packages hold them.
const PLACE: &str = "LB_UML";
/// It boots in two seconds, and schedules thousands of flows in one.
const TIME: Duration = Duration::from_secs(120);
/// The service of the last flow, which tells that the others are done.
const LAST: (Ipv4Addr, u16) = (Ipv4Addr::new(100, 64, 0, 1), 999);

/// A kernel that is ready to be started.
pub(crate) struct Guest {
    place: PathBuf,
}

/// A process group that ends when this does.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // It may have ended.
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

impl Guest {
    pub(crate) fn find() -> Self {
        let place = env::var_os(PLACE).unwrap_or_else(|| {
            panic!("{PLACE} does not say where user-mode Linux is: run `cargo xtask test ipvs`")
        });
        Self { place: place.into() }
    }

    /// The real servers that IPVS chooses, for those flows that get one: by client and virtual server.
    pub(crate) fn schedule(
        &self,
        services: &[Service],
        flows: &BTreeSet<(usize, SocketAddr)>,
    ) -> BTreeMap<(SocketAddr, SocketAddr), SocketAddr> {
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let last = SocketAddr::from(LAST);
        let client = SocketAddr::from(([20, 0, 0, 1], 1));
        let mut rules: Vec<String> = services.iter().flat_map(Service::rules).collect();
        rules.push(format!("-A -t {last} -s rr"));
        rules.push(format!("-a -t {last} -r 172.16.0.1:{} -g", last.port()));
        write(&work.path().join("services"), (rules.join("\n") + "\n").as_bytes());
        let flows = flows.iter().map(|(service, client)| (*client, services[*service].vip));
        let frames: Vec<u8> = flows.chain([(client, last)]).flat_map(|(from, to)| framed(from, to)).collect();
        write(&work.path().join("frames"), &frames);
        let console = self.run("schedule", work.path());
        let read = |name: &str| read(&work.path().join(name), &console);
        let listed = read("listed");
        for service in services {
            let line = service.listed();
            assert!(listed.lines().any(|listed| listed.trim_end() == line), "{line} is missing in\n{listed}");
        }
        read("connections").lines().skip(1).map(connection).collect()
    }

    /// What comes of these command lines, one after the other: each with `$ ` before it, what it printed, and `rc ` with
    /// its exit code.
    pub(crate) fn ask(&self, questions: &str) -> String {
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        write(&work.path().join("questions"), questions.as_bytes());
        let console = self.run("ask", work.path());
        read(&work.path().join("answers"), &console)
    }

    /// Runs the kernel to its end; what it wrote to its console.
    fn run(&self, task: &str, work: &Path) -> String {
        let console = work.join("console");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ipvs/guest.sh");
        let mut command = Command::new(self.place.join("usr/bin/linux.uml"));
        let pair = |name: &str, value: &Path| format!("{name}={}", value.display());
        command
            .args(["mem=512M", "rootfstype=hostfs", "rootflags=/", "ro", "con=null", "con0=null,fd:1"])
            .arg(pair("init", &script))
            .arg(format!("TASK={task}"))
            .arg(pair("UML", &self.place))
            .arg(pair("WORK", work))
            .arg(pair("FRAMES", Path::new(env!("CARGO_BIN_EXE_frames"))))
            .arg(format!("LAST={:08X}.{:04X}", u32::from(LAST.0), LAST.1))
            // Its sockets lie below the home directory.
            .env("HOME", work)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(File::create(&console).expect("a file"))
            .stderr(Stdio::null());
        let mut group = Group(command.spawn().expect("user-mode Linux starts"));
        let said = || String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        let ended = try_wait_until("user-mode Linux ends", TIME, || group.0.try_wait().ok().flatten());
        let said = said();
        assert!(ended.is_ok(), "{ended:?}\n{said}");
        assert!(said.contains("ipvs: ended 0"), "{said}");
        said
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

fn read(path: &Path, console: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}\n{console}", path.display()))
}

/// A SYN, after its length.
fn framed(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    let ip: PacketBuilderStep<IpHeaders> = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        _ => panic!("two families"),
    };
    let mut frame = Vec::new();
    ip.tcp(from.port(), to.port(), 1, 1024).syn().write(&mut frame, &[]).expect("a vector takes everything");
    let length = u16::try_from(frame.len()).expect("short");
    [&length.to_le_bytes(), frame.as_slice()].concat()
}

/// A line of `/proc/net/ip_vs_conn` (`ip_vs_conn_seq_show`): protocol, client, virtual and real server, each an address
/// and a port in hexadecimal.
fn connection(line: &str) -> ((SocketAddr, SocketAddr), SocketAddr) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let socket = |at: usize| -> Option<SocketAddr> {
        let (address, port) = (words.get(at)?, words.get(at + 1)?);
        let address: IpAddr = match u32::from_str_radix(address, 16) {
            Ok(address) => Ipv4Addr::from(address).into(),
            Err(_) => address.trim_matches(['[', ']']).parse::<Ipv6Addr>().ok()?.into(),
        };
        Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
    };
    let found = socket(1).zip(socket(3)).zip(socket(5));
    found.unwrap_or_else(|| panic!("a line of another kind: {line}"))
}
