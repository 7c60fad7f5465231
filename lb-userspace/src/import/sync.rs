//! Synchronisation daemons, which lb has with keys: what is left to do is written down.

use std::net::SocketAddr;

use crate::config::{MAKE_SECRET, SYNC_KEY};

pub(super) const REMARK: &str = "lb shares connections with keys: make a key file on one director, copy it to the other, and \
                                 take the comment marks off [sync] at the end of the file";

/// The section, to be written as a comment.
pub(super) fn section(origin: &str, interface: &str, group: SocketAddr) -> Vec<String> {
    vec![
        origin.to_owned(),
        "Connections shared between directors; the key is the same on both:".to_owned(),
        format!("  (umask 077; {MAKE_SECRET} > {SYNC_KEY})"),
        "[sync]".to_owned(),
        format!("interface = {interface:?}"),
        format!("group = \"{group}\""),
        format!("key_file = {SYNC_KEY:?}"),
    ]
}
