//! Pages of the documentation, as tests follow them: their blocks, and the commands in these.

/// A page's blocks in backquotes: what stands before, the language, and the text.
pub fn blocks(page: &str) -> Vec<(&str, &str, &str)> {
    let parts: Vec<&str> = page.split("```").collect();
    let pairs = parts.chunks_exact(2);
    pairs
        .filter_map(|pair| pair[1].split_once('\n').map(|(language, text)| (pair[0], language, text)))
        .collect()
}

/// A section of a page: what stands between a title of the second level and the next.
pub fn section<'a>(page: &'a str, title: &str) -> Option<&'a str> {
    let (_, section) = page.split_once(&format!("\n## {title}\n"))?;
    section.split("\n## ").next()
}

/// A command, and where it is typed: `director# lb list`.
///
/// # Panics
/// If it is none.
#[track_caller]
pub fn command(line: &str) -> (&str, &str) {
    let prompt = |sign: &'static str| line.split_once(sign).filter(|(host, _)| !host.contains(' '));
    let found = prompt("# ").or_else(|| prompt("$ "));
    found.unwrap_or_else(|| panic!("{line:?} does not begin with a host and a prompt"))
}
