//! What a model really does when it is asked: six small requests on the whole trip, translation
//! included, that show whether a client may count on it.
//!
//! Each answer is held to [`MAX_TOKENS`], so a run of one model costs a few thousand tokens at
//! most. The gateway given should have only the credential to be tried.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::{Value, json};

use crate::dialects::event::EventKind;
use crate::dialects::sse::Splitter;
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, Operation, codec};
use crate::gateway::Gateway;
use crate::gateway::answer::AnsweredBody;
use crate::gateway::attempt;
use crate::gateway::inbound::Inbound;
use crate::ids::RequestId;

/// The most tokens of one answer: a model that thinks needs some before its first word.
pub const MAX_TOKENS: u64 = 1024;

/// A red square of 64 by 64 pixels: several vendors refuse pictures smaller than 28.
const RED_SQUARE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAS0lEQVR42u3PQQkAAAgAsetfWiP4FgYrsKZeS0BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEDgsqnc8OJg6Ln3AAAAAElFTkSuQmCC";

/// One thing a client may count on, in the order they are tried.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Check {
    /// A whole answer with text.
    Chat,
    /// A streamed answer with text and a stop reason.
    Stream,
    /// A call of the tool that was offered, with legal arguments.
    Tools,
    /// The colour of a picture.
    Image,
    /// An answer by a JSON schema.
    JsonSchema,
    /// Reasoning, and a second turn in which it is sent back beside a tool's result.
    Thinking,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused, broke or took too long: the sentence of whoever failed.
    Failed(String),
    /// A limit stood before it.
    Limited(String),
    /// It was answered, but not so; how.
    Lacking(String),
    /// As it should be.
    Passed,
}

/// A check with its outcome, its time and its tokens.
#[derive(Clone, Debug)]
pub struct Finding {
    pub check: Check,
    pub outcome: Outcome,
    pub took: Duration,
    pub usage: Usage,
}

impl Check {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Chat,
        Self::Stream,
        Self::Tools,
        Self::Image,
        Self::JsonSchema,
        Self::Thinking,
    ];

    /// The name in JSON: `json_schema`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Stream => "stream",
            Self::Tools => "tools",
            Self::Image => "image",
            Self::JsonSchema => "json_schema",
            Self::Thinking => "thinking",
        }
    }

    fn body(self, model: &str) -> Value {
        let ask = |text: &str| json!([{"role": "user", "content": text}]);
        let mut body = match self {
            Self::Chat => json!({"messages": ask("Reply with the single word: pong")}),
            Self::Stream => json!({
                "messages": ask("Reply with the single word: pong"),
                "stream": true,
                "stream_options": {"include_usage": true},
            }),
            Self::Tools => json!({
                "messages": ask("Call get_weather for Paris."),
                "tools": [weather_tool()],
            }),
            Self::Image => json!({"messages": [{"role": "user", "content": [
                {"type": "text", "text": "Which colour is this picture? Reply with one English word."},
                {"type": "image_url", "image_url": {"url": RED_SQUARE}},
            ]}]}),
            Self::JsonSchema => json!({
                "messages": ask("Which country is Paris the capital of?"),
                "response_format": {"type": "json_schema", "json_schema": {
                    "name": "capital", "strict": true, "schema": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
                        "required": ["city", "country"],
                        "additionalProperties": false,
                    },
                }},
            }),
            Self::Thinking => json!({
                "messages": ask("Call get_weather for Paris, then tell me what to wear there."),
                "tools": [weather_tool()],
                "reasoning_effort": "low",
            }),
        };
        body["model"] = model.into();
        body["max_completion_tokens"] = MAX_TOKENS.into();
        body
    }
}

fn weather_tool() -> Value {
    json!({"type": "function", "function": {
        "name": "get_weather",
        "description": "The weather in a city now",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }})
}

/// Runs all checks of one model (`provider/model`), one after the other. `timeout` is for each
/// request. Once a limit stood before one, the others are not sent.
pub async fn run(gateway: &Arc<Gateway>, model: &str, timeout: Duration) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::with_capacity(Check::ALL.len());
    let trial = Trial {
        gateway,
        model,
        timeout,
    };
    for check in Check::ALL {
        let started = Instant::now();
        let before = findings.last().map(|finding| finding.outcome.clone());
        let (outcome, usage) = match before {
            Some(limited @ Outcome::Limited(_)) => (limited, Usage::default()),
            _ => trial.check(check).await,
        };
        findings.push(Finding {
            check,
            outcome,
            took: started.elapsed(),
            usage,
        });
    }
    findings
}

struct Trial<'a> {
    gateway: &'a Arc<Gateway>,
    model: &'a str,
    timeout: Duration,
}

