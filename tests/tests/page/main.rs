//! The status page in a browser, in front of a daemon that forwards.

mod basics;
mod many;
mod support;
mod truth;
