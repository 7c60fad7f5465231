//! A kernel's modules, in the order in which they are loaded.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Moves modules, and those they depend on, from a kernel's directory to a new one, where they are named in the
/// order in which they are to be loaded.
///
/// # Errors
/// The kernel has no such module, or a file cannot be read or moved.
pub(super) fn collect(kernel: &Path, modules: &[&str], into: &Path) -> io::Result<()> {
    let mut files = HashMap::new();
    find(kernel, &mut files)?;
    let file = |name: &str| {
        files.get(name).ok_or_else(|| io::Error::other(format!("{} has no module {name}", kernel.display())))
    };
    let order = in_order(modules, |name| Ok::<_, io::Error>(depends(&fs::read(file(name)?)?)))?;
    fs::create_dir(into)?;
    for (number, name) in order.iter().enumerate() {
        fs::rename(file(name)?, into.join(format!("{number:02}-{name}.ko")))?;
    }
    Ok(())
}

/// Whether the files of a directory that [`collect`] made are, among others, these modules.
pub(super) fn are_all_in(files: &[String], modules: &[&str]) -> bool {
    let name = |file: &String| Some(file.strip_suffix(".ko")?.split_once('-')?.1.to_owned());
    let names: Vec<String> = files.iter().filter_map(name).collect();
    modules.iter().all(|module| names.iter().any(|name| name == module))
}

fn find(directory: &Path, files: &mut HashMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), files)?;
        } else if let Some(name) = entry.file_name().to_str().and_then(|name| name.strip_suffix(".ko")) {
            files.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

/// Modules and what they depend on, each behind all that it depends on.
fn in_order<E>(modules: &[&str], depends: impl Fn(&str) -> Result<Vec<String>, E>) -> Result<Vec<String>, E> {
    fn visit<E>(
        module: &str,
        depends: &impl Fn(&str) -> Result<Vec<String>, E>,
        order: &mut Vec<String>,
    ) -> Result<(), E> {
        if order.iter().any(|earlier| earlier == module) {
            return Ok(());
        }
        for other in depends(module)? {
            visit(&other, depends, order)?;
        }
        order.push(module.to_owned());
        Ok(())
    }
    let mut order = Vec::new();
    for module in modules {
        visit(module, &depends, &mut order)?;
    }
    Ok(order)
}

/// What a module says in its section `.modinfo` that it depends on.
fn depends(module: &[u8]) -> Vec<String> {
    let entry = module.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(entry.unwrap_or_default()).replace('-', "_");
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{are_all_in, depends, in_order};

    #[test]
    fn modules_come_after_what_they_depend_on() {
        let depends = |module: &str| {
            Ok::<_, ()>(match module {
                "9p" => vec!["9pnet".to_owned(), "netfs".to_owned()],
                "9pnet_virtio" => vec!["9pnet".to_owned(), "virtio".to_owned()],
                _ => Vec::new(),
            })
        };
        assert_eq!(
            in_order(&["9pnet_virtio", "9p"], depends).unwrap(),
            ["9pnet", "virtio", "9pnet_virtio", "netfs", "9p"]
        );
    }

    #[test]
    fn a_directory_of_modules_that_lacks_one_is_not_complete() {
        let files = ["09-9p.ko", "17-ip_vs.ko", "18-ip_vs_rr.ko"].map(str::to_owned);
        assert!(are_all_in(&files, &["9p", "ip_vs"]));
        assert!(!are_all_in(&files, &["9p", "ip_vs_wrr"]));
        assert!(!are_all_in(&[], &["9p"]));
    }

    #[test]
    fn a_module_tells_what_it_depends_on() {
        let module = b"\x7fELF\0license=GPL\0depends=stp,lib-llc\0name=bridge\0";
        assert_eq!(depends(module), ["stp", "lib_llc"]);
        assert!(depends(b"\0depends=\0name=llc\0").is_empty());
    }
}
