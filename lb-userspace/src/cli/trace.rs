//! `lb trace`.

mod pcapng;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::{ControlSocket, Failure, NOT_RUNNING, answered, output, runtime};
use crate::config::Protocol;
use crate::control::api::{TraceCounts, TraceFilter, TraceLine, TraceVerdict, TracedFrame};
use crate::control::client;
use crate::forms::Prefix;
use pcapng::Capture;

/// Say what becomes of frames as they come, and write them to a file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb trace                                           until Ctrl-C
  sudo lb trace --client 198.51.100.0/24 --vip 192.168.2.240:80
  sudo lb trace --dropped --count 20                      why they are dropped
  sudo lb trace --reason no_real_server --service web
  sudo lb trace --server 192.168.2.212 --json | jq -r .source
  sudo lb trace --write trace.pcapng --seconds 10         for Wireshark
  sudo lb trace --write - | tcpdump -nr -

Frames that are all of what is asked for, at most --rate in a second; the rest are counted. Times are UTC. What is told is
what became of the frame itself; no second look is taken at it. While nobody traces this costs nothing: another program is
put in the place of the ordinary one, and taken away at the end, without a frame lost. One traces at a time.

In a file each frame is as it came in, with a comment that says what became of it.")]
pub(super) struct Trace {
    /// Of clients in this prefix: 198.51.100.0/24, 2001:db8::/32, or one address
    #[arg(long, value_name = "PREFIX")]
    client: Option<Prefix>,
    /// To this address, prefix, or address and port
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    vip: Option<Vip>,
    /// Of this protocol
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// Of this virtual server: its name, or one of its addresses as `lb list -n` prints it
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Sent to this real server
    #[arg(long, value_name = "ADDRESS")]
    server: Option<IpAddr>,
    /// Not forwarded for this reason, as `lb counters` names it; may be given several times
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    reason: Vec<String>,
    /// Those that are sent to a real server; with others like this: also
    #[arg(long)]
    forwarded: bool,
    /// Those that are dropped
    #[arg(long)]
    dropped: bool,
    /// Those that the local network stack gets
    #[arg(long)]
    passed: bool,
    /// Those that are answered with a reset
    #[arg(long)]
    reset: bool,
    /// At most so many in a second
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Look at one frame of so many only, by chance
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// End after so many
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "NUMBER")]
    seconds: Option<u32>,
    /// Write the frames to a file in the format pcapng instead; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    write: Option<PathBuf>,
    /// How many bytes of each frame go there
    #[arg(long, value_name = "NUMBER", default_value_t = 256, requires = "write", value_parser = clap::value_parser!(u32).range(1..=2048))]
    bytes: u32,
    /// JSON instead of text: an object on each line, the last of which says how many there were
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

/// Where frames go to.
#[derive(Clone, Debug)]
struct Vip {
    addresses: Prefix,
    port: Option<u16>,
}

impl FromStr for Vip {
    type Err = crate::forms::PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self { addresses: socket.ip().into(), port: Some(socket.port()) });
        }
        Ok(Self { addresses: text.parse()?, port: None })
    }
}

impl Trace {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let path = format!("/v1/trace?{}", serde_urlencoded::to_string(self.filter())?);
        let mut printer = Printer { out: self.out()?, counts: None };
        let followed = runtime()?.block_on(async {
            let lines = client::lines(&self.socket.control_socket, &path, |line| printer.line(line));
            tokio::select! {
                followed = lines => followed.map(Some),
                _ = tokio::signal::ctrl_c() => Ok(None),
            }
        });
        match answered(followed)? {
            Some(ControlFlow::Break(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(());
            }
            Some(ControlFlow::Break(done)) => done?,
            Some(ControlFlow::Continue(())) if self.count.is_none() && self.seconds.is_none() => {
                printer.end()?;
                return Err(Failure { code: NOT_RUNNING, message: "the daemon has ended".to_owned() });
            }
            Some(ControlFlow::Continue(())) | None => {}
        }
        Ok(printer.end()?)
    }

