//! What most tests here begin with.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use lb_lab::{Director, Host, Lab, Result, VirtualServer};
use serde_json::Value;

/// Enough for a request in a lab, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A client, a director and `count` real servers.
pub(crate) fn lab(count: usize) -> Result<Lab> {
    Lab::builder().client("client").director("director").real_servers(count).build()
}

/// The same with IPv6 beside IPv4.
pub(crate) fn lab6(count: usize) -> Result<Lab> {
    Lab::builder().ipv6().client("client").director("director").real_servers(count).build()
}

/// A TCP service on port 80 of the lab's VIP, over all its real servers.
pub(crate) fn web(lab: &Lab) -> VirtualServer {
    VirtualServer::tcp("web", lab.vip(), 80).hosts(&lab.real_servers())
}

/// The same for the VIP's IPv6 address.
pub(crate) fn web6(lab: &Lab) -> VirtualServer {
    VirtualServer::tcp("web6", lab.vip6(), 80).hosts(&lab.real_servers())
}

/// The names of the real servers that answer `count` requests, one after the other.
pub(crate) fn answers(lab: &Lab, count: usize) -> Result<Vec<String>> {
    answers_of(lab, lab.vip(), count)
}

/// The same for requests to another VIP.
pub(crate) fn answers_of(lab: &Lab, vip: impl Into<IpAddr>, count: usize) -> Result<Vec<String>> {
    let vip = vip.into();
    (0..count).map(|_| Ok(lab.client().http_get((vip, 80), PATIENCE)?.server)).collect()
}

/// `lb list --json`.
pub(crate) fn list(director: &Director) -> Result<Value> {
    director.json(["list"])
}

/// The real servers of the first virtual server in `lb list --json`.
pub(crate) fn real_servers(director: &Director) -> Result<Vec<Value>> {
    let listed = list(director)?;
    Ok(listed["virtual_servers"][0]["real_servers"].as_array().expect("a list of real servers").clone())
}

/// The events of a kind, as `lb events` has them.
pub(crate) fn events(director: &Director, kind: &str) -> Result<Vec<Value>> {
    let told = director.cli(["events", "--last", "256", "--no-follow", "--json"])?;
    let parse = |line: &str| serde_json::from_str::<Value>(line).expect("JSON on each line");
    Ok(told.lines().map(parse).filter(|event| event["kind"] == kind).collect())
}

/// One counter of `lb counters --json`.
pub(crate) fn counter(director: &Director, name: &str) -> Result<u64> {
    let counters = director.json(["counters"])?;
    Ok(counters["counters"][name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {counters}")))
}

/// An HTTP connection that is kept open, so that it can be seen to survive things.
pub(crate) struct OpenConnection(TcpStream);

impl OpenConnection {
    pub(crate) fn open(client: &Host, vip: impl Into<IpAddr>) -> Result<Self> {
        let server = SocketAddr::from((vip.into(), 80));
        let stream = client.enter(|| TcpStream::connect_timeout(&server, PATIENCE))?;
        let stream = stream.expect("the VIP accepts a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        Ok(Self(stream))
    }

    /// The client's end.
    pub(crate) fn client(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Asks on the open connection; the name of the real server that answers.
    pub(crate) fn ask(&mut self) -> std::io::Result<String> {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = self.0.read(&mut buffer)?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&answer);
            let name = text.lines().find_map(|line| line.strip_prefix("X-Real-Server: "));
            if let (true, Some(name)) = (text.contains("\r\n\r\n"), name) {
                return Ok(name.to_owned());
            }
        }
    }
}
