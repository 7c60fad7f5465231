//! A script that either program tracks: it succeeds as long as a file is not there.

use std::fs;
use std::path::PathBuf;

use lb_lab::{Error, Lab, Result};

/// The script, and the file.
pub(super) struct Check {
    script: PathBuf,
    obstacle: PathBuf,
}

impl Check {
    /// What keepalived writes of it.
    pub(super) const MESSAGES: [&str; 3] =
        ["Script `check` now returning ", "VRRP_Script(check) ", "Changing effective priority from "];
    /// What makes an instance of keepalived track it.
    pub(super) const OF_INSTANCE: &str = "track_script {\ncheck\n}";
    /// What keepalived wants to be told before it runs scripts.
    pub(super) const OF_SCRIPTS: &str = "global_defs {\nscript_user root\nenable_script_security\n}\n";

    /// One that succeeds.
    pub(super) fn new(lab: &Lab) -> Result<Self> {
        let script = lab.write_script("check.sh", "#!/bin/sh\n[ ! -e \"$1\" ]\n")?;
        Ok(Self { script, obstacle: lab.directory().join("obstacle") })
    }

    pub(super) fn succeed(&self) -> Result<()> {
        fs::remove_file(&self.obstacle).map_err(|error| Error::Description(error.to_string()))
    }

    pub(super) fn fail(&self) -> Result<()> {
        fs::write(&self.obstacle, "").map_err(|error| Error::Description(error.to_string()))
    }

    /// What follows the instance of lb that tracks it.
    pub(super) fn of_lb(&self, weight: i16) -> String {
        let Self { script, obstacle } = self;
        let command = format!("command = [{script:?}, {obstacle:?}]\ninterval = \"200ms\"\n");
        format!("[[vrrp_instance.track_script]]\n{command}weight = {weight}\n")
    }

    /// What comes before the instances of keepalived.
    pub(super) fn of_keepalived(&self, weight: i16) -> String {
        let (script, obstacle) = (self.script.display(), self.obstacle.display());
        let script = format!("script \"{script} {obstacle}\"\ninterval 1\nweight {weight}\n");
        format!("{}vrrp_script check {{\n{script}}}\n", Self::OF_SCRIPTS)
    }
}
