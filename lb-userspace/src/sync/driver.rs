//! The clock, the sockets and the tasks.

mod introduce;
mod tell;

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use ring::hmac;
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::board::{Asked, Board, SyncPeer, SyncStatus, time};
use super::datagram::{Datagram, LONGEST, Refused, Writer};
use super::introduction::Identity;
use super::key::Key;
use super::peers::{Arrival, Peers};
use super::{Session, sockets};
use crate::config::Sync;
use crate::dataplane::{EventWatch, FlowEvents, FlowTable};

/// How many events, or datagrams, are handled together before others have their turn.
const TURN: usize = 1024;
/// How often peers are told that this director is there.
const ALIVE: Duration = Duration::from_secs(1);
/// Nobody answers: this director is alone.
const ALONE: Duration = Duration::from_secs(3);
/// Nobody waits for a snapshot longer than this.
const LATEST: Duration = Duration::from_secs(10);
/// Buckets that are read for a snapshot before others have their turn.
const SNAPSHOT_BUCKETS: u32 = 100;
/// After a failure, which may not be the last.
const AGAIN: Duration = Duration::from_secs(5);

/// How far a director is that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPhase {
    /// It shares no connections.
    Off,
    /// It does not know yet what the others know.
    Joining,
    /// It knows what another knows, or nobody answered within three seconds, or it has been ten.
    Joined,
}

/// What is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The section `[sync]`.
    pub settings: Sync,
    /// What is in its key file.
    pub key: Key,
    /// The index of its interface.
    pub interface: u32,
}

