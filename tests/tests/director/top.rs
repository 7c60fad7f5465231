//! `lb top` in a terminal: a pseudo-terminal whose screen is read as a person would.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lb_lab::{Director, TestResult, wait_until};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{Pid, ttyname};
use serde_json::Value;

use crate::support::{PATIENCE, lab, real_servers, web};

/// `lb top`, and what it shows.
struct Screen {
    child: Child,
    /// The side of the terminal where somebody types.
    keys: File,
    /// The side that the program has.
    terminal: OwnedFd,
    shown: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    fn start(director: &Director, options: &[&str]) -> std::io::Result<Self> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None)?;
        let terminal = || pair.slave.try_clone();
        // The terminal is to be its own, or it would look at the tests'.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(director.binary()).args(["top", "--interval", "200ms"]).args(options);
        command.arg("--control-socket").arg(director.control_socket());
        command.env("TERM", "xterm-256color").stdin(terminal()?).stdout(terminal()?).stderr(terminal()?);
        let child = command.spawn()?;
        let shown = Arc::new(Mutex::new(vt100::Parser::new(cells(24), cells(80), 0)));
        let keys = File::from(pair.master);
        let (mut read, parser) = (keys.try_clone()?, Arc::clone(&shown));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = read.read(&mut bytes) {
                parser.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..length]);
            }
        });
        Ok(Self { child, keys, terminal: pair.slave, shown })
    }

    fn text(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    #[track_caller]
    fn wait_for(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        wait_until(what, 2 * PATIENCE, || {
            let text = self.text();
            if is_it(&text) { Ok(text) } else { Err(format!("\n{text}")) }
        })
    }

    fn press(&mut self, keys: &str) -> std::io::Result<()> {
        self.keys.write_all(keys.as_bytes())
    }

    fn resize(&self, rows: u16, columns: u16) -> TestResult {
        // First: what the program draws for the new size would be cut off.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).set_size(cells(rows), cells(columns));
        let terminal = ttyname(&self.terminal)?;
        let status = Command::new("stty")
            .arg("-F")
            .arg(terminal)
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .status()?;
        assert!(status.success());
        Ok(())
    }

    /// Waits for its end. The terminal is as it was.
    fn finish(mut self) -> std::io::Result<ExitStatus> {
        let status = wait_until("lb top ends", PATIENCE, || self.child.try_wait().ok().flatten());
        let local = tcgetattr(&self.terminal)?.local_flags;
        assert!(local.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG), "{local:?}");
        wait_until("the screen from before is there", PATIENCE, || {
            let parser = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        });
        Ok(status)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}

/// A number of rows or columns.
fn cells(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("there are some")
}

/// The line of a real server.
fn line<'a>(text: &'a str, server: &str) -> &'a str {
    text.lines().find(|line| line.contains(server)).unwrap_or_default()
}

#[test]
fn a_server_is_seen_to_die_and_others_are_drained_with_a_key() -> TestResult {
    const CHECK: &str = "health_check = { interval = \"200ms\", timeout = \"150ms\", retries = 1, \
                         retry_delay = \"50ms\", http = { path = \"/\" } }";
    let lab = lab(3)?;
    let mut director = Director::on(&lab.director()).config(web(&lab).line(CHECK)).start()?;
    let addresses: Vec<String> =
        lab.real_servers().iter().map(|server| format!(" {} ", server.address())).collect();
    let mut screen = Screen::start(&director, &[])?;
    screen.wait_for("all are up", |text| text.contains("3 of 3 real servers up"));

    lab.real_servers()[2].stop_web()?;
    screen.wait_for("the third is down", |text| line(text, &addresses[2]).contains(" down "));

    // The first line is the virtual server's.
    screen.press("\x1b[B")?;
    screen.press("d")?;
    let asked = screen.wait_for("it asks first", |text| text.contains("y/n"));
    assert!(asked.contains(&format!("drain {} of web", addresses[0].trim())), "{asked}");
    assert_eq!(real_servers(&director)?[0]["weight"], 1, "nobody has said yes");
    screen.press("y")?;
    screen.wait_for("it is drained", |text| line(text, &addresses[0]).contains(" draining "));
    assert_eq!(real_servers(&director)?[0]["weight"], 0);
    screen.press("ey")?;
    screen.wait_for("it is back", |text| line(text, &addresses[0]).contains(" up "));
    assert_eq!(real_servers(&director)?[0]["weight"], 1);

    screen.press("/down\r")?;
    let filtered = screen.wait_for("one is left", |text| line(text, &addresses[0]).is_empty());
    assert!(!line(&filtered, &addresses[2]).is_empty(), "{filtered}");
    screen.press("\x1b")?;
    screen.wait_for("all are back", |text| !line(text, &addresses[0]).is_empty());
    screen.press("?")?;
    screen.wait_for("help", |text| text.contains("Any key closes this"));
    screen.press("x")?;

    screen.resize(40, 120)?;
    screen.wait_for("there is room for more", |text| text.contains("Packets") && text.contains(" ms"));

    director.kill()?;
    let gone = screen.wait_for("the daemon is gone", |text| text.contains("the daemon is gone for"));
    assert!(!line(&gone, &addresses[0]).is_empty(), "what it said last stays: {gone}");
    director.start()?;
    screen.wait_for("it is back", |text| !text.contains("gone") && text.contains(" up "));
    screen.press("\x03")?;
    assert_eq!(screen.finish()?.code(), Some(0));
    Ok(())
}

#[test]
fn the_terminal_is_restored_when_top_is_told_to_end() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let screen = Screen::start(&director, &[])?;
        screen.wait_for("it looks", |text| text.contains("1 of 1 real servers up"));
        kill(Pid::from_raw(screen.child.id().cast_signed()), signal)?;
        assert_eq!(screen.finish()?.code(), Some(0), "{signal}");
    }
    Ok(())
}

#[test]
fn without_a_terminal_it_prints_text_or_json() -> TestResult {
    let lab = lab(2)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let address = lab.real_servers()[1].address().to_string();
    for options in [&["top", "--once"][..], &["list", "-n"]] {
        let text = director.cli(options)?;
        assert!(line(&text, &address).contains("up"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
    let looked: Value = director.json(["top", "--once"])?;
    assert_eq!(looked["virtual_servers"][0]["real_servers"][1]["address"], address.as_str());
    assert_eq!(looked["director"]["interface"], "eth0");

    // One look after the other, for as long as somebody reads.
    let (binary, socket) = (director.binary().display(), director.control_socket().display());
    let piped = format!("{binary} top --interval 100ms --json --control-socket {socket} | head -n 3");
    let looks = lab.director().run(["sh", "-c", &piped])?;
    assert_eq!(looks.lines().count(), 3);
    for look in looks.lines() {
        serde_json::from_str::<Value>(look)?;
    }
    assert_eq!(director.try_cli(["top", "--interval", "1ms", "--once"])?.status.code(), Some(2));
    director.stop()?;
    let there_is_none = director.try_cli(["top", "--once"])?;
    assert_eq!(there_is_none.status.code(), Some(3));
    Ok(())
}
