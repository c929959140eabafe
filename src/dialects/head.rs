//! The head of a request: what the gateway must know of a body that it passes on verbatim.
//!
//! One scan checks that the body is one well-formed JSON object and finds `model`, `stream`, and
//! what names the conversation. It borrows from the body, builds no tree and parses no value that
//! is not needed; [`splice`] then changes the model name in place. What a body *means* is for the
//! codecs; a wrong type anywhere but in `model` and `stream` is for the upstream to refuse.

pub(super) mod scanner;
mod session;
mod splice;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;
use thiserror::Error;

use crate::dialects::Dialect;
use crate::dialects::error::ErrorReply;
use crate::dialects::head::scanner::{Scanner, Text};
use crate::dialects::head::session::History;

pub use crate::dialects::head::session::SessionKeys;
pub use crate::dialects::head::splice::splice;

/// What one scan of a request body finds. Borrows from the body.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// The model asked for; `None` where the body names none (Gemini's stands in the URL).
    pub model: Option<ModelSpan<'a>>,
    /// `stream`; `None` if absent or `null`, and for Gemini, where the URL says it. The last one
    /// counts if there are several, as in every JSON library.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`, if it is a boolean.
    pub include_usage: Option<bool>,
    /// The conversation's name, where a member gives one; the best hint if there are several.
    pub session: Option<Cow<'a, str>>,
    /// Responses: `previous_response_id`. That response lives with the account that made it.
    pub previous_response: Option<Cow<'a, str>>,
    /// `stream_options` as written, if it is an object.
    stream_options: Option<&'a str>,
    /// The hash of the system prompt, where it stands apart from the conversation.
    system: u64,
    /// The hashes of the conversation's prefixes.
    history: History,
    /// Offset of the `}` that ends the body's object.
    end: usize,
}

/// Where the model's name stands, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpan<'a> {
    /// Byte range of the JSON string in the body, quotes included.
    pub span: Range<usize>,
    /// The name, escapes decoded; not empty.
    pub name: Cow<'a, str>,
}

/// Why a body cannot be passed on. `at` is a byte offset in the body.
///
/// The texts are whole sentences: they go to the client as they are.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HeadError {
    /// Two `model` members: the gateway and the upstream could each take another one.
    #[error("The body has a second `model` at byte {at}; only one is allowed.")]
    DuplicateModel { at: usize },
    /// No text, or an empty one.
    #[error("`model` must be a string that is not empty (byte {at}).")]
    ModelNotString { at: usize },
    #[error("The body is not valid JSON: expected {expected} at byte {at}.")]
    NotJson { at: usize, expected: &'static str },
    #[error("The body must be a JSON object.")]
    NotObject { at: usize },
    #[error("The body is not valid JSON: it is not UTF-8 at byte {at}.")]
    NotUtf8 { at: usize },
    #[error("`stream` must be true or false (byte {at}).")]
    StreamNotBool { at: usize },
    #[error("The body is nested deeper than 128 levels at byte {at}.")]
    TooDeep { at: usize },
}

impl HeadError {
    /// The byte offset at fault.
    pub const fn at(&self) -> usize {
        match self {
            Self::DuplicateModel { at }
            | Self::ModelNotString { at }
            | Self::NotJson { at, .. }
            | Self::NotObject { at }
            | Self::NotUtf8 { at }
            | Self::StreamNotBool { at }
            | Self::TooDeep { at } => *at,
        }
    }

    /// The member at fault, if it is one of them: the `param` of an error answer.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            Self::DuplicateModel { .. } | Self::ModelNotString { .. } => Some("model"),
            Self::StreamNotBool { .. } => Some("stream"),
            Self::NotJson { .. }
            | Self::NotObject { .. }
            | Self::NotUtf8 { .. }
            | Self::TooDeep { .. } => None,
        }
    }
}

/// The 400 that a body at fault is answered with.
impl From<HeadError> for ErrorReply {
    fn from(error: HeadError) -> Self {
        let reply = Self::invalid(error.to_string());
        match error.param() {
            Some(param) => reply.with_param(param),
            None => reply,
        }
    }
}

