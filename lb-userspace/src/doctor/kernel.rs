//! The kernel, and what lb pins in it.

use std::fs;
use std::path::{Path, PathBuf};

use super::code::Code;
use super::finding::{Finding, Remedy};
use super::repair::Repair;
use crate::config::Config;
use crate::dataplane::{bpffs_mount_point, has_bpf_loop, is_on_bpffs, unreadable_layouts};
use crate::net::read_sysctl;

/// The oldest kernel whose verifier lb's programs pass.
const OLDEST: (u32, u32) = (6, 1);
/// From here on maps are accounted to control groups, not to locked memory.
const WITHOUT_MEMLOCK: (u32, u32) = (5, 11);

#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// `uname -r`.
    release: String,
    /// What a program that calls `bpf_loop` was answered: whether it may, or why that is not known.
    bpf_loop: Result<bool, String>,
    /// Whether the kernel describes its types.
    has_btf: bool,
    /// net.core.bpf_jit_enable, where it may be read.
    jit: Option<String>,
    /// `RLIMIT_MEMLOCK` in bytes; none without a limit.
    memlock: Option<u64>,
    bpffs: PathBuf,
    is_bpffs: bool,
    other_layouts: Vec<PathBuf>,
}

pub(super) fn gather(config: &Config) -> Facts {
    let bpffs = config.director.bpffs.clone();
    Facts {
        release: read_sysctl("kernel/osrelease").unwrap_or_default(),
        bpf_loop: has_bpf_loop().map_err(|error| error.to_string()),
        has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        jit: read_sysctl("net/core/bpf_jit_enable").ok(),
        memlock: memlock(&fs::read_to_string("/proc/self/limits").unwrap_or_default()),
        is_bpffs: is_on_bpffs(&bpffs),
        other_layouts: unreadable_layouts(&bpffs),
        bpffs,
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![version(facts)];
    match &facts.bpf_loop {
        Ok(true) => {
            findings.push(Finding::ok(Code::BpfLoop, "kernel", "BPF programs load, and may call bpf_loop"))
        }
        Ok(false) => findings.push(
            Finding::problem(Code::BpfLoop, "kernel", "the kernel has no bpf_loop")
                .fix(Remedy::advice("install Linux 6.1 or later")),
        ),
        Err(error) => findings.push(
            Finding::warning(Code::NotLookedAt, "kernel", format!("whether BPF programs load: {error}"))
                .fix(Remedy::advice("run lb doctor as root")),
        ),
    }
    if facts.jit.as_deref() == Some("0") {
        let setting = "net/core/bpf_jit_enable".to_owned();
        findings.push(
            Finding::warning(
                Code::BpfJit,
                "kernel",
                "net.core.bpf_jit_enable is 0: programs are interpreted",
            )
            .fix(
                Remedy::command("sysctl -w net.core.bpf_jit_enable=1")
                    .by(Repair::Sysctl { setting, value: "1" }),
            ),
        );
    }
    if let Some(limit) = facts.memlock
        && parsed(&facts.release).is_some_and(|version| version < WITHOUT_MEMLOCK)
    {
        let found = format!("at most {} KiB of memory may be locked", limit >> 10);
        let advice = "in lb's systemd unit: LimitMEMLOCK=infinity";
        findings.push(
            Finding::problem(Code::Memlock, "kernel", found)
                .fix(Remedy::command("ulimit -l unlimited").and_advice(advice)),
        );
    }
    findings.push(bpffs(facts));
    findings.extend(facts.other_layouts.iter().map(|layout| {
        let advice = "start this version when few connections are under way, or go on with the other one";
        let found = "was pinned by another version of lb, whose connections this one cannot read";
        Finding::warning(Code::BpffsLayout, layout.display().to_string(), found).fix(Remedy::advice(advice))
    }));
    findings
}

fn version(facts: &Facts) -> Finding {
    let Facts { release, has_btf, .. } = facts;
    let types = if *has_btf { "with" } else { "without" };
    let found = format!("Linux {release}, {types} a description of its types (BTF; lb needs none)");
    match parsed(release) {
        Some(version) if version < OLDEST => {
            Finding::problem(Code::Kernel, "kernel", format!("Linux {release}"))
                .fix(Remedy::advice("install Linux 6.1 or later: Debian 12, Ubuntu 24.04, RHEL 10 have it"))
        }
        _ => Finding::ok(Code::Kernel, "kernel", found),
    }
}

fn bpffs(facts: &Facts) -> Finding {
    let subject = facts.bpffs.display().to_string();
    if facts.is_bpffs {
        return Finding::ok(Code::Bpffs, subject, "is on a bpffs");
    }
    let place = bpffs_mount_point(&facts.bpffs).display().to_string();
    let mut remedy = Remedy::command(format!("mount -t bpf bpf {place}"));
    if !Path::new(&place).exists() {
        remedy.commands.insert(0, format!("mkdir -p {place}"));
    }
    let advice = format!("for good, a line in /etc/fstab: bpf {place} bpf mode=0700 0 0");
    let found = "is on no bpffs; lb run mounts one if it has CAP_SYS_ADMIN";
    let repair = Repair::MountBpffs(facts.bpffs.clone());
    Finding::warning(Code::Bpffs, subject, found).fix(remedy.and_advice(advice).by(repair))
}

/// `6.18.44-fc` is 6.18.
fn parsed(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The soft limit that /proc/self/limits has in bytes; none if it is `unlimited`.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn healthy() -> Facts {
        Facts {
            release: "6.1.0-13-amd64".to_owned(),
            bpf_loop: Ok(true),
            has_btf: true,
            jit: Some("1".to_owned()),
            memlock: Some(8 << 20),
            bpffs: "/sys/fs/bpf/lb".into(),
            is_bpffs: true,
            other_layouts: Vec::new(),
        }
    }

    /// What is not as it should be.
    fn codes(facts: &Facts) -> Vec<(Code, Severity)> {
        let wrong = judge(facts).into_iter().filter(|finding| finding.severity != Severity::Ok);
        wrong.map(|finding| (finding.code, finding.severity)).collect()
    }

    #[test]
    fn each_fault_is_found_alone() {
        use Severity::{Problem, Warning};
        assert_eq!(codes(&healthy()), []);
        let cases = [
            (Facts { release: "5.18.0".to_owned(), ..healthy() }, vec![(Code::Kernel, Problem)]),
            (
                Facts { release: "5.10.0-8".to_owned(), ..healthy() },
                vec![(Code::Kernel, Problem), (Code::Memlock, Problem)],
            ),
            (Facts { release: "5.10".to_owned(), memlock: None, ..healthy() }, vec![(Code::Kernel, Problem)]),
            (Facts { bpf_loop: Ok(false), ..healthy() }, vec![(Code::BpfLoop, Problem)]),
            (Facts { bpf_loop: Err("EPERM".to_owned()), ..healthy() }, vec![(Code::NotLookedAt, Warning)]),
            (Facts { jit: Some("0".to_owned()), ..healthy() }, vec![(Code::BpfJit, Warning)]),
            (Facts { jit: None, has_btf: false, ..healthy() }, vec![]),
            (Facts { is_bpffs: false, ..healthy() }, vec![(Code::Bpffs, Warning)]),
            (
                Facts { other_layouts: vec!["/sys/fs/bpf/lb/layout-1".into()], ..healthy() },
                vec![(Code::BpffsLayout, Warning)],
            ),
        ];
        for (facts, expected) in cases {
            assert_eq!(codes(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let line = "Max locked memory         8388608              8388608              bytes     \n";
        assert_eq!(memlock(line), Some(8 << 20));
        assert_eq!(
            memlock("Max locked memory         unlimited            unlimited            bytes\n"),
            None
        );
        assert_eq!(memlock(""), None);
    }

    #[test]
    fn a_bpffs_is_mounted_where_it_usually_is_or_where_it_is_wanted() {
        let commands = |bpffs: &str| {
            let facts = Facts { bpffs: bpffs.into(), is_bpffs: false, ..healthy() };
            super::bpffs(&facts).fix.unwrap().commands
        };
        assert_eq!(commands("/sys/fs/bpf/lb"), ["mount -t bpf bpf /sys/fs/bpf"]);
        assert_eq!(commands("/no/such/bpf"), ["mkdir -p /no/such/bpf", "mount -t bpf bpf /no/such/bpf"]);
    }
}
