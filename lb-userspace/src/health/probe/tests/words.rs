//! What an operator reads: whatever the probes' own tests do not show.

use super::super::{HttpFailure, TlsFailure};
use super::*;

#[test]
fn failures_say_what_is_wrong_and_what_to_do() {
    let shown = [
        Failure::Timeout { what: "not connected", after: Duration::from_millis(1500) }.to_string(),
        Failure::from(NetworkFailure::Refused { port: 80 }).to_string(),
        Failure::from(HttpFailure::HeaderTooLong).to_string(),
        Failure::from(TlsFailure::Expired { since: None }).to_string(),
        Failure::from(TlsFailure::Name { expected: "a.example".to_owned(), presented: Vec::new() })
            .to_string(),
        Failure::from(TlsFailure::Authorities { file: None, cause: "there are none".to_owned() }).to_string(),
    ];
    insta::assert_snapshot!(shown.join("\n"), @r"
    not connected within 1.5s
    port 80 refused: nothing listens there, or a firewall rejects it
    the answer's header is longer than 64 KiB or has more than 100 lines
    the TLS certificate expired
    the TLS certificate is not for a.example; set `server_name`
    the system's certificate authorities: there are none
    ");
}
