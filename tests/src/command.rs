//! Programs that run on a host: to their end with a result, or beside the test with a log.
//!
//! Each is a session of its own, so that Ctrl-C reaches only the test, which then removes the lab in order.
//! The kernel kills them when the test's process is killed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::setsid;

use crate::error::{Doing, Error, Result};
use crate::namespace::Namespace;
use crate::place::Place;
use crate::process::Process;
use crate::signals;

/// Time for a program that is run to its end, unless another is given.
const TIME_TO_END: Duration = Duration::from_secs(10);

/// A program to run on a host, in its network.
pub struct Command {
    namespace: Namespace,
    place: Arc<Place>,
    host: String,
    inner: std::process::Command,
    input: Vec<u8>,
    timeout: Duration,
}

impl Command {
    pub(crate) fn new(
        namespace: &Namespace,
        place: &Arc<Place>,
        host: &str,
        program: impl AsRef<OsStr>,
    ) -> Self {
        let mut inner = std::process::Command::new(program);
        // Root's PATH under sudo may lack where ip, nginx and others are.
        let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        path.push(":/usr/sbin:/sbin");
        inner.env("PATH", path);
        Self {
            namespace: namespace.clone(),
            place: Arc::clone(place),
            host: host.into(),
            inner,
            input: Vec::new(),
            timeout: TIME_TO_END,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.inner.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, variable: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(variable, value);
        self
    }

    /// What the program reads from its standard input; nothing, if not given.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// How long [`run`](Self::run) waits for the end; 10 s if not given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the program to its end. Any end is a result; only too late is an error.
    pub fn run(mut self) -> Result<Output> {
        let file = || tempfile::tempfile().doing(|| "make a temporary file".into());
        let (mut stdout, mut stderr) = (file()?, file()?);
        self.redirect(&stdout, &stderr)?;
        let (timeout, host) = (self.timeout, self.host.clone());
        let mut running = self.start(None)?;
        let status = running.wait(timeout)?;
        Ok(Output {
            status,
            stdout: contents(&mut stdout)?,
            stderr: contents(&mut stderr)?,
            command: running.command().into(),
            host,
        })
    }

    /// Starts the program beside the test. It is killed when the handle is dropped.
    pub fn spawn(mut self) -> Result<Process> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let program = Path::new(self.inner.get_program()).file_name().unwrap_or_default().to_string_lossy();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.place.directory().join(format!("{}-{program}-{number}.log", self.host));
        // One file for both outputs keeps their order; appending, because both write at its end.
        let log = File::options().create(true).append(true).open(&path);
        let log = log.doing(|| format!("create {}", path.display()))?;
        self.redirect(&log, &log)?;
        self.start(Some(path))
    }

    fn redirect(&mut self, stdout: &File, stderr: &File) -> Result<()> {
        let duplicate = |file: &File| file.try_clone().doing(|| "duplicate a file".into());
        self.inner.stdout(duplicate(stdout)?).stderr(duplicate(stderr)?);
        if self.input.is_empty() {
            self.inner.stdin(Stdio::null());
        } else {
            let doing = || "pass the input on".into();
            let mut file = tempfile::tempfile().doing(doing)?;
            file.write_all(&self.input).and_then(|()| file.rewind()).doing(doing)?;
            self.inner.stdin(file);
        }
        Ok(())
    }

    fn start(mut self, log: Option<PathBuf>) -> Result<Process> {
        let words: Vec<OsString> =
            [self.inner.get_program()].into_iter().chain(self.inner.get_args()).map(OsString::from).collect();
        let command = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
        let (namespace, keepable) = (self.namespace.handle()?, self.place.keepable);
        let prepare = move || {
            namespace.enter()?;
            setsid()?;
            if !keepable {
                set_pdeathsig(Signal::SIGKILL)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls only; it takes no lock and no memory.
        unsafe { self.inner.pre_exec(prepare) };
        let child = spawn(self.inner)?;
        let child = child.doing(|| {
            format!("start `{command}` on {} (`cargo xtask setup` installs what labs need)", self.host)
        })?;
        Ok(Process::new(child, command, self.host, log))
    }
}

/// Starts a program from a thread that lives as long as this process: the kernel kills the program when
/// the *thread* that started it ends, not when the process does.
fn spawn(command: std::process::Command) -> Result<io::Result<Child>> {
    type Job = (std::process::Command, Sender<Result<io::Result<Child>>>);
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        let work = move || {
            for (mut command, answer) in jobs {
                // Held while the child appears, so that it either is seen by a clean-up or never starts.
                let child = signals::creating().map(|_creating| command.spawn());
                _ = answer.send(child);
            }
        };
        // Without the thread the channel is closed, which the caller below reports.
        _ = thread::Builder::new().name("lab-starter".into()).spawn(work);
        sender
    });
    let (answer, child) = channel();
    _ = starter.send((command, answer));
    child.recv().unwrap_or_else(|_| Ok(Err(io::Error::other("the thread that starts programs has ended"))))
}

/// How a program ended and what it wrote.
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    command: String,
    host: String,
}

impl Output {
    /// The standard output of a program that succeeded.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let output = format!("{}{}", self.stdout, self.stderr);
        Err(Error::Command {
            command: self.command,
            host: self.host,
            status: self.status.to_string(),
            output,
        })
    }
}

fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .doing(|| "read a program's output".into())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
