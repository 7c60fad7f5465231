//! What others said, in a form that may be shown: cut short, and without what a terminal would obey.

use std::fmt::Write;

/// How much of it is shown, in characters.
const SHOWN: usize = 100;

/// In quotes, with what was left out as `...`.
pub(super) fn quoted(said: &[u8]) -> String {
    format!("\"{}\"", plain(said))
}

/// Without quotes.
pub(super) fn plain(said: &[u8]) -> String {
    let mut shown = String::new();
    let mut characters = 0;
    for chunk in said.utf8_chunks() {
        for character in chunk.valid().chars() {
            if characters == SHOWN {
                return shown + "...";
            }
            characters += 1;
            match character {
                // As it is, where `escape_debug` would write backslashes before quotes.
                '"' | '\'' => shown.push(character),
                _ => shown.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            if characters == SHOWN {
                return shown + "...";
            }
            characters += 1;
            // A String takes everything.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The last line that is not blank; empty if there is none.
pub(super) fn last_line(said: &[u8]) -> &[u8] {
    said.split(|byte| matches!(byte, b'\n' | b'\r'))
        .rfind(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default()
        .trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        assert_eq!(plain(b"\x1b[2J\r\n\0bell\x07"), "\\u{1b}[2J\\r\\n\\0bell\\u{7}");
        assert_eq!(
            plain("\u{202e}gpj.exe \u{9b}31m\u{200b}".as_bytes()),
            "\\u{202e}gpj.exe \\u{9b}31m\\u{200b}"
        );
        assert_eq!(plain(b"caf\xc3\xa9 \xff\xc3"), "café \\xff\\xc3");
        assert_eq!(quoted(br#"say "hi""#), r#""say "hi"""#);
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(plain(&[b'a'; 100]), "a".repeat(100));
        assert_eq!(plain(&[b'a'; 101]), "a".repeat(100) + "...");
        assert_eq!(plain(&[0xff; 1000]), "\\xff".repeat(100) + "...");
    }

    #[test]
    fn the_last_line_is_the_last_that_says_something() {
        assert_eq!(last_line(b"first\n second \r\n\n  \n"), b"second");
        assert_eq!(last_line(b" \n"), b"");
    }
}
