//! What is wrong with something that was meant as an IPv4 address.

use super::super::diagnostic::Code;
use super::super::reader::Text;
use super::super::report::Reported;
use super::super::suggest::quoted;

/// What is wrong with digits and dots that are not an address.
pub(super) fn wrong(text: &Text<'_>) -> Reported {
    let message = format!("{} is not an IPv4 address", quoted(text));
    let count = text.split('.').count();
    if count != 4 {
        let help = format!("an address has four numbers, this has {count}");
        return text.error(Code::InvalidAddress, message, help);
    }
    let mut start = 0;
    for number in text.split('.') {
        let part = text.part(start..start + number.len());
        start += number.len() + 1;
        if number.parse::<u8>().is_err() {
            return part.error(Code::InvalidAddress, message, "each of the four numbers is from 0 to 255");
        }
        if number.len() > 1 && number.starts_with('0') {
            // Some programs read such a number as octal.
            let value = number.trim_start_matches('0');
            let value = if value.is_empty() { "0" } else { value };
            return part.error(Code::InvalidAddress, message, format!("write {value} without leading zeros"));
        }
    }
    text.error(Code::InvalidAddress, message, "write four numbers from 0 to 255, with dots between them")
}
