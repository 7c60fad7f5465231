//! What the verifier makes of the programs.

use std::process::Command;

use lb_lab::TestResult;

#[test]
fn the_verifier_walks_less_than_an_eighth_of_its_limit() -> TestResult {
    let output = Command::new(env!("CARGO_BIN_EXE_verifier")).output()?;
    let (lines, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{lines}{errors}");
    assert!(
        ["program lb: ", "program traced: ", "program explain: ", "program clock: "]
            .iter()
            .all(|line| lines.contains(line)),
        "{lines}"
    );
    print!("{lines}");
    Ok(())
}
