//! Requests, read from clients and written for upstreams.

mod blocks;
mod controls;
mod history;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod thread;
mod tools;
mod write;

pub(super) use blocks::read_blocks;
pub(super) use history::write_signature_block;
pub(super) use read::read;
pub(super) use write::write;

pub use thread::refuse_thread;
pub use write::write_count_tokens;
