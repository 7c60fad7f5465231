//! Being traced changes nothing, and what is noted is what the frame did.

use lb_common::sample::Sample;
use lb_common::selector::NO_DESTINATION;
use lb_common::service::NO_SERVICE;
use proptest::collection::vec;
use proptest::prelude::*;

use super::dry_run::sent;
use crate::director::*;

proptest! {
    #[test]
    fn a_trace_changes_nothing_and_says_what_the_frame_did(
        history in vec((sent(), 0u32..40), 0..24), next in sent(), gone in 0usize..12,
        at in 0usize..400, byte: u8, length in 40usize..120,
    ) {
        let (traced, other) = (Director::new(), Director::new());
        for director in [&traced, &other] {
            if gone < 3 {
                director.take_away(gone);
            }
        }
        let sample = Sample::default();
        for (sent, pause) in history {
            let frame = sent.frame();
            prop_assert_eq!(traced.trace(&frame, &sample), other.send_and_look(&frame));
            traced.wait(pause);
            other.wait(pause);
        }
        let mut frame = next.frame();
        if let Some(place) = frame.get_mut(at) {
            *place = byte;
        }
        frame.truncate(length);
        let forwarded = traced.forwarded.borrow().clone();
        prop_assert_eq!(traced.trace(&frame, &sample), other.send_and_look(&frame));
        prop_assert_eq!(traced.snapshot(), other.snapshot());

        let moved = |number: &u32| forwarded.get(number) != traced.forwarded.borrow().get(number);
        let server = (0..3).find(moved).map_or(u64::from(NO_DESTINATION), u64::from);
        prop_assert_eq!(sample.server.load(), server);
        if server != u64::from(NO_DESTINATION) {
            prop_assert!(sample.packet.load() != 0 && sample.service.load() != u64::from(NO_SERVICE));
        }
    }
}

#[test]
fn a_connections_frames_are_told_apart() {
    let (director, sample) = (Director::new(), Sample::default());
    let trace = |frame: &[u8]| {
        director.trace(frame, &sample);
        let port = (sample.transport.load() as u16).swap_bytes();
        (sample.service.load(), sample.known.load() != 0, port, sample.packet.load() as u8)
    };
    assert_eq!(trace(&tcp(1000, WEB, SYN)), (0, false, 1000, SYN));
    assert_eq!(trace(&tcp(1000, WEB, ACK)), (0, false, 1000, ACK), "it confirms the flow");
    assert_eq!(trace(&tcp(1000, WEB, ACK)), (0, true, 1000, ACK), "it is established");
    assert_eq!(trace(&tcp(1001, 22, SYN)), (u64::from(NO_SERVICE), false, 1001, SYN), "nobody's address");
    assert_eq!(sample.server.load(), u64::from(NO_DESTINATION), "the frame before is forgotten");
}
