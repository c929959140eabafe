//! The command line: one file a subcommand, each with its `Args` (whose doc comment is the help)
//! and its `run`. Only this floor prints or prompts, and it does so through [`output::Printer`].
//!
//! A new subcommand is a file, its `mod` line, its `Command` variant and its arm in
//! `Command::run`.

mod activation;
pub mod boot;
mod chat;
mod client_key;
mod completions;
mod config;
mod core_dumps;
mod creds;
mod doctor;
pub mod exit;
mod explain;
mod field;
mod log_line;
mod log_queue;
mod logging;
mod man;
mod models;
mod notify;
pub mod output;
mod panics;
mod pick;
mod presence;
pub mod prompt;
mod refusal;
mod reload;
mod remote;
mod replay;
mod run;
mod serve;
mod setup;
mod signals;
mod simulate;
mod status;
pub mod table;
mod test_keys;
#[cfg(feature = "otlp")]
mod traces;
mod usage;
mod waiting;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::cli::exit::Failure;
use crate::cli::output::{ColorWhen, Printer};
use crate::credentials::refresh;

/// One endpoint that does not fail, made of many LLM API keys and accounts
#[derive(Parser)]
#[command(
    name = "llmproxy",
    version,
    disable_help_subcommand = true,
    after_help = "Examples:
  llmproxy setup                     from nothing to the first answer
  llmproxy serve --demo              see it work without any key
  llmproxy run -- claude             a coding agent with all your keys behind it"
)]
struct Root {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Options that every subcommand takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Config file (environment: `LLMPROXY_CONFIG`)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,

    /// File of NAME=value lines to read; the real environment wins (can be repeated)
    #[arg(
        long = "env-file",
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub env_files: Vec<PathBuf>,

    /// Log more (-vv: even more)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,

    /// Print results, warnings and errors only
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub quiet: bool,

    /// How log lines look
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        help_heading = "Global options"
    )]
    pub log_format: LogFormat,

    /// When to use colour
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        help_heading = "Global options"
    )]
    pub color: ColorWhen,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    #[default]
    Pretty,
}

#[derive(Subcommand)]
enum Command {
    Chat(chat::ChatArgs),
    Completions(completions::CompletionsArgs),
    Config(config::ConfigArgs),
    Creds(creds::CredsArgs),
    Doctor(doctor::DoctorArgs),
    Explain(explain::ExplainArgs),
    Man(man::ManArgs),
    Models(models::ModelsArgs),
    Replay(replay::ReplayArgs),
    Run(run::RunArgs),
    Serve(serve::ServeArgs),
    Setup(setup::SetupArgs),
    Simulate(simulate::SimulateArgs),
    Status(status::StatusArgs),
    TestKeys(test_keys::TestKeysArgs),
    Usage(usage::UsageArgs),
}

impl Command {
    fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Chat(args) => chat::run(&args, context),
            Self::Completions(args) => completions::run(&args, context),
            Self::Config(args) => config::run(&args, context),
            Self::Creds(args) => creds::run(&args, context),
            Self::Doctor(args) => doctor::run(&args, context),
            Self::Explain(args) => explain::run(&args, context),
            Self::Man(args) => man::run(&args, context),
            Self::Models(args) => models::run(&args, context),
            Self::Replay(args) => replay::run(&args, context),
            Self::Run(args) => run::run(&args, context),
            Self::Serve(args) => serve::run(&args, context),
            Self::Setup(args) => setup::run(&args, context),
            Self::Simulate(args) => simulate::run(&args, context),
            Self::Status(args) => status::run(&args, context),
            Self::TestKeys(args) => test_keys::run(&args, context),
            Self::Usage(args) => usage::run(&args, context),
        }
    }
}

/// What every subcommand gets beside its own arguments.
pub struct Context {
    pub globals: Globals,
    pub printer: Printer,
}

impl Context {
    /// Runs asynchronous work to its end on a runtime made for it; Ctrl-C drops the work and is
    /// [`Failure::interrupted`].
    pub fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let work = Box::pin(work);
        self.block_on_to_end(async {
            tokio::select! {
                done = work => done,
                _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
            }
        })
    }

    /// [`Context::block_on`] for work that hears Ctrl-C itself.
    pub fn block_on_to_end<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| {
            Failure::failed(
                format!("cannot start the runtime: {error}"),
                "check the limits on threads and open files (ulimit -a)",
            )
        })?;
        let done = runtime.block_on(Box::pin(work));
        runtime.block_on(refresh::landed());
        // What is still running (a name lookup, say) must not hold up the end.
        runtime.shutdown_background();
        done
    }
}

/// Runs the program with the process's own arguments and returns its exit code.
pub fn main() -> ExitCode {
    if completions::answered() {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Help and usage errors are printed before there are parsed options.
    let early = Printer::new(refusal::color_flag(&arguments), false);
    let root = match Root::try_parse_from(&arguments) {
        Ok(root) => root,
        Err(error) => return ended(&early, refusal::answer(&error, &early)),
    };
    let context = Context {
        printer: Printer::new(root.globals.color, root.globals.quiet),
        globals: root.globals,
    };
    let role = match root.command {
        Command::Run(_) => logging::Role::Guest,
        Command::Serve(_) => logging::Role::Server,
        _ => logging::Role::Command,
    };
    logging::install(&context, role);
    panics::name_places_only();
    let result = root.command.run(&context);
    log_queue::flush();
    ended(&context.printer, result)
}

/// Runs another command of ours with this one's options: what a menu does is what the commands do.
fn perform(words: &[&str], context: &Context) -> Result<(), Failure> {
    let line = std::iter::once("llmproxy").chain(words.iter().copied());
    match Root::try_parse_from(line) {
        Ok(root) => root.command.run(context),
        Err(error) => refusal::answer(&error, &context.printer),
    }
}

/// The whole command tree, for completions and manual pages.
pub fn command() -> clap::Command {
    Root::command()
}

fn ended(printer: &Printer, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_an_example_that_parses() {
        let mut waiting = vec![command()];
        while let Some(mut command) = waiting.pop() {
            waiting.extend(command.get_subcommands().cloned());
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            let (_, examples) = help
                .split_once("Example")
                .unwrap_or_else(|| panic!("no example in the help of `{name}`"));
            for line in examples.lines() {
                let Some((_, line)) = line.split_once("llmproxy ") else {
                    continue;
                };
                // Up to what belongs to the shell, or explains.
                let end = line.find(['|', '>', '<', '&', ')']).unwrap_or(line.len());
                let line = line[..end].split("   ").next().unwrap_or_default();
                let words = line.split_whitespace().map(|word| word.trim_matches('\''));
                let parsed = Root::try_parse_from(std::iter::once("llmproxy").chain(words));
                assert!(
                    parsed.is_ok(),
                    "`{line}` of `{name}`: {:?}",
                    parsed.err().map(|e| e.to_string())
                );
            }
        }
    }

    #[test]
    fn global_options_are_taken_after_the_subcommand_too() {
        let root = Root::try_parse_from([
            "llmproxy",
            "completions",
            "bash",
            "--env-file",
            "a",
            "--env-file",
            "b",
            "-vv",
        ])
        .expect("valid arguments");
        assert_eq!(root.globals.env_files.len(), 2);
        assert_eq!(root.globals.verbose, 2);
    }
}
