//! Every command in words: what `docs/commands.md` is made of, out of the same descriptions as `--help`.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// Columns that help is laid out for.
const WIDTH: usize = 100;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");

/// The page.
fn page() -> String {
    fn walk(command: &Command, page: &mut String) {
        let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
        // As a terminal of this width shows it; trailing blanks are none that anybody sees.
        let help = command.clone().term_width(WIDTH).render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        *page += &format!("\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n").trim_end());
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        shown.for_each(|command| walk(command, page));
    }
    let mut page = String::from(
        "<!-- Made by `cargo xtask docs`, of what `--help` shows; a test compares. -->\n\n# Every command\n",
    );
    let mut lb = Cli::command().disable_help_subcommand(true);
    // Gives each command its whole name.
    lb.build();
    walk(&lb, &mut page);
    page
}

#[test]
fn the_page_of_all_commands_is_up_to_date() {
    let page = page();
    if std::env::var_os("LB_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(found == page, "docs/commands.md is stale: run `cargo xtask docs`");
}
