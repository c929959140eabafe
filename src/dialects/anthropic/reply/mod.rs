//! Whole answers.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use read::{explanation, read, stop_reason};
pub(super) use write::{stop_word, write, write_message};
