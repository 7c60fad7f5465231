//! How probes get to a real server.

use std::net::IpAddr;

/// How probes get to a real server.
#[derive(Clone, Debug)]
pub enum Path {
    /// By sockets of the kernel, to its own address.
    Direct {
        /// Its own address.
        server: IpAddr,
        /// The address they are sent from, if one is configured.
        bind: Option<IpAddr>,
    },
}
