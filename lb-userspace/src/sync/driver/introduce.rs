//! Who the others are, and what they know: asked once by TCP, and answered to whoever asks.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{interval, sleep, timeout};

use super::super::datagram::Refused;
use super::super::introduction::{FULL_BLOCK, Failure, SNAPSHOT, Snapshot, Wish, answer, ask};
use super::super::peers::MOST;
use super::super::{record, sockets};
use super::{Engine, SNAPSHOT_BUCKETS, SyncError, lock, now};
use crate::dataplane::{Flow, FlowCursor};

/// How often it is looked whom to ask.
const INTRODUCE: Duration = Duration::from_millis(100);
/// How long it takes to reach somebody.
const CONNECT: Duration = Duration::from_secs(2);
/// How many may ask at once, and how many of one address.
const ASKING: usize = 16;
const ASKING_OF_ONE: usize = 4;

impl Engine {
    /// Asks those who are to be asked.
    pub(super) async fn introduce(self: Arc<Self>) -> SyncError {
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
    pub(super) async fn accept(self: Arc<Self>) -> SyncError {
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
}
