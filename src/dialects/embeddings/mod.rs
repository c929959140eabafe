//! Embeddings between OpenAI's and Gemini's wire formats: requests in batches, answers as numbers
//! or base64, vectors of unit length.
//!
//! Only for clients and upstreams of different dialects; [`recode`] serves the one difference
//! that occurs within OpenAI's: a vendor that ignores `encoding_format`. Vectors are held as
//! `f32`, which is what vendors compute and what base64 carries.
//!
//! Sources: openai 2.54.0 and google-genai 3.4.0, read 2026-11-22. The official OpenAI SDKs ask
//! for base64 unless told otherwise, so both encodings matter.

mod reply;
mod request;

pub use reply::{EmbeddingsReply, needs_normalising, recode};
pub use request::{EmbeddingsRequest, Encoding};

#[cfg(test)]
mod tests;
