//! The wizard's questions. `None` is "not now": Esc, or an empty answer where one is needed.

use std::io;

use crate::cli::exit::Failure;
use crate::cli::field::Typed;
use crate::cli::pick::{self, Picked};
use crate::cli::prompt::{self, from_prompt};

/// One of a few; the first is offered.
pub(super) fn choose(question: &str, items: &[String]) -> Result<Option<usize>, Failure> {
    choose_at(question, items, 0)
}

/// One of a few; the one at `default` is offered.
pub(super) fn choose_at(
    question: &str,
    items: &[String],
    default: usize,
) -> Result<Option<usize>, Failure> {
    picked(pick::ask(question, items, default, false))
}

/// One of many: typing narrows them down.
pub(super) fn find(question: &str, items: &[String]) -> Result<Option<usize>, Failure> {
    picked(pick::ask(question, items, 0, true))
}

fn picked(picked: io::Result<Picked>) -> Result<Option<usize>, Failure> {
    match picked {
        Ok(Picked::Item(index)) => Ok(Some(index)),
        Ok(Picked::Left) => Ok(None),
        Ok(Picked::Interrupted) => Err(Failure::interrupted()),
        Err(error) => Err(from_prompt(&error)),
    }
}

/// Yes or no.
pub(super) fn confirm(question: &str, default: bool) -> Result<Option<bool>, Failure> {
    pick::yes_or_no(question, default).map_err(|error| from_prompt(&error))
}

/// A line of text, trimmed. Unchanged and empty answers are answers too.
pub(super) fn line(question: &str, initial: &str) -> Result<Option<String>, Failure> {
    match prompt::field(question, initial, false)? {
        Typed::Text(text) => Ok(Some(text.trim().to_owned())),
        Typed::Interrupted | Typed::Left => Ok(None),
    }
}

/// [`line()`] where an empty answer is none.
pub(super) fn text(question: &str, initial: &str) -> Result<Option<String>, Failure> {
    Ok(line(question, initial)?.filter(|text| !text.is_empty()))
}
