//! llmproxy: a pile of LLM API keys and OAuth accounts behind one endpoint that does not fail.
//!
//! The house has floors; imports only go down, none sideways (`ARCHITECTURE.md`).

pub mod cli;
pub mod config;
pub mod credentials;
pub mod dialects;
pub mod gateway;
pub mod ids;
pub mod near;
pub mod pool;
pub mod providers;
pub mod secret;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod time;
