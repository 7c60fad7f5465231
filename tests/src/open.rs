//! HTTP connections that are kept open, so that they can be seen to survive things.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};
use crate::host::Host;

/// Enough for an answer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
pub struct OpenConnection(TcpStream);

impl OpenConnection {
    /// Connects from a host, to port 80 of a VIP.
    pub fn open(client: &Host, vip: impl Into<IpAddr>) -> Result<Self> {
        let server = SocketAddr::new(vip.into(), 80);
        let stream = client.enter(|| TcpStream::connect_timeout(&server, PATIENCE))?;
        let doing = || format!("connect to {server} from {}", client.name());
        let stream = stream.doing(doing)?;
        stream.set_read_timeout(Some(PATIENCE)).doing(doing)?;
        Ok(Self(stream))
    }

    /// The client's end.
    pub fn client(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Asks for `/`; the name of the real server that answers.
    pub fn ask(&mut self) -> io::Result<String> {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = self.0.read(&mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
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

/// A download that takes its time, on a thread of its own.
pub struct Download(JoinHandle<Result<io::Result<u64>>>);

impl Download {
    /// Gets a path from port 80 of a VIP to a host, with so many bytes a second at most.
    pub fn start(client: &Host, vip: impl Into<IpAddr>, path: &str, rate: u32) -> Result<Self> {
        let (server, path) = (SocketAddr::new(vip.into(), 80), path.to_owned());
        Ok(Self(client.start_thread(move || download(server, &path, rate))?))
    }

    /// Whether it is still under way.
    pub fn is_running(&self) -> bool {
        !self.0.is_finished()
    }

    /// Waits for its end, and says how many bytes came behind the header.
    pub fn finish(self) -> Result<u64> {
        match self.0.join() {
            Ok(bytes) => bytes?.doing(|| "download".to_owned()),
            Err(_) => Err(Error::Description("the download has panicked".into())),
        }
    }
}

fn download(server: SocketAddr, path: &str, rate: u32) -> io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: vip\r\n\r\n")?;
    let (began, mut received, mut buffer) = (Instant::now(), 0, vec![0; 64 << 10]);
    let mut header = Vec::new();
    let mut body = None;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(body.unwrap_or(0));
        }
        received += length as u64;
        match &mut body {
            Some(bytes) => *bytes += length as u64,
            None => {
                header.extend_from_slice(&buffer[..length]);
                let end = header.windows(4).position(|window| window == b"\r\n\r\n");
                body = end.map(|end| (header.len() - end - 4) as u64);
            }
        }
        let due = began + Duration::from_secs_f64(received as f64 / f64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
