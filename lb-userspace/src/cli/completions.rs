//! `lb completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::output::print;
use super::{Cli, Failure};

/// Print the completions of a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lb completions bash > ~/.local/share/bash-completion/completions/lb
  lb completions zsh > ~/.zfunc/_lb
  lb completions fish > ~/.config/fish/completions/lb.fish

The Debian package installs those of bash, zsh and fish.")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result<(), Failure> {
        print(&script(self.shell))
    }
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lb", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::process::Command;

    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in ["reload", "real-server", "completions"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }

    #[test]
    fn bash_understands_its_script() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("lb");
        fs::write(&file, script(Shell::Bash))?;
        let checked = Command::new("bash").arg("-n").arg(&file).output()?;
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        Ok(())
    }
}
