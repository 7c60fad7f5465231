//! The status page in a browser, in front of a daemon that forwards.

#![expect(clippy::expect_used, reason = "what is not as expected fails the test")]

mod basics;
mod many;
mod support;
mod truth;
