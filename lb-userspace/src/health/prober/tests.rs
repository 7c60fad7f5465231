//! Checks of a listener on this machine.

use std::net::{IpAddr, Ipv4Addr};

use tokio::net::TcpListener;

use super::*;
use crate::config::{Flap, HealthCheck, Probe, SharedCheck, Target, Tcp};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than any test: what happens in one was asked for.
const NEVER: Duration = Duration::from_secs(3600);

fn tcp(port: u16, interval: Duration) -> HealthCheck {
    HealthCheck {
        interval,
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        retries: 1,
        retry_delay: Duration::from_millis(10),
        rise: 1,
        flap: None,
        bind: None,
        target: Target::RealServer,
        probe: Probe::Tcp(Tcp { port }),
    }
}

fn check(definition: HealthCheck) -> Check {
    Check { server: HOST, vip: None, definition: SharedCheck::from(definition) }
}

/// A prober, what it is told and what it says.
struct World {
    wanted: watch::Sender<Arc<HashSet<Check>>>,
    board: Board,
    verdicts: mpsc::Receiver<(Check, Verdict)>,
}

impl World {
    fn of(checks: impl IntoIterator<Item = Check>) -> Self {
        let (wanted, receiver) = watch::channel(Arc::new(checks.into_iter().collect()));
        let (verdicts, said) = mpsc::channel(16);
        let board = Board::default();
        let find: FindPath = Arc::new(|check| Path::Direct { server: check.server, bind: None });
        tokio::spawn(Prober::new(receiver, find, board.clone(), verdicts, Memory::default()).run());
        Self { wanted, board, verdicts: said }
    }

    async fn verdict(&mut self) -> (Check, Verdict) {
        self.verdicts.recv().await.expect("the prober runs")
    }

    async fn entry(&self, check: &Check) -> Arc<Entry> {
        loop {
            match self.board.get(check) {
                Some(entry) => return entry,
                None => tokio::task::yield_now().await,
            }
        }
    }
}

async fn listener() -> std::io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((HOST, 0)).await?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

#[tokio::test]
async fn what_is_new_is_said_once() -> std::io::Result<()> {
    let (listener, port) = listener().await?;
    let check = check(tcp(port, Duration::from_millis(20)));
    let mut world = World::of([check.clone()]);
    let (of, up) = world.verdict().await;
    assert_eq!((of, up.state, up.up_since), (check.clone(), State::Up, None), "it was not down before");
    drop(listener);
    let (_, down) = world.verdict().await;
    assert_eq!(down.state, State::Down);
    let reason = down.reason.expect("there is one");
    assert!(reason.contains("refused") && reason.ends_with("(2 times in a row)"), "{reason}");
    let _listener = TcpListener::bind((HOST, port)).await?;
    let (_, back) = world.verdict().await;
    assert_eq!((back.state, back.reason), (State::Up, None));
    assert!(back.up_since.is_some(), "from now on it may come up slowly");
    let seen = world.entry(&check).await.seen();
    assert_eq!((seen.state, seen.held_until), (State::Up, None));
    assert!(seen.last.is_some_and(|last| last.result.is_ok()));
    Ok(())
}

#[tokio::test]
async fn who_does_not_want_to_wait_does_not() -> std::io::Result<()> {
    let (listener, port) = listener().await?;
    let check = check(tcp(port, NEVER));
    let mut world = World::of([check.clone()]);
    assert_eq!(world.verdict().await.1.state, State::Up);
    let entry = world.entry(&check).await;
    let first = entry.seen().last.map(|last| last.began);
    entry.check_now().await;
    assert_ne!(entry.seen().last.map(|last| last.began), first, "another one");
    drop(listener);
    entry.check_now().await;
    assert!(entry.seen().last.is_some_and(|last| last.result.is_err()));
    assert_eq!(world.verdict().await.1.state, State::Down, "the retry follows by itself");
    Ok(())
}

#[tokio::test]
async fn a_check_that_takes_the_place_of_another_begins_where_that_was() -> std::io::Result<()> {
    let (listener, port) = listener().await?;
    drop(listener);
    let old = check(tcp(port, Duration::from_millis(20)));
    let mut world = World::of([old.clone()]);
    assert_eq!(world.verdict().await.1.state, State::Down);
    let new = check(tcp(port, NEVER));
    world.wanted.send_replace(Arc::new(HashSet::from([new.clone()])));
    let (of, verdict) = world.verdict().await;
    assert_eq!((of, verdict.state), (new.clone(), State::Down));
    assert!(world.board.get(&old).is_none(), "the old one has ended");
    let entry = world.entry(&new).await;
    let waiting = tokio::spawn(async move { entry.check_now().await });
    world.wanted.send_replace(Arc::default());
    while world.board.get(&new).is_some() {
        tokio::task::yield_now().await;
    }
    waiting.await.expect("whoever waits for its next probe waits no more");
    Ok(())
}

/// A director that lacks an address, descriptors or a route would take all real servers out of service.
#[tokio::test]
async fn a_fault_of_the_director_is_none_of_the_real_server() -> std::io::Result<()> {
    let (_listener, port) = listener().await?;
    let good = tcp(port, Duration::from_millis(20));
    let mut world = World::of([check(good.clone())]);
    assert_eq!(world.verdict().await.1.state, State::Up);
    let (script, interval) = (vec!["/nonexistent/check".to_owned()], Duration::from_millis(20));
    let probe = Probe::Exec(crate::config::Exec { command: script, dynamic: false });
    let lost = check(HealthCheck { probe, retries: 0, interval, ..good });
    world.wanted.send_replace(Arc::new(HashSet::from([lost.clone()])));
    assert_eq!(world.verdict().await.1.state, State::Up, "as it was before");
    let entry = world.entry(&lost).await;
    for _ in 0..3 {
        entry.check_now().await;
    }
    let seen = entry.seen();
    assert_eq!(seen.state, State::Up);
    let failure = seen.last.expect("it was tried").result.expect_err("there is no such script");
    assert!(failure.is_local(), "{failure}");
    assert!(world.verdicts.try_recv().is_err(), "there is nothing to say");
    Ok(())
}

#[tokio::test]
async fn one_that_is_held_says_so() -> std::io::Result<()> {
    let (listener, port) = listener().await?;
    let flap = Some(Flap { changes: 1, within: NEVER, hold: NEVER });
    let check = check(HealthCheck { flap, retries: 0, ..tcp(port, Duration::from_millis(20)) });
    let mut world = World::of([check.clone()]);
    assert_eq!(world.verdict().await.1.state, State::Up);
    drop(listener);
    assert_eq!(world.verdict().await.1.state, State::Down);
    let _listener = TcpListener::bind((HOST, port)).await?;
    let (_, held) = world.verdict().await;
    assert_eq!(held.state, State::Down);
    assert_eq!(held.reason.as_deref(), Some("it flips too often, and is down for 1h"));
    assert!(world.entry(&check).await.seen().held_until.is_some());
    Ok(())
}
