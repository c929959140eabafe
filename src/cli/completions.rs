//! `llmproxy completions`.

use clap::Args;
use clap_complete::Shell;

use crate::cli::exit::Failure;
use crate::cli::{Context, command};

/// Print the completion script for a shell
#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script to stdout.
pub(super) fn run(args: &CompletionsArgs, context: &Context) -> Result<(), Failure> {
    context.printer.write(&script(args.shell))
}

/// The completion script of one shell.
pub(super) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "llmproxy", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_has_a_script_that_knows_the_subcommands() {
        for shell in Shell::value_variants() {
            assert!(script(*shell).contains("completions"), "{shell}");
        }
    }
}