    fn filter(&self) -> TraceFilter {
        let verdicts = [
            (self.forwarded, TraceVerdict::Forward),
            (self.dropped, TraceVerdict::Drop),
            (self.passed, TraceVerdict::Pass),
            (self.reset, TraceVerdict::Reset),
        ];
        let verdicts = verdicts.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, verdict)| verdict.name());
        let joined = |names: Vec<&str>| (!names.is_empty()).then(|| names.join(","));
        TraceFilter {
            client: self.client.map(|prefix| prefix.to_string()),
            vip: self.vip.as_ref().map(|vip| vip.addresses.to_string()),
            port: self.vip.as_ref().and_then(|vip| vip.port),
            protocol: self.protocol.map(|protocol| protocol.to_string()),
            service: self.service.clone(),
            server: self.server.map(|address| address.to_string()),
            reason: joined(self.reason.iter().map(String::as_str).collect()),
            verdict: joined(verdicts.collect()),
            rate: Some(self.rate),
            one_of: Some(self.sample),
            bytes: self.write.as_ref().map(|_| self.bytes),
            count: self.count,
            seconds: self.seconds,
        }
    }

    fn out(&self) -> Result<Out, Failure> {
        let Some(file) = &self.write else {
            return Ok(if self.json { Out::Json } else { Out::Text });
        };
        let out: Box<dyn Write> = if file == Path::new("-") {
            Box::new(io::stdout().lock())
        } else {
            let failed = |error: io::Error| Failure::because(format!("write {}: {error}", file.display()));
            Box::new(BufWriter::new(File::create(file).map_err(failed)?))
        };
        Ok(Out::File(Capture::begin(out, self.bytes)?))
    }
}

/// Where frames go.
enum Out {
    Text,
    Json,
    File(Capture<Box<dyn Write>>),
}

struct Printer {
    out: Out,
    counts: Option<TraceCounts>,
}

