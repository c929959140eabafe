//! llmproxy: a pile of LLM API keys and OAuth accounts behind one endpoint that does not fail.
//!
//! The house has floors; imports only go down, none sideways (`ARCHITECTURE.md`).

// What comes from outside makes nothing panic; `cargo clippy` holds the house to it, and release
// builds check for overflows. Exceptions say why they cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

#[expect(clippy::indexing_slicing, reason = "its own tables and documents")]
pub mod cli;
pub mod config;
pub mod credentials;
pub mod dialects;
pub mod gateway;
pub mod ids;
pub mod near;
#[expect(clippy::indexing_slicing, reason = "places in its own tables")]
pub mod pool;
pub mod providers;
pub mod secret;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod time;
