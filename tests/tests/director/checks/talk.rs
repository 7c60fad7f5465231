//! Small servers for what no program of a lab speaks. They stop when dropped.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use lb_lab::{Host, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::PATIENCE;

/// A server's thread, which is asked to end when this is dropped.
struct Thread {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<io::Result<()>>>>,
}

impl Thread {
    /// Calls `serve` whenever there is something to read.
    fn start<S: AsFd + Send + 'static>(
        host: &Host,
        socket: S,
        mut serve: impl FnMut(&S) -> io::Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (stop, stopped) = UnixStream::pair().expect("two ends");
        let thread = host.start_thread(move || {
            while is_to_serve(socket.as_fd(), stopped.as_fd())? {
                // Whoever broke off got no answer, which is for the test to see.
                _ = serve(&socket);
            }
            Ok(())
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// Waits for something to read; false if it is the end.
fn is_to_serve(socket: BorrowedFd<'_>, stopped: BorrowedFd<'_>) -> io::Result<bool> {
    let mut sources = [socket, stopped].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    poll(&mut sources, PollTimeout::NONE)?;
    Ok(!sources[1].any().unwrap_or(true))
}

/// What a server says, and the test may change.
#[derive(Clone)]
pub(super) struct Said<T>(Arc<Mutex<T>>);

impl<T: Clone> Said<T> {
    fn new(what: T) -> Self {
        Self(Arc::new(Mutex::new(what)))
    }

    pub(super) fn get(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, what: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

/// A name server that knows 192.0.2.1 for every name.
pub(super) struct NameServer {
    /// The response code (RFC 1035, section 4.1.1): 0 is NOERROR, 2 SERVFAIL.
    pub(super) code: Said<u8>,
    _thread: Thread,
}

impl NameServer {
    /// Starts it on port 53.
    pub(super) fn start(host: &Host) -> Result<Self> {
        let address = (host.address(), 53);
        let socket = host.enter(|| UdpSocket::bind(address))?.expect("the port is free");
        let code = Said::new(0);
        let said = code.clone();
        let serve = move |socket: &UdpSocket| {
            let mut question = [0; 512];
            let (length, client) = socket.recv_from(&mut question)?;
            socket.send_to(&resolved(&question[..length], said.get()), client).map(drop)
        };
        Ok(Self { code, _thread: Thread::start(host, socket, serve)? })
    }
}

/// The answer to a question: itself, with a record if the code is NOERROR.
fn resolved(question: &[u8], code: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    if answer.len() < 12 {
        return answer;
    }
    // QR and RD; RA and the code.
    (answer[2], answer[3]) = (0x81, 0x80 | code);
    if code == 0 {
        answer[7] = 1;
        // The name is the question's; A, IN, 60 s, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    }
    answer
}

/// A mail server.
pub(super) struct MailServer {
    /// What it greets with.
    pub(super) greeting: Said<String>,
    /// What it was told, all lines of all clients.
    pub(super) heard: Said<String>,
    _thread: Thread,
}

impl MailServer {
    /// Starts it on port 25.
    pub(super) fn start(host: &Host) -> Result<Self> {
        let address = (host.address(), 25);
        let listener = host.enter(|| TcpListener::bind(address))?.expect("the port is free");
        let (greeting, heard) = (Said::new(format!("220 {}", host.name())), Said::new(String::new()));
        let (says, hears) = (greeting.clone(), heard.clone());
        let serve = move |listener: &TcpListener| {
            let (stream, _) = listener.accept()?;
            take_mail(&stream, &says.get(), &hears)
        };
        Ok(Self { greeting, heard, _thread: Thread::start(host, listener, serve)? })
    }
}

/// A dialogue of RFC 5321, as far as one client after the other needs it.
fn take_mail(mut stream: &TcpStream, greeting: &str, heard: &Said<String>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{greeting}\r\n").as_bytes())?;
    let mut is_data = false;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        heard.set(format!("{}{line}\n", heard.get()));
        let answer = match line.get(..4).unwrap_or(&line) {
            "." => {
                is_data = false;
                "250 taken"
            }
            _ if is_data => continue,
            "DATA" => {
                is_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 at your service",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
        if answer.starts_with("221") {
            break;
        }
    }
    Ok(())
}
