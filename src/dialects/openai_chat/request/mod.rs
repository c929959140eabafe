//! Requests, read from clients and written for upstreams.

mod controls;
mod history;
pub(super) mod messages;
mod read;
#[cfg(test)]
mod tests;
mod tools;
mod write;

pub(super) use read::read;
pub(super) use write::write;

pub(in crate::dialects) use tools::{custom_description, write_input_schema};
