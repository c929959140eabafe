//! One integration-test binary, a module a topic. Each test runs the built `llmproxy` against a
//! fake upstream of ours: no real network, no real home, no fixed port.

mod access;
mod bad_input;
mod chat_command;
mod client;
mod commands;
mod config;
mod conformance;
mod creds_command;
mod demo;
mod dialects;
mod doctor;
mod endurance;
mod errors;
mod fake;
mod fake_itself;
mod floors;
mod golden;
mod harness;
mod http;
mod lifecycle;
mod listings;
mod pool;
mod proxies;
mod readme;
mod reports;
mod responses_store;
mod rotation;
mod run_command;
mod stats;
mod streams;
mod think_tags;
mod thoughts;
mod tls;
mod translations;
mod trip;
