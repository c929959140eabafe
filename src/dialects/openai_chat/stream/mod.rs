//! Streamed answers.

mod calls;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use read::Reader;
pub(super) use write::Writer;
