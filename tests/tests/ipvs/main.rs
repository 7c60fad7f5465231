//! The kernel's own IPVS beside the product: the same virtual servers, the same flows, the same real servers.
//!
//! ```text
//!   random services and flows ─┬─> scheduler, selector ──────────────────────────────────> choices ─┐
//!                              └─> user-mode Linux: ipvsadm, SYNs ──> /proc/net/ip_vs_conn ─────────┴─> the same?
//! ```
//!
//! `cargo xtask test ipvs` fetches that kernel and runs this.

#![expect(clippy::expect_used, reason = "a test that is surprised fails")]

mod guest;
mod random;
mod service;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use guest::Guest;
use random::Random;
use service::Service;

/// Cases that are compared at least.
const CASES: usize = 10_000;
/// Services of each scheduler, and flows to each of these. One that hashes the VIP says the same of every flow.
const SERVICES: [(&str, u32, u32); 3] = [("sh", 70, 80), ("mh", 70, 80), ("dh", 400, 4)];

#[test]
fn chooses_what_a_live_ipvs_chooses() {
    let mut random = Random::from_environment();
    let mut services = Vec::new();
    let mut flows = Vec::new();
    for (scheduler, count, each) in SERVICES {
        for _ in 0..count {
            let number = u16::try_from(services.len()).expect("few services");
            let service = Service::random(scheduler, number, &mut random);
            flows.extend((0..each).map(|_| (services.len(), service.client(&mut random))));
            services.push(service);
        }
    }
    let distinct: BTreeSet<_> = flows.iter().copied().collect();
    let guest = Guest::find();
    let theirs = guest.schedule(&services, &distinct);
    let differences: Vec<String> =
        distinct.iter().filter_map(|flow| difference(&services, *flow, &theirs)).collect();
    let nobody =
        distinct.iter().filter(|(service, client)| !theirs.contains_key(&(*client, services[*service].vip)));
    let nobody = nobody.count();
    println!(
        "{} flows to {} services compared, {nobody} of them got no real server; seed {}",
        distinct.len(),
        services.len(),
        random.seed()
    );
    let shown = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {} differ:\n{shown}", differences.len(), distinct.len());
    assert!(distinct.len() >= CASES, "only {} cases", distinct.len());
    assert!(nobody * 100 > distinct.len() && nobody * 2 < distinct.len(), "{nobody} got no real server");
}

/// What the kernel chose otherwise, if it did.
fn difference(
    services: &[Service],
    (number, client): (usize, SocketAddr),
    theirs: &BTreeMap<(SocketAddr, SocketAddr), SocketAddr>,
) -> Option<String> {
    let service = &services[number];
    let ours = service.choice(client);
    let theirs = theirs.get(&(client, service.vip)).map(SocketAddr::ip);
    (ours != theirs).then(|| format!("{client}: {ours:?}, IPVS {theirs:?}: {}", service.rules().join("; ")))
}
