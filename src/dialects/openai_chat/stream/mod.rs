//! Streamed answers.

mod calls;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use read::Reader;
pub(super) use write::Writer;

#[cfg(test)]
pub(in crate::dialects) use tests::{any_event, numbered};
