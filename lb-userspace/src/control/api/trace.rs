//! What becomes of frames.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The query of `GET /v1/trace`: frames that are each of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TraceFilter {
    /// Of clients in this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// To this address, or one in this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// To this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `tcp` or `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Of this virtual server: its name, or an address that only it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Sent to this real server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Not forwarded for one of these reasons, separated by commas: names of counters, with or without `drop_` and
    /// `pass_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With one of these verdicts, separated by commas: `forward`, `drop`, `pass`, `reset`. With `reason`: and those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// At most so many in a second; 100, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// One frame of so many, by chance; 1, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<u32>,
    /// With so many of the frame's first bytes; without any, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// Until there were so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// For so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

/// A line of `GET /v1/trace`, whose query is a [`TraceFilter`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TraceLine {
    /// A frame.
    Frame(Box<TracedFrame>),
    /// How many there were so far: the first line when frames begin to be told of, one every second, and the last.
    Counts(TraceCounts),
}

/// A frame, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TracedFrame {
    /// When, as RFC 3339 with nanoseconds.
    pub time: String,
    /// The interface that it came in on.
    pub interface: String,
    /// `tcp`, `udp`, or another protocol's number; null if it was not read so far as to know.
    pub protocol: Option<String>,
    /// Address and port that it comes from; of a fragment that is not the first, port 0.
    pub source: Option<String>,
    /// Address and port that it goes to.
    pub destination: Option<String>,
    /// Names of the TCP flags that are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Whether it is an ICMP error about a packet from `source` to `destination`.
    #[serde(default)]
    pub icmp_error: bool,
    /// What became of it.
    pub verdict: TraceVerdict,
    /// The counter that it was counted under, if it was not forwarded.
    pub reason: Option<String>,
    /// The virtual server's name.
    pub service: Option<String>,
    /// The state of its connection in the main table before; null if it had none there, or nobody looked.
    pub state: Option<String>,
    /// The real server that it was sent to.
    pub real_server: Option<String>,
    /// The interface that it left by, if it is another one.
    pub left_by: Option<String>,
    /// Its length, with the Ethernet header.
    pub length: u32,
    /// Its first bytes as they came in, in hexadecimal, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceVerdict {
    /// It was sent to a real server.
    Forward,
    /// The director itself is the real server.
    Deliver,
    /// The client got a TCP reset.
    Reset,
    /// The local network stack got it, unchanged.
    #[default]
    Pass,
    /// It was dropped.
    Drop,
    /// The program gave up.
    Abort,
}

impl TraceVerdict {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Deliver => "deliver",
            Self::Reset => "reset",
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Abort => "abort",
        }
    }
}

/// How many frames there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceCounts {
    /// As wished, of those that were looked at.
    pub seen: u64,
    /// Of these, told.
    pub shown: u64,
    /// Of these, not told because there were more in that second than `rate`.
    pub limited: u64,
    /// Of these, not told because nobody took those before in time.
    pub lost: u64,
}
