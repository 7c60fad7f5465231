//! What destinations are said to have, and what they have.

use std::sync::atomic::AtomicBool;
use std::thread;

use lb_common::load::{Counts, Load, account};

use super::*;

pub(super) const SERVER: u32 = 3;

pub(super) fn load(memory: &Memory) -> &Load {
    &memory.loads[SERVER as usize]
}

/// Opens a connection and accounts for it, as the programs do.
pub(super) fn open(memory: &Memory, n: u32, now: u32) {
    let content = Meta::new(SERVER, State::Established, now);
    let timeouts = Timeouts::ipvs();
    let terms = Terms { now, timeouts: &timeouts, ranks: &timeouts };
    insert(
        memory.connections_v4(),
        &flow(n),
        FlowHash::new(&flow(n), SEED),
        content,
        terms,
        |before, after| {
            account(|number| memory.loads.get(number as usize), before, after);
        },
    );
}

/// Gives its place to nobody, as an insert of the same flow by another CPU does.
pub(super) fn close(memory: &Memory, n: u32) {
    let table = memory.connections_v4();
    let entry = lookup(table, &flow(n), FlowHash::new(&flow(n), SEED)).expect("it is open");
    if entry.free() {
        account(|number| memory.loads.get(number as usize), entry.meta, Meta::from_word(0));
    }
}

static ROUNDS: AtomicUsize = AtomicUsize::new(0);

/// What `membarrier` does: whoever was at it has done it.
fn wait_for_a_round() {
    let begun = ROUNDS.load(Ordering::SeqCst);
    while ROUNDS.load(Ordering::SeqCst) < begun + 2 {
        thread::yield_now();
    }
}

/// One connection less and one more than a sweep saw are as many as before: what it saw is not what there is.
#[test]
fn a_sweep_corrects_nothing_while_connections_come_and_go() {
    const STAYING: u32 = 20_000;
    const COMING: u32 = 2000;
    const SWEEPS: usize = 300;
    let memory = memory(50_000);
    usable(&mut Tables::in_process(Arc::clone(&memory)), SERVER);
    let clock = KernelClock::in_process().expect("there is a clock");
    let sweeper = Sweeper::new(Arc::clone(&memory), clock, SEED, wait_for_a_round);
    let now = clock.now().expect("it runs");
    (0..STAYING + COMING).for_each(|n| open(&memory, n, now));
    let is_over = AtomicBool::new(false);
    let corrected: usize = thread::scope(|threads| {
        threads.spawn(|| {
            for n in (STAYING..STAYING + COMING).cycle() {
                close(&memory, n);
                open(&memory, n, now);
                ROUNDS.fetch_add(1, Ordering::SeqCst);
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let corrected = (0..SWEEPS).map(|_| sweeper.sweep().expect("there is a clock").corrected).sum();
        is_over.store(true, Ordering::Relaxed);
        corrected
    });
    assert!(ROUNDS.load(Ordering::SeqCst) > SWEEPS, "connections came and went");
    assert_eq!(corrected, 0, "nothing was wrong");
    assert_eq!(load(&memory).counts(), Counts { active: STAYING + COMING, inactive: 0 });
}

/// A daemon that is killed between freeing an entry and accounting for it leaves this.
#[test]
fn a_sweep_corrects_what_a_killed_daemon_left() {
    let memory = memory(1024);
    usable(&mut Tables::in_process(Arc::clone(&memory)), SERVER);
    let sweeper = Sweeper::in_process(Arc::clone(&memory), SEED).expect("there is a clock");
    let now = KernelClock::in_process().expect("there is a clock").now().expect("it runs");
    (0..10).for_each(|n| open(&memory, n, now));
    lookup(memory.connections_v4(), &flow(4), FlowHash::new(&flow(4), SEED)).expect("it is open").free();
    load(&memory).set_thresholds(Thresholds { upper: 10, lower: 10 });
    assert_eq!((load(&memory).counts().active, load(&memory).is_overloaded()), (10, true));
    assert_eq!(sweeper.sweep().expect("there is a clock").corrected, 1);
    assert_eq!((load(&memory).counts().active, load(&memory).is_overloaded()), (9, false));
    assert_eq!(sweeper.sweep().expect("there is a clock").corrected, 0);
}
