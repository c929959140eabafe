//! `llmproxy creds export`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::Context;
use crate::cli::creds;
use crate::cli::exit::Failure;
use crate::config::env::upper_name;
use crate::credentials::export;
use crate::providers;

/// Write a credential out, with its secret, for another machine
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy creds export gemini/1 --format env --output key.env")]
pub(super) struct ExportArgs {
    /// Id as `llmproxy creds list` shows it
    #[arg(value_name = "ID")]
    id: String,

    /// The form: `.env` lines, or JSON that `creds import` reads
    #[arg(long, value_enum)]
    format: Format,

    /// File to write (mode 0600) in place of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// NAME=value lines
    Env,
    /// Our own JSON
    Json,
}

/// Runs the command.
pub(super) fn run(args: &ExportArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let credential = creds::find(&boot, &args.id)?;
    let text = match args.format {
        Format::Json => export::json(credential),
        Format::Env => {
            let provider = credential.id.provider();
            let built_in = providers::find(provider).map(|known| known.spec().key_env);
            let own = format!("{}_API_KEY", upper_name(provider));
            let variable = built_in.and_then(|names| names.first()).copied();
            let lines = export::env(credential, variable.unwrap_or(&own));
            lines.as_bytes().to_vec().into()
        }
    };
    let Some(path) = &args.output else {
        return context.printer.write(&String::from_utf8_lossy(&text));
    };
    write(path, &text).map_err(|error| {
        Failure::failed(
            format!("cannot write {}: {error}", path.display()),
            "name a file in a directory you may write to",
        )
    })?;
    context
        .printer
        .note(&format!("wrote {} into {}", credential.id, path.display()));
    Ok(())
}

/// Replaces the file as a whole, readable by its owner only.
fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Temporary files are made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(path)?.sync_all()
}
