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
    // With the socket that the environment names.
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
    let mut words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let named = take_socket(&mut words);
    ExitCode::from(run(program, name, &words, named.as_deref().map_or(socket, Path::new)))
}

/// Takes `--control-socket PATH` out of the words, which ipvsadm has no such option among: it may stand anywhere, as with
/// every other command.
fn take_socket(words: &mut Vec<String>) -> Option<String> {
    const OPTION: &str = "--control-socket";
    let place = words.iter().position(|word| word.split('=').next() == Some(OPTION))?;
    match words[place].split_once('=').map(|(_, path)| path.to_owned()) {
        Some(path) => {
            words.remove(place);
            Some(path)
        }
        None if place + 1 < words.len() => words.drain(place..place + 2).nth(1),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_may_be_named_anywhere() {
        for (line, socket, rest) in [
            ("-L -n", None, "-L -n"),
            ("-L --control-socket /run/x.sock -n", Some("/run/x.sock"), "-L -n"),
            ("-L -n --control-socket=/run/x.sock", Some("/run/x.sock"), "-L -n"),
            // Which is then an unknown option.
            ("-L --control-socket", None, "-L --control-socket"),
        ] {
            let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(take_socket(&mut words).as_deref(), socket, "{line}");
            assert_eq!(words.join(" "), rest);
        }
    }
}
