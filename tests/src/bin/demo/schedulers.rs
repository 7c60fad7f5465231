//! Who answers, scheduler by scheduler.

use std::net::Ipv4Addr;

use lb_lab::Result;
use serde::Serialize;

use crate::scene::{KEYS, Scene};
use crate::screen::{Screen, coloured};

/// Requests for each scheduler.
const REQUESTS: usize = 12;
/// IPVS adds real servers at the head of its list, so the last one comes first.
const RR_TURN: [&str; 3] = ["rs3", "rs2", "rs1"];
/// What the kernel's IPVS chooses for weights 4, 3, 2.
const WRR_TURN: [&str; 9] = ["rs3", "rs2", "rs1", "rs1", "rs2", "rs1", "rs3", "rs2", "rs1"];

/// Twelve requests to one scheduler.
#[derive(Debug, Serialize)]
pub(crate) struct Trial {
    scheduler: &'static str,
    expectation: &'static str,
    pub(crate) as_expected: bool,
    rows: Vec<Row>,
}

/// Requests of one kind, in their order.
#[derive(Debug, Serialize)]
struct Row {
    client: Ipv4Addr,
    vip: Ipv4Addr,
    /// What the row is about, on the screen.
    #[serde(skip)]
    label: String,
    answers: Vec<String>,
}

impl Row {
    fn new(client: Ipv4Addr, vip: Ipv4Addr, label: String) -> Self {
        Self { client, vip, label, answers: Vec::new() }
    }

    /// As many answers as requests, all from one real server.
    fn is_constant(&self) -> bool {
        self.answers.len() == REQUESTS / KEYS && self.answers.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// Sends all requests, one after the other.
pub(crate) fn try_all(scene: &Scene) -> Result<Vec<Trial>> {
    let client = scene.lab().client().address();
    let to = |vip: Ipv4Addr| vec![Row::new(client, vip, format!("to {vip}"))];
    let from_each = scene.clients().into_iter();
    let to_each = scene.dh().iter();
    Ok(vec![
        Trial::of("rr", "in turn: 4 each", ask(scene, to(scene.rr()))?, |rows| follows(rows, &RR_TURN)),
        Trial::of("wrr", "weights 4, 3, 2: IPVS's sequence", ask(scene, to(scene.wrr()))?, |rows| {
            follows(rows, &WRR_TURN)
        }),
        Trial::of(
            "sh",
            "each client address keeps its real server",
            ask(scene, from_each.map(|from| Row::new(from, scene.sh(), format!("from {from}"))).collect())?,
            are_spread,
        ),
        Trial::of(
            "dh",
            "each VIP keeps its real server",
            ask(scene, to_each.map(|vip| Row::new(client, *vip, format!("to {vip}"))).collect())?,
            are_spread,
        ),
    ])
}

/// The requests take turns between the rows.
fn ask(scene: &Scene, mut rows: Vec<Row>) -> Result<Vec<Row>> {
    for _ in 0..REQUESTS / rows.len() {
        for row in &mut rows {
            row.answers.push(scene.ask(row.client, row.vip)?);
        }
    }
    Ok(rows)
}

fn follows(rows: &[Row], turn: &[&str]) -> bool {
    let answers = rows.iter().flat_map(|row| &row.answers);
    answers.eq(turn.iter().cycle().take(REQUESTS))
}

/// Every row has a real server of its own, and not all the same one.
fn are_spread(rows: &[Row]) -> bool {
    rows.iter().all(Row::is_constant) && rows.iter().any(|row| row.answers[0] != rows[0].answers[0])
}

impl Trial {
    fn of(
        scheduler: &'static str,
        expectation: &'static str,
        rows: Vec<Row>,
        judge: impl Fn(&[Row]) -> bool,
    ) -> Self {
        Self { scheduler, expectation, as_expected: judge(&rows), rows }
    }

    fn show(&self, screen: &Screen) {
        let name = screen.bold(format!("{:<4}", self.scheduler));
        screen.verdict(self.as_expected, &format!("{name} {}", self.expectation));
        for row in &self.rows {
            let answers: Vec<_> =
                row.answers.iter().map(|server| coloured(server, server).to_string()).collect();
            screen.line(format!("         {:<16}  {}", row.label, answers.join(" ")));
        }
    }
}

/// The table.
pub(crate) fn show(trials: &[Trial], screen: &Screen) {
    screen.heading(&format!("Schedulers: who answers {REQUESTS} requests, one after the other"));
    for trial in trials {
        trial.show(screen);
    }
}
