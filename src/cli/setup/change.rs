//! Changes to the config file: checked as a whole before anything is written, comments kept.

use std::io::Write;

use crate::cli::Context;
use crate::cli::boot::{config_failure, paths, read_config};
use crate::cli::exit::Failure;
use crate::config::edit::ConfigFile;
use crate::config::error::ConfigError;
use crate::config::load::Flags;

/// Changes the file, unless it would no longer be valid; says what was written.
pub(super) fn change(
    context: &Context,
    edit: impl FnOnce(&mut ConfigFile) -> Result<(), ConfigError>,
) -> Result<(), Failure> {
    let paths = paths(&context.globals)?;
    let failed = |error: &ConfigError| config_failure(error);
    let mut file = ConfigFile::open(&paths.config_file).map_err(|error| failed(&error))?;
    let before = file.text();
    edit(&mut file).map_err(|error| failed(&error))?;
    let text = file.text();
    if text == before {
        return Ok(());
    }
    check(context, &text)?;
    file.save().map_err(|error| failed(&error))?;
    let place = paths.config_file.display();
    context.printer.note(&format!("written to {place}"));
    Ok(())
}

/// Loads a text as if it were the config file: from beside it, so that relative paths and `.env`
/// mean the same.
fn check(context: &Context, text: &str) -> Result<(), Failure> {
    let mut paths = paths(&context.globals)?;
    let folder = paths.config_file.parent().map(ToOwned::to_owned);
    let folder = folder.filter(|folder| folder.is_dir());
    let trial = match folder {
        Some(folder) => tempfile::Builder::new()
            .prefix(".trial-")
            .suffix(".toml")
            .tempfile_in(folder),
        None => tempfile::NamedTempFile::new(),
    };
    let written = trial.and_then(|mut trial| {
        trial.write_all(text.as_bytes())?;
        Ok(trial)
    });
    let trial = written.map_err(|error| {
        Failure::failed(
            format!(
                "cannot write beside {}: {error}",
                paths.config_file.display()
            ),
            "check the owner and mode of the directory, and the space on the disk",
        )
    })?;
    trial.path().clone_into(&mut paths.config_file);
    let loaded = read_config(&context.globals, &paths, Flags::default());
    let refused = loaded.err().map(|error| config_failure(&error));
    match refused {
        Some(failure) => Err(Failure::failed(
            format!("that would not be valid: {}", failure.sentence()),
            failure.hint(),
        )),
        None => Ok(()),
    }
}
