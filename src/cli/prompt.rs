//! Questions, asked on terminals only; elsewhere the answer comes from stdin or a flag.

use std::io::{self, BufRead, IsTerminal, Read};

use dialoguer::console::Term;
use dialoguer::{Confirm, Password};
use zeroize::Zeroizing;

use crate::cli::exit::Failure;
use crate::secret::Secret;

/// No key or pasted URL is longer; a bound so that a wrong pipe cannot fill the memory.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// `true` if a person can be asked: stdin and stderr are terminals.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a secret without showing it, or takes the first line of stdin where nobody can be
/// asked. `what` names it: `API key for gemini`.
///
/// An empty answer is a usage failure.
pub fn secret(what: &str) -> Result<Secret, Failure> {
    optional_secret(what)?.ok_or_else(|| {
        Failure::usage(
            format!("{what}: nothing was given"),
            "type or paste it at the prompt, or pipe it in as the first line of stdin",
        )
    })
}

/// [`secret`] where an empty answer is one too: `None`.
pub fn optional_secret(what: &str) -> Result<Option<Secret>, Failure> {
    let text = if can_ask() {
        let what = what.to_owned();
        on_terminal(move || {
            Password::new()
                .with_prompt(what)
                .allow_empty_password(true)
                .interact()
        })?
    } else {
        first_line(&mut io::stdin().lock(), what)?
    };
    let text = Zeroizing::new(text);
    Ok(Some(Secret::new(&text)).filter(|secret| !secret.is_empty()))
}

/// Asks a yes-or-no question. `assume_yes` (the `--yes` flag) answers it without asking.
///
/// Without a terminal and without the flag it is a usage failure: silence is no consent.
pub fn confirm(question: &str, assume_yes: bool) -> Result<bool, Failure> {
    if assume_yes {
        return Ok(true);
    }
    if !can_ask() {
        return Err(Failure::usage(
            format!("{question} There is no terminal to answer on"),
            "add --yes to say yes",
        ));
    }
    let question = question.to_owned();
    on_terminal(move || {
        Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact()
    })
}

/// Asks on a thread of its own, so that Ctrl-C ends the program with its own exit code and not
/// with the terminal's echo left off.
fn on_terminal<T: Send + 'static>(
    ask: impl FnOnce() -> dialoguer::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| from_prompt(&error.into()))?;
    let answer = runtime.block_on(async {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
            answer = tokio::task::spawn_blocking(ask) => match answer {
                Ok(answer) => answer.map_err(|error| from_prompt(&error)),
                // The thread panicked and has said so.
                Err(_) => Err(Failure::interrupted()),
            },
        }
    });
    // The thread may still be reading; it ends with the process.
    runtime.shutdown_background();
    if answer.is_err() {
        restore_terminal();
    }
    answer
}

/// Brings back echo and cursor after a prompt that was broken off.
fn restore_terminal() {
    let term = Term::stderr();
    let _ = term.show_cursor();
    let _ = term.write_line("");
    // Nothing in std reaches the terminal's modes.
    #[cfg(unix)]
    let _ = std::process::Command::new("stty").arg("echo").status();
}

/// Reads the first line, without its line ending.
fn first_line(input: &mut impl BufRead, what: &str) -> Result<String, Failure> {
    let mut line = Vec::new();
    let unreadable = |reason: &str| {
        Failure::usage(
            format!("{what}: {reason}"),
            "pipe it in as the first line of stdin",
        )
    };
    input
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)
        .map_err(|error| unreadable(&format!("stdin cannot be read: {error}")))?;
    let text = String::from_utf8(line).map_err(|_| unreadable("stdin is not UTF-8 text"))?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().chars().any(char::is_control) {
        return Err(unreadable(
            "the first line of stdin holds control characters",
        ));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn from_prompt(error: &dialoguer::Error) -> Failure {
    let dialoguer::Error::IO(error) = error;
    if error.kind() == io::ErrorKind::Interrupted {
        return Failure::interrupted();
    }
    Failure::failed(
        format!("cannot ask on this terminal: {error}"),
        "pipe the answer in, or use the flag that gives it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_of_stdin_counts() {
        for (input, line) in [
            (&b"key\nrest\n"[..], "key"),
            (b"key\r\n", "key"),
            (b"key", "key"),
            (b"\xef\xbb\xbfkey\n", "key"),
            (b"", ""),
        ] {
            assert_eq!(first_line(&mut &*input, "key").as_deref(), Ok(line));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(first_line(&mut &b"\xff\xfe"[..], "key").is_err());
        assert!(first_line(&mut &b"ke\x1by\n"[..], "key").is_err());
    }

    #[test]
    fn yes_is_never_assumed_without_the_flag() {
        assert_eq!(confirm("Remove gemini/1?", true), Ok(true));
    }
}
