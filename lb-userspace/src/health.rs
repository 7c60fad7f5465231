//! Which real servers are well: checks, what they found, and what becomes of it.
//!
//! ```text
//!   config ──checks()──> prober: a task for each check ──probe──> Result<Answer, Failure>
//!                                                                        │
//!                         Board: what was found <──────────── fsm: rise, retries, flaps (pure)
//!                                                                        │
//!                                                        (Check, Verdict), when one is new
//! ```
//!
//! A check belongs to a real server and a definition: the same one under ten virtual servers runs once.

mod board;
mod check;
pub mod fsm;
mod memory;
pub mod path;
pub mod probe;
mod prober;
mod verdict;
pub mod vip;

pub use board::{Board, Entry, Probed, Seen};
pub use check::{Check, checks, checks_of};
pub use fsm::State;
pub use memory::{Memory, MemoryFile};
pub use prober::{FindPath, Prober};
pub use verdict::{Verdict, Verdicts};
