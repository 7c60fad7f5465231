//! The programs that labs, benchmarks and the demo start, and the compiler of libFuzzer.

use crate::root::find_program;

/// A program, and the package that brings it.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) debian: &'static str,
    pub(crate) fedora: &'static str,
    pub(crate) arch: &'static str,
}

/// All of them. A lab that needs another adds it here, and every machine has it.
const PROGRAMS: &[Program] = &[
    Program { name: "nginx", debian: "nginx-light", fedora: "nginx", arch: "nginx" },
    Program { name: "keepalived", debian: "keepalived", fedora: "keepalived", arch: "keepalived" },
    Program { name: "ipvsadm", debian: "ipvsadm", fedora: "ipvsadm", arch: "ipvsadm" },
    Program { name: "curl", debian: "curl", fedora: "curl", arch: "curl" },
    Program { name: "tcpdump", debian: "tcpdump", fedora: "tcpdump", arch: "tcpdump" },
    Program { name: "ip", debian: "iproute2", fedora: "iproute", arch: "iproute2" },
    Program { name: "ethtool", debian: "ethtool", fedora: "ethtool", arch: "ethtool" },
    Program { name: "ping", debian: "iputils-ping", fedora: "iputils", arch: "iputils" },
    Program { name: "arping", debian: "iputils-arping", fedora: "iputils", arch: "iputils" },
    Program { name: "watch", debian: "procps", fedora: "procps-ng", arch: "procps-ng" },
    Program { name: "script", debian: "bsdutils", fedora: "util-linux-script", arch: "util-linux" },
    Program { name: "setpriv", debian: "util-linux", fedora: "util-linux", arch: "util-linux" },
    Program { name: "c++", debian: "g++", fedora: "gcc-c++", arch: "gcc" },
    Program { name: "chromium", debian: "chromium", fedora: "chromium", arch: "chromium" },
    Program { name: "chromedriver", debian: "chromium-driver", fedora: "chromedriver", arch: "chromium" },
    Program { name: "bpftool", debian: "bpftool", fedora: "bpftool", arch: "bpf" },
];

/// Those that are not on this machine.
pub(crate) fn missing() -> Vec<&'static Program> {
    PROGRAMS.iter().filter(|program| find_program(program.name).is_none()).collect()
}
