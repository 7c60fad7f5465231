//! Ctrl-C and SIGTERM remove every lab of this process before they end it.
//!
//! A thread of its own receives the signals. It first closes the gate that everything passes that makes
//! something outside of this process (a directory, a namespace, a child), then removes what was made.

use std::collections::BTreeSet;
use std::sync::{Mutex, Once, PoisonError, RwLock, RwLockReadGuard};
use std::thread;

use nix::sys::signal::{SigHandler, Signal, raise, signal};
use tokio::runtime;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal as stream_of};

use crate::cleanup;
use crate::error::{Doing, Error, Result};

/// True once a signal has arrived.
static CLOSED: RwLock<bool> = RwLock::new(false);
/// What a program does after the labs are removed, in place of ending as the signal would have it.
static END: Mutex<Option<End>> = Mutex::new(None);
/// The labs of this process.
static LABS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

type End = Box<dyn FnOnce(Signal, Result<usize>) + Send>;

/// Has this called once a signal has arrived and the labs are removed: with their number, or with the first
/// error. If it returns, the process ends as the signal would have ended it.
pub fn on_signal(end: impl FnOnce(Signal, Result<usize>) + Send + 'static) {
    *END.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(end));
}

/// Does nothing, unless a signal has arrived: then it waits for the process to end. For a program that has
/// something to say, or to end with, which is no longer true while its labs are being removed.
pub fn give_way_to_signal() {
    while *CLOSED.read().unwrap_or_else(PoisonError::into_inner) {
        thread::park();
    }
}

/// While it lives, the labs are not being removed. Never take two at once in one thread.
pub(crate) struct Creating(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'static, bool>);

/// Asks to make something that must be removed again.
pub(crate) fn creating() -> Result<Creating> {
    let gate = CLOSED.read().unwrap_or_else(PoisonError::into_inner);
    if *gate { Err(Error::Interrupted) } else { Ok(Creating(gate)) }
}

/// Has the lab removed when a signal arrives.
pub(crate) fn register(id: &str) {
    LABS.lock().unwrap_or_else(PoisonError::into_inner).insert(id.into());
}

/// Nothing of the lab is left to remove, or it is to stay.
pub(crate) fn unregister(id: &str) {
    LABS.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
}

/// Starts to watch for signals, once in a process.
pub(crate) fn watch() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = start());
    result
}

fn start() -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.doing(|| "watch for signals".into())?;
    let streams = {
        let _context = runtime.enter();
        let stream = |kind| stream_of(kind).doing(|| "watch for signals".into());
        (stream(SignalKind::interrupt())?, stream(SignalKind::terminate())?, stream(SignalKind::hangup())?)
    };
    let wait = move || {
        let signal = runtime.block_on(first(streams));
        let removed = close();
        let end = END.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (end, removed) {
            (Some(end), removed) => end(signal, removed),
            (None, Err(error)) => eprintln!("not all labs are removed completely: {error}"),
            (None, Ok(_)) => {}
        }
        end_by(signal);
    };
    thread::Builder::new().name("lab-signals".into()).spawn(wait).doing(|| "watch for signals".into())?;
    Ok(())
}

async fn first((mut interrupt, mut terminate, mut hangup): (Stream, Stream, Stream)) -> Signal {
    tokio::select! {
        _ = interrupt.recv() => Signal::SIGINT,
        _ = terminate.recv() => Signal::SIGTERM,
        _ = hangup.recv() => Signal::SIGHUP,
    }
}

fn close() -> Result<usize> {
    *CLOSED.write().unwrap_or_else(PoisonError::into_inner) = true;
    let labs = LABS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let results: Vec<_> = labs.iter().map(|id| cleanup::remove_lab(id)).collect();
    results.into_iter().collect::<Result<()>>()?;
    Ok(labs.len())
}

/// Ends the process as the signal would have, so that a shell sees why it ended.
fn end_by(number: Signal) {
    // SAFETY: the default action replaces a handler; no Rust code runs in it.
    let restored = unsafe { signal(number, SigHandler::SigDfl) };
    if restored.is_ok() {
        // It ends this process before it could return an error.
        _ = raise(number);
    }
    std::process::exit(128 + number as i32);
}
