//! What a frame costs: `cargo xtask bench`.
//!
//! ```text
//!   cases (one list) ──> per_frame: BPF_PROG_TEST_RUN ─┐
//!                        live: a pair of interfaces ───┤
//!                        beside: flows and a flood ────┼──> report, goals ──> table, JSON, chart
//!                        sweeping: freeing entries ────┤
//!                        memory: what the maps take ───┤
//!                        failover: two directors ──────┘
//! ```
//!
//! Everything is measured in one run, turn by turn, so that what disturbs the machine disturbs all alike:
//! the ratios are the point. No test depends on these figures.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod beside;
mod cases;
mod chart;
mod failover;
mod frames;
mod goals;
mod live;
mod machine;
mod memory;
mod per_frame;
mod plane;
mod report;
mod setting;
mod sweeping;
mod table;
mod testbed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use lb_lab::{HostSpec, Lab};

use machine::Machine;
use report::{Figures, Report};

/// Measures what a frame costs
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    bin_name = "cargo xtask bench",
    after_help = "\
Examples:
  cargo xtask bench                               everything, some two minutes
  cargo xtask bench -- --list                     what there is to measure
  cargo xtask bench -- established veth           rows whose name contains one of these
  cargo xtask bench failover                      two directors: how long clients notice, some five minutes
  cargo xtask bench -- --rounds 3 --frames 200000 sooner, less exact
  cargo xtask bench -- --json                     for a program to read, instead of the tables
  cargo xtask bench -- --json now.json --svg now.svg
  cargo xtask bench -- established --against ../old/target/bpf/bpfel-unknown-none/release/lb-ebpf
                                                  this build and another in turn

Needs root: it loads XDP programs and runs them on made-up frames. It attaches nothing outside
namespaces of its own, and removes what it made, also on Ctrl-C."
)]
struct Arguments {
    /// Only rows whose name (`--list`) contains one of these, and what they are compared with
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// List the rows' names, and measure nothing
    #[arg(long)]
    list: bool,
    /// How often each row is measured; the least counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many frames one measurement runs through a program at most; 0.2 seconds are enough
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    frames: u32,
    /// JSON: into a file whose name ends in .json, or instead of the tables
    #[arg(long, value_name = "FILE", num_args = 0..=1, value_parser = json_file)]
    json: Option<Option<PathBuf>>,
    /// A chart into a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Measure the program of another build's object too: a file `lb-ebpf` with the same maps
    #[arg(long, value_name = "OBJECT")]
    against: Option<PathBuf>,
}

/// Without the ending `--json established` would measure everything, and write it to `established`.
fn json_file(name: &str) -> std::result::Result<PathBuf, String> {
    match Path::new(name).extension() {
        Some(extension) if extension == "json" => Ok(name.into()),
        _ => Err("the file's name must end in .json; names of rows come before --json".to_owned()),
    }
}

/// Anything that goes wrong ends the run, and is said as it is.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let all = cases::all(arguments.against.is_some())?;
    if arguments.list {
        let whole = [memory::IDS.as_slice(), &sweeping::IDS].concat().into_iter().map(String::from);
        let others = live::ids().into_iter().chain(beside::ids()).chain(whole).chain(failover::ids());
        for id in all.into_iter().map(|case| case.id).chain(others) {
            println!("{id}");
        }
        return Ok(());
    }
    let is_named = |id: &str| arguments.rows.iter().any(|word| id.contains(word.as_str()));
    let is_chosen = |id: &str| arguments.rows.is_empty() || is_named(id);
    let cases = cases::choose(&all, &arguments.rows);
    let [has_live, has_beside] = [live::ids(), beside::ids()].map(|ids| ids.iter().any(|id| is_chosen(id)));
    let [has_memory, has_sweeping] =
        [memory::IDS.as_slice(), &sweeping::IDS].map(|ids| ids.iter().any(|id| is_chosen(id)));
    // It takes minutes: only who asks for it gets it.
    let has_failover = failover::ids().iter().any(|id| is_named(id));
    if cases.is_empty() && !(has_live || has_beside || has_memory || has_sweeping || has_failover) {
        let words = arguments.rows.join("\" and no \"");
        return Err(format!("there is no row \"{words}\": `cargo xtask bench -- --list` has all").into());
    }
    let machine = Machine::this(humantime::format_rfc3339_seconds(SystemTime::now()).to_string());

    let lab = Lab::builder().host(HostSpec::other("bench")).build()?;
    let bench = per_frame::Bench::open(&lab, &cases, arguments.against.as_deref())?;
    let nanoseconds = bench.measure(&cases, arguments)?;
    let memory = if has_memory { memory::measure(&lab, &bench)? } else { Vec::new() };
    drop(bench);
    let mut live = if has_live { live::measure(&lab, arguments)? } else { Vec::new() };
    live.retain(|live| is_chosen(&live.id));
    let mut beside = if has_beside { beside::measure(&lab, arguments)? } else { Vec::new() };
    beside.retain(|beside| is_chosen(&beside.id));
    let sweeping = if has_sweeping { sweeping::measure(&lab, arguments)? } else { Vec::new() };
    lab.remove()?;
    let failover = if has_failover { failover::measure(is_named)? } else { Vec::new() };

    let per_frame = cases.into_iter().zip(nanoseconds).collect();
    let figures = Figures { per_frame, live, beside, sweeping, memory, failover };
    let report = Report::new(machine, arguments.rounds, arguments.frames, figures);
    put_out(&report, arguments)
}

fn put_out(report: &Report, arguments: &Arguments) -> Result<()> {
    let write = |path: &Path, text: &str| {
        fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
    };
    if let Some(path) = &arguments.svg {
        write(path, &chart::svg(report)?)?;
    }
    match &arguments.json {
        Some(None) => println!("{}", serde_json::to_string_pretty(report)?),
        Some(Some(path)) => {
            write(path, &format!("{}\n", serde_json::to_string_pretty(report)?))?;
            print!("{report}");
        }
        None => print!("{report}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn json_goes_to_a_file_or_to_the_terminal() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert_eq!(parse("bench established --json").unwrap().json, Some(None));
        assert_eq!(parse("bench --json a.json established").unwrap().json, Some(Some("a.json".into())));
        assert_eq!(parse("bench established").unwrap().json, None);
        let error = parse("bench --json established").unwrap_err().to_string();
        assert!(error.contains("names of rows come before --json"), "{error}");
    }
}
