//! One integration-test binary, a module a topic. Each test runs the built `llmproxy` against a
//! fake upstream of ours: no real network, no real home, no fixed port.

#[expect(dead_code, reason = "the tests of the server use the rest")]
mod client;
#[expect(dead_code, reason = "the tests of the server use the rest")]
mod fake;
mod fake_itself;
mod floors;
#[expect(dead_code, reason = "the tests of the server use the rest")]
mod harness;
