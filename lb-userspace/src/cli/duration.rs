//! Durations as people type and read them.

use std::time::Duration;

use crate::config;

/// `15m`, or seconds as in `ipvsadm --set`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| config::duration(text)).ok_or_else(|| {
        "it is not a duration; write a number and a unit, \"90s\", \"15m\" or \"2h\", or a number of seconds".to_owned()
    })
}

/// A timeout of connections.
pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse(text)?;
    // As in `ipvsadm --set 0 0 300`.
    if timeout.is_zero() {
        return Err("to leave a timeout as it is, leave its option out; \"1s\" is the shortest".to_owned());
    }
    if timeout.subsec_nanos() != 0 {
        return Err("it is not a whole number of seconds".to_owned());
    }
    Ok(timeout)
}

/// `15m`, `1h 30m`.
pub(super) fn shown(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_typed_as_in_the_file_or_as_for_ipvsadm() {
        assert_eq!(parse_timeout("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_timeout("900"), Ok(Duration::from_secs(900)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for (text, problem) in [("0", "leave its option out"), ("90ms", "whole number"), ("soon", "a unit")] {
            assert!(parse_timeout(text).expect_err("it is refused").contains(problem), "{text}");
        }
        assert_eq!((shown(900), shown(5401)), ("15m".to_owned(), "1h 30m 1s".to_owned()));
    }
}
