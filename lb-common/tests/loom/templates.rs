//! Persistence: where a client's new connections go, while templates are made, evicted and swept.

use lb_common::connection::{Entry, Inserted, Meta, State, WAYS};
use lb_common::persistence::{Persistence, is_template};
use loom::sync::Arc;
use loom::thread;

use crate::{BUCKETS, NOW, Table, beside, check, flow};

const CLIENTS: Persistence = Persistence::new(60, 32);

/// The template of the client of the `n`th flow, at a virtual server at which its own bucket is that of flows.
fn template(n: usize) -> [u64; 2] {
    let key = |service| CLIENTS.key(&flow(n), service);
    (0..).map(key).find(|key| Table::home(*key) == 0).expect("there are plenty")
}

/// Has new connections of the client go where its template says, or else to `destination`, which it says from now on;
/// where that is (`persist`).
fn persist(table: &Table, n: usize, destination: u32) -> u32 {
    let holds = |entry: &Entry<'_>| !CLIENTS.has_expired(entry.meta, NOW);
    if let Some(entry) = table.find(template(n)).filter(holds) {
        return entry.meta.destination();
    }
    match table.insert_as(template(n), Meta::new(destination, State::Template, NOW)) {
        Inserted::Existing(existing) => existing.destination(),
        Inserted::Stored | Inserted::EvictedLive | Inserted::Lost => destination,
    }
}

#[test]
fn a_template_is_no_flows() {
    check(|| {
        assert!(is_template(&template(0)) && !is_template(&flow(0)));
        let table = Table::new();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || persist(&other, 0, 1));
        // The same client's connection, by another real server, in the same bucket.
        table.insert(flow(0), 2);
        assert!(matches!(table.destination(flow(0)), None | Some(2)));
        assert!(matches!(table.destination(template(0)), None | Some(1)));
        assert_eq!(thread.join().unwrap(), 1);
        table.is_counted_right();
    });
}

#[test]
fn of_two_connections_of_a_client_both_go_where_the_template_that_stays_says() {
    check(|| {
        let table = Table::new();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || persist(&other, 0, 1));
        let mine = persist(&table, 0, 2);
        let theirs = thread.join().unwrap();
        let stays = table.destination(template(0)).expect("a template");
        // Whoever lost the place to the other without having seen it goes alone, and only that connection.
        assert!(mine == stays || theirs == stays, "{mine} {theirs} {stays}");
        assert_eq!(persist(&table, 0, 3), stays, "the client's next one");
        table.free(template(0));
        assert_eq!(table.destination(template(0)), None, "there was one");
        table.is_counted_right();
    });
}

#[test]
fn a_template_that_is_evicted_leads_nobody_elsewhere() {
    check(|| {
        let table = Table::new();
        persist(&table, 0, 1);
        // Whatever comes now has to evict.
        for n in 0..BUCKETS * WAYS - 1 {
            table.insert(flow(n), 2);
        }
        let (other, reader) = (Arc::clone(&table), Arc::clone(&table));
        let insert = move || other.insert(flow(BUCKETS * WAYS), 3);
        let (_, found) = beside(insert, move || reader.destination(template(0)));
        assert!(matches!(found, None | Some(1)));
        assert!(matches!(table.destination(template(0)), None | Some(1)));
        assert!(matches!(table.destination(flow(BUCKETS * WAYS)), None | Some(3)));
        table.is_counted_right();
    });
}

#[test]
fn a_template_that_is_used_while_it_is_swept_stays_or_is_made_anew() {
    check(|| {
        let table = Table::new();
        table.insert_as(template(0), Meta::new(1, State::Template, NOW - 59));
        let (other, daemon) = (Arc::clone(&table), Arc::clone(&table));
        let touch = move || {
            let touch = |entry: Entry<'_>| other.change(entry, entry.meta.touched(entry.meta.state(), NOW));
            other.find(template(0)).is_some_and(touch)
        };
        // The daemon ends a template that has no connections (`dataplane/templates.rs`).
        let end = move || daemon.find(template(0)).is_some_and(|entry| daemon.free_entry(entry));
        let (touched, ended) = beside(touch, end);
        assert!(ended || touched, "one of them was first");
        assert_eq!(table.destination(template(0)).is_some(), !ended);
        table.is_counted_right();
    });
}
