//! Whole answers.

mod read;
mod write;

pub(super) use read::{read, read_audio, stop_reason};
pub(super) use write::{KNOWN_EXTRA, image_url, write, write_image};

pub(in crate::dialects) use write::finish_reason;
