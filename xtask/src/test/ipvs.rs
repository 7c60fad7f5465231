//! The level `ipvs`: the product's choices beside those of a live IPVS.

use super::{IPVS, LevelRun};
use crate::failure::Outcome;
use crate::vm;

/// Where the test finds the kernel.
const PLACE: &str = "LB_UML";

impl LevelRun<'_> {
    /// Fetches the kernel and runs the test, which says how much it compared.
    pub(super) fn ipvs(&mut self) -> Outcome {
        let kernel = vm::user_mode_linux()?;
        let mut cargo = self.workspace.cargo();
        cargo.args(["test", "--workspace", "--test", IPVS]).env(PLACE, kernel);
        self.stream(cargo, &["--show-output".to_owned()])?;
        self.nothing_run_is_a_problem();
        Ok(())
    }
}
