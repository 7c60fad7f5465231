//! What to install by hand, where xtask cannot.

use super::apt;
use super::programs::Program;
use crate::failure::Failure;

/// There is no way to an eBPF object, and none that xtask could make; `programs` are missing besides.
pub(crate) fn toolchain(reasons: &[String], programs: &[&Program]) -> Failure {
    let reasons: String = reasons.iter().map(|reason| format!("\n  - {reason}")).collect();
    let mut remedy = String::new();
    if apt::is_here() {
        let known = apt::rust_for_bpf();
        let place = if known.is_some() { "here" } else { "on Debian 12" };
        let mut debian = packages(programs, |program| program.debian);
        debian.extend(known.unwrap_or_else(apt::rust_of_debian_12));
        remedy.push_str(&format!(
            "{place}, as root:\n  \
               apt-get update\n  \
               apt-get install --no-install-recommends {} g++\n\
             anywhere else, ",
            debian.join(" ")
        ));
    }
    let list = |of| packages(programs, of).iter().map(|package| format!(" {package}")).collect::<String>();
    remedy.push_str(&format!(
        "with rustup:\n  \
           rustup toolchain install nightly --component rust-src --component clippy\n\
         and what bpf-linker is built with, of the LLVM major version NN that `rustc +nightly -vV` tells:\n  \
           Debian, Ubuntu:  apt-get install g++ llvm-NN-dev{}\n  \
           Fedora:          dnf install gcc-c++ llvm-devel{}\n  \
           Arch:            pacman -S gcc llvm{}\n\
         where LLVM NN cannot be had, a ready-made bpf-linker may fit:\n  \
           cargo install cargo-binstall && cargo binstall bpf-linker\n\
         then, in any case: cargo xtask setup",
        list(|program| program.debian),
        list(|program| program.fedora),
        list(|program| program.arch),
    ));
    Failure::new(format!("this machine cannot build eBPF programs:{reasons}")).remedy(remedy)
}

/// Programs are missing that xtask cannot install.
pub(crate) fn programs(missing: &[&Program]) -> Failure {
    let names: Vec<&str> = missing.iter().map(|program| program.name).collect();
    let list = |of| packages(missing, of).join(" ");
    Failure::new(format!("programs that tests use are missing: {}", names.join(", "))).remedy(format!(
        "install them, as root:\n  \
           Debian, Ubuntu:  apt-get install --reinstall --no-install-recommends {}\n  \
           Fedora:          dnf install {}\n  \
           Arch:            pacman -S {}",
        list(|program| program.debian),
        list(|program| program.fedora),
        list(|program| program.arch),
    ))
}

fn packages(programs: &[&Program], of: fn(&Program) -> &'static str) -> Vec<String> {
    programs.iter().map(|program| of(program).to_owned()).collect()
}
