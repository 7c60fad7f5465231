//! `lb check`.

use clap::Args;

use super::output::{complain, count, print};
use super::{ConfigFile, Failure, runtime};
use crate::config::{self, Machine, Severity};
use crate::net::Netlink;

/// Check a configuration file.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  lb check --config /etc/lb/lb.toml

Says everything that is wrong, each with its place and a remedy. What depends on this machine, such as an
interface that does not exist here, is a warning, so that a file can be checked on another one.")]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
}

impl Check {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let checked = self.file.load()?;
        let findings = match interfaces()? {
            Some(interfaces) => config::check_machine(&checked, &Machine { interfaces }, Severity::Warning),
            None => config::check_files(&checked, Severity::Warning),
        };
        let warnings = checked.warnings.merge(findings);
        if !warnings.is_empty() {
            complain(&warnings);
        }
        let servers = &checked.config.virtual_servers;
        let real_servers: usize = servers.iter().map(|server| server.real_servers.len()).sum();
        print(&format!(
            "{}: ok, {} and {}\n",
            self.file.config.display(),
            count(servers.len(), "virtual server"),
            count(real_servers, "real server")
        ))
    }
}

/// The names of this machine's interfaces; none if they cannot be listed, which is not what was asked for.
fn interfaces() -> Result<Option<Vec<String>>, Failure> {
    let links = runtime()?.block_on(async { Netlink::open()?.links().await });
    Ok(links.ok().map(|links| links.into_iter().map(|link| link.name).collect()))
}
