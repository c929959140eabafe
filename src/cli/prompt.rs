//! Questions, asked on terminals only; elsewhere the answer comes from stdin or a flag.

use std::io::{self, BufRead, IsTerminal, Read};
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::cli::exit::Failure;
use crate::cli::field::{self, Typed};
use crate::cli::pick::{self, Picked};
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
        match field(what, "", true)? {
            Typed::Text(text) => Zeroizing::new(text.trim().to_owned()),
            Typed::Interrupted | Typed::Left => Zeroizing::default(),
        }
    } else {
        Zeroizing::new(first_line(&mut io::stdin().lock(), what)?)
    };
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
    let answer = pick::yes_or_no(question, false).map_err(|error| from_prompt(&error))?;
    Ok(answer == Some(true))
}

/// Asks for a line on the terminal; Ctrl-C is a failure, Esc an answer.
pub(super) fn field(what: &str, initial: &str, is_hidden: bool) -> Result<Typed, Failure> {
    match field::ask(what, initial, is_hidden) {
        Ok(Typed::Interrupted) => Err(Failure::interrupted()),
        Ok(typed) => Ok(typed),
        Err(error) => Err(from_prompt(&error)),
    }
}

/// Asks to choose one of several; the answer is its place.
pub fn select(question: &str, items: &[String]) -> Result<usize, Failure> {
    match pick::ask(question, items, 0, false).map_err(|error| from_prompt(&error))? {
        Picked::Item(place) => Ok(place),
        Picked::Interrupted | Picked::Left => Err(Failure::interrupted()),
    }
}

/// The first line of stdin if a key comes down the pipe within `patience`; `None` for anything that
/// cannot be one, and where nothing comes.
pub fn piped_key(patience: Duration) -> Option<Secret> {
    let (sender, receiver) = mpsc::channel();
    // It may read for ever; it ends with the process.
    std::thread::spawn(move || {
        let line = first_line(&mut io::stdin().lock(), "API key").map(Zeroizing::new);
        let _ = sender.send(line);
    });
    let line = receiver.recv_timeout(patience).ok()?.ok()?;
    let is_key = !line.trim().is_empty() && !line.trim().contains(char::is_whitespace);
    is_key.then(|| Secret::new(&line))
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

/// What a prompt that broke off means.
pub(super) fn from_prompt(error: &io::Error) -> Failure {
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
