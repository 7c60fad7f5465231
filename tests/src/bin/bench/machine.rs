//! What the figures were measured on.

use std::fs;
use std::thread;

use serde::Serialize;

/// A machine, as far as it matters to figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// When the run began, in UTC.
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// Whether a hypervisor says that it is there.
    pub(crate) is_virtual: bool,
    pub(crate) last_level_cache: Option<String>,
    /// What others let it do meanwhile: the load average of the last minute when the run began.
    pub(crate) load: Option<f64>,
}

impl Machine {
    /// This machine. What it does not tell is left out.
    pub(crate) fn this(date: String) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let caches = (0..8).rev().map(|i| read(&format!("/sys/devices/system/cpu/cpu0/cache/index{i}/size")));
        Self {
            date,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            is_virtual: field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            last_level_cache: caches.map(|size| size.trim().to_owned()).find(|size| !size.is_empty()),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.cores == 1 { "" } else { "s" };
        let kind = if self.is_virtual { " of a virtual machine" } else { "" };
        write!(f, "{}, {} core{plural}{kind}", self.cpu, self.cores)?;
        if let Some(size) = &self.last_level_cache {
            write!(f, ", cache {size}")?;
        }
        write!(f, "\nLinux {}, {}", self.kernel, self.date)?;
        if let Some(load) = self.load {
            write!(f, ", load {load:.1} when it began")?;
        }
        Ok(())
    }
}

/// The first value of a field of /proc/cpuinfo.
fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    };
    cpuinfo.lines().find_map(value)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Machine, field};

    /// One that does not depend on where the tests run.
    pub(crate) fn machine() -> Machine {
        Machine {
            date: "2026-01-02T03:04:05Z".into(),
            kernel: "6.18.0".into(),
            cpu: "A CPU".into(),
            cores: 2,
            is_virtual: true,
            last_level_cache: Some("32768K".into()),
            load: Some(0.25),
        }
    }

    #[test]
    fn cpuinfos_first_processor_names_the_model() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t: fpu hypervisor\n";
        assert_eq!(field(cpuinfo, "model name"), Some("AMD EPYC"));
        assert_eq!(field(cpuinfo, "stepping"), None);
    }

    #[test]
    fn a_machine_is_described_in_two_lines() {
        assert_eq!(
            machine().to_string(),
            "A CPU, 2 cores of a virtual machine, cache 32768K\n\
             Linux 6.18.0, 2026-01-02T03:04:05Z, load 0.2 when it began"
        );
    }
}
