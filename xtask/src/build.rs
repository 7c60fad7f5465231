//! `cargo xtask build`, and what other commands build before they run it as root.

use std::ffi::OsString;
use std::process::Command;

use crate::console;
use crate::ebpf;
use crate::failure::Outcome;
use crate::process;
use crate::root::{self, Privilege};
use crate::setup::{self, Needs};
use crate::workspace::{Profile, Workspace};

/// The program of lb-tests that asks the verifier.
pub(crate) const VERIFIER: &str = "verifier";

/// The objects.
pub(crate) fn objects(workspace: &Workspace) -> Outcome {
    let route = setup::ensure(workspace, Needs::default())?;
    ebpf::build(workspace, &route)
}

/// `cargo xtask build-ebpf`: the objects, and what this machine's verifier makes of them if we may ask it.
pub(crate) fn verified_objects(workspace: &Workspace) -> Outcome {
    objects(workspace)?;
    if root::privilege() != Some(Privilege::Root) {
        console::step("xtask", "the verifier's count is shown to root only");
        return Ok(());
    }
    // What the tests build, too.
    process::run(workspace.cargo().args(["build", "--workspace", "--bin", "lb", "--bin", VERIFIER]))?;
    process::run(&mut Command::new(workspace.executable(Profile::Debug, VERIFIER)))
}

/// `cargo xtask build`.
pub(crate) fn product(workspace: &Workspace, profile: Profile) -> Outcome {
    objects(workspace)?;
    process::run(&mut userspace(workspace, profile))
}

/// `cargo xtask run`. Returns only if it fails.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Outcome {
    let privilege = root::require("`lb run`")?;
    product(workspace, Profile::Debug)?;
    let lb = workspace.executable(Profile::Debug, "lb");
    let mut command = privilege.command(lb.as_os_str(), &[]);
    command.arg("run").args(arguments);
    Err(process::become_command(&mut command))
}

/// `cargo xtask demo` and `cargo xtask bench`: programs of the package lb-tests. Returns only if it fails.
pub(crate) fn show(workspace: &Workspace, name: &str, profile: Profile, arguments: &[OsString]) -> Outcome {
    let privilege = root::require(&format!("`cargo xtask {name}`"))?;
    let route = setup::ensure(workspace, Needs { programs: true, lints: false })?;
    ebpf::build(workspace, &route)?;
    process::run(userspace(workspace, profile).args(["--package", "lb-tests", "--bin", name]))?;
    let program = workspace.executable(profile, name);
    let mut command = privilege.command(program.as_os_str(), &variables(workspace, profile));
    command.args(arguments);
    Err(process::become_command(&mut command))
}

/// The variables by which tests, benchmarks and the demo find what they run.
pub(crate) fn variables(workspace: &Workspace, profile: Profile) -> [(&'static str, OsString); 2] {
    let lb = workspace.executable(profile, "lb").into_os_string();
    [("LB_BINARY", lb), ebpf::testbed_variable(workspace)]
}

/// The options by which cargo runs test programs as root; none where they already are.
pub(crate) fn cargo_runner(privilege: &Privilege, variables: &[(&str, OsString)]) -> Vec<String> {
    let prefix = privilege.prefix(variables);
    if prefix.is_empty() {
        return Vec::new();
    }
    let words: Vec<String> = prefix.iter().map(|word| toml_string(&word.to_string_lossy())).collect();
    vec!["--config".into(), format!("target.'cfg(unix)'.runner = [{}]", words.join(", "))]
}

fn userspace(workspace: &Workspace, profile: Profile) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "lb-userspace", "--bin", "lb"]).args(profile.option());
    cargo
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::cargo_runner;
    use crate::root::Privilege;

    #[test]
    fn cargo_runs_tests_as_root_only_through_sudo() {
        assert_eq!(cargo_runner(&Privilege::Root, &[]), Vec::<String>::new());
        let sudo = Privilege::Sudo("/usr/bin/sudo".into());
        let runner = cargo_runner(&sudo, &[("LB_BINARY", "/a \"b\"/lb".into())]);
        assert_eq!(runner[0], "--config");
        assert!(
            runner[1].starts_with(r#"target.'cfg(unix)'.runner = ["/usr/bin/sudo", "env", "#)
                && runner[1].ends_with(r#""LB_BINARY=/a \"b\"/lb"]"#),
            "{}",
            runner[1]
        );
    }
}
