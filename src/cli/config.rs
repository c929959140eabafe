//! `llmproxy config`.

use clap::{Args, Subcommand};

use crate::cli::Context;
use crate::cli::boot::{config_failure, load_config, paths, read_config};
use crate::cli::exit::{Failure, Kind};
use crate::config::edit::write_whole;
use crate::config::error::ConfigError;
use crate::config::example::EXAMPLE;
use crate::config::exposure::exposure;
use crate::config::load::Flags;
use crate::config::origin::Level;
use crate::config::{schema, show};

/// Show, check or create the config file
#[derive(Args)]
#[command(after_help = "Examples:
  llmproxy config init              write one with every setting in comments
  llmproxy config check             tell whether it is right
  llmproxy config show --origin     each value in force, and who set it")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    Check(CheckArgs),
    Init(InitArgs),
    Path(PathArgs),
    Schema(SchemaArgs),
    Show(ShowArgs),
}

/// Tell whether the config file, the .env files and the environment are right
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy config check && systemctl reload llmproxy")]
struct CheckArgs {}

/// Write a config file with every setting in comments
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy config init && \"${EDITOR:-vi}\" \"$(llmproxy config path)\"")]
struct InitArgs {
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Print where the config file is, or would be
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy config path")]
struct PathArgs {}

/// Print the JSON Schema of config.toml, for editors
#[derive(Args)]
#[command(after_help = "Example:
  llmproxy config schema > llmproxy.schema.json")]
struct SchemaArgs {}

/// Print the config in force, without secrets
#[derive(Args)]
#[command(after_help = "Examples:
  llmproxy config show
  llmproxy config show --origin | grep -v '# default'")]
struct ShowArgs {
    /// Say of each value where it comes from
    #[arg(long)]
    origin: bool,
}

/// Runs the subcommand.
pub(super) fn run(args: &ConfigArgs, context: &Context) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Check(CheckArgs {}) => check(context),
        ConfigCommand::Init(args) => init(args, context),
        ConfigCommand::Path(PathArgs {}) => {
            let paths = paths(&context.globals)?;
            context
                .printer
                .line(&paths.config_file.display().to_string())
        }
        ConfigCommand::Schema(SchemaArgs {}) => context.printer.json(&schema::schema()),
        ConfigCommand::Show(args) => show(args, context),
    }
}

/// Reports everything that is wrong, not only the first.
fn check(context: &Context) -> Result<(), Failure> {
    let paths = paths(&context.globals)?;
    let loaded = read_config(&context.globals, &paths, Flags::default())
        .map_err(|error| report(&error, context))?;
    for note in &loaded.notes {
        match note.level {
            Level::Info => context.printer.note(&format!("note: {note}")),
            Level::Stray | Level::Warning => context.printer.warn(&note.to_string()),
        }
    }
    let server = &loaded.config.server;
    if let Some(exposed) = exposure(server) {
        let (sentence, hint) = (exposed.sentence(&server.host), exposed.hint());
        let warning = format!("`serve` would refuse: {sentence} ({hint})");
        context.printer.warn(&warning);
    }
    let file = paths.config_file.display();
    let state = if paths.config_file.exists() {
        "ok"
    } else {
        "ok (there is no file: defaults)"
    };
    context.printer.line(&format!("{file}: {state}"))
}

/// Prints each thing that is wrong on its own; exit code 2.
fn report(error: &ConfigError, context: &Context) -> Failure {
    if error.others().is_empty() {
        return config_failure(error);
    }
    for one in error.each() {
        context.printer.failure(&config_failure(&one));
    }
    Failure::reported(Kind::Usage)
}

fn init(args: &InitArgs, context: &Context) -> Result<(), Failure> {
    let file = paths(&context.globals)?.config_file;
    if file.exists() && !args.force {
        return Err(Failure::failed(
            format!("{} is there already", file.display()),
            "edit it, replace it with --force, or name another file with --config",
        ));
    }
    write_whole(&file, EXAMPLE)
        .map_err(|error| Failure::failed(error.to_string(), error.hint()))?;
    context.printer.note(&format!("wrote {}", file.display()));
    Ok(())
}

fn show(args: &ShowArgs, context: &Context) -> Result<(), Failure> {
    let (_, loaded) = load_config(&context.globals, Flags::default())?;
    if !args.origin {
        return context.printer.write(&show::document(&loaded.config));
    }
    let values = show::values(&loaded.config, &loaded.origins);
    let lines = values.iter().map(|shown| {
        let (path, value, origin) = (&shown.path, &shown.value, &shown.origin);
        format!("{path} = {value}  # {origin}\n")
    });
    context.printer.write(&lines.collect::<String>())
}
