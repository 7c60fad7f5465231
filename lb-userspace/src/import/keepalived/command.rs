//! Commands of scripts: keepalived has them as text, lb as a program and its arguments.

use super::super::report::Report;
use super::tree::Statement;

/// What a statement runs: its first argument, split as a shell would; what is no path is left to a shell.
pub(super) fn of(statement: &Statement, report: &mut Report) -> Option<Vec<String>> {
    let Some(text) = statement.argument(1).filter(|text| !text.trim().is_empty()) else {
        report.lost(statement.line, &statement.text(), "it names no program");
        return None;
    };
    if let Some(user) = statement.argument(2) {
        let message =
            format!("{user}: programs run as the daemon does, for another user write `setpriv` before it");
        report.changed(statement.line, &statement.text(), message);
    }
    Some(split(text, statement, report))
}

/// The same of a text in which arguments stand behind the program without quotation marks.
pub(super) fn of_line(statement: &Statement, report: &mut Report) -> Option<Vec<String>> {
    match statement.arguments() {
        [] | [_] => of(statement, report),
        [program, ..] if program.contains(char::is_whitespace) => of(statement, report),
        words => Some(split(&words.join(" "), statement, report)),
    }
}

fn split(text: &str, statement: &Statement, report: &mut Report) -> Vec<String> {
    let text = text.trim();
    let needs_shell = text.contains(['|', '&', ';', '<', '>', '$', '`', '*', '(', ')', '\\']);
    let words = words(text);
    match words {
        Some(words) if !needs_shell && words.first().is_some_and(|program| program.starts_with('/')) => words,
        _ => {
            // Only bash has /dev/tcp, and takes a redirection for a command.
            let shell =
                if text.contains("/dev/tcp/") || text.starts_with('<') { "/bin/bash" } else { "/bin/sh" };
            let message = format!("run by {shell}: lb runs programs by their absolute path, without a shell");
            report.note(statement.line, &statement.text(), message);
            [shell, "-c", text].map(str::to_owned).to_vec()
        }
    }
}

/// Words, of which some may be in quotation marks; none if those are not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, behind) = match first {
            quote @ ('"' | '\'') => rest[1..].split_once(quote)?,
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> String {
        let words = ["script", text].map(str::to_owned).to_vec();
        let statement = Statement { words, ..Statement::default() };
        of(&statement, &mut Report::new("test")).expect("a command").join("|")
    }

    #[test]
    fn a_path_is_run_and_the_rest_is_for_a_shell() {
        assert_eq!(command("/etc/check.sh"), "/etc/check.sh");
        assert_eq!(command("/etc/check.sh a 'b c'  \"d\""), "/etc/check.sh|a|b c|d");
        assert_eq!(command("killall -0 haproxy"), "/bin/sh|-c|killall -0 haproxy");
        assert_eq!(command("</dev/tcp/127.0.0.1/80"), "/bin/bash|-c|</dev/tcp/127.0.0.1/80");
        assert_eq!(command("/bin/a | /bin/b"), "/bin/sh|-c|/bin/a | /bin/b");
        assert_eq!(command("/bin/a 'b"), "/bin/sh|-c|/bin/a 'b");
    }
}
