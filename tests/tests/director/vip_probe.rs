//! Probes that go to the VIP at a real server's MAC, by the library: what a director does whose checks have
//! `target = "vip"`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_lab::{Director, Host, HostSpec, Lab, Result, TestResult, UdpEcho};
use lb_userspace::dataplane::{Capacity, Dataplane, Options};
use lb_userspace::health::vip::{Path, Stack};
use lb_userspace::neighbour::{Resolution, Resolutions};
use lb_userspace::net::Netlink;
use lb_userspace::state::{Network, locate, ways};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{PATIENCE, web, web6};

/// For a real server that lacks the VIP: as long as one that has it would ever take.
const IMPATIENCE: Duration = Duration::from_millis(400);
const UDP: u16 = 5353;

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// A client, a director, another that is to be a backup, and a real server, with IPv6.
fn lab() -> Result<Lab> {
    let lab = Lab::builder().ipv6().client("client").director("director");
    lab.real_servers(1).host(HostSpec::director("backup")).build()
}

/// What the kernel of a host has answered by itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answered {
    resets: u64,
    errors: u64,
}

impl Answered {
    fn by(host: &Host) -> Result<Self> {
        let v4 = host.run(["cat", "/proc/net/snmp"])?;
        let v6 = host.run(["cat", "/proc/net/snmp6"])?;
        let column = |protocol: &str, name: &str| {
            let mut lines = v4.lines().filter(|line| line.starts_with(protocol));
            let names = lines.next().unwrap_or_default().split_whitespace();
            let values = lines.next().unwrap_or_default().split_whitespace();
            let found = names.zip(values).find(|(found, _)| *found == name);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        let row = |name: &str| -> u64 {
            let found = v6.lines().find_map(|line| line.strip_prefix(name));
            found.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        let errors = column("Icmp:", "OutDestUnreachs") + row("Icmp6OutDestUnreachs");
        Ok(Self { resets: column("Tcp:", "OutRsts"), errors })
    }
}

/// Whether answers are kept from the kernel's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Kept,
    Seen,
}

/// Runs probes of the lab's real server on a host, as the daemon there would.
fn probing<T: Send>(
    lab: &Lab,
    host: &Host,
    answers: Answers,
    probe: impl AsyncFnOnce(&Stack) -> std::result::Result<T, Problem> + Send,
) -> std::result::Result<T, Problem> {
    let server = lab.host("rs1");
    let vips = BTreeSet::from([IpAddr::from(lab.vip()), IpAddr::from(lab.vip6())]);
    let bpffs = lab.bpffs().join(format!("{}-probes", host.name()));
    let run = async || {
        let netlink = Netlink::open()?;
        let details = netlink.link_details().await?;
        let links: Vec<_> = details.iter().map(|details| details.link.clone()).collect();
        let eth0 = links.iter().find(|link| link.name == "eth0").ok_or("there is an eth0")?.clone();
        let addresses = BTreeMap::from([(eth0.index, netlink.addresses(eth0.index).await?)]);
        let mut network = Network::default();
        let mut resolutions = Resolutions::new();
        let servers = BTreeSet::from([IpAddr::from(server.address()), server.address6().into()]);
        for server_address in &servers {
            let route = netlink.route(*server_address).await?;
            network.locations.insert(*server_address, locate(route, None, &links, &[(eth0.index, 0)]));
            let mac = server.mac().to_string().parse()?;
            resolutions.insert(*server_address, Resolution { mac: Some(mac), is_reachable: true });
        }
        let capacity = Capacity { max_connections: 1024, has_ipv6: false };
        let mut dataplane = Dataplane::open(&Options { bpffs, capacity, log_flows: false })?;
        let mut replies = dataplane.take_probe_replies().ok_or("nobody has it")?;
        if answers == Answers::Kept {
            replies.follow(&BTreeMap::from([(eth0.index, eth0.name.clone())]), &vips)?;
        }
        let found = ways(&servers, &network, &resolutions, &details, &addresses, &vips);
        let (_ways, ways) = watch::channel(Arc::new(found));
        let stack = Stack::new(ways);
        probe(&stack).await
    };
    host.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run())
    })?
}

/// The paths of both families.
fn paths(lab: &Lab, stack: &Stack) -> [Path; 2] {
    let server = lab.host("rs1");
    [
        stack.path(server.address().into(), lab.vip().into(), None),
        stack.path(server.address6().into(), lab.vip6().into(), None),
    ]
}

async fn get(path: &Path) -> std::result::Result<String, Problem> {
    let mut stream = timeout(PATIENCE, path.connect(80)).await??;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}

