//! `lb connections`.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::net::IpAddr;
use std::ops::ControlFlow;

use clap::Args;

use super::{ControlSocket, Failure, answered, runtime};
use crate::control::api::{Connection, ConnectionFilter};
use crate::control::client;
use crate::forms::Prefix;

/// List connections.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb connections                                     all of them (ipvsadm -Lnc)
  sudo lb connections --service web --limit 20
  sudo lb connections --client 198.51.100.0/24 --server 192.168.2.212
  sudo lb connections --json | jq -r '.connections[].state' | sort | uniq -c

In the order in which they lie in the table, printed as they are found; those that begin or end
meanwhile may be among them or not. Expire is the time until a connection is forgotten if no frame of it
comes.")]
pub(super) struct Connections {
    /// Of this virtual server: its name, or one of its addresses as `lb list -n` prints it
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Of clients in this prefix: 198.51.100.0/24, 2001:db8::/32, or one address
    #[arg(long, value_name = "PREFIX")]
    client: Option<Prefix>,
    /// To this real server
    #[arg(long, value_name = "ADDRESS")]
    server: Option<IpAddr>,
    /// No more than this many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Numbers, as it is anyway: there may be too many to ask for their names
    #[arg(long, short)]
    numeric: bool,
    /// JSON instead of a table: an object with the list `connections`, one on each line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Connections {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let filter = ConnectionFilter {
            service: self.service,
            client: self.client.map(|prefix| prefix.to_string()),
            server: self.server.map(|address| address.to_string()),
            limit: self.limit,
        };
        let query = serde_urlencoded::to_string(&filter)?;
        let path = format!("/v1/connections?{query}");
        let mut printer = Printer::new(self.json);
        let listing = client::lines(&self.socket.control_socket, &path, |line| match printer.line(line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        });
        let ended = match answered(runtime()?.block_on(listing))? {
            ControlFlow::Continue(()) => printer.end(),
            ControlFlow::Break(error) => Err(error),
        };
        match ended {
            // `lb connections | head`
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            ended => Ok(ended?),
        }
    }
}

/// Prints connections as they come: as a table, or as one JSON document.
struct Printer<W: Write = BufWriter<StdoutLock<'static>>> {
    out: W,
    json: bool,
    printed: u64,
    /// Of the columns with addresses: as wide as the widest so far.
    widths: [usize; 2],
}

/// An IPv4 address and a port.
const WIDTH: usize = "255.255.255.255:65535".len();

impl Printer {
    fn new(json: bool) -> Self {
        Self::to(BufWriter::with_capacity(1 << 16, io::stdout().lock()), json)
    }
}

impl<W: Write> Printer<W> {
    fn to(out: W, json: bool) -> Self {
        Self { out, json, printed: 0, widths: [WIDTH; 2] }
    }

    /// A connection, as the daemon tells of it.
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.begin()?;
        if self.json {
            self.out.write_all(if self.printed == 0 { b"\n" } else { b",\n" })?;
            self.out.write_all(line)?;
        } else {
            let connection = serde_json::from_slice(line)?;
            self.row(&connection)?;
        }
        self.printed += 1;
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        match (self.printed, self.json) {
            (0, true) => write!(self.out, "{{\"connections\":["),
            (0, false) => self.columns(["Pro", "Expire", "State", "Source", "Virtual", "Destination"]),
            _ => Ok(()),
        }
    }

    /// The columns of `ipvsadm -Lnc`.
    fn row(&mut self, connection: &Connection) -> io::Result<()> {
        let Connection { protocol, expires_in, state, client, virtual_address, real_server, .. } = connection;
        let expire = format!("{:02}:{:02}", expires_in / 60, expires_in % 60);
        let destination =
            real_server.as_deref().map_or_else(|| "-".to_owned(), |address| socket(address, virtual_address));
        self.columns([&protocol.to_uppercase(), &expire, state, client, virtual_address, &destination])
    }

    fn columns(&mut self, cells: [&str; 6]) -> io::Result<()> {
        let [protocol, expire, state, source, target, destination] = cells;
        let [first, second] = &mut self.widths;
        (*first, *second) = ((*first).max(source.len()), (*second).max(target.len()));
        writeln!(
            self.out,
            "{protocol:<3} {expire:<6} {state:<11} {source:<first$} {target:<second$} {destination}"
        )
    }

    fn end(mut self) -> io::Result<()> {
        if self.printed == 0 {
            self.begin()?;
        }
        if self.json {
            self.out.write_all(b"\n]}\n")?;
        }
        self.out.flush()
    }
}

/// The real server, with the port that the client connected to: direct routing changes none.
fn socket(address: &str, virtual_address: &str) -> String {
    let port = virtual_address.rsplit_once(':').map_or("", |(_, port)| port);
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = r#"{"kind":"connection","protocol":"tcp","state":"ESTABLISHED","expires_in":899,"client":"198.51.100.7:40000","virtual_address":"192.0.2.1:80","real_server":"192.0.2.10","service":"web","half_open":false}"#;
    const V6: &str = r#"{"kind":"connection","protocol":"udp","state":"UDP","expires_in":6001,"client":"[2001:db8:1234:5678::7]:40000","virtual_address":"[2001:db8::1]:53","real_server":"2001:db8::10","service":null,"half_open":true}"#;

    fn printed(json: bool, lines: &[&str]) -> String {
        let mut bytes = Vec::new();
        let mut printer = Printer::to(&mut bytes, json);
        for line in lines {
            printer.line(line.as_bytes()).expect("there is memory");
        }
        printer.end().expect("there is memory");
        String::from_utf8(bytes).expect("it is text")
    }

    #[test]
    fn a_table_is_in_the_manner_of_ipvsadm() {
        let expected = "\
Pro Expire State       Source                Virtual               Destination
TCP 14:59  ESTABLISHED 198.51.100.7:40000    192.0.2.1:80          192.0.2.10:80
UDP 100:01 UDP         [2001:db8:1234:5678::7]:40000 [2001:db8::1]:53      [2001:db8::10]:53
TCP 14:59  ESTABLISHED 198.51.100.7:40000            192.0.2.1:80          192.0.2.10:80
";
        assert_eq!(printed(false, &[V4, V6, V4]), expected);
        assert_eq!(printed(false, &[]).lines().count(), 1);
    }

    #[test]
    fn json_is_one_document_and_a_line_for_each() {
        for lines in [&[][..], &[V4], &[V4, V6]] {
            let text = printed(true, lines);
            let document: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(document["connections"].as_array().map(Vec::len), Some(lines.len()));
            assert_eq!(text.lines().count(), lines.len() + 2);
        }
    }
}