impl Trial<'_> {
    async fn check(&self, check: Check) -> (Outcome, Usage) {
        let mut body = check.body(self.model);
        let said = match self.say(&body).await {
            Ok(said) => said,
            Err(outcome) => return (outcome, Usage::default()),
        };
        if check != Check::Thinking {
            return (held_against(check, &said), said.usage);
        }
        let Some(call) = said.calls.first() else {
            return (
                lacking("it called no tool, so nothing could be sent back"),
                said.usage,
            );
        };
        let result =
            json!({"role": "tool", "tool_call_id": call["id"], "content": "4 °C and rain"});
        if let Some(messages) = body["messages"].as_array_mut() {
            messages.extend([said.message.clone(), result]);
        }
        let mut usage = said.usage;
        let outcome = match self.say(&body).await {
            Ok(second) => {
                add(&mut usage, &second.usage);
                held_against_second(&said, &second)
            }
            Err(outcome) => outcome,
        };
        (outcome, usage)
    }

    /// Sends a request on the whole trip and reads its answer.
    async fn say(&self, body: &Value) -> Result<Said, Outcome> {
        let inbound = Inbound {
            id: RequestId::random(),
            client: Arc::from("test-keys"),
            owner: Arc::from("test-keys"),
            dialect: Dialect::OpenAiChat,
            operation: Operation::Chat,
            headers: HeaderMap::new(),
            body: body.to_string().into(),
            path_model: None,
            path_stream: None,
            batch: false,
            array_stream: false,
            strict: false,
        };
        let trip = async {
            let answered = attempt::serve(self.gateway, inbound, &|_, _, _| true)
                .await
                .map_err(|dead_end| {
                    let error = dead_end.error;
                    match error.status {
                        429 => Outcome::Limited(error.message),
                        _ => Outcome::Failed(error.message),
                    }
                })?;
            match answered.body {
                AnsweredBody::Whole(body) => Said::of_whole(&body),
                AnsweredBody::Stream(mut relay) => {
                    let mut bytes = Vec::new();
                    while let Some(piece) = poll_fn(|context| relay.poll_piece(context)).await {
                        bytes.extend_from_slice(&piece);
                    }
                    Said::of_stream(bytes)
                }
            }
        };
        let late = || Outcome::Failed(format!("no answer within {} s", self.timeout.as_secs()));
        tokio::time::timeout(self.timeout, trip)
            .await
            .map_err(|_| late())?
    }
}

/// What a model said.
#[derive(Debug, Default)]
struct Said {
    text: String,
    /// Tool calls as in a chat message.
    calls: Vec<Value>,
    /// The whole assistant message, to be sent back.
    message: Value,
    has_stopped: bool,
    has_reasoned: bool,
    usage: Usage,
}

impl Said {
    fn of_whole(body: &[u8]) -> Result<Self, Outcome> {
        let garbage = |error: &dyn std::fmt::Display| Outcome::Failed(error.to_string());
        if !body.trim_ascii_start().starts_with(b"{") {
            return Self::of_stream(body.to_vec());
        }
        let usage = codec(Dialect::OpenAiChat)
            .read_reply(body)
            .map_err(|error| garbage(&error))?
            .usage
            .unwrap_or_default();
        let whole: Value = serde_json::from_slice(body).map_err(|error| garbage(&error))?;
        let choice = &whole["choices"][0];
        let message = choice["message"].clone();
        let reasons = ["reasoning", "reasoning_content", "reasoning_details"];
        let is_said = |name: &&str| match &message[*name] {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => false,
        };
        Ok(Self {
            text: message["content"].as_str().unwrap_or_default().to_owned(),
            calls: message["tool_calls"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
            has_stopped: choice["finish_reason"].is_string(),
            has_reasoned: usage.reasoning > 0 || reasons.iter().any(is_said),
            usage,
            message,
        })
    }

    fn of_stream(bytes: Vec<u8>) -> Result<Self, Outcome> {
        let broken =
            |error: &dyn std::fmt::Display| Outcome::Failed(format!("the stream broke: {error}"));
        let mut said = Self::default();
        let mut events = Vec::new();
        let mut reader = codec(Dialect::OpenAiChat).stream_reader();
        let mut splitter = Splitter::default();
        splitter.push(bytes.into());
        while let Some(frame) = splitter.next() {
            let frame = frame.map_err(|error| broken(&error))?;
            if !frame.is_comment_only() {
                let read = reader.read(frame.event(), &frame.data(), &mut events);
                read.map_err(|error| broken(&error))?;
            }
        }
        reader.finish(&mut events).map_err(|error| broken(&error))?;
        for event in events {
            match event.kind {
                EventKind::Error(error) => return Err(broken(&error.message)),
                EventKind::Stop { .. } => said.has_stopped = true,
                EventKind::Text(text) => said.text.push_str(&text),
                EventKind::Thinking(_) => said.has_reasoned = true,
                EventKind::Usage(usage) => said.usage.update(&usage),
                _ => {}
            }
        }
        Ok(said)
    }
}

/// What an answer lacks of what the check is about.
fn held_against(check: Check, said: &Said) -> Outcome {
    match check {
        Check::Chat | Check::Stream if said.text.trim().is_empty() => {
            lacking("the answer holds no text")
        }
        Check::Stream if !said.has_stopped => lacking("the stream names no reason for its end"),
        Check::Chat | Check::Stream | Check::Thinking => Outcome::Passed,
        Check::Tools => called_well(said),
        Check::Image if said.text.to_lowercase().contains("red") => Outcome::Passed,
        Check::Image => lacking(&format!("it takes red for {}", quoted(&said.text))),
        Check::JsonSchema => by_schema(said),
    }
}

fn called_well(said: &Said) -> Outcome {
    let Some(call) = said.calls.first() else {
        return lacking("it called no tool");
    };
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
    let city = serde_json::from_str::<Value>(arguments).map(|arguments| arguments["city"].clone());
    match city {
        Ok(Value::String(_)) if call["function"]["name"] == "get_weather" => Outcome::Passed,
        _ => lacking(&format!("it called the tool with {}", quoted(arguments))),
    }
}

fn by_schema(said: &Said) -> Outcome {
    let answer: Value = serde_json::from_str(said.text.trim()).unwrap_or_default();
    if answer["city"].is_string() && answer["country"].is_string() {
        return Outcome::Passed;
    }
    lacking(&format!(
        "the answer is not by the schema: {}",
        quoted(&said.text)
    ))
}

fn held_against_second(first: &Said, second: &Said) -> Outcome {
    if second.text.trim().is_empty() && second.calls.is_empty() {
        return lacking("the second turn has no answer");
    }
    if !first.has_reasoned && !second.has_reasoned {
        return lacking("it shows no reasoning");
    }
    Outcome::Passed
}

fn lacking(what: &str) -> Outcome {
    Outcome::Lacking(what.to_owned())
}

/// The beginning of a model's words, in one line.
fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut = line.floor_char_boundary(MOST);
    let dots = if cut < line.len() { "…" } else { "" };
    format!("`{}{dots}`", line.get(..cut).unwrap_or_default())
}

