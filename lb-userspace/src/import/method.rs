//! Ways in which IPVS sends frames to real servers, of which lb has one.

use super::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Direct,
    Nat,
    Tunnel,
}

impl Method {
    /// As keepalived writes them.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "DR" => Some(Self::Direct),
            "NAT" => Some(Self::Nat),
            "TUN" => Some(Self::Tunnel),
            _ => None,
        }
    }

    /// What has to be done for direct routing to take its place.
    pub(super) const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Direct => None,
            Self::Nat => Some(
                "lb forwards by direct routing only: give the real servers the VIP with `lb real-server up`, and have \
                 them answer past the director",
            ),
            Self::Tunnel => Some(
                "lb forwards by direct routing only: real servers have to be in a network of the director's, with the \
                 VIP of `lb real-server up`",
            ),
        }
    }

    /// Whether a server that is written with a port is reached where it listens: direct routing leaves the client's port
    /// alone, as that of IPVS does whatever port is written (`ip_vs_dr_xmit` of net/netfilter/ipvs/ip_vs_xmit.c).
    /// `ports` are those of the virtual server, 0 for any.
    pub(super) fn reaches(
        self,
        port: Option<u16>,
        ports: &[u16],
        (line, subject): (usize, &str),
        report: &mut Report,
    ) -> bool {
        let Some(port) = port.filter(|port| *port > 0) else { return true };
        let Some(other) = ports.iter().find(|other| **other != port && **other != 0) else { return true };
        if self == Self::Nat {
            let message = format!(
                "left out: NAT translated port {other} to {port}, which direct routing cannot; have it listen on port \
                 {other}"
            );
            report.lost(line, subject, message);
            return false;
        }
        let message = format!("reached on port {other}, as with IPVS: only NAT translates ports");
        report.note(line, subject, message);
        true
    }
}
