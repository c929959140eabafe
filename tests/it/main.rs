//! One integration-test binary, a module a topic.

fn main() {}
