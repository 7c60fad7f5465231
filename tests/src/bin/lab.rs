//! A lab to look at: holds one until Ctrl-C, keeps one, lists and removes them.

#![expect(clippy::disallowed_methods, reason = "it shows how long making a lab takes")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use lb_lab::{Lab, Load, Owner, Result};

/// Network labs by hand.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Makes a lab and holds it until Ctrl-C.
    Hold {
        /// How many real servers.
        #[arg(long, default_value_t = 3)]
        real_servers: usize,
    },
    /// Makes a lab and leaves it.
    Keep,
    /// Shows how long labs take, and how many requests one carries.
    Measure {
        /// How many labs are made and removed.
        #[arg(long, default_value_t = 5)]
        labs: usize,
        /// How many requests are under way.
        #[arg(long, default_value_t = 32)]
        at_once: usize,
    },
    /// Lists the labs of this machine.
    List,
    /// Removes a lab that was kept or left behind.
    Remove {
        /// Its id.
        id: String,
    },
    /// Removes all labs whose creators ended without doing so.
    Clean,
}

fn main() -> ExitCode {
    match act(Arguments::parse().action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> Result<()> {
    match action {
        Action::Hold { real_servers } => hold(real_servers),
        Action::Keep => keep(),
        Action::Measure { labs, at_once } => measure(labs, at_once),
        Action::List => {
            for (id, owner) in lb_lab::labs() {
                let owner = match owner {
                    Owner::Alive => "in use",
                    Owner::Kept => "kept",
                    Owner::Gone => "left behind",
                };
                println!("{id}\t{owner}");
            }
            Ok(())
        }
        Action::Remove { id } => lb_lab::remove(&id),
        Action::Clean => {
            for id in lb_lab::remove_stale()? {
                println!("removed {id}");
            }
            Ok(())
        }
    }
}

fn hold(real_servers: usize) -> Result<()> {
    let start = Instant::now();
    let lab = Lab::builder().client("client").director("director").real_servers(real_servers).build()?;
    show(&lab, start);
    println!("holding lab {} until Ctrl-C", lab.id());
    loop {
        // The thread that receives signals removes the lab and ends this process.
        std::thread::park();
    }
}

fn keep() -> Result<()> {
    let start = Instant::now();
    let lab = Lab::builder().client("client").director("director").real_servers(3).keepable().build()?;
    show(&lab, start);
    let id = lab.keep()?;
    println!("lab {id} stays; `lab remove {id}` removes it");
    Ok(())
}

fn measure(labs: usize, at_once: usize) -> Result<()> {
    let describe = || Lab::builder().client("client").director("director").real_servers(3);
    for _ in 0..labs {
        let start = Instant::now();
        let lab = describe().build()?;
        let made = start.elapsed();
        lab.remove()?;
        println!("made in {} ms, removed in {} ms", made.as_millis(), (start.elapsed() - made).as_millis());
    }
    let lab = describe().build()?;
    for server in lab.real_servers() {
        let load = Load::to((server.address(), 80)).at_once(at_once).duration(Duration::from_secs(3));
        for (load, how) in [(load.clone(), "closed"), (load.reset_connections(), "reset")] {
            let report = load.run(&lab.client())?;
            let (median, slowest) = (report.latency(0.5), report.latency(0.99));
            println!(
                "{}, connections {how}: {:.0} requests/s, {} failed, median {median:?}, 99 % {slowest:?}",
                server.name(),
                report.rate(),
                report.failed()
            );
        }
    }
    Ok(())
}

fn show(lab: &Lab, start: Instant) {
    println!("lab {} made in {} ms", lab.id(), start.elapsed().as_millis());
    print!("{}", lab.topology());
    println!("a shell on the client: nsenter --net=/run/netns/{}", lab.client().namespace());
}
