//! `cargo xtask docs`: the pages that are made, and the book of all.
//!
//! ```text
//!   tests of lb-userspace ──LB_WRITE_DOCS──> docs/configuration.md, docs/commands.md
//!   docs, README.md and so on ──> target/book/src, links made the book's ──mdbook──> target/book/html
//! ```

mod links;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::build;
use crate::console;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::programs_named;
use crate::workspace::{Workspace, cache};
pub(crate) use links::files_below;

/// The release of mdBook that xtask builds, where none is found.
const MDBOOK: &str = "0.5.4";

/// Files of the repository's root that are pages of the book, and what they are called there.
const FROM_THE_ROOT: [(&str, &str); 4] = [
    ("README.md", "introduction.md"),
    ("ARCHITECTURE.md", "architecture.md"),
    ("CONTRIBUTING.md", "contributing.md"),
    ("CHANGELOG.md", "changelog.md"),
];

/// What pages lead to besides.
const BESIDE: &str = "contrib";

/// Makes the pages and builds the book.
///
/// # Errors
/// Something does not build, or mdBook is not happy with it.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    build::objects(workspace)?;
    let mut pages = workspace.cargo();
    pages.args(["test", "--quiet", "--package", "lb-userspace", "--lib", "--", "is_up_to_date"]);
    process::run(pages.env("LB_WRITE_DOCS", "1"))?;
    let mdbook = mdbook(workspace)?;
    let book = workspace.target.join("book");
    let failed = |error: io::Error| Failure::new(format!("write {}: {error}", book.display()));
    stage(&workspace.root, &book).map_err(failed)?;
    let html = book.join("html");
    process::run(workspace.command(&mdbook).arg("build").arg(&book).arg("--dest-dir").arg(&html))?;
    console::result(format_args!("{}", html.join("index.html").display()));
    Ok(())
}

/// Copies what the book is made of, with links that are right there.
fn stage(root: &Path, book: &Path) -> io::Result<()> {
    let source = book.join("src");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    fs::create_dir_all(&source)?;
    let docs = root.join("docs");
    let config = fs::read_to_string(docs.join("book.toml"))?;
    fs::write(book.join("book.toml"), config.replace("src = \".\"", "src = \"src\""))?;
    let beside = files_below(&root.join(BESIDE))?;
    for page in files_below(&docs)?.into_iter().chain(beside) {
        let name = page.strip_prefix(&docs).or(page.strip_prefix(root)).unwrap_or(&page);
        let place = source.join(name);
        fs::create_dir_all(place.parent().unwrap_or(&source))?;
        if page.extension().is_some_and(|extension| extension == "md") {
            let up = "../".repeat(name.components().count());
            fs::write(place, rewritten(&fs::read_to_string(&page)?, &up))?;
        } else {
            fs::copy(&page, place)?;
        }
    }
    for (file, name) in FROM_THE_ROOT {
        let text = fs::read_to_string(root.join(file))?;
        fs::write(source.join(name), rewritten(&text.replace("](docs/", "]("), ""))?;
    }
    Ok(())
}

/// A page's links to files of the root, which lies `up` from it, as links to their pages.
fn rewritten(text: &str, up: &str) -> String {
    // In the book they lie one directory nearer: beside what is in docs.
    let near = up.strip_suffix("../").unwrap_or(up);
    FROM_THE_ROOT.into_iter().chain([(BESIDE, BESIDE)]).fold(text.to_owned(), |text, (file, name)| {
        text.replace(&format!("]({up}{file}"), &format!("]({near}{name}"))
    })
}

/// mdBook: the cached one, or one on PATH, or one that is built now.
fn mdbook(workspace: &Workspace) -> Outcome<PathBuf> {
    let root = cache("mdbook")?.join(format!("mdbook-{MDBOOK}"));
    let cached = root.join("bin/mdbook");
    if let Some(found) = Some(cached.clone()).filter(|file| file.is_file()) {
        return Ok(found);
    }
    if let Some(found) = programs_named("mdbook").next() {
        return Ok(found);
    }
    console::step(
        "docs",
        format_args!("building mdbook {MDBOOK} into {}, once (some minutes)", root.display()),
    );
    process::run(&mut workspace.install("mdbook", MDBOOK, &root)).map_err(|failure| {
        if failure.is_interrupt() {
            return failure;
        }
        Failure::new(format!("mdbook {MDBOOK} could not be built"))
            .remedy("cargo's own words are above; or install mdbook by hand, so that it is on PATH")
    })?;
    Ok(cached)
}

#[cfg(test)]
mod tests {
    use super::rewritten;

    #[test]
    fn links_to_the_root_become_links_to_pages() {
        let of_guide = rewritten("[a](../README.md#b) [c](../ARCHITECTURE.md) [d](trace.md)", "../");
        assert_eq!(of_guide, "[a](introduction.md#b) [c](architecture.md) [d](trace.md)");
        assert_eq!(rewritten("[a](../../README.md)", "../../"), "[a](../introduction.md)");
        assert_eq!(rewritten("[a](CONTRIBUTING.md)", ""), "[a](contributing.md)");
    }
}
