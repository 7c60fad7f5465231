//! What a real server says of itself, in the words of HAProxy's agent-check (configuration manual, section 5.2,
//! `agent-check`).
//!
//! Words in the first line, between spaces, tabs or commas, in any order, in either case:
//!
//! | word | here | at HAProxy |
//! |---|---|---|
//! | `75%` | that share of the configured weight, at most all of it | the same, with more than 100% |
//! | `30` | that weight | the same, undocumented (`src/server.c`, `server_parse_weight_change_request`) |
//! | `drain` | weight 0: old connections stay | the same |
//! | `maint` | weight 0 | no connection at all, and no more checks; here whoever says it is still asked |
//! | `ready` | the configured weight | ends `drain` and `maint` |
//! | `up` | well | the same |
//! | `down`, `stopped`, `fail` | a failure, with what is behind `#` as its reason | the same |
//! | `maxconn:30` | nothing: the data plane has thresholds, not this | connections at once |
//!
//! At HAProxy what is not said stays as it was; here each answer stands alone, so that a director that was started anew
//! thinks the same of a server as its peer. What is none of the words changes nothing, as there.

use lb_common::limits::MAX_WEIGHT;

use super::http::HttpFailure;
use super::text::quoted;
use super::{Advice, Answer, text};

pub(super) fn read(body: &[u8]) -> Result<Answer, HttpFailure> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let line = line.trim_ascii();
    let (words, reason) = match line.iter().position(|&byte| byte == b'#') {
        Some(at) => (&line[..at], line[at + 1..].trim_ascii()),
        None => (line, &b""[..]),
    };
    let (mut weight, mut is_drained) = (None, false);
    for word in words.split(|byte| matches!(byte, b' ' | b'\t' | b',')) {
        let word = word.to_ascii_lowercase();
        match word.as_slice() {
            b"down" | b"stopped" | b"fail" => {
                let reason = if reason.is_empty() { String::new() } else { quoted(reason) };
                return Err(HttpFailure::Agent { word: String::from_utf8_lossy(&word).into_owned(), reason });
            }
            b"drain" | b"maint" => is_drained = true,
            b"ready" => is_drained = false,
            _ => weight = weight_of(&word).or(weight),
        }
    }
    let advice = if is_drained { Some(Advice::Weight(0)) } else { weight };
    Ok(Answer { advice, said: (!line.is_empty()).then(|| text::plain(line)) })
}

fn weight_of(word: &[u8]) -> Option<Advice> {
    let (digits, is_share) = word.strip_suffix(b"%").map_or((word, false), |digits| (digits, true));
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // A number too long for its type is more than the most.
    let number = str::from_utf8(digits).ok()?.parse().unwrap_or(u32::MAX);
    Some(if is_share {
        Advice::Percent(u8::try_from(number.min(100)).unwrap_or(100))
    } else {
        Advice::Weight(number.min(MAX_WEIGHT))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(body: &str) -> Option<Advice> {
        read(body.as_bytes()).expect("it is well").advice
    }

    #[test]
    fn words_of_weight_are_understood_in_any_order_and_case() {
        assert_eq!(advice("75%"), Some(Advice::Percent(75)));
        assert_eq!(advice("up 0%\r\n100%"), Some(Advice::Percent(0)));
        assert_eq!(advice("READY,Up\t120%\n"), Some(Advice::Percent(100)));
        assert_eq!(advice("99999999999999999999%"), Some(Advice::Percent(100)));
        assert_eq!(advice("30"), Some(Advice::Weight(30)));
        assert_eq!(advice("4294967296"), Some(Advice::Weight(MAX_WEIGHT)));
        assert_eq!(advice("drain"), Some(Advice::Weight(0)));
        assert_eq!(advice("50% maint"), Some(Advice::Weight(0)), "whatever share it would have");
        assert_eq!(advice("maint ready 50%"), Some(Advice::Percent(50)), "the last word counts");
        for nothing in ["", "up", "ready maxconn:30", "%", "-5%", "5 0 %x", "<html>", "up # 50%"] {
            let expected = if nothing == "5 0 %x" { Some(Advice::Weight(0)) } else { None };
            assert_eq!(advice(nothing), expected, "{nothing}");
        }
    }

    #[test]
    fn a_server_that_says_it_is_down_is_down_for_its_reason() {
        for (body, word, reason) in [
            ("down", "down", ""),
            ("50% Stopped", "stopped", ""),
            ("fail # disk \x1b[1mfull\n", "fail", "\"disk \\u{1b}[1mfull\""),
            ("down#x", "down", "\"x\""),
        ] {
            let expected = HttpFailure::Agent { word: word.to_owned(), reason: reason.to_owned() };
            assert_eq!(read(body.as_bytes()), Err(expected));
        }
    }

    #[test]
    fn what_it_said_is_told() {
        assert_eq!(
            read(b" up 50% # \x07busy \nmore").expect("well").said.as_deref(),
            Some("up 50% # \\u{7}busy")
        );
        assert_eq!(read(b"\n").expect("well").said, None);
    }
}
