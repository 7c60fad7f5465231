//! Proves the lab itself, so that a test that fails in a lab tells about the product. Needs root.

mod changes;
mod frames;
mod programs;
mod removal;
mod traffic;

use std::time::Duration;

use lb_lab::{Lab, Result};

/// Time for what happens at once when it happens at all.
const SOON: Duration = Duration::from_secs(5);

/// A client and a real server, `rs1`.
fn pair() -> Result<Lab> {
    Lab::builder().client("client").real_servers(1).build()
}