/// All that can be asked succeeds.
async fn everything_answers(path: &Path) -> std::result::Result<(), Problem> {
    let answer = get(path).await?;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("X-Real-Server: rs1"), "{answer}");
    let refused = timeout(PATIENCE, path.connect(81)).await?.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let datagram = timeout(PATIENCE, path.exchange(UDP, b"question")).await??;
    assert_eq!(datagram, b"rs1: question");
    let refused = timeout(PATIENCE, path.exchange(UDP + 1, b"question")).await?.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    timeout(PATIENCE, path.echo()).await??;
    Ok(())
}

/// Nothing that can be asked is answered.
async fn nothing_answers(path: &Path) {
    assert!(timeout(IMPATIENCE, path.connect(80)).await.is_err());
    assert!(timeout(IMPATIENCE, path.exchange(UDP, b"question")).await.is_err());
    assert!(timeout(IMPATIENCE, path.echo()).await.is_err());
}

fn a_probe_finds_the_real_server_without_the_vip(lab: &Lab, host: &Host) -> std::result::Result<(), Problem> {
    let server = lab.host("rs1");
    let _echo = UdpEcho::start(&server, (lab.vip(), UDP))?;
    let _echo6 = UdpEcho::start(&server, (lab.vip6(), UDP))?;
    let before = Answered::by(host)?;
    probing(lab, host, Answers::Kept, async |stack| {
        for path in paths(lab, stack) {
            everything_answers(&path).await?;
        }
        server.remove_vip(lab.vip())?;
        server.remove_vip(lab.vip6())?;
        for path in paths(lab, stack) {
            nothing_answers(&path).await;
        }
        server.add_vip(lab.vip())?;
        server.add_vip(lab.vip6())?;
        for path in paths(lab, stack) {
            get(&path).await?;
        }
        Ok(())
    })?;
    assert_eq!(
        Answered::by(host)?,
        before,
        "the kernel of {} answered what was none of its own",
        host.name()
    );
    Ok(())
}

#[test]
fn the_director_that_has_the_vip_finds_the_real_server_that_lacks_it() -> TestResult {
    let lab = lab()?;
    let _director = Director::on(&lab.director()).config(web(&lab)).config(web6(&lab)).start()?;
    a_probe_finds_the_real_server_without_the_vip(&lab, &lab.director())?;
    // And clients are served as before.
    assert_eq!(lab.client().http_get((lab.vip(), 80), PATIENCE)?.server, "rs1");
    Ok(())
}

#[test]
fn a_backup_that_lacks_the_vip_finds_it_too_and_resets_nothing() -> TestResult {
    let lab = lab()?;
    a_probe_finds_the_real_server_without_the_vip(&lab, &lab.host("backup"))?;
    Ok(())
}

/// What the program is there for: without it, a backup resets the connections of its own probes, towards the master.
#[test]
fn without_the_program_a_backup_resets_what_its_kernel_does_not_know() -> TestResult {
    let lab = lab()?;
    let backup = lab.host("backup");
    let before = Answered::by(&backup)?;
    probing(&lab, &backup, Answers::Seen, async |stack| {
        for path in paths(&lab, stack) {
            let _ = timeout(IMPATIENCE, path.connect(80)).await;
        }
        Ok(())
    })?;
    assert!(Answered::by(&backup)?.resets > before.resets);
    Ok(())
}

/// 2,000 at once, to a real server that answers none: the daemon's time for each.
#[test]
fn probes_that_wait_cost_next_to_nothing() -> TestResult {
    let lab = lab()?;
    let (server, backup) = (lab.host("rs1"), lab.host("backup"));
    server.remove_vip(lab.vip())?;
    let spent = probing(&lab, &backup, Answers::Kept, async |stack| {
        let [path, _] = paths(&lab, stack);
        let began = thread_time();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..2000 {
            let path = path.clone();
            waiting.spawn(async move { timeout(Duration::from_secs(2), path.connect(80)).await.is_err() });
        }
        assert!(waiting.join_all().await.into_iter().all(|timed_out| timed_out));
        let silent = (thread_time() - began) / 2000;
        server.add_vip(lab.vip())?;
        let began = thread_time();
        for _ in 0..500 {
            get(&path).await?;
        }
        Ok((silent, (thread_time() - began) / 500))
    })?;
    let (silent, http) = spent;
    println!("CPU time of a probe: {silent:?} of TCP that nobody answers, {http:?} of HTTP");
    assert!(silent < Duration::from_millis(2) && http < Duration::from_millis(5), "{spent:?}");
    Ok(())
}

/// The CPU time of this thread, in which all of the stack runs.
fn thread_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}
