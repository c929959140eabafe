//! Gemini's stream as canonical events.

use std::collections::BTreeMap;

use crate::dialects::chat::{Part, Text, Thinking, ToolCall};
use crate::dialects::error::ReadError;
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::gemini::error::{broken, empty};
use crate::dialects::gemini::part::Calls;
use crate::dialects::gemini::reply::{Candidate, Chunk, says_something};
use crate::dialects::gemini::{citations, finish, logprobs};
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, StreamReader, flatten};

/// Text kept to count grounding offsets in; longer answers get their citations cut off there.
const MAX_CITED_TEXT: usize = 1 << 20;

/// A reader for one stream. Stop reasons are held back to the end, because parts may follow them.
pub(super) struct Reader {
    calls: Calls,
    started: bool,
    candidates: BTreeMap<u32, Progress>,
    blocked: Option<String>,
    tools: u32,
    usage: Option<Usage>,
}

/// What one alternative has said so far.
#[derive(Default)]
struct Progress {
    text: String,
    has_content: bool,
    has_calls: bool,
    finish: Option<String>,
    message: Option<String>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            calls: Calls::of_answer(),
            started: false,
            candidates: BTreeMap::new(),
            blocked: None,
            tools: 0,
            usage: None,
        }
    }

    fn candidate(&mut self, candidate: Candidate, out: &mut Vec<Event>) {
        let choice = candidate.index;
        let progress = self.candidates.entry(choice).or_default();
        let mut push = |kind| out.push(Event { choice, kind });
        for part in candidate.parts {
            progress.has_content |= says_something(&part);
            match part {
                Part::Text(Text {
                    text, signature, ..
                }) => {
                    if !text.is_empty() {
                        if progress.text.len() < MAX_CITED_TEXT {
                            progress.text.push_str(&text);
                        }
                        push(EventKind::Text(text));
                    }
                    if let Some(value) = signature {
                        let of = SignatureOf::Text;
                        push(EventKind::Signature { of, value });
                    }
                }
                Part::Thinking(Thinking {
                    text, signature, ..
                }) => {
                    if !text.is_empty() {
                        push(EventKind::Thinking(text));
                    }
                    if let Some(value) = signature {
                        let of = SignatureOf::Thinking;
                        push(EventKind::Signature { of, value });
                    }
                }
                Part::RedactedThinking { data } => push(EventKind::RedactedThinking(data)),
                Part::ToolCall(ToolCall {
                    id,
                    name,
                    arguments,
                    kind,
                    signature,
                    ..
                }) => {
                    progress.has_calls = true;
                    let index = self.tools;
                    self.tools = self.tools.saturating_add(1);
                    push(EventKind::ToolStart {
                        index,
                        id,
                        name,
                        kind,
                        signature,
                    });
                    push(EventKind::ToolArguments {
                        index,
                        delta: arguments,
                    });
                    push(EventKind::ToolEnd { index });
                }
                Part::Media(media) => push(EventKind::Media(media)),
                Part::Refusal(text) => push(EventKind::Refusal(text)),
                Part::Raw { json, .. } => {
                    if let Some(text) = flatten::block(Dialect::Gemini, &json) {
                        push(EventKind::Text(format!("\n{text}\n")));
                    }
                }
                Part::ToolResult(_) => {}
            }
        }
        if let Some(raw) = candidate.extra.get("logprobsResult")
            && let Some(raw) = logprobs::to_openai(raw)
        {
            push(EventKind::Logprobs(raw));
        }
        if let Some(raw) = candidate.extra.get("groundingMetadata") {
            for citation in citations::from_grounding(raw, &progress.text) {
                push(EventKind::Citation(citation));
            }
        }
        progress.finish = candidate.finish.or(progress.finish.take());
        progress.message = candidate.message.or(progress.message.take());
    }
}

impl StreamReader for Reader {
    fn read(&mut self, _name: &str, data: &[u8], out: &mut Vec<Event>) -> Result<(), ReadError> {
        let data = data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let chunk = match Chunk::read(data, &mut self.calls) {
            Ok(chunk) => chunk,
            Err(ReadError::Upstream(error)) => {
                out.push(Event::first(EventKind::Error(error)));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !self.started {
            self.started = true;
            out.push(Event::first(EventKind::Start {
                id: chunk.id,
                model: chunk.model,
            }));
        }
        // First of all: an Anthropic stream tells the input's tokens at its start.
        if let Some(usage) = chunk.usage
            && self.usage != Some(usage)
        {
            self.usage = Some(usage);
            out.push(Event::first(EventKind::Usage(usage)));
        }
        for candidate in chunk.candidates {
            self.candidate(candidate, out);
        }
        self.blocked = chunk.blocked.or(self.blocked.take());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), ReadError> {
        if self.candidates.is_empty() {
            let Some(reason) = self.blocked.take() else {
                return Err(ReadError::Truncated);
            };
            out.push(Event::first(EventKind::Refusal(reason)));
            out.push(Event::first(EventKind::Stop {
                reason: StopReason::ContentFilter,
                sequence: None,
            }));
            return Ok(());
        }
        if self.candidates.values().any(|c| c.finish.is_none()) {
            return Err(ReadError::Truncated);
        }
        let mut stops = Vec::with_capacity(self.candidates.len());
        for (choice, progress) in &self.candidates {
            let word = progress.finish.as_deref().unwrap_or_default();
            let reason = finish::stop(word, progress.has_calls);
            let failed = match reason {
                StopReason::Error if !progress.has_content => {
                    Some(broken(word, progress.message.as_deref()))
                }
                StopReason::EndTurn if !progress.has_content => {
                    Some(empty("the model answered with nothing"))
                }
                _ => None,
            };
            if let Some(error) = failed {
                return Err(ReadError::Upstream(Box::new(error)));
            }
            stops.push(Event {
                choice: *choice,
                kind: EventKind::Stop {
                    reason,
                    sequence: None,
                },
            });
        }
        out.append(&mut stops);
        Ok(())
    }
}
