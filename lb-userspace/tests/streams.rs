//! What `lb` does when nobody reads what it says.

use std::io;
use std::process::{Command, Stdio};

/// `lb check … 2>&1 | head -1` ended in a panic and exit code 101.
#[test]
fn a_reader_of_errors_that_goes_away_changes_no_exit_code() -> io::Result<()> {
    for arguments in [["check", "--config", "/nonexistent/lb.toml"], ["check", "--config", "/dev/null"]] {
        let (reader, writer) = io::pipe()?;
        drop(reader);
        let status = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(writer)
            .status()?;
        assert_eq!(status.code(), Some(1), "{arguments:?}");
    }
    Ok(())
}

/// It was read until memory ran out.
#[test]
fn a_configuration_file_without_an_end_is_refused() -> io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_lb")).args(["check", "--config", "/dev/zero"]).output()?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/dev/zero") && said.contains("64 MiB"), "{said}");
    Ok(())
}
