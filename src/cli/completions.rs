//! `llmproxy completions`: scripts that ask the program itself, so that names of providers, models
//! and credentials are completed as well as options.

use std::env;

use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;

use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::cli::{Context, Globals, command};
use crate::config::load::Flags;
use crate::providers;

/// The variable by which a script asks; it holds the shell's name.
const ASKED: &str = "LLMPROXY_COMPLETE";

/// Print the completion script for a shell
#[derive(Args)]
#[command(after_help = "Examples:
  source <(llmproxy completions bash)       in ~/.bashrc
  source <(llmproxy completions zsh)        in ~/.zshrc, behind compinit
  llmproxy completions fish | source        in ~/.config/fish/config.fish")]
pub(super) struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

/// The shells there are scripts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Zsh => "zsh",
        }
    }

    /// The script's file name where shells look for it.
    #[cfg(test)]
    fn file_name(self) -> &'static str {
        match self {
            Self::Bash => "llmproxy.bash",
            Self::Elvish => "llmproxy.elv",
            Self::Fish => "llmproxy.fish",
            Self::Powershell => "_llmproxy.ps1",
            Self::Zsh => "_llmproxy",
        }
    }
}

/// Writes the script to stdout.
pub(super) fn run(args: &CompletionsArgs, context: &Context) -> Result<(), Failure> {
    context.printer.write(&script(args.shell)?)
}

/// The completion script of one shell.
fn script(shell: Shell) -> Result<String, Failure> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let written = shells.completer(shell.name()).map(|completer| {
        completer.write_registration(ASKED, "llmproxy", "llmproxy", "llmproxy", &mut script)
    });
    match written {
        Some(Ok(())) => Ok(String::from_utf8_lossy(&script).into_owned()),
        Some(Err(_)) | None => Err(Failure::failed(
            format!("there is no completion script for {}", shell.name()),
            "this is a defect of llmproxy; please report it",
        )),
    }
}

/// Answers a script that asks for candidates; `false` if this is an ordinary run.
pub(super) fn answered() -> bool {
    let asking = CompleteEnv::with_factory(complete_command).var(ASKED);
    let answered = asking.try_complete(env::args_os(), env::current_dir().ok().as_deref());
    // What goes wrong must not end up among what the user types.
    answered.unwrap_or(true)
}

/// The command tree with candidates for the names that only this installation knows.
fn complete_command() -> Command {
    with_names(command())
}

fn with_names(command: Command) -> Command {
    command
        .mut_args(with_candidates)
        .mut_subcommands(with_names)
}

/// An argument's candidates by what its help calls the value.
fn with_candidates(arg: Arg) -> Arg {
    let name = arg.get_value_names().and_then(|names| names.first());
    match name.map(clap::builder::Str::as_str) {
        Some("PROVIDER") => arg.add(ArgValueCandidates::new(provider_names)),
        Some("MODEL") => arg.add(ArgValueCandidates::new(model_names)),
        Some("CREDENTIAL" | "ID") => arg.add(ArgValueCandidates::new(credential_names)),
        _ => arg,
    }
}

fn provider_names() -> Vec<CompletionCandidate> {
    let built_in = providers::all().map(|provider| {
        let spec = provider.spec();
        CompletionCandidate::new(spec.id).help(Some(spec.title.into()))
    });
    let mut names: Vec<_> = built_in.collect();
    if let Some(boot) = boot() {
        let own = boot.loaded.config.providers.keys();
        let own = own.filter(|id| providers::find(id.as_str()).is_none());
        names.extend(own.map(|id| CompletionCandidate::new(id.as_str())));
    }
    names
}

fn credential_names() -> Vec<CompletionCandidate> {
    let credentials = boot().map(|boot| boot.credentials).unwrap_or_default();
    let names = credentials.iter().map(|one| one.id.as_str());
    names.map(CompletionCandidate::new).collect()
}

/// Models as far as they are known without asking anyone.
fn model_names() -> Vec<CompletionCandidate> {
    let snapshot = boot().and_then(|boot| boot.snapshot(None).ok());
    let models = snapshot
        .map(|snapshot| snapshot.listed_models())
        .unwrap_or_default();
    models.into_iter().map(CompletionCandidate::new).collect()
}

/// What this installation has; nothing if its config is broken. `LLMPROXY_CONFIG` counts, an
/// option on the line that is being typed does not.
fn boot() -> Option<Boot> {
    Boot::read_quietly(&Globals::default(), Flags::default()).ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::man::tests::compare_with_checked_in;

    fn candidates(line: &[&str]) -> Vec<String> {
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        let last = words.len() - 1;
        let mut command = complete_command();
        command.build();
        let found = clap_complete::engine::complete(&mut command, words, last, None);
        let found = found.expect("completing works");
        let text = |one: CompletionCandidate| one.get_value().to_string_lossy().into_owned();
        found.into_iter().map(text).collect()
    }

    #[test]
    fn every_shell_has_a_script_that_asks_the_program() {
        for shell in Shell::value_variants() {
            let script = script(*shell).expect("a script");
            assert!(script.contains(ASKED), "{shell:?}");
        }
    }

    #[test]
    fn the_checked_in_scripts_are_current() {
        let scripts = Shell::value_variants().iter().map(|shell| {
            let text = script(*shell).expect("a script");
            (shell.file_name().to_owned(), text)
        });
        compare_with_checked_in("completions", scripts.collect());
    }

    #[test]
    fn subcommands_and_options_are_completed() {
        assert!(candidates(&["llmproxy", "comp"]).contains(&"completions".to_owned()));
        assert!(candidates(&["llmproxy", "serve", "--po"]).contains(&"--port".to_owned()));
        assert_eq!(candidates(&["llmproxy", "completions", "z"]), ["zsh"]);
    }

    #[test]
    fn provider_names_are_completed_where_a_provider_is_asked_for() {
        let command = Command::new("x").arg(Arg::new("provider").value_name("PROVIDER"));
        let mut command = with_names(command);
        command.build();
        let words = ["x", "gemi"].map(OsString::from).to_vec();
        let found = clap_complete::engine::complete(&mut command, words, 1, None);
        let found = found.expect("completing works");
        assert!(found.iter().any(|one| one.get_value() == "gemini"));
    }
}
