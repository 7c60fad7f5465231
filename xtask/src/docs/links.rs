//! Which pages there are, and where their links lead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// All files below a directory, in order.
pub(crate) fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
    }

    /// The pages: those below docs, and those of the root.
    fn pages() -> Vec<PathBuf> {
        let mut pages = files_below(&root().join("docs")).expect("docs can be read");
        pages.extend(super::super::FROM_THE_ROOT.map(|(file, _)| root().join(file)));
        pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
        pages
    }

    fn text(page: &Path) -> String {
        fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
    }

    /// Text without blocks and words in backquotes, in which nothing is a link.
    fn prose(text: &str) -> String {
        let outside = text.split("```").step_by(2).collect::<String>();
        outside.split('`').step_by(2).collect()
    }

    /// Where the links of a page lead: file and place in it.
    fn links(text: &str) -> Vec<(String, Option<String>)> {
        let text = prose(text);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let targets = targets.map(|(target, _)| target).filter(|target| !target.contains("://"));
        targets
            .map(|target| match target.split_once('#') {
                Some((file, place)) => (file.to_owned(), Some(place.to_owned())),
                None => (target.to_owned(), None),
            })
            .collect()
    }

    /// The places of a page that links may lead to: its headings, as GitHub and mdBook number them.
    fn places(text: &str) -> BTreeSet<String> {
        let outside = text.split("```").step_by(2).collect::<String>();
        let headings = outside.lines().filter(|line| line.starts_with('#'));
        let slug = |heading: &str| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(slug).collect()
    }

    #[test]
    fn no_link_leads_nowhere() {
        lead_somewhere(pages());
    }

    #[test]
    fn nor_does_one_of_the_book() {
        let book = std::env::temp_dir().join(format!("lb-book-{}", std::process::id()));
        super::super::stage(root(), &book).expect("there is room");
        let pages = files_below(&book.join("src")).expect("it was made");
        lead_somewhere(
            pages.into_iter().filter(|page| page.extension().is_some_and(|kind| kind == "md")).collect(),
        );
        fs::remove_dir_all(&book).expect("it was made");
    }

    fn lead_somewhere(pages: Vec<PathBuf>) {
        for page in pages {
            for (file, place) in links(&text(&page)) {
                let target = if file.is_empty() {
                    page.clone()
                } else {
                    page.parent().expect("a directory").join(&file)
                };
                assert!(target.exists(), "{}: there is no {file}", page.display());
                let Some(place) = place else { continue };
                assert!(
                    places(&text(&target)).contains(&place),
                    "{}: {file} has no place #{place}",
                    page.display()
                );
            }
        }
    }

    #[test]
    fn the_summary_lists_every_page_once() {
        let summary = root().join("docs/SUMMARY.md");
        let listed = links(&text(&summary)).into_iter().map(|(file, _)| root().join("docs").join(file));
        let mut listed: Vec<PathBuf> =
            listed.map(|page| page.canonicalize().unwrap_or_else(|_| panic!("{}", page.display()))).collect();
        let mut all: Vec<PathBuf> = pages().into_iter().filter(|page| *page != summary).collect();
        all.iter_mut().for_each(|page| *page = page.canonicalize().expect("it was found"));
        listed.sort();
        all.sort();
        assert_eq!(listed, all);
    }

    #[test]
    fn a_heading_is_a_place() {
        let places = places("# A b\n```\n# no\n```\n## When it does *not* work, `x`\n");
        assert!(places.contains("a-b") && places.contains("when-it-does-not-work-x"));
        assert!(!places.contains("no"));
    }

    #[test]
    fn links_in_code_are_none() {
        assert_eq!(
            links("[a](b.md#c) `[d](e)`\n```\n[f](g)\n```\n[h](https://i)"),
            [("b.md".into(), Some("c".into()))]
        );
    }
}
