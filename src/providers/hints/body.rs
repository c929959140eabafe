//! Waits in JSON bodies: members with telling names, wherever they are.

use serde_json::Value;

use super::{Clock, duration, text};
use crate::providers::verdict::Hint;

/// How deep bodies are looked into; OpenRouter's wrapped ones need seven steps.
const MAX_DEPTH: u8 = 12;

/// Plain text beyond this is a page, not a sentence.
const MAX_PLAIN_BYTES: usize = 4096;

/// A member and how its value is to be read. Names are compared without case, `_` and `-`.
const MEMBERS: [(&str, Reading); 20] = [
    ("retryafterms", Reading::Millis),
    ("retrydelayms", Reading::Millis),
    ("retrydelay", Reading::Any),
    ("retryafter", Reading::Any),
    ("retryafterseconds", Reading::Any),
    ("retryaftersecs", Reading::Any),
    ("retryinseconds", Reading::Any),
    ("retryin", Reading::Any),
    ("quotaresetdelay", Reading::Any),
    ("resetsinseconds", Reading::Any),
    ("resetinseconds", Reading::Any),
    ("resetafterseconds", Reading::Any),
    ("resetafter", Reading::Any),
    ("resetsin", Reading::Any),
    ("quotaresettimestamp", Reading::Any),
    ("resetsat", Reading::Any),
    ("resetat", Reading::Any),
    ("resettime", Reading::Any),
    ("resettimestamp", Reading::Any),
    ("xratelimitreset", Reading::Any),
];

/// Members that hold sentences of the vendor.
const SENTENCES: [&str; 11] = [
    "message",
    "detail",
    "error",
    "msg",
    "errormsg",
    "errormessage",
    "statusmsg",
    "raw",
    "title",
    "description",
    "uimessage",
];

/// Members that repeat what the client sent.
const ECHOES: [&str; 5] = ["input", "messages", "prompt", "request", "contents"];

/// How a member's value is to be read.
#[derive(Clone, Copy)]
enum Reading {
    /// Number of seconds or instant, text of one, or protobuf's `{seconds, nanos}`.
    Any,
    /// A number of milliseconds.
    Millis,
}

/// A body taken apart: waits by their place in [`MEMBERS`], and the vendor's sentences.
pub(super) struct Texts {
    waits: Vec<(usize, Value)>,
    sentences: Vec<String>,
}

impl Texts {
    pub(super) fn read(body: &[u8]) -> Self {
        let mut texts = Self {
            waits: Vec::new(),
            sentences: Vec::new(),
        };
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            texts.walk(&value, MAX_DEPTH);
        } else {
            let start = body.get(..MAX_PLAIN_BYTES).unwrap_or(body);
            texts
                .sentences
                .push(String::from_utf8_lossy(start).into_owned());
        }
        texts.waits.sort_by_key(|(rank, _)| *rank);
        texts
    }

    /// The first usable wait in a member, by the order of [`MEMBERS`].
    pub(super) fn delay(&self, clock: Clock) -> Option<Hint> {
        self.waits.iter().find_map(|(rank, value)| {
            let (_, reading) = MEMBERS.get(*rank)?;
            match reading {
                Reading::Any => read(value, clock),
                Reading::Millis => {
                    let millis = match value {
                        Value::String(text) => duration::number(text.trim())?,
                        value => value.as_f64()?,
                    };
                    clock.number(millis / 1000.0)
                }
            }
        })
    }

    /// The first usable wait in a sentence.
    pub(super) fn sentence(&self, clock: Clock) -> Option<Hint> {
        self.sentences
            .iter()
            .find_map(|sentence| text::scan(sentence, clock))
    }

    fn walk(&mut self, value: &Value, depth: u8) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, depth)),
            Value::Object(members) => {
                for (name, value) in members {
                    self.member(&plain(name), value, depth);
                }
            }
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn member(&mut self, name: &str, value: &Value, depth: u8) {
        if ECHOES.contains(&name) {
            return;
        }
        if let Some(rank) = MEMBERS.iter().position(|(member, _)| *member == name) {
            self.waits.push((rank, value.clone()));
        }
        match value {
            Value::String(text) if SENTENCES.contains(&name) => match unfold(text) {
                Some(inner) => self.walk(&inner, depth),
                None => self.sentences.push(text.clone()),
            },
            value => self.walk(value, depth),
        }
    }
}

/// JSON that was put into a string, as proxies in front of the vendor do.
fn unfold(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// A member's name in lower case without `_` and `-`.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

fn read(value: &Value, clock: Clock) -> Option<Hint> {
    match value {
        Value::Number(number) => clock.number(number.as_f64()?),
        Value::String(text) => clock.text(text),
        // protobuf's Duration as an object; int64 may be text.
        Value::Object(members) => {
            let part = |name: &str| match members.get(name) {
                Some(Value::String(text)) => duration::number(text),
                Some(value) => value.as_f64(),
                None => None,
            };
            let (seconds, nanos) = (part("seconds"), part("nanos"));
            if seconds.is_none() && nanos.is_none() {
                return None;
            }
            clock.number(seconds.unwrap_or(0.0) + nanos.unwrap_or(0.0) / 1e9)
        }
        Value::Array(_) | Value::Bool(_) | Value::Null => None,
    }
}
