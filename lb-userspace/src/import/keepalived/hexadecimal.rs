//! Datagrams and their answers as keepalived's UDP_CHECK has them.

/// The bytes of keepalived's free hexadecimal: a digit that stands alone is a byte, and `x` any digit.
pub(super) fn nibbles(text: &str) -> Option<Vec<String>> {
    let mut pairs = Vec::new();
    for word in text.split_whitespace() {
        let digits: Vec<char> = word.to_ascii_lowercase().chars().collect();
        if !digits.iter().all(|digit| digit.is_ascii_hexdigit() || *digit == 'x') {
            return None;
        }
        pairs.extend(digits.chunks(2).map(|pair| match pair {
            [high, low] => format!("{high}{low}"),
            rest => format!("0{}", rest.iter().collect::<String>()),
        }));
    }
    Some(pairs)
}

/// A byte of an answer as a regular expression.
pub(super) fn byte_class(pair: &str) -> String {
    match pair.find('x') {
        None => format!("\\x{pair}"),
        Some(0) if pair == "xx" => ".".to_owned(),
        Some(1) => format!("[\\x{0}-\\x{1}]", pair.replace('x', "0"), pair.replace('x', "f")),
        Some(_) => {
            let each = (0..16).map(|high| format!("\\x{high:x}{}", &pair[1..]));
            format!("[{}]", each.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_hexadecimal_is_bytes() {
        // The example of keepalived.conf(5).
        let bytes = nibbles("Ab12f 3 456 546443123").map(|pairs| pairs.join(" "));
        assert_eq!(bytes.as_deref(), Some("ab 12 0f 03 45 06 54 64 43 12 03"));
        assert_eq!(nibbles("0g"), None);
    }

    #[test]
    fn unknown_digits_match_any() {
        let pattern = |pairs: &str| {
            format!(
                "^(?s-u){}",
                nibbles(pairs).expect("hex").iter().map(|pair| byte_class(pair)).collect::<String>()
            )
        };
        let matches = |pairs: &str, bytes: &[u8]| {
            regex::bytes::Regex::new(&pattern(pairs)).expect("a regex").is_match(bytes)
        };
        assert!(matches("01xx3x", &[1, 0x0a, 0x3f]) && !matches("01xx3x", &[1, 0x0a, 0x4f]));
        assert!(matches("x5", &[0xf5]) && !matches("x5", &[0xf6]));
    }
}
