//! Asks a segment: sends frames and listens, beside the director's own stack, which would drop answers from an address
//! that it has itself.

mod frames;

use std::io;
use std::time::{Duration, Instant};

use macaddr::MacAddr6;
use pnet_datalink::{DataLinkReceiver, DataLinkSender};

use super::packet_channel;
use frames::read;
pub(crate) use frames::{Asker, Heard, Question, Said};

/// How long answers are waited for, and how often is asked.
const WINDOW: Duration = Duration::from_millis(250);
const ROUNDS: u32 = 2;
/// Questions at once: their answers fit into the socket's buffer.
const AT_ONCE: usize = 128;
/// How long the listener sleeps at most.
const PAUSE: Duration = Duration::from_millis(20);

/// Questions and answers on one interface.
pub(crate) struct Probe {
    asker: Asker,
    /// The director's MACs: what it says itself is no answer.
    own: Vec<MacAddr6>,
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
}

impl Probe {
    /// Opens a packet socket on the interface.
    ///
    /// # Errors
    /// Without CAP_NET_RAW: `PermissionDenied`.
    pub(crate) fn open(index: u32, asker: Asker, own: Vec<MacAddr6>) -> io::Result<Self> {
        let (sender, receiver) = packet_channel(index, PAUSE)?;
        Ok(Self { asker, own, sender, receiver })
    }

    /// What was heard in answer to each question. What nobody answered at first is asked again.
    ///
    /// # Errors
    /// The interface is gone, or down.
    pub(crate) fn ask(&mut self, questions: &[Question]) -> io::Result<Vec<Vec<Heard>>> {
        let mut answers = Vec::with_capacity(questions.len());
        for questions in questions.chunks(AT_ONCE) {
            let mut heard = vec![Vec::new(); questions.len()];
            for _ in 0..ROUNDS {
                let open = questions.iter().zip(&heard).filter(|(_, heard)| heard.is_empty());
                let frames: Vec<_> =
                    open.map(|(question, _)| question.frame(&self.asker)).collect::<io::Result<_>>()?;
                if frames.is_empty() {
                    break;
                }
                for frame in frames.into_iter().flatten() {
                    self.send(&frame)?;
                }
                self.listen(questions, &mut heard)?;
            }
            answers.append(&mut heard);
        }
        Ok(answers)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.sender.send_to(frame, None).unwrap_or_else(|| Err(io::ErrorKind::OutOfMemory.into()))
    }

    fn listen(&mut self, questions: &[Question], answers: &mut [Vec<Heard>]) -> io::Result<()> {
        let end = now() + WINDOW;
        while now() < end {
            let heard = match self.receiver.next() {
                Ok(frame) => read(frame).filter(|heard| !self.own.contains(&heard.mac)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(error) => return Err(error),
            };
            let Some(heard) = heard else { continue };
            for (question, answers) in questions.iter().zip(answers.iter_mut()) {
                if question.is_answered_by(&heard) && !answers.contains(&heard) {
                    answers.push(heard);
                }
            }
            let reset = if answers.iter().any(|answers| answers.contains(&heard)) {
                self.asker.reset(&heard)?
            } else {
                None
            };
            if let Some(reset) = reset {
                self.send(&reset)?;
            }
            let is_done = |(question, answers): (&Question, &Vec<Heard>)| {
                !answers.is_empty() && !question.is_for_everybody()
            };
            if questions.iter().zip(answers.iter()).all(is_done) {
                break;
            }
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever listens on a network reads the clock")]
fn now() -> Instant {
    Instant::now()
}
