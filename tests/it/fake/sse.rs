//! Server-sent events as vendors write them.

use serde_json::Value;

/// `data: …` and a blank line.
pub(crate) fn data(json: &Value) -> String {
    format!("data: {json}\n\n")
}

/// `event: …`, `data: …` and a blank line.
pub(crate) fn event(name: &str, json: &Value) -> String {
    format!("event: {name}\ndata: {json}\n\n")
}
