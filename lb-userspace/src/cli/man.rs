//! `lb man`: manual pages out of the same descriptions as `--help`.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

use super::output::print;
use super::{Cli, Failure};

/// Print the manual page, or write those of all commands.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lb man | man -l -
  lb man --output /usr/local/share/man/man1     lb.1, and one page for each command: lb-list.1, lb-add-service.1

The Debian package installs them all.")]
pub(super) struct Man {
    /// Write lb.1 and a page for each command into this directory, which is made if it is missing
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Man {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let pages = pages()?;
        let Some(directory) = self.output else {
            // The first is lb(1).
            return pages.first().map_or(Ok(()), |(_, text)| print(text));
        };
        let failed = |error: io::Error| Failure::because(format!("write {}: {error}", directory.display()));
        fs::create_dir_all(&directory).map_err(failed)?;
        for (name, text) in pages {
            fs::write(directory.join(name), text).map_err(failed)?;
        }
        Ok(())
    }
}

/// All pages, with the names of their files: a command's before those of its subcommands.
fn pages() -> io::Result<Vec<(String, String)>> {
    fn walk(command: &Command, pages: &mut Vec<(String, String)>) -> io::Result<()> {
        pages.push(page(command)?);
        let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set());
        subcommands.into_iter().try_for_each(|command| walk(command, pages))
    }
    let mut lb = Cli::command().disable_help_subcommand(true);
    // Gives each command its whole name.
    lb.build();
    let mut pages = Vec::new();
    walk(&lb, &mut pages)?;
    Ok(pages)
}

fn page(command: &Command) -> io::Result<(String, String)> {
    let page = Page::new(command.clone()).source(concat!("lb ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(after) = command.get_after_help() {
        examples(&after.to_string()).to_writer(&mut text)?;
    }
    if command.get_name() != "lb" {
        Roff::new().control("SH", ["SEE ALSO"]).text([roman("lb(1)")]).to_writer(&mut text)?;
    }
    Ok((page.get_filename(), String::from_utf8_lossy(&text).into_owned()))
}

/// What `--help` ends with: a heading, lines to type, which stay as they are, and paragraphs.
fn examples(after: &str) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["EXAMPLES"]);
    let mut is_verbatim = false;
    for line in after.lines().skip(1) {
        if line.starts_with(' ') != is_verbatim {
            is_verbatim = !is_verbatim;
            page.control(if is_verbatim { "nf" } else { "fi" }, []);
        }
        if line.is_empty() {
            page.control("PP", []);
        } else {
            page.text([roman(if is_verbatim { line } else { line.trim() })]);
        }
    }
    if is_verbatim {
        page.control("fi", []);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_of_its_whole_name() {
        fn walk(command: &Command, path: &str, names: &mut Vec<String>) {
            let path = format!("{path}{}", command.get_name());
            names.push(format!("{path}.1"));
            for command in command.get_subcommands() {
                walk(command, &format!("{path}-"), names);
            }
        }
        let mut expected = Vec::new();
        walk(&Cli::command(), "", &mut expected);
        let pages = pages().expect("they are made in memory");
        let found: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, expected);
        assert_eq!(found[0], "lb.1");
        assert!(found.contains(&"lb-real-server-up.1"), "{found:?}");
    }

    #[test]
    fn a_page_has_what_help_says() {
        let pages = pages().expect("they are made in memory");
        let (_, reload) = pages.iter().find(|(name, _)| name == "lb-reload.1").expect("there is one");
        for part in [
            ".TH lb-reload 1",
            ".SH NAME",
            ".SH SYNOPSIS",
            "\\-\\-confirm\\-within",
            ".SH EXAMPLES",
            "  sudo lb reload\n",
        ] {
            assert!(reload.contains(part), "{part}:\n{reload}");
        }
        assert!(!reload.contains("Examples:"), "the section's name says so");
        for (name, text) in &pages {
            let closed = text.matches(".nf\n").count() == text.matches(".fi\n").count();
            assert!(closed, "{name} leaves the rest of itself unfilled:\n{text}");
        }
    }
}
