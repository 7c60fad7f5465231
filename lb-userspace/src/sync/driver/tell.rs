//! What this director tells the others: connections as they are confirmed or change, and now and then all that last.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::super::datagram::Writer;
use super::{Engine, SNAPSHOT_BUCKETS, SyncError, TURN, lock, now};
use crate::dataplane::{Flow, FlowCursor};

/// How long events are collected: what a peer learns later than it could.
const COLLECT: Duration = Duration::from_millis(5);
/// How often it is looked for events that nobody told of.
const LOOK: Duration = Duration::from_millis(200);
/// How often a piece of the table is looked at for connections that last.
const PIECE: Duration = Duration::from_millis(100);

impl Engine {
    /// Tells of what the programs tell.
    pub(super) async fn tell(&self) -> io::Error {
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

    pub(super) fn flush(&self) {
        let mut writer = lock(&self.writer);
        if writer.records() > 0 {
            self.send(&mut writer);
        }
    }

    /// Sends what has been written to all. What the kernel does not take now is lost, and its number with it.
    pub(super) fn send(&self, writer: &mut Writer) {
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

    /// Goes over the table, once in the time of `refresh`, and tells of what this director has seen since the last time.
    pub(super) async fn refresh(&self) -> SyncError {
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
}
