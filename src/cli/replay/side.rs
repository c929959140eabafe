//! One of the two answers that a replay compares: what was logged, and what came now.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::error::UpstreamError;
use crate::dialects::event::{Event, EventKind, StopReason};
use crate::dialects::sse::Splitter;
use crate::dialects::{Codec, Operation};
use crate::gateway::inbound::client_codec;
use crate::gateway::reshape;
use crate::telemetry::request_log::read::Logged;

/// An answer as the client got it.
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) streamed: bool,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn new(status: u16, streamed: bool) -> Self {
        Self {
            status,
            streamed,
            body: Vec::new(),
        }
    }
}

/// What is compared of an answer. Absent where it is not known.
#[derive(Debug, Default, Serialize)]
pub(super) struct Side {
    pub(super) model: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) attempts: usize,
    pub(super) status: Option<u16>,
    /// Why the model stopped, in the canonical form's words.
    pub(super) stop: Option<String>,
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) estimated: bool,
    pub(super) cost_usd: Option<f64>,
    pub(super) first_token_ms: Option<u64>,
    pub(super) ms: Option<u64>,
    /// The answer's text, with reasoning and tool calls; the message of an error.
    pub(super) text: String,
}

impl Side {
    /// What is in the log.
    pub(super) fn before(logged: &Logged) -> Self {
        let Some(answer) = &logged.answer else {
            return Self::of_trail(&logged.trail);
        };
        let got = Got {
            status: answer.status,
            streamed: answer.streamed,
            body: answer.body.clone().into_bytes(),
        };
        Self::new(logged, &logged.trail, &got, answer.until)
    }

    /// An answer with its decision trail; `took` counts where the trail is missing.
    pub(super) fn new(logged: &Logged, trail: &Value, got: &Got, took: Duration) -> Self {
        let mut side = Self::of_trail(trail);
        side.status = Some(got.status);
        side.ms = side.ms.or_else(|| u64::try_from(took.as_millis()).ok());
        (side.text, side.stop) = text(logged, got);
        side
    }

    fn of_trail(trail: &Value) -> Self {
        let attempts = trail["attempts"].as_array().map_or(&[][..], Vec::as_slice);
        let last = attempts.last().unwrap_or(&Value::Null);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            model: text(&trail["request"]["model"]),
            credential: text(&last["credential"]),
            attempts: attempts.len(),
            status: trail["status"]
                .as_u64()
                .and_then(|status| u16::try_from(status).ok()),
            prompt_tokens: trail["usage"]["prompt_tokens"].as_u64(),
            completion_tokens: trail["usage"]["completion_tokens"].as_u64(),
            estimated: trail["usage"]["estimated"].as_bool().unwrap_or(false),
            cost_usd: trail["cost_usd"].as_f64(),
            first_token_ms: trail["first_token_ms"].as_u64(),
            ms: trail["ms"].as_u64(),
            ..Self::default()
        }
    }

    /// What a table shows of it, with what each is called.
    pub(super) fn rows(&self) -> [(&'static str, String); 10] {
        fn shown(value: Option<impl ToString>) -> String {
            value.map_or_else(String::new, |value| value.to_string())
        }
        let about = if self.estimated { "~" } else { "" };
        let tokens =
            |value: Option<u64>| value.map_or_else(String::new, |count| format!("{about}{count}"));
        let ms = |value: Option<u64>| value.map_or_else(String::new, |ms| format!("{ms} ms"));
        [
            ("model", shown(self.model.as_deref())),
            ("credential", shown(self.credential.as_deref())),
            ("attempts", self.attempts.to_string()),
            ("status", shown(self.status)),
            ("stop", shown(self.stop.as_deref())),
            ("tokens in", tokens(self.prompt_tokens)),
            ("tokens out", tokens(self.completion_tokens)),
            (
                "cost $",
                self.cost_usd
                    .map_or_else(String::new, |cost| format!("{cost:.6}")),
            ),
            ("first content", ms(self.first_token_ms)),
            ("whole answer", ms(self.ms)),
        ]
    }
}