fn add(sum: &mut Usage, more: &Usage) {
    sum.input = sum.input.saturating_add(more.input);
    sum.cache_read = sum.cache_read.saturating_add(more.cache_read);
    sum.cache_write = sum.cache_write.saturating_add(more.cache_write);
    sum.output = sum.output.saturating_add(more.output);
    sum.reasoning = sum.reasoning.saturating_add(more.reasoning);
}

/// The tokens of several findings.
pub fn total(findings: &[Finding]) -> Usage {
    let mut sum = Usage::default();
    for finding in findings {
        add(&mut sum, &finding.usage);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(message: &Value) -> Said {
        let body = json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
        });
        Said::of_whole(body.to_string().as_bytes()).expect("a reply")
    }

    fn says(text: &str) -> Said {
        whole(&json!({"role": "assistant", "content": text}))
    }

    fn calls(arguments: &str) -> Said {
        whole(
            &json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "t", "type": "function", "function": {"name": "get_weather", "arguments": arguments}},
            ]}),
        )
    }

    #[test]
    fn each_check_knows_a_good_answer_from_one_that_only_looks_so() {
        for (check, good, bad) in [
            (Check::Chat, says("pong"), says(" ")),
            (
                Check::Tools,
                calls(r#"{"city":"Paris"}"#),
                calls(r#"{"town":"Paris"}"#),
            ),
            (
                Check::Tools,
                calls(r#"{"city":"Paris"}"#),
                says("It rains."),
            ),
            (Check::Image, says("Red."), says("I see no picture")),
            (
                Check::JsonSchema,
                says(r#"{"city":"Paris","country":"France"}"#),
                says(r#"```json {"city":"Paris","country":"France"}```"#),
            ),
        ] {
            assert_eq!(held_against(check, &good), Outcome::Passed, "{check:?}");
            assert!(
                matches!(held_against(check, &bad), Outcome::Lacking(_)),
                "{check:?}"
            );
        }
    }

    #[test]
    fn a_stream_needs_text_and_an_end() {
        let chunk = |delta: Value, finish: Value| {
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            format!("data: {chunk}\n\n")
        };
        let text = chunk(json!({"content": "pong"}), Value::Null);
        let stop = chunk(json!({}), json!("stop"));
        for (frames, passes) in [
            (format!("{text}{stop}data: [DONE]\n\n"), true),
            (format!("{stop}data: [DONE]\n\n"), false),
        ] {
            let said = Said::of_stream(frames.into_bytes()).expect("a stream");
            let outcome = held_against(Check::Stream, &said);
            assert_eq!(outcome == Outcome::Passed, passes, "{outcome:?}");
        }
    }

    #[test]
    fn thinking_counts_only_where_it_shows() {
        let silent = calls(r#"{"city":"Paris"}"#);
        let mut thinking = calls(r#"{"city":"Paris"}"#);
        thinking.has_reasoned = true;
        assert_eq!(
            held_against_second(&thinking, &says("A coat.")),
            Outcome::Passed
        );
        assert!(matches!(
            held_against_second(&silent, &says("A coat.")),
            Outcome::Lacking(_)
        ));
        assert!(matches!(
            held_against_second(&thinking, &says("")),
            Outcome::Lacking(_)
        ));
    }

    #[test]
    fn every_answer_is_bounded() {
        for check in Check::ALL {
            let body = check.body("p/m");
            assert_eq!(body["max_completion_tokens"], MAX_TOKENS, "{check:?}");
            assert_eq!(body["model"], "p/m");
        }
    }
}