#[derive(Debug, Error)]
enum SyncError {
    #[error(
        "{what} on {interface}, port {port}: {cause}; is another program there, and does the interface have an address?"
    )]
    Socket { what: &'static str, interface: String, port: u16, cause: io::Error },
    #[error("{0}: {1}")]
    Os(&'static str, io::Error),
    #[error("draw random numbers: {0}")]
    Random(getrandom::Error),
}

/// Shares connections as is wanted, until whoever wants ends. Everything is said on `board`; `phase` is for those who
/// wait.
pub async fn run(
    mut wanted: watch::Receiver<Option<Wanted>>,
    events: FlowEvents,
    table: FlowTable,
    board: Board,
    phase: watch::Sender<SyncPhase>,
) {
    let (events, table) = (Arc::new(Mutex::new(events)), Arc::new(Mutex::new(table)));
    let running = Mutex::new(Weak::new());
    loop {
        let now_wanted = wanted.borrow_and_update().clone();
        let sharing = async {
            let Some(wanted) = now_wanted else {
                board.end();
                phase.send_replace(SyncPhase::Off);
                return pending::<()>().await;
            };
            phase.send_replace(SyncPhase::Joining);
            let began = now();
            loop {
                let error = match Engine::start(&wanted, &events, &table, &board, &phase, began) {
                    Ok(engine) => {
                        *lock(&running) = Arc::downgrade(&engine);
                        engine.run().await
                    }
                    Err(error) => error,
                };
                tracing::error!("share connections with other directors: {error}");
                {
                    let mut board = board.lock();
                    board.status.phase = "failed".to_owned();
                    board.status.error = Some(error.to_string());
                }
                // Nobody is to wait for what does not come.
                phase.send_replace(SyncPhase::Joined);
                sleep(AGAIN).await;
            }
        };
        tokio::select! {
            () = sharing => {}
            changed = wanted.changed() => if changed.is_err() { break },
        }
        lock(&events).listen(false);
        // Tasks that were told to end have the sockets until they have.
        for _ in 0..200 {
            if lock(&running).strong_count() == 0 {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
    lock(&events).listen(false);
    phase.send_replace(SyncPhase::Off);
}

/// Everything of one session.
struct Engine {
    settings: Sync,
    key: Key,
    datagram_key: hmac::Key,
    session: Session,
    began: Instant,
    writer: Mutex<Writer>,
    events: Arc<Mutex<FlowEvents>>,
    table: Arc<Mutex<FlowTable>>,
    peers: Mutex<Peers>,
    board: Board,
    phase: watch::Sender<SyncPhase>,
    datagrams: UdpSocket,
    destinations: Vec<SocketAddr>,
    due: Notify,
    /// Who asks, by address.
    asking: Mutex<Vec<IpAddr>>,
    listener: TcpListener,
    ring: EventWatch,
    /// Events that had been lost when this began.
    lost_before: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    fn start(
        wanted: &Wanted,
        events: &Arc<Mutex<FlowEvents>>,
        table: &Arc<Mutex<FlowTable>>,
        board: &Board,
        phase: &watch::Sender<SyncPhase>,
        began: Instant,
    ) -> Result<Arc<Self>, SyncError> {
        let Wanted { settings, key, interface } = wanted;
        let failed = |what| {
            let (interface, port) = (settings.interface.value.clone(), settings.port);
            move |cause| SyncError::Socket { what, interface, port, cause }
        };
        let datagrams = sockets::datagrams(settings, *interface).map_err(failed("receive datagrams"))?;
        let listener = sockets::listener(settings).map_err(failed("listen"))?;
        let mut session = [0; 16];
        getrandom::fill(&mut session).map_err(SyncError::Random)?;
        let session = Session::from_be_bytes(session);
        let (ring, lost_before) = {
            let mut events = lock(events);
            events.listen(true);
            (events.watch().map_err(|error| SyncError::Os("wait for events", error))?, events.lost())
        };
        board.begin(SyncStatus {
            phase: "joining".to_owned(),
            interface: Some(settings.interface.value.clone()),
            group: settings.group.map(|group| group.to_string()),
            session: Some(shown(session)),
            since: Some(time(wall_clock())),
            ..SyncStatus::default()
        });
        Ok(Arc::new(Self {
            settings: settings.clone(),
            key: key.clone(),
            datagram_key: key.datagram().clone(),
            session,
            began,
            writer: Mutex::new(Writer::new(key.datagram().clone(), session)),
            events: Arc::clone(events),
            table: Arc::clone(table),
            peers: Mutex::new(Peers::new(&settings.peers, now())),
            board: board.clone(),
            phase: phase.clone(),
            datagrams,
            destinations: settings.destinations().collect(),
            due: Notify::new(),
            asking: Mutex::default(),
            listener,
            ring,
            lost_before,
        }))
    }

    /// Runs until something fails that should not.
    async fn run(self: Arc<Self>) -> SyncError {
        let mut tasks = JoinSet::new();
        let failed = |what, error| SyncError::Os(what, error);
        tasks.spawn({
            let engine = Arc::clone(&self);
            async move { failed("wait for events", engine.tell().await) }
        });
        tasks.spawn({
            let engine = Arc::clone(&self);
            async move { engine.refresh().await }
        });
        tasks.spawn({
            let engine = Arc::clone(&self);
            async move { failed("receive datagrams", engine.listen().await) }
        });
        tasks.spawn({
            let engine = Arc::clone(&self);
            async move { engine.stay_known().await }
        });
        tasks.spawn(Arc::clone(&self).accept());
        tasks.spawn(Arc::clone(&self).introduce());
        match tasks.join_next().await {
            Some(Ok(error)) => error,
            _ => SyncError::Os("run", io::Error::other("a task panicked; this is a bug in lb")),
        }
    }

    /// Says every second that this director is there, and writes on the board who else is.
    async fn stay_known(&self) -> SyncError {
        let mut ticks = interval(ALIVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.send(&mut lock(&self.writer));
            self.judge();
            self.show_peers();
        }
    }

    /// Takes what others tell.
    async fn listen(&self) -> io::Error {
        let mut bytes = vec![0; LONGEST + 1];
        loop {
            if let Err(error) = self.datagrams.readable().await {
                return error;
            }
            for _ in 0..TURN / 16 {
                match self.datagrams.try_recv_from(&mut bytes) {
                    Ok((length, from)) => self.receive(&bytes[..length], from),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Of a datagram that was sent, to somebody who is not there.
                    Err(_) => {}
                }
            }
            yield_now().await;
        }
    }

    fn receive(&self, bytes: &[u8], from: SocketAddr) {
        let now = now();
        let datagram = match Datagram::read(bytes, &self.datagram_key) {
            Ok(datagram) => datagram,
            Err(refused) => return self.board.lock().refuse(from.ip(), refused, now),
        };
        if datagram.session == self.session {
            return;
        }
        let arrival = lock(&self.peers).take(datagram.session, datagram.number, now);
        let is_late = match arrival {
            Arrival::Taken { is_late } => is_late,
            Arrival::Replayed => return self.board.lock().refuse(from.ip(), Refused::Replayed, now),
            Arrival::Stranger => {
                self.board.lock().refuse(from.ip(), Refused::Stranger, now);
                let mut peers = lock(&self.peers);
                if self.settings.group.is_some() {
                    peers.find(SocketAddr::new(from.ip(), self.settings.port), now);
                }
                peers.doubt(from.ip());
                return self.due.notify_one();
            }
        };
        let mut table = lock(&self.table);
        let Ok(second) = table.now() else { return };
        let mut board = self.board.lock();
        board.status.received_datagrams += 1;
        let read = datagram.records(|flow| board.count(table.apply(&flow, is_late, second)));
        if let Err(refused) = read {
            board.refuse(from.ip(), refused, now);
        }
    }

    fn identity(&self) -> Identity {
        Identity { session: self.session, number: lock(&self.writer).number() }
    }

    /// Whether to wait for a snapshot any longer.
    fn judge(&self) {
        let waited = now().duration_since(self.began);
        let is_alone = !lock(&self.peers).iter().any(|peer| peer.known.is_some());
        if waited >= LATEST || is_alone && waited >= ALONE {
            self.join();
        }
    }

    fn join(&self) {
        self.board.lock().status.phase = "joined".to_owned();
        self.phase.send_if_modified(|phase| std::mem::replace(phase, SyncPhase::Joined) != SyncPhase::Joined);
    }

    fn show_peers(&self) {
        let now = now();
        let peers = lock(&self.peers);
        let mut board = self.board.lock();
        let of = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        let mut missing = 0;
        let shown = peers.iter().map(|peer| {
            let known = peer.known.as_ref();
            let Asked { snapshot, error } = board.asked.get(&peer.address.ip()).cloned().unwrap_or_default();
            missing += known.map_or(0, |(_, window)| window.missing());
            SyncPeer {
                address: peer.address.to_string(),
                introduced: known.is_some(),
                session: known.map(|(session, _)| shown(*session)),
                heard_ms: peer.heard.map(|heard| of(now.duration_since(heard).as_millis())),
                number: known.map_or(0, |(_, window)| window.newest()),
                missing: known.map_or(0, |(_, window)| window.missing()),
                snapshot_connections: snapshot.map(|(records, _)| records),
                snapshot_ms: snapshot.map(|(_, took)| of(took.as_millis())),
                error,
            }
        });
        let shown = shown.collect();
        (board.status.peers, board.status.missing) = (shown, missing);
    }
}

/// The first digits are enough to tell one from another.
fn shown(session: Session) -> String {
    format!("{:08x}", session >> 96)
}

#[expect(clippy::disallowed_methods, reason = "the driver reads the clock for those it drives")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "when it began is told to people")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
