//! Settings of the kernel below /proc/sys.

use std::io;
use std::path::Path;

use thiserror::Error;

/// A setting could not be read or changed.
#[derive(Debug, Error)]
#[error("{action} {setting}: {source}")]
pub struct SysctlError {
    /// What was tried.
    pub action: &'static str,
    /// As sysctl(8) names it.
    pub setting: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Reads the setting at this path below /proc/sys, such as `net/ipv4/conf/all/rp_filter`.
///
/// # Errors
/// [`SysctlError`].
pub fn read_sysctl(setting: &str) -> Result<String, SysctlError> {
    let failed = |source| SysctlError { action: "read", setting: sysctl_name(setting), source };
    Ok(std::fs::read_to_string(Path::new("/proc/sys").join(setting)).map_err(failed)?.trim().to_owned())
}

/// Changes a setting until the next boot.
///
/// # Errors
/// [`SysctlError`].
pub fn write_sysctl(setting: &str, value: &str) -> Result<(), SysctlError> {
    let failed = |source| SysctlError { action: "set", setting: sysctl_name(setting), source };
    std::fs::write(Path::new("/proc/sys").join(setting), value).map_err(failed)
}

/// As sysctl(8) takes it. A dot within a name, such as that of `eth0.100`, is written as a slash.
#[must_use]
pub fn sysctl_name(setting: &str) -> String {
    let exchange = |letter| match letter {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    setting.chars().map(exchange).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_sysctl() {
        assert_eq!(sysctl_name("net/ipv4/conf/all/rp_filter"), "net.ipv4.conf.all.rp_filter");
        assert_eq!(sysctl_name("net/ipv4/conf/eth0.100/rp_filter"), "net.ipv4.conf.eth0/100.rp_filter");
    }

    #[test]
    fn a_setting_that_is_not_there_is_named() {
        let error = read_sysctl("net/no/such").unwrap_err().to_string();
        assert!(error.starts_with("read net.no.such: "), "{error}");
    }
}
