//! What the programs tell of connections, for other directors.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use aya::maps::{MapData, RingBuf};
use lb_common::sync::Event;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::{DataplaneError, map_failed};
use super::memory::Memory;
use super::open::Dataplane;

/// Events as they come from the programs. They come while this is [listening](Self::listen).
pub struct FlowEvents {
    ring: RingBuf<MapData>,
    memory: Arc<Memory>,
}

impl Dataplane {
    /// What the programs tell of connections. There must be one only: each event comes once.
    ///
    /// # Errors
    /// [`DataplaneError::Missing`], [`DataplaneError::Map`].
    pub fn flow_events(&mut self) -> Result<FlowEvents, DataplaneError> {
        let ring = self.ebpf.take_map("EVENTS").ok_or(DataplaneError::Missing("EVENTS"))?;
        let ring = RingBuf::try_from(ring).map_err(map_failed("open", "EVENTS"))?;
        let mut events = FlowEvents { ring, memory: Arc::clone(&self.memory) };
        // A daemon that was killed has left it on.
        events.listen(false);
        Ok(events)
    }
}

impl FlowEvents {
    /// Has the programs tell, or not. What was told before and not taken is forgotten.
    pub fn listen(&mut self, on: bool) {
        self.memory.settings().sync.store(u64::from(on));
        while self.ring.next().is_some() {}
    }

    /// Takes events until there are `most`, or no more.
    pub fn take(&mut self, events: &mut Vec<Event>, most: usize) {
        while events.len() < most {
            let Some(item) = self.ring.next() else { return };
            events.extend(decode(&item));
        }
    }

    /// What waits for events; within a runtime.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn watch(&self) -> io::Result<EventWatch> {
        EventWatch::of(self.ring.as_fd())
    }

    /// How many events found no room, since the maps were made.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.memory.settings().sync_lost.load()
    }
}

/// Waits for events.
#[derive(Debug)]
pub struct EventWatch(AsyncFd<OwnedFd>);

impl EventWatch {
    /// What waits for something in a ring.
    pub(super) fn of(ring: BorrowedFd<'_>) -> io::Result<Self> {
        let ring = ring.try_clone_to_owned()?;
        // SAFETY: the descriptor is open until its owner goes, and whose it is does not change.
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Returns when there may be events. Those that come while nobody waits, and that are not taken, wake nobody.
    ///
    /// # Errors
    /// Those of the runtime.
    pub async fn wait(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

impl Drop for FlowEvents {
    fn drop(&mut self) {
        self.memory.settings().sync.store(0);
    }
}

fn decode(bytes: &[u8]) -> Option<Event> {
    let (words, _) = bytes.as_chunks::<8>();
    let [meta, length, key @ ..] = words else { return None };
    let mut event =
        Event { meta: u64::from_ne_bytes(*meta), words: u64::from_ne_bytes(*length), key: [0; 5] };
    for (word, bytes) in event.key.iter_mut().zip(key) {
        *word = u64::from_ne_bytes(*bytes);
    }
    (key.len() >= event.key.len()).then_some(event)
}

#[cfg(test)]
mod tests {
    use lb_common::connection::{Meta, State};

    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let event = Event::new(&[1, 2, 3, 4, 5], Meta::new(7, State::Udp, 9));
        let words = [event.meta, event.words].into_iter().chain(event.key);
        let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        assert_eq!(decode(&bytes), Some(event));
        assert_eq!(decode(&bytes[..48]), None);
    }
}