/// Scans a request body once, from its first to its last byte.
///
/// Errors if the body is not one well-formed JSON object of at most 128 levels, if `model` occurs
/// twice or is no string, or if `stream` is neither a boolean nor `null`. A missing `model` is no
/// error: not every dialect has one there.
pub fn scan(body: &[u8], dialect: Dialect) -> Result<Head<'_>, HeadError> {
    let text = std::str::from_utf8(body).map_err(|error| HeadError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let mut scanner = Scanner::new(text);
    match scanner.peek() {
        Some(b'{') => {}
        // Whether the rest is sound matters as little as it does in an object with a bad start.
        Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            return Err(HeadError::NotObject { at: scanner.at() });
        }
        _ => return Err(scanner.expected("a JSON object")),
    }
    let mut head = Head {
        model: None,
        stream: None,
        include_usage: None,
        session: None,
        previous_response: None,
        stream_options: None,
        system: 0,
        history: History::default(),
        end: 0,
    };
    let mut best_hint = usize::MAX;
    let mut first = true;
    while let Some(name) = scanner.next_member(first)? {
        first = false;
        // A name with a lone surrogate is none that we know.
        let name = name.decode().unwrap_or_default();
        scanner.peek();
        let start = scanner.at();
        match (name.as_ref(), dialect) {
            ("system", Dialect::Anthropic)
            | ("instructions", Dialect::OpenAiResponses)
            | ("systemInstruction" | "system_instruction", Dialect::Gemini) => {
                head.system = session::system_hash(&mut scanner)?;
            }
            ("messages", Dialect::Anthropic | Dialect::OpenAiChat)
            | ("contents", Dialect::Gemini)
            | ("input", Dialect::OpenAiResponses) => head.history = History::read(&mut scanner)?,
            _ => scanner.skip()?,
        }
        let value = Member {
            name: &name,
            raw: scanner.since(start),
            at: start,
        };
        head.note(value, dialect)?;
        if let Some(rank) = session::rank(&name)
            && rank < best_hint
            && let Some(named) = session::named(&name, value.raw)
        {
            head.session = Some(named);
            best_hint = rank;
        }
    }
    head.end = scanner.at().saturating_sub(1);
    if scanner.peek().is_some() {
        return Err(scanner.expected("nothing after the object"));
    }
    Ok(head)
}

/// One top-level member of the body.
#[derive(Clone, Copy)]
struct Member<'a, 'n> {
    name: &'n str,
    raw: &'a str,
    at: usize,
}

impl<'a> Head<'a> {
    /// Keeps what a member says, if it is one that matters.
    fn note(&mut self, member: Member<'a, '_>, dialect: Dialect) -> Result<(), HeadError> {
        let Member { name, raw, at } = member;
        match (name, dialect) {
            ("model", _) => {
                if self.model.is_some() {
                    return Err(HeadError::DuplicateModel { at });
                }
                let name = string(raw)
                    .and_then(Text::decode)
                    .filter(|name| !name.is_empty())
                    .ok_or(HeadError::ModelNotString { at })?;
                let span = at..at + raw.len();
                self.model = Some(ModelSpan { span, name });
            }
            ("stream", Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses) => {
                self.stream = match raw {
                    "true" => Some(true),
                    "false" => Some(false),
                    "null" => None,
                    _ => return Err(HeadError::StreamNotBool { at }),
                };
            }
            ("stream_options", Dialect::OpenAiChat) if raw.starts_with('{') => {
                self.stream_options = Some(raw);
                self.include_usage = match session::member(raw, "include_usage") {
                    Some("true") => Some(true),
                    Some("false") => Some(false),
                    _ => None,
                };
            }
            ("previous_response_id", Dialect::OpenAiResponses) => {
                self.previous_response = string(raw).and_then(Text::decode);
            }
            _ => {}
        }
        Ok(())
    }

    /// The `stream_options` that make an OpenAI upstream report usage: the client's own with
    /// `include_usage` set, as an `extra` for [`splice`]. `None` if they ask for it already.
    pub fn stream_options_with_usage(&self) -> Option<Box<RawValue>> {
        if self.include_usage == Some(true) {
            return None;
        }
        let mut options: serde_json::Map<String, serde_json::Value> = self
            .stream_options
            .and_then(|raw| serde_json::from_str(raw).ok())
            .unwrap_or_default();
        options.insert("include_usage".into(), true.into());
        serde_json::value::to_raw_value(&options).ok()
    }
}

/// A (checked) value as a string, if it is one.
fn string(raw: &str) -> Option<Text<'_>> {
    if raw.starts_with('"') {
        Scanner::new(raw).string().ok()
    } else {
        None
    }
}
