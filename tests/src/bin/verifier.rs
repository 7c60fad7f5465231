//! What the verifier makes of the product's programs: how many instructions it walked, of how many it would.
//!
//! Fails where that is more than an eighth of its limit: other kernels walk more, and a program grows.

use std::path::Path;
use std::process::ExitCode;

use lb_userspace::dataplane::{Capacity, Dataplane, Options};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// `BPF_COMPLEXITY_LIMIT_INSNS` (include/linux/bpf.h).
const VERIFIERS_LIMIT: u32 = 1_000_000;
/// On Linux 6.1, `lb` takes 119,414.
const OURS: u32 = VERIFIERS_LIMIT / 8;
/// The default of `director.max_connections`.
const MAX_CONNECTIONS: u32 = 1 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("verifier: a program takes the verifier more than {OURS} instructions");
            eprintln!("  help: docs/adr/0003-verifier.md says what makes it walk far, and what helps");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("verifier: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Loads the programs as the daemon does, and prints a line about each; false where one is above our limit.
fn run() -> Result<bool> {
    let bpffs = private_bpffs()?;
    let options = Options {
        bpffs: bpffs.join("lb"),
        capacity: Capacity { max_connections: MAX_CONNECTIONS, has_ipv6: true },
        log_flows: false,
    };
    let dataplane = Dataplane::open(&options)?;
    let mut is_below = true;
    let traced = dataplane.load_traced()?;
    let traced = traced.programs().filter(|(name, _)| *name == "traced");
    for (name, program) in dataplane.programs().chain(traced) {
        let info = program.info()?;
        let walked = info.verified_instruction_count().ok_or("the kernel (before 5.16) does not tell")?;
        let translated = info.size_translated().unwrap_or(0) / 8;
        println!(
            "program {name}: {translated} instructions; the verifier walked {walked} of {VERIFIERS_LIMIT}"
        );
        is_below &= walked <= OURS;
    }
    Ok(is_below)
}

/// A bpffs that only this process sees, so that pins end with it, however it ends.
fn private_bpffs() -> Result<&'static Path> {
    let bpffs = Path::new("/sys/fs/bpf");
    let failed = |errno| format!("mount a bpffs of its own: {errno}; it needs root");
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(failed)?;
    mount(Some("bpf"), bpffs, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(failed)?;
    Ok(bpffs)
}
