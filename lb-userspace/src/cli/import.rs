//! `lb import`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Failure;
use super::output::{complain, count, print};
use crate::config;
use crate::import::{Format, Imported, Options, import};
use crate::names::System;

/// Convert a configuration of keepalived, or rules of ipvsadm.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lb import /etc/keepalived/keepalived.conf > lb.toml
  lb import --interface eth0 keepalived.conf > lb.toml && lb check --config lb.toml
  sudo ipvsadm-save -n | lb import --interface eth0 - > lb.toml

The TOML goes to standard output, and what is not the same in it to standard error, a line for each statement:
`lost` has no equivalent, `changed` does something else, `note` is to be known. The exit code is 0 if anything could be
converted, and 1 if nothing could. docs/migration.md has every step.")]
pub(super) struct Import {
    /// The file; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The interface that the VIPs' traffic arrives on, if not that of the file's virtual routers; may be repeated
    #[arg(long, short, value_name = "NAME")]
    interface: Vec<String>,
    /// Whose configuration it is, if it does not look like it
    #[arg(long, value_enum)]
    from: Option<From>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    /// keepalived.conf
    Keepalived,
    /// What ipvsadm-save prints, or a script of ipvsadm commands
    Ipvsadm,
}

impl Import {
    pub(super) fn execute(self) -> Result<(), Failure> {
        if let Some(wrong) = self.interface.iter().find(|name| !config::is_interface_name(name)) {
            let message =
                format!("--interface {wrong}: Linux names no interface so; write one that `ip link` lists");
            return Err(Failure::usage(&message));
        }
        let name = if self.is_standard_input() { "-".to_owned() } else { self.file.display().to_string() };
        let bytes = self.read().map_err(|error| Failure::because(format!("read {name}: {error}")))?;
        let shown = if self.is_standard_input() { "standard input" } else { &name };
        let options = Options {
            file: shown,
            format: self.from.map(|from| match from {
                From::Keepalived => Format::Keepalived,
                From::Ipvsadm => Format::Ipvsadm,
            }),
            interfaces: &self.interface,
            resolver: &System,
        };
        // Comments may be in any encoding.
        let Imported { toml, report, virtual_servers, real_servers, vrrp_instances } =
            import(&String::from_utf8_lossy(&bytes), &options);
        let Some(toml) = toml else {
            let text = format!("{report}lb: import {shown}: there is nothing in it that lb could do");
            complain(&text);
            return Err(Failure::silent());
        };
        print(&toml)?;
        complain(&format_args!(
            "{report}{shown}: {}, {} and {} converted; {}",
            count(virtual_servers, "virtual server"),
            count(real_servers, "real server"),
            count(vrrp_instances, "VRRP instance"),
            count(report.remarks().len(), "remark"),
        ));
        Ok(())
    }

    fn is_standard_input(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let source: &mut dyn Read =
            if self.is_standard_input() { &mut io::stdin().lock() } else { &mut File::open(&self.file)? };
        source.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            let message = format!("it has more than {} MiB: is it a configuration file?", MAX_BYTES >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(bytes)
    }
}

/// More than the largest that anybody has written.
const MAX_BYTES: u64 = 16 << 20;
