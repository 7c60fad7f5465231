//! The demo as people run it: what it shows, what it returns, and that it leaves nothing behind.

#![expect(clippy::expect_used, reason = "a test that is surprised fails")]

mod endings;
mod exploring;
mod running;
mod support;
