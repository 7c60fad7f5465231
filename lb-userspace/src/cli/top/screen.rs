//! The view in a terminal: what it was before is there again however this ends.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::Failure;
use super::frame::draw;
use super::view::{Order, Sample, Step, View};
use super::{look, now};
use crate::control::api::{WeightChange, WeightChanged};
use crate::control::client;

/// How long the daemon may take for a look: one that is stuck is as good as gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something to be told of.
enum News {
    Key(KeyEvent),
    /// The terminal has another size, or has to be drawn anew.
    Redraw,
    /// What the daemon said, or why it did not.
    Looked(Box<Result<Sample, String>>),
    Done(Result<WeightChanged, String>),
    /// Keys cannot be read any more: the terminal is gone.
    Closed,
}

/// Gives the terminal back.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = ratatui::try_restore();
    }
}

/// Shows what the daemon says until somebody quits.
pub(super) async fn run(socket: &Path, interval: Duration, first: Sample) -> Result<(), Failure> {
    let [mut terminate, mut hangup, mut interrupt] =
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
    let (Ok(terminate), Ok(hangup), Ok(interrupt)) = (&mut terminate, &mut hangup, &mut interrupt) else {
        return Err(Failure::because("handle signals: the system does not let lb".to_owned()));
    };
    // Whatever ends this; a panic restores by the hook that `try_init` sets.
    let _restored = Restored;
    let mut terminal = ratatui::try_init()?;
    let (news, mut heard) = mpsc::channel(16);
    let mut view = View::default();
    view.has_colour = std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let mut last = now();
    view.hear(first, interval);
    std::thread::spawn({
        let news = news.clone();
        move || read_keys(&news)
    });
    tokio::spawn(look_often(socket.to_owned(), interval, news.clone()));
    loop {
        show(&mut terminal, &view)?;
        let next = tokio::select! {
            next = heard.recv() => next,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
            _ = interrupt.recv() => None,
        };
        match next {
            None | Some(News::Closed) => return Ok(()),
            Some(News::Redraw) => {}
            Some(News::Looked(looked)) => take(&mut view, *looked, &mut last),
            Some(News::Done(done)) => view.finish(done),
            Some(News::Key(key)) => match view.press(key) {
                Step::Nothing => {}
                Step::Quit => return Ok(()),
                Step::Do(order) => drop(tokio::spawn(carry_out(socket.to_owned(), order, news.clone()))),
            },
        }
    }
}

fn show(terminal: &mut DefaultTerminal, view: &View) -> io::Result<()> {
    terminal.draw(|frame| draw(frame, view)).map(drop)
}

fn take(view: &mut View, looked: Result<Sample, String>, last: &mut Instant) {
    let since = last.elapsed();
    match looked {
        Ok(sample) => {
            *last = now();
            view.hear(sample, since);
        }
        Err(reason) => view.miss(reason, since),
    }
}

/// Reads keys until nobody wants them. Blocks: for a thread of its own.
fn read_keys(news: &mpsc::Sender<News>) {
    loop {
        let told = match event::read() {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => News::Key(key),
            Ok(Event::Resize(..)) => News::Redraw,
            Ok(_) => continue,
            Err(_) => News::Closed,
        };
        let is_last = matches!(told, News::Closed);
        if news.blocking_send(told).is_err() || is_last {
            return;
        }
    }
}

async fn look_often(socket: PathBuf, interval: Duration, news: mpsc::Sender<News>) {
    loop {
        tokio::time::sleep(interval).await;
        let looked = match timeout(PATIENCE, look(&socket)).await {
            Ok(looked) => looked.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        if news.send(News::Looked(Box::new(looked))).await.is_err() {
            return;
        }
    }
}

async fn carry_out(socket: PathBuf, order: Order, news: mpsc::Sender<News>) {
    let Order { service, server, weight, .. } = order;
    let done = client::post(&socket, "/v1/weight", &WeightChange { service, server, weight }).await;
    // What it changed is seen by the next look, or at once by this one.
    let _ = news.send(News::Done(done.map_err(|error| error.to_string()))).await;
    if let Ok(sample) = look(&socket).await {
        let _ = news.send(News::Looked(Box::new(Ok(sample)))).await;
    }
}
