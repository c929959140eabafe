//! What clap has to say, in our form: help to stdout, usage errors as one sentence and one hint;
//! and what to say of a model that cannot be used.

use std::ffi::OsString;

use clap::error::ErrorKind;

use crate::cli::exit::{Failure, Kind};
use crate::cli::output::{ColorWhen, Printer};
use crate::dialects::error::ErrorReply;
use crate::gateway::snapshot::Snapshot;
use crate::near::did_you_mean;

/// An argument this long with digits in it may be a key somebody typed by mistake.
const SECRET_LIKE_CHARACTERS: usize = 16;

/// Answers arguments that clap did not accept, or that asked for help.
pub(super) fn answer(error: &clap::Error, printer: &Printer) -> Result<(), Failure> {
    let rendered = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            if printer.is_colored() {
                return printer.write(&rendered.ansi().to_string());
            }
            printer.write(&rendered.to_string())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            printer.note(rendered.to_string().trim_end());
            Err(Failure::reported(Kind::Usage))
        }
        _ => Err(refused(&rendered.to_string())),
    }
}

/// Why a model that was asked for cannot be used: exit code 3 where no credential can serve it.
pub(super) fn no_model(error: &ErrorReply, model: &str, snapshot: &Snapshot) -> Failure {
    let message = error.message.clone();
    if error.code.as_deref() == Some("no_credentials") {
        return Failure::no_credential(message, "`llmproxy creds list` shows what there is");
    }
    let known = snapshot.listed_models();
    let aliases = snapshot.aliases.keys().map(String::as_str);
    let known = known.iter().map(String::as_str).chain(aliases);
    // A name whose targets are all filtered out is known, and no help.
    let hint = did_you_mean(model, known.filter(|known| *known != model));
    let hint = hint.filter(|_| !message.contains("did you mean"));
    Failure::failed(
        message,
        hint.unwrap_or_else(|| "`llmproxy models` lists what can be used".to_owned()),
    )
}

/// `--color WHEN` as it stands in raw arguments, for what is printed before they are parsed.
pub(super) fn color_flag(arguments: &[OsString]) -> ColorWhen {
    let mut when = ColorWhen::Auto;
    let mut words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--color") {
            _ if word == "--" => break,
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        when = match value {
            Some("always") => ColorWhen::Always,
            Some("never") => ColorWhen::Never,
            _ => when,
        };
    }
    when
}

/// Takes clap's text apart: `error: …`, indented lines that belong to it, `tip: …`, `Usage: …`.
fn refused(rendered: &str) -> Failure {
    let mut sentence = String::new();
    let mut tips = Vec::new();
    let mut usage = None;
    let mut in_sentence = true;
    for line in rendered.lines() {
        let text = line.trim();
        if let Some(tip) = text.strip_prefix("tip: ") {
            // "to pass '--x' as a value, use '-- --x'" is hardly ever what was meant.
            if !tip.starts_with("to pass ") {
                tips.push(tip.to_owned());
            }
        } else if let Some(line) = text.strip_prefix("Usage: ") {
            usage = Some(line.to_owned());
        } else if in_sentence && !text.is_empty() {
            if !sentence.is_empty() {
                sentence.push(' ');
            }
            sentence.push_str(text.strip_prefix("error: ").unwrap_or(text));
        }
        in_sentence &= !text.is_empty();
    }
    if let Some(usage) = usage {
        tips.push(format!("usage: {usage}"));
    }
    if tips.is_empty() {
        tips.push("`llmproxy --help` shows the usage".to_owned());
    }
    let shown = masked(&sentence);
    if shown != sentence {
        // Most likely a key, which is then in the shell's history: say where it belongs.
        tips.insert(
            0,
            "a key is never an argument: it is asked for, or read from stdin".to_owned(),
        );
    }
    Failure::usage(shown, masked(&tips.join("; ")))
}

/// Hides words that look like a key: usage errors quote what was typed.
fn masked(text: &str) -> String {
    let is_key_character = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut shown = String::new();
    for word in text.split_inclusive(|c| !is_key_character(c)) {
        let body = word.trim_end_matches(|c| !is_key_character(c));
        let is_secret_like = body.len() >= SECRET_LIKE_CHARACTERS
            && body.contains(|c: char| c.is_ascii_digit())
            && body.contains(|c: char| c.is_ascii_alphabetic());
        shown.push_str(if is_secret_like { "[hidden]" } else { body });
        shown.push_str(&word[body.len()..]);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_is_one_sentence_with_a_hint() {
        let failure = refused(
            "error: unexpected argument '--jsn' found\n\n  tip: a similar argument exists: \
             '--json'\n\nUsage: llmproxy creds list --json\n\nFor more information, try '--help'.\n",
        );
        assert_eq!(failure.sentence(), "unexpected argument '--jsn' found");
        assert_eq!(
            failure.hint(),
            "a similar argument exists: '--json'; usage: llmproxy creds list --json"
        );
        assert_eq!(failure.kind(), Kind::Usage);
    }

    #[test]
    fn missing_arguments_are_named_in_the_sentence() {
        let failure = refused(
            "error: the following required arguments were not provided:\n  <PROVIDER>\n\n\
             Usage: llmproxy creds add <PROVIDER>\n",
        );
        assert_eq!(
            failure.sentence(),
            "the following required arguments were not provided: <PROVIDER>"
        );
    }

    #[test]
    fn a_key_typed_as_an_argument_is_not_repeated() {
        let failure = refused("error: unexpected argument 'sk-canary-0123456789abcdef' found\n");
        assert_eq!(failure.sentence(), "unexpected argument '[hidden]' found");
        assert!(failure.hint().starts_with("a key is never an argument"));
    }

    #[test]
    fn the_colour_flag_is_found_before_parsing() {
        let flag = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            color_flag(&words)
        };
        assert_eq!(
            flag(&["llmproxy", "--color", "never", "--help"]),
            ColorWhen::Never
        );
        assert_eq!(flag(&["llmproxy", "--color=always"]), ColorWhen::Always);
        assert_eq!(flag(&["llmproxy", "--", "--color=always"]), ColorWhen::Auto);
    }
}
