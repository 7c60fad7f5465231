//! How a command fails: what went wrong, what to do about it, and the exit code.

use std::fmt;

/// Why a command stops.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    remedy: Option<String>,
    exit_code: u8,
}

/// What every step of a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, exit_code: 1 }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, exit_code: 2 }
    }

    /// Ctrl-C: what shells report for a process that SIGINT ended.
    pub(crate) fn interrupted() -> Self {
        Self { message: "interrupted".into(), remedy: None, exit_code: 130 }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    pub(crate) fn is_interrupt(&self) -> bool {
        self.exit_code == 130
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.message)?;
        if let Some(remedy) = &self.remedy {
            for (index, line) in remedy.lines().enumerate() {
                let margin = if index == 0 { "  help: " } else { "        " };
                write!(formatter, "\n{}", format!("{margin}{line}").trim_end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn every_line_of_a_remedy_is_set_in_below_the_message() {
        let failure = Failure::new("no compiler").remedy("install one:\n\n  apt-get install rustc-web");
        assert_eq!(
            failure.to_string(),
            "no compiler\n  help: install one:\n\n          apt-get install rustc-web"
        );
        assert_eq!(failure.exit_code(), 1);
    }
}
