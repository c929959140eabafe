//! `llmproxy man`.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;

use crate::cli::exit::Failure;
use crate::cli::{Context, command};

/// Print the manual page, or write one page a subcommand into a directory
#[derive(Args)]
#[command(after_help = "Examples:
  llmproxy man | man -l -
  llmproxy man --dir ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Directory to write `llmproxy.1`, `llmproxy-creds.1` and the others into
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the page to stdout, or all pages to files.
pub(super) fn run(args: &ManArgs, context: &Context) -> Result<(), Failure> {
    let pages = pages().map_err(|error| {
        Failure::failed(
            format!("cannot write the manual: {error}"),
            "this is a defect of llmproxy; please report it",
        )
    })?;
    let Some(dir) = &args.dir else {
        return match pages.first() {
            Some((_, text)) => context.printer.write(text),
            None => Ok(()),
        };
    };
    let unwritable = |error: &io::Error| {
        Failure::failed(
            format!("cannot write into {}: {error}", dir.display()),
            "name a directory you may write to",
        )
    };
    fs::create_dir_all(dir).map_err(|error| unwritable(&error))?;
    for (name, text) in &pages {
        fs::write(dir.join(name), text).map_err(|error| unwritable(&error))?;
    }
    context.printer.note(&format!(
        "wrote {} pages into {}",
        pages.len(),
        dir.display()
    ));
    Ok(())
}

/// All pages as (file name, text), the main one first.
pub(super) fn pages() -> io::Result<Vec<(String, String)>> {
    let mut root = command();
    root.build();
    let mut pages = Vec::new();
    let mut waiting = vec![root];
    while let Some(command) = waiting.pop() {
        let children = command.get_subcommands();
        waiting.extend(children.filter(|child| !child.is_hide_set()).cloned());
        let page = Man::new(command);
        let mut text = Vec::new();
        page.render(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        pages.push((page.get_filename(), text));
    }
    // `llmproxy.1` before `llmproxy-creds.1`: a dot sorts after a dash.
    pages.sort_by(|(a, _), (b, _)| a.trim_end_matches(".1").cmp(b.trim_end_matches(".1")));
    Ok(pages)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::env;
    use std::path::Path;

    use super::*;

    /// Fails if a directory of the repository does not hold exactly these files. `BLESS=1` writes
    /// them instead.
    pub(in crate::cli) fn compare_with_checked_in(folder: &str, files: Vec<(String, String)>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let names = |folder: &Path| -> BTreeSet<String> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        };
        if env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).expect("a directory");
            for stale in names(&folder) {
                fs::remove_file(folder.join(stale)).expect("removed");
            }
            for (name, text) in &files {
                fs::write(folder.join(name), text).expect("written");
            }
        }
        let wanted: BTreeSet<String> = files.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names(&folder), wanted, "run the tests with BLESS=1");
        for (name, text) in files {
            let there = fs::read_to_string(folder.join(&name)).expect("a text file");
            let is_current = there == text;
            assert!(is_current, "{name} is stale: run the tests with BLESS=1");
        }
    }

    #[test]
    fn the_checked_in_pages_are_current() {
        compare_with_checked_in("man", pages().expect("writing to memory works"));
    }

    #[test]
    fn the_main_page_comes_first_and_every_subcommand_has_one() {
        let pages = pages().expect("writing to memory works");
        assert_eq!(pages[0].0, "llmproxy.1");
        assert_eq!(
            pages.len(),
            1 + command().get_subcommands().count()
                + command()
                    .get_subcommands()
                    .map(|child| child.get_subcommands().count())
                    .sum::<usize>()
        );
    }
}
