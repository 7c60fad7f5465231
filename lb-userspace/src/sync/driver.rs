//! The clock, the sockets and the tasks.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use ring::hmac;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::board::{Asked, Board, SyncPeer, SyncStatus, time};
use super::datagram::{Datagram, LONGEST, Refused, Writer};
use super::introduction::{FULL_BLOCK, Failure, Identity, SNAPSHOT, Snapshot, Wish, answer, ask};
use super::key::Key;
use super::peers::{Arrival, MOST, Peers};
use super::{Session, record, sockets};
use crate::config::Sync;
use crate::dataplane::{EventWatch, Flow, FlowCursor, FlowEvents, FlowTable};

/// How long events are collected: what a peer learns later than it could.
const COLLECT: Duration = Duration::from_millis(5);
/// How often it is looked for events that nobody told of.
const LOOK: Duration = Duration::from_millis(200);
/// How many events, or datagrams, are handled together before others have their turn.
const TURN: usize = 1024;
/// How often peers are told that this director is there.
const ALIVE: Duration = Duration::from_secs(1);
/// How often a piece of the table is looked at for connections that last.
const PIECE: Duration = Duration::from_millis(100);
/// How often it is looked whom to ask.
const INTRODUCE: Duration = Duration::from_millis(100);
/// Nobody answers: this director is alone.
const ALONE: Duration = Duration::from_secs(3);
/// Nobody waits for a snapshot longer than this.
const LATEST: Duration = Duration::from_secs(10);
/// How long it takes to reach somebody.
const CONNECT: Duration = Duration::from_secs(2);
/// How many may ask at once, and how many of one address.
const ASKING: usize = 16;
const ASKING_OF_ONE: usize = 4;
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

    /// Tells of what the programs tell.
    async fn tell(&self) -> io::Error {
        let mut events = Vec::with_capacity(TURN);
        let mut lost = self.lost_before;
        loop {
            // What was told while nobody looked has woken nobody.
            if let Ok(Err(error)) = timeout(LOOK, self.ring.wait()).await {
                return error;
            }
            loop {
                events.clear();
                lock(&self.events).take(&mut events, TURN);
                let Ok(second) = lock(&self.table).now() else { break };
                for event in &events {
                    let described = lock(&self.table).describe(event, second);
                    if let Some(flow) = described {
                        self.add(&flow);
                    }
                }
                if events.len() < TURN {
                    break;
                }
                yield_now().await;
            }
            let lost_now = lock(&self.events).lost();
            if lost_now != lost {
                lost = lost_now;
                let mut board = self.board.lock();
                board.status.lost_events = lost.wrapping_sub(self.lost_before);
                if board.is_to_be_said(self.destinations[0].ip(), "lost events", now()) {
                    tracing::warn!(
                        "other directors are not told of some connections: there are more events than this machine handles (said once a minute)"
                    );
                }
                drop(board);
                lock(&self.writer).skip();
            }
            self.flush();
            sleep(COLLECT).await;
        }
    }

    fn add(&self, flow: &Flow) {
        let mut writer = lock(&self.writer);
        if writer.add(flow) {
            self.send(&mut writer);
        }
    }

    fn flush(&self) {
        let mut writer = lock(&self.writer);
        if writer.records() > 0 {
            self.send(&mut writer);
        }
    }

    /// Sends what has been written to all. What the kernel does not take now is lost, and its number with it.
    fn send(&self, writer: &mut Writer) {
        let records = u64::from(writer.records());
        let errors = writer.finish(|bytes| {
            let failed = |to: &&SocketAddr| self.datagrams.try_send_to(bytes, **to).is_err();
            self.destinations.iter().filter(failed).count()
        });
        let mut board = self.board.lock();
        board.status.sent_datagrams += 1;
        board.status.sent_connections += records;
        board.status.send_errors += errors as u64;
        board.status.number = writer.number();
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

    /// Goes over the table, once in the time of `refresh`, and tells of what this director has seen since the last time.
    async fn refresh(&self) -> SyncError {
        let mut ticks = interval(PIECE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // A third of what any connection lives, so that two in a row may be lost.
            let shortest = Duration::from_secs(u64::from(lock(&self.table).shortest_timeout()) / 3);
            let period = self.settings.refresh.min(shortest).max(Duration::from_secs(1));
            let pieces = (period.as_millis() / PIECE.as_millis()).max(1);
            let buckets = u128::from(lock(&self.table).buckets()).div_ceil(pieces);
            let buckets = u32::try_from(buckets).unwrap_or(u32::MAX);
            // A second more than the pass takes: what is told twice does no harm.
            let seconds = u32::try_from(period.as_secs() + 2).unwrap_or(u32::MAX);
            let mut next = Some(FlowCursor::default());
            while let Some(cursor) = next {
                ticks.tick().await;
                next = self.refresh_piece(cursor, buckets, seconds).await;
            }
        }
    }

    async fn refresh_piece(&self, mut cursor: FlowCursor, buckets: u32, seconds: u32) -> Option<FlowCursor> {
        let mut rest = buckets;
        while rest > 0 {
            let some = rest.min(SNAPSHOT_BUCKETS);
            rest -= some;
            let mut found = Vec::new();
            {
                let mut table = lock(&self.table);
                let Ok(second) = table.now() else { return Some(cursor) };
                let since = second.wrapping_sub(seconds);
                cursor = table.scan(cursor, some, Some(since), second, |flow| found.push(flow))?;
            }
            found.iter().for_each(|flow| self.add(flow));
            self.board.lock().status.refreshed += found.len() as u64;
            yield_now().await;
        }
        self.flush();
        Some(cursor)
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

    /// Asks those who are to be asked.
    async fn introduce(self: Arc<Self>) -> SyncError {
        let mut asking = JoinSet::new();
        let mut ticks = interval(INTRODUCE);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.due.notified() => {}
                _ = asking.join_next(), if !asking.is_empty() => {}
            }
            if asking.len() >= MOST {
                continue;
            }
            for (address, wish) in lock(&self.peers).due(now()) {
                asking.spawn(Arc::clone(&self).ask(address, wish));
            }
        }
    }

    async fn ask(self: Arc<Self>, address: SocketAddr, wish: Wish) {
        let began = now();
        let result = self.ask_in_time(address, wish).await;
        let ended = now();
        let has_succeeded = result.is_ok();
        lock(&self.peers).asked(address, wish, has_succeeded, ended);
        let mut board = self.board.lock();
        match result {
            Ok(records) => {
                let asked = board.asked.entry(address.ip()).or_default();
                asked.error = None;
                if wish == Wish::Snapshot {
                    asked.snapshot = Some((records, ended.duration_since(began)));
                    board.status.snapshots_received += 1;
                    tracing::info!(
                        connections = records,
                        took_ms = u64::try_from(ended.duration_since(began).as_millis()).unwrap_or(u64::MAX),
                        "{} has told of all its connections",
                        address.ip()
                    );
                }
            }
            Err(failure) => {
                board.asked.entry(address.ip()).or_default().error = Some(failure.to_string());
                if let Failure::Refused(refused) = failure {
                    board.refuse(address.ip(), refused, ended);
                } else if board.is_to_be_said(address.ip(), "unreachable", ended) {
                    tracing::warn!("ask {address} for its connections: {failure} (said once a minute)");
                }
            }
        }
        drop(board);
        if has_succeeded && wish == Wish::Snapshot {
            self.join();
        }
        self.show_peers();
    }

    async fn ask_in_time(&self, address: SocketAddr, wish: Wish) -> Result<u64, Failure> {
        let connecting = timeout(CONNECT, sockets::connect(&self.settings, address));
        let mut stream = connecting.await.map_err(|_| Failure::Slow)??;
        let introduced = ask(&mut stream, &self.key, self.identity(), wish).await?;
        lock(&self.peers).introduce(address, introduced.peer, now());
        if wish == Wish::Introduction {
            return Ok(0);
        }
        let take = |flows: &[Flow]| {
            let mut table = lock(&self.table);
            let Ok(second) = table.now() else { return };
            let mut board = self.board.lock();
            for flow in flows {
                board.count(table.apply(flow, false, second));
            }
        };
        introduced.receive_snapshot(&mut stream, take).await
    }

    /// Answers those who ask, a few at a time.
    async fn accept(self: Arc<Self>) -> SyncError {
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => if self.let_in(from.ip()) {
                        let engine = Arc::clone(&self);
                        answering.spawn(async move {
                            engine.answer(stream, from).await;
                            let mut asking = lock(&engine.asking);
                            if let Some(place) = asking.iter().position(|ip| *ip == from.ip()) {
                                asking.swap_remove(place);
                            }
                        });
                    },
                    // Too many files are open, or the one who asked has gone.
                    Err(_) => sleep(INTRODUCE).await,
                },
                _ = answering.join_next(), if !answering.is_empty() => {}
            }
        }
    }

    fn let_in(&self, from: IpAddr) -> bool {
        let is_known =
            self.settings.peers.is_empty() || self.settings.peers.iter().any(|peer| peer.ip() == from);
        let mut asking = lock(&self.asking);
        let has_room =
            asking.len() < ASKING && asking.iter().filter(|ip| **ip == from).count() < ASKING_OF_ONE;
        if is_known && has_room {
            asking.push(from);
            return true;
        }
        self.board.lock().refuse(from, Refused::Stranger, now());
        false
    }

    async fn answer(&self, mut stream: TcpStream, from: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let failure = match answer(&mut stream, &self.key, || self.identity()).await {
            Err(failure) => failure,
            Ok((introduced, wish)) => {
                let address = self.answers_at(from.ip());
                if lock(&self.peers).introduce(address, introduced.peer, now()) {
                    self.due.notify_one();
                }
                if wish == Wish::Introduction {
                    return;
                }
                let sending = self.send_snapshot(introduced.into_snapshot(), &mut stream);
                match timeout(SNAPSHOT, sending).await.unwrap_or(Err(Failure::Slow)) {
                    Err(failure) => failure,
                    Ok(()) => {
                        self.board.lock().status.snapshots_sent += 1;
                        return;
                    }
                }
            }
        };
        let mut board = self.board.lock();
        match failure {
            Failure::Refused(refused) => board.refuse(from.ip(), refused, now()),
            // Who says too little, or too late, is as good as one who says something else.
            Failure::Slow | Failure::Io(_) => board.refuse(from.ip(), Refused::Malformed, now()),
            Failure::Oneself | Failure::Random(_) => {}
        }
    }

    async fn send_snapshot(&self, mut snapshot: Snapshot, stream: &mut TcpStream) -> Result<(), Failure> {
        let mut next = Some(FlowCursor::default());
        loop {
            let mut block = Snapshot::block();
            while let Some(cursor) = next
                && block.len() < FULL_BLOCK
            {
                {
                    let mut table = lock(&self.table);
                    let second = table.now().map_err(io::Error::other)?;
                    let write = |flow: Flow| record::encode(&flow, &mut block);
                    next = table.scan(cursor, SNAPSHOT_BUCKETS, None, second, write);
                }
                // Others have to do with the same thread.
                yield_now().await;
            }
            snapshot.send(stream, block, next.is_none()).await?;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Where a director answers that asked from an address.
    fn answers_at(&self, ip: IpAddr) -> SocketAddr {
        let configured = self.settings.peers.iter().find(|peer| peer.ip() == ip);
        configured.copied().unwrap_or(SocketAddr::new(ip, self.settings.port))
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
