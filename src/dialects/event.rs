//! A streamed answer as canonical events, and what ends one.

use crate::dialects::chat::{Media, ToolKind};
use crate::dialects::error::UpstreamError;
use crate::dialects::fields::{Extra, Raw};
use crate::dialects::usage::Usage;

/// One step of a streamed answer. `choice` counts the alternatives of `n > 1`; almost always 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub choice: u32,
    pub kind: EventKind,
}

/// What happened. Deltas belong to the last started thing of their sort; tool calls are told
/// apart by `index`, which counts from 0 in order of appearance within the answer.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// An error inside the stream. Nothing follows.
    Error(Box<UpstreamError>),
    /// The answer begins: the upstream's id and model, where it says them.
    Start {
        id: Option<String>,
        model: Option<String>,
    },
    /// Why the answer ends. Usage may still follow.
    Stop {
        reason: StopReason,
        sequence: Option<String>,
    },
    /// Answer text.
    Text(String),
    /// Reasoning text.
    Thinking(String),
    /// The signature of the thinking block, text or call being streamed (Anthropic
    /// `signature_delta`, Gemini `thoughtSignature`, OpenRouter `reasoning_details`).
    Signature { of: SignatureOf, value: String },
    /// A thinking block whose content only its maker can read.
    RedactedThinking(String),
    /// The model declines (OpenAI's `refusal`).
    Refusal(String),
    /// A tool call begins. `id` is never empty: readers make one up where the upstream has none.
    ToolStart {
        index: u32,
        id: String,
        name: String,
        kind: ToolKind,
        signature: Option<String>,
    },
    /// A piece of the call's arguments (JSON text, or free text for custom tools).
    ToolArguments { index: u32, delta: String },
    /// The call is complete.
    ToolEnd { index: u32 },
    /// A picture or sound in the answer.
    Media(Media),
    /// A citation or annotation, in the maker's own shape.
    Citation(Raw),
    /// Token log-probabilities, OpenAI's shape.
    Logprobs(Raw),
    /// Token counts so far; later ones update earlier ones.
    Usage(Usage),
    /// Top-level members that no other event carries (`system_fingerprint`, `service_tier`).
    Extra(Extra),
}

/// What a signature signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureOf {
    /// The text part being streamed.
    Text,
    /// The thinking block being streamed.
    Thinking,
    /// The tool call with this index.
    ToolCall(u32),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum StopReason {
    /// Filtered: content policy, safety, recitation.
    ContentFilter,
    /// The model had said all.
    EndTurn,
    /// The model's context window was full (Anthropic `model_context_window_exceeded`).
    ContextWindow,
    /// The token limit was reached.
    MaxTokens,
    /// The turn is not over: a server-side tool is at work (Anthropic `pause_turn`).
    Pause,
    /// The model declined (Anthropic `refusal`).
    Refusal,
    /// A stop sequence was produced.
    StopSequence,
    /// Tools are to be called.
    ToolUse,
    /// The upstream reported that it broke off (`error`, `MALFORMED_FUNCTION_CALL`, …).
    Error,
}

impl Event {
    /// An event of the first (usually only) choice.
    pub const fn first(kind: EventKind) -> Self {
        Self { choice: 0, kind }
    }
}

impl PartialEq for EventKind {
    fn eq(&self, other: &Self) -> bool {
        // `RawValue` has no equality; its debug output is its text.
        format!("{self:?}") == format!("{other:?}")
    }
}
