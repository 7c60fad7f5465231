//! Whom to tell of what happens: commands and mail.
//!
//! Nobody who has something to tell waits: a notification is put into a queue, and if that is full, it is dropped and
//! the log says so.

mod command;
mod mail;

pub use command::Commands;
pub use mail::Mailer;
