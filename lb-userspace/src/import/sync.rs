//! Synchronisation daemons, which lb has with keys: what is left to do is written down.

pub(super) const REMARK: &str = "lb shares connections with keys: make a key file on one director, copy it to the other, and \
                                 take the comment marks off [sync] at the end of the file";

/// The section, to be written as a comment.
pub(super) fn section(origin: &str, interface: &str) -> Vec<String> {
    let lines = [
        origin,
        "Connections shared between directors; the key is the same on both:",
        "  (umask 077; head -c 32 /dev/urandom > /etc/lb/sync.key)",
        "[sync]",
        &format!("interface = \"{interface}\""),
        "group = \"224.0.0.81:8848\"",
        "key_file = \"/etc/lb/sync.key\"",
    ];
    lines.map(str::to_owned).to_vec()
}
