//! A fake upstream: a server on a free loopback port that says exactly the bytes it is told to.
//!
//! It works on raw sockets, so that what no HTTP library would send (resets, cut bodies, wrong
//! lengths, one byte a write) can be sent, and what came in is kept byte for byte. It is not a
//! simulator: it has no opinion of its own, every answer is scripted.

pub(crate) mod anthropic;
pub(crate) mod code_assist;
pub(crate) mod gemini;
pub(crate) mod google;
pub(crate) mod openai;
pub(crate) mod proxy;
pub(crate) mod reply;
pub(crate) mod responses;
pub(crate) mod script;
pub(crate) mod sse;
pub(crate) mod upstream;

/// Stands in every upstream key: whoever finds it where keys do not belong has found a leak.
pub(crate) const CANARY: &str = "canary7f3a";

/// An upstream key that looks real and holds the [`CANARY`].
pub(crate) fn key(name: &str) -> String {
    format!("sk-{CANARY}-{name}-0f1e2d3c4b5a69788796a5b4c3d2e1f0")
}
