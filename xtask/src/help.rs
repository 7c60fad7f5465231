//! The texts of `--help`.

/// A command, in one line and in full.
struct Topic {
    name: &'static str,
    summary: &'static str,
    text: &'static str,
}

const TOPICS: &[Topic] = &[
    Topic {
        name: "setup",
        summary: "install the eBPF toolchain and the programs that tests use",
        text: "\
Usage: cargo xtask setup

Finds or installs what building and testing need, and says what it does before doing it. Every other
command does the same for what it needs itself. Uses the first of these that works:

  1. rustup's nightly with rust-src, and a bpf-linker of the same LLVM;
  2. on Debian, as root or with sudo: the distribution's own Rust for BPF, and a bpf-linker built for it;
  3. otherwise it prints what to install by hand on Debian, Ubuntu, Fedora and Arch.

bpf-linker goes into $XDG_CACHE_HOME/lb-build (~/.cache/lb-build), where other clones find it.

Examples:
  cargo xtask setup          # under a second when nothing is missing",
    },
    Topic {
        name: "build-ebpf",
        summary: "build and verify the eBPF objects; the verifier's count (root)",
        text: "\
Usage: cargo xtask build-ebpf [--release]

Builds the objects `lb-ebpf` (the product) and `testbed` (for labs and benchmarks) into
<target>/bpf/bpfel-unknown-none/release, always with optimisation, and verifies that they hold their
programs. `cargo build` embeds the first of them in `lb`. Run by root it also loads the product's programs, and
shows how many instructions the kernel's verifier walked; more than an eighth of its limit is an error.

Examples:
  cargo xtask build-ebpf",
    },
    Topic {
        name: "build",
        summary: "build the eBPF objects, then `lb`",
        text: "\
Usage: cargo xtask build [--release]

Examples:
  cargo xtask build              # target/debug/lb
  cargo xtask build --release    # target/release/lb",
    },
    Topic {
        name: "run",
        summary: "build, then `lb run` with the arguments given (root)",
        text: "\
Usage: cargo xtask run -- ARGUMENT...

Builds `lb` and becomes `lb run ARGUMENT...`, under sudo unless you are root.

Examples:
  cargo xtask run -- --config lb.toml
  cargo xtask run -- --help      # the options of `lb run`",
    },
    Topic {
        name: "demo",
        summary: "a client, a director and three real servers, live (root)",
        text: "\
Usage: cargo xtask demo [ARGUMENT...]

Builds everything and runs the demonstration in network namespaces of its own, under sudo unless you are
root: who answers under each scheduler, one request on the cables, ten seconds of load. Ctrl-C cleans up.

Examples:
  cargo xtask demo
  cargo xtask demo --keep        # leave the lab running, and say how to explore it
  cargo xtask demo --list        # labs that are running
  cargo xtask demo --remove ID   # remove one of them
  cargo xtask demo -- --help     # the demonstration's own options",
    },
    Topic {
        name: "bench",
        summary: "measure the data plane (root)",
        text: "\
Usage: cargo xtask bench [ROW...] [ARGUMENT...]

Builds everything with optimisation and prints nanoseconds per frame of every path, frames per second through
a pair of interfaces and the memory of a connection, with the same of a build on hash maps, under sudo unless
you are root. Some two minutes; ROWs choose by a part of their name.

Examples:
  cargo xtask bench
  cargo xtask bench established         # rows whose name contains it, and what they are compared with
  cargo xtask bench --json now.json --svg now.svg
  cargo xtask bench -- --list           # the names of the rows
  cargo xtask bench -- --help           # the benchmarks' own options",
    },
    Topic {
        name: "test",
        summary: "run the tests: unit, fixtures, labs (root)",
        text: "\
Usage: cargo xtask test [unit|fixtures|labs|vm|ipvs|package] [FILTER...] [-- OPTION...]

Builds everything, then runs three levels in this order and sums them up:

  unit       unit tests, documentation examples, loom models
  fixtures   frame in, verdict and frame out, through the loaded program (root)
  labs       the daemon with real clients and servers in network namespaces (root)

and, only when they are named:

  vm         fixtures and the director's labs on Debian 12's kernel 6.1, in a virtual machine without a
             network: QEMU with KVM, or emulated. Fetches both from Debian's packages, once (some 90 MB),
             into $XDG_CACHE_HOME/lb-build; installs nothing. Emulated, it leaves out tests of speed and load.
             Only here: `migration`, the commands of docs/migration.md with real keepalived and the kernel's IPVS.
  ipvs       more than 10,000 random flows to random sh, mh and dh services, by the product and by the kernel's
             IPVS: Debian's user-mode Linux, a program that needs no root, fetched like the above (some 45 MB).
             Says how many it compared, and with which seed; LB_SEED repeats one.
  package    the Debian package is installed, started, reloaded, upgraded, removed and purged by a real systemd
             that runs in namespaces, on top of this machine's files, which stay as they are (root; Debian)

FILTERs choose tests by a part of their name; OPTIONs go to the test programs. Labs run a few at a time:
as many as there are cores, from 2 to 4; RUST_TEST_THREADS or `-- --test-threads=N` says otherwise.

Examples:
  cargo xtask test
  cargo xtask test unit scheduler
  cargo xtask test labs -- --nocapture
  cargo xtask test vm restart
  cargo xtask test vm migration
  cargo xtask test ipvs -- --nocapture    # with the number of flows",
    },
    Topic {
        name: "fuzz",
        summary: "frames that nobody thought of, through the data plane's stages",
        text: "\
Usage: cargo xtask fuzz [SECONDS]

Builds the targets of fuzz/ with libFuzzer and coverage instrumentation, by stable Rust and a C++ compiler, and
runs each for SECONDS (60): `parse` (a frame's headers, read in both ways there are) and `process` (frames through
a director on the host). Starts from fuzz/seeds, keeps what it finds interesting in fuzz/corpus, and
leaves an input that fails in fuzz/artifacts and says how to repeat it.

Examples:
  cargo xtask fuzz
  cargo xtask fuzz 600",
    },
    Topic {
        name: "package",
        summary: "make a Debian package",
        text: "\
Usage: cargo xtask package

Builds `lb` with optimisation, and with it, its units, manual pages and completions a package:
<target>/debian/lb_VERSION_ARCHITECTURE.deb. It needs the glibc of the machine it was built on, or a newer one.
DEBFULLNAME and DEBEMAIL name its maintainer.

Examples:
  cargo xtask package
  cargo xtask test package       # install, upgrade, remove and purge one, without changing this machine",
    },
    Topic {
        name: "docs",
        summary: "the pages that are generated, and the book",
        text: "\
Usage: cargo xtask docs

Writes docs/configuration.md (every option, out of the table that tests compare with the parser's) and
docs/commands.md (out of what --help shows) anew, and builds the book of all pages with mdBook into
<target>/book/html. mdBook is the one on PATH, or is built once into $XDG_CACHE_HOME/lb-build.

Examples:
  cargo xtask docs",
    },
    Topic {
        name: "ci",
        summary: "formatting, lints with warnings denied, tests, fuzzing (root)",
        text: "\
Usage: cargo xtask ci

What .ci/run runs: rustfmt and clippy on every crate (clippy for lb-ebpf on the BPF target too), then
`cargo xtask test` and `cargo xtask fuzz`. Every stage runs, whatever became of the one before.

Examples:
  cargo xtask ci",
    },
];

/// All commands, a line each.
pub(crate) fn overview() -> String {
    let mut text = String::from("Usage: cargo xtask COMMAND [ARGUMENT...]\n\nCommands:\n");
    for topic in TOPICS {
        text.push_str(&format!("  {:<11} {}\n", topic.name, topic.summary));
    }
    text.push_str(
        "\nExamples:\n  cargo xtask demo\n  cargo xtask test\n  cargo xtask test --help    # one command in full",
    );
    text
}

/// One command in full, if there is such a command.
pub(crate) fn of(command: &str) -> Option<String> {
    let topic = TOPICS.iter().find(|topic| topic.name == command)?;
    let mut summary = topic.summary.to_owned();
    if let Some(first) = summary.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(format!("{summary}.\n\n{}", topic.text))
}