impl Printer {
    /// A line of the answer.
    fn line(&mut self, line: &[u8]) -> ControlFlow<io::Result<()>> {
        let printed = match serde_json::from_slice(line) {
            Ok(TraceLine::Counts(counts)) => self.count(counts),
            Ok(TraceLine::Frame(frame)) => self.frame(&frame, line),
            Err(error) => Err(error.into()),
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    fn count(&mut self, counts: TraceCounts) -> io::Result<()> {
        if self.counts.replace(counts).is_none() {
            output::complain(&"lb: tracing; Ctrl-C ends it");
        }
        match &mut self.out {
            // Whoever reads may wait for what there is.
            Out::File(capture) => capture.flush(),
            Out::Text | Out::Json => Ok(()),
        }
    }

    fn frame(&mut self, frame: &TracedFrame, line: &[u8]) -> io::Result<()> {
        match &mut self.out {
            Out::Text => print(text(frame).as_bytes()),
            Out::Json => print(line),
            Out::File(capture) => capture.frame(frame),
        }
    }

    /// Says how many there were, as far as was told: the last second's may be missing after Ctrl-C.
    fn end(self) -> io::Result<()> {
        let counts = self.counts.unwrap_or_default();
        match self.out {
            Out::Json => print(&serde_json::to_vec(&TraceLine::Counts(counts))?),
            Out::File(mut capture) => {
                capture.flush()?;
                complain(counts)
            }
            Out::Text => complain(counts),
        }
    }
}

fn print(line: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

#[expect(clippy::unnecessary_wraps, reason = "as the others, which write to a file")]
fn complain(TraceCounts { seen, shown, limited, lost }: TraceCounts) -> io::Result<()> {
    output::complain(&format_args!(
        "lb: frames: {seen} as asked for, {shown} told, {limited} above --rate, {lost} lost because nobody read in time"
    ));
    Ok(())
}

/// A frame in words.
fn text(frame: &TracedFrame) -> String {
    // The time of day, to the microsecond.
    let time = frame.time.get(11..26).unwrap_or(&frame.time);
    let TracedFrame { interface, .. } = frame;
    let packet = match (&frame.source, &frame.destination) {
        (Some(source), Some(destination)) => {
            let protocol = frame.protocol.as_deref().unwrap_or("fragment");
            let about = if frame.icmp_error { "icmp error about " } else { "" };
            format!("{about}{source} > {destination} {protocol}{}", flags(&frame.flags))
        }
        _ => format!("{} bytes", frame.length),
    };
    format!("{time} {interface} {packet}: {}", fate(frame))
}

fn flags(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" {}", names.join(",")) }
}

/// What became of it.
fn fate(frame: &TracedFrame) -> String {
    let mut text = frame.verdict.name().to_owned();
    let mut add = |word: &str, value: &Option<String>| {
        if let Some(value) = value {
            text = format!("{text}{word}{value}");
        }
    };
    add(" to ", &frame.real_server);
    add(" out of ", &frame.left_by);
    add(", ", &frame.reason);
    add(", service ", &frame.service);
    add(", ", &frame.state);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> TracedFrame {
        TracedFrame {
            time: "2026-11-22T05:06:30.123456789Z".to_owned(),
            interface: "eth0".to_owned(),
            protocol: Some("tcp".to_owned()),
            source: Some("198.51.100.7:40000".to_owned()),
            destination: Some("192.0.2.1:80".to_owned()),
            flags: vec!["syn".to_owned()],
            verdict: TraceVerdict::Forward,
            service: Some("web".to_owned()),
            real_server: Some("192.0.2.10".to_owned()),
            length: 74,
            ..TracedFrame::default()
        }
    }

    #[test]
    fn a_frame_is_a_line() {
        let new = frame();
        let known = TracedFrame {
            flags: vec!["psh".to_owned(), "ack".to_owned()],
            state: Some("ESTABLISHED".to_owned()),
            left_by: Some("eth1".to_owned()),
            ..frame()
        };
        let refused = TracedFrame {
            verdict: TraceVerdict::Drop,
            reason: Some("drop_no_real_server".to_owned()),
            real_server: None,
            ..frame()
        };
        let about = TracedFrame { icmp_error: true, flags: Vec::new(), ..frame() };
        let other = TracedFrame {
            time: new.time.clone(),
            interface: new.interface.clone(),
            length: 60,
            reason: Some("pass_not_ip".to_owned()),
            ..TracedFrame::default()
        };
        for (frame, line) in [
            (
                &new,
                "05:06:30.123456 eth0 198.51.100.7:40000 > 192.0.2.1:80 tcp syn: forward to 192.0.2.10, service web",
            ),
            (
                &known,
                "05:06:30.123456 eth0 198.51.100.7:40000 > 192.0.2.1:80 tcp psh,ack: forward to 192.0.2.10 out of eth1, service web, ESTABLISHED",
            ),
            (
                &refused,
                "05:06:30.123456 eth0 198.51.100.7:40000 > 192.0.2.1:80 tcp syn: drop, drop_no_real_server, service web",
            ),
            (
                &about,
                "05:06:30.123456 eth0 icmp error about 198.51.100.7:40000 > 192.0.2.1:80 tcp: forward to 192.0.2.10, service web",
            ),
            (&other, "05:06:30.123456 eth0 60 bytes: pass, pass_not_ip"),
        ] {
            assert_eq!(text(frame), line);
        }
    }

    #[test]
    fn a_vip_has_a_port_or_not() {
        let parsed = |text: &str| text.parse::<Vip>().map(|vip| (vip.addresses.to_string(), vip.port));
        assert_eq!(parsed("192.0.2.1:80"), Ok(("192.0.2.1".to_owned(), Some(80))));
        assert_eq!(parsed("192.0.2.0/28"), Ok(("192.0.2.0/28".to_owned(), None)));
        assert_eq!(parsed("[2001:db8::1]:53"), Ok(("2001:db8::1".to_owned(), Some(53))));
        assert_eq!(parsed("2001:db8::1"), Ok(("2001:db8::1".to_owned(), None)));
        assert!(parsed("web").is_err());
    }
}
