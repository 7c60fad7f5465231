//! The status page in a browser, in front of a daemon that forwards.

#![expect(clippy::expect_used, reason = "a test that is surprised fails")]

mod admin;
mod basics;
mod many;
mod support;
mod truth;
