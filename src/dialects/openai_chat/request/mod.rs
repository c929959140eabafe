//! Requests, read from clients and written for upstreams.

mod controls;
mod history;
pub(super) mod messages;
mod read;
pub(in crate::dialects) mod tools;
mod write;

pub(super) use read::read;
pub(super) use write::write;