/// The text of an answer, and why it stopped.
fn text(logged: &Logged, got: &Got) -> (String, Option<String>) {
    let whole = String::from_utf8_lossy(&got.body);
    if got.status >= 400 {
        let error = UpstreamError::parse(Some(got.status), &got.body);
        let message = error.map(|error| error.message);
        return (
            message
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| whole.into_owned()),
            None,
        );
    }
    if !matches!(logged.operation, Operation::Chat | Operation::Completions) {
        return (whole.into_owned(), None);
    }
    let codec = client_codec(logged.dialect, logged.operation);
    let mut events = Vec::new();
    if got.streamed {
        let stream = if logged.array_stream {
            events_of_array(&whole)
        } else {
            Bytes::copy_from_slice(&got.body)
        };
        read_stream(stream, codec, &mut events);
    } else if let Ok(reply) = codec.read_reply(&got.body) {
        events = reshape::events(reply);
    }
    let told = told(&events);
    if told.0.is_empty() && told.1.is_none() {
        // A form that nobody reads: as it came.
        return (whole.into_owned(), None);
    }
    told
}

/// Reads a stream as far as it goes: the client may have left in the middle.
fn read_stream(stream: Bytes, codec: &dyn Codec, events: &mut Vec<Event>) {
    let mut splitter = Splitter::default();
    splitter.push(stream);
    let mut reader = codec.stream_reader();
    let frames = std::iter::from_fn(|| splitter.next()?.ok());
    for frame in frames.filter(|frame| !frame.is_comment_only()) {
        if reader.read(frame.event(), &frame.data(), events).is_err() {
            return;
        }
    }
    // What is missing at the end is missing in the text as well.
    let _ = reader.finish(events);
}

/// A Gemini stream that came as one array, as events.
fn events_of_array(array: &str) -> Bytes {
    let elements: Vec<&RawValue> = serde_json::from_str(array).unwrap_or_default();
    let mut events = String::new();
    for element in elements {
        // An event's data is one line.
        let line = element.get().replace(['\r', '\n'], " ");
        events.push_str("data: ");
        events.push_str(&line);
        events.push_str("\n\n");
    }
    events.into()
}

fn told(events: &[Event]) -> (String, Option<String>) {
    let mut text = String::new();
    let (mut stop, mut last) = (None, "");
    for event in events {
        let (heading, piece) = match &event.kind {
            EventKind::Text(piece) => ("text", piece.as_str()),
            EventKind::Thinking(piece) => ("thinking", piece.as_str()),
            EventKind::Refusal(piece) => ("refusal", piece.as_str()),
            EventKind::ToolStart { name, .. } => {
                let _ = write!(text, "{}[calls {name}] ", line_break(&text));
                last = "call";
                continue;
            }
            EventKind::ToolArguments { delta, .. } => ("call", delta.as_str()),
            EventKind::Error(error) => ("error", error.message.as_str()),
            EventKind::Stop { reason, .. } => {
                stop = stop.or(Some(word(*reason).to_owned()));
                continue;
            }
            _ => continue,
        };
        if heading != last && !piece.is_empty() {
            text.push_str(line_break(&text));
            if heading != "text" {
                let _ = write!(text, "[{heading}] ");
            }
            last = heading;
        }
        text.push_str(piece);
    }
    (text, stop)
}

fn line_break(text: &str) -> &'static str {
    if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    }
}

const fn word(reason: StopReason) -> &'static str {
    match reason {
        StopReason::ContentFilter => "content filter",
        StopReason::ContextWindow => "context window",
        StopReason::EndTurn => "end of turn",
        StopReason::Error => "error",
        StopReason::MaxTokens => "token limit",
        StopReason::Pause => "pause",
        StopReason::Refusal => "refusal",
        StopReason::StopSequence => "stop sequence",
        StopReason::ToolUse => "tool use",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_texts_under_their_kind() {
        let events = [
            EventKind::Thinking("hm".to_owned()),
            EventKind::Thinking("m".to_owned()),
            EventKind::Text("a\n".to_owned()),
            EventKind::Text("b".to_owned()),
            EventKind::Stop {
                reason: StopReason::MaxTokens,
                sequence: None,
            },
        ];
        let (text, stop) = told(&events.map(Event::first));
        assert_eq!(text, "[thinking] hmm\na\nb");
        assert_eq!(stop.as_deref(), Some("token limit"));
    }

    #[test]
    fn an_array_is_read_as_a_stream() {
        let events = events_of_array("[{\"a\":\n1},\n{\"b\":2}]");
        assert_eq!(&events[..], b"data: {\"a\": 1}\n\ndata: {\"b\":2}\n\n");
        assert!(events_of_array("no array").is_empty());
    }
}
