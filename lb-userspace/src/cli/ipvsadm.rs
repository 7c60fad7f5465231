//! `lb ipvsadm`, and this program called by that name.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser};

use super::ControlSocket;
use crate::ipvsadm::{Program, run};

/// Do what ipvsadm would.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Examples:
  sudo lb ipvsadm -A -t 192.168.2.240:80 -s wlc
  sudo lb ipvsadm -a -t 192.168.2.240:80 -r 192.168.2.212 -g -w 3
  sudo lb ipvsadm -Ln
  sudo lb ipvsadm -h                                what else there is
  sudo ln -s /usr/bin/lb /usr/local/sbin/ipvsadm    and the name alone will do; ipvsadm-save and
                                                    ipvsadm-restore likewise"
)]
pub(super) struct Ipvsadm {
    #[command(flatten)]
    socket: ControlSocket,
    /// Words as ipvsadm 1.31 takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    words: Vec<OsString>,
}

impl Ipvsadm {
    pub(super) fn execute(self) -> ExitCode {
        call(Program::Ipvsadm, "ipvsadm", &self.words, &self.socket.control_socket)
    }
}

/// What comes of a call by the name of another program that is known here.
pub(super) fn called(words: &[OsString]) -> Option<ExitCode> {
    let (name, words) = words.split_first()?;
    let program = Program::by_name(Path::new(name).file_name()?.to_str()?)?;
    // With the socket that the environment names; what ipvsadm takes has no word for it.
    let alone = Alone::try_parse_from([name]).ok()?;
    Some(call(program, &name.to_string_lossy(), words, &alone.socket.control_socket))
}

/// A call without options of lb.
#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    socket: ControlSocket,
}

fn call(program: Program, name: &str, words: &[OsString], socket: &Path) -> ExitCode {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    ExitCode::from(run(program, name, &words, socket))
}
