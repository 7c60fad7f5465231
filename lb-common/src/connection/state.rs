//! Connection states, and the timeouts that belong to them.
//!
//! A DR director sees the client's direction only, so TCP follows the INPUT-ONLY table of
//! `net/netfilter/ipvs/ip_vs_proto_tcp.c`.

use crate::Setting;
#[cfg(not(target_arch = "bpf"))]
use crate::clock::MAX_TIMEOUT_SECONDS;

/// The state of a connection; the numbers are IPVS's (`include/net/ip_vs.h`) for TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nothing seen yet.
    None = 0,
    /// The client acknowledged; data flows.
    Established = 1,
    /// A SYN was sent by the real server (simultaneous open).
    SynSent = 2,
    /// The client's SYN was seen: half open.
    SynRecv = 3,
    /// The client closed its direction.
    FinWait = 4,
    /// Both directions closed.
    TimeWait = 5,
    /// Reset.
    Close = 6,
    /// The real server closed its direction first.
    CloseWait = 7,
    /// Waiting for the last acknowledgement.
    LastAck = 8,
    /// Listening.
    Listen = 9,
    /// SYN and ACK seen by a SYN proxy.
    SynAck = 10,
    /// A UDP flow.
    Udp = 11,
    /// No connection: where new ones of a client go ([`persistence`](crate::persistence)).
    Template = 12,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::None,
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::SynAck,
        Self::Udp,
        Self::Template,
    ];

    /// The state with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// The name that `ipvsadm -Lnc` prints; a template has none of its own there.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::SynAck => "SYNACK",
            Self::Udp => "UDP",
            Self::Template => "TEMPLATE",
        }
    }

    /// Whether IPVS counts a connection in this state as active (`tcp_state_active_table`). UDP's never are
    /// (`IP_VS_CONN_F_INACTIVE` in `__ip_vs_update_dest`).
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Established | Self::SynSent | Self::SynRecv | Self::SynAck)
    }

    /// Whether an entry in this state counts as a connection, active or inactive.
    #[must_use]
    pub const fn counts(self) -> bool {
        !matches!(self, Self::None | Self::Template)
    }
}

/// TCP flags as they lie in byte 13 of the header.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is set.
    pub const ACK: u8 = 0x10;
}

/// A row of the transition table: the next state of state `n` in the `n`th group of four bits.
const fn row(next: [State; 11]) -> u64 {
    let mut packed = 0;
    let mut i = 0;
    while i < next.len() {
        packed |= (next[i] as u64) << (4 * i);
        i += 1;
    }
    // A UDP entry has no TCP transitions.
    packed | (State::Udp as u64) << (4 * State::Udp as u32)
}

use State::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI,
    SynRecv as SR, SynSent as SS, TimeWait as TW,
};

// From        NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
const ON_SYN: u64 = row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR]);
const ON_FIN: u64 = row([CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW]);
const ON_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES]);
const ON_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL]);
// A segment with none of these flags closes, as in `set_tcp_state`.
const ON_NONE: u64 = row([CL; 11]);

/// The state after a segment with `flags` from the client; `state` and the result are [`State`]s as numbers.
///
/// RST goes before SYN, SYN before FIN, FIN before ACK (`tcp_state_idx`).
#[inline(always)]
#[must_use]
pub const fn after_segment(state: u32, flags: u8) -> u32 {
    let row = if flags & (flags::RST | flags::SYN | flags::FIN) == 0 {
        if flags & flags::ACK != 0 { ON_ACK } else { ON_NONE }
    } else if flags & flags::RST != 0 {
        ON_RST
    } else if flags & flags::SYN != 0 {
        ON_SYN
    } else {
        ON_FIN
    };
    (row >> (4 * (state & 15))) as u32 & 15
}

/// How long a connection in each state is remembered without a frame, in seconds.
///
/// Lies in the settings map; the daemon changes it while frames flow, one timeout at a time.
#[repr(C)]
pub struct Timeouts([Setting; 16]);

impl Timeouts {
    /// The timeout of a state, given as its number.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, state: u32) -> u32 {
        self.0[(state & 15) as usize].get()
    }
}

/// In place of a state in an entry that is being written: it does not expire.
pub(super) const BEING_WRITTEN: u32 = 15;

/// How long an entry is remembered in which nothing was seen, or that has left for the other table.
#[cfg(not(target_arch = "bpf"))]
const LEFT_SECONDS: u32 = 2;

/// Longer than ages are told apart.
#[cfg(not(target_arch = "bpf"))]
const FOREVER: u32 = 1 << 30;

#[cfg(not(target_arch = "bpf"))]
impl Timeouts {
    /// Has entries that are being written not expire, where the timeouts are those of an earlier version's daemon.
    pub fn protect_writers(&self) {
        self.0[BEING_WRITTEN as usize].set(FOREVER);
    }

    /// IPVS's defaults (`tcp_timeouts` and `udp_timeouts`): TCP 15 min, after FIN 2 min, UDP 5 min.
    #[must_use]
    pub const fn ipvs() -> Self {
        Self::with(900, 120, 300)
    }

    /// IPVS's, with the three that `ipvsadm --set tcp tcpfin udp` changes, in seconds.
    ///
    /// Values above [`MAX_TIMEOUT_SECONDS`] are cut to it.
    #[must_use]
    pub const fn with(tcp: u32, tcp_fin: u32, udp: u32) -> Self {
        const fn setting(seconds: u32) -> Setting {
            Setting::new(if seconds > MAX_TIMEOUT_SECONDS { MAX_TIMEOUT_SECONDS } else { seconds })
        }
        Self([
            setting(LEFT_SECONDS),
            setting(tcp),
            setting(120),
            setting(60),
            setting(tcp_fin),
            setting(120),
            setting(10),
            setting(60),
            setting(30),
            setting(120),
            setting(120),
            setting(udp),
            setting(0),
            setting(0),
            setting(0),
            Setting::new(FOREVER),
        ])
    }

    /// The same, where templates live for `longest` seconds at most: 0 if there are none.
    ///
    /// Their virtual servers tell exactly how long ([`Persistence`](crate::persistence::Persistence)), and the sweeper
    /// whether they have connections; it has some time for that before others take their places.
    #[must_use]
    pub fn with_templates(self, longest: u32) -> Self {
        const SWEEPERS: u32 = 60;
        let seconds = if longest == 0 { 0 } else { longest.min(MAX_TIMEOUT_SECONDS) + SWEEPERS };
        self.0[State::Template as usize].set(seconds);
        self
    }

    /// What ranks the entries of the table of half-open flows: all alike, so that whoever was seen longest ago goes
    /// first (a datagram, remembered for minutes, must not take the place of a SYN), and before them those that left.
    #[must_use]
    pub const fn half_open_ranks() -> Self {
        let mut ranks = [const { Setting::new(60) }; 16];
        ranks[State::None as usize] = Setting::new(LEFT_SECONDS);
        Self(ranks)
    }

    /// Sets every timeout to what it is in `other`.
    pub fn set(&self, other: &Self) {
        for (mine, theirs) in self.0.iter().zip(&other.0) {
            mine.set(theirs.get());
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Clone for Timeouts {
    fn clone(&self) -> Self {
        Self(core::array::from_fn(|i| Setting::new(self.0[i].get())))
    }
}

#[cfg(not(target_arch = "bpf"))]
impl PartialEq for Timeouts {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| mine.get() == theirs.get())
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Eq for Timeouts {}

#[cfg(not(target_arch = "bpf"))]
impl core::fmt::Debug for Timeouts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(State::ALL.iter().map(|state| (state.name(), self.of(*state as u32)))).finish()
    }
}
