//! What the simulated models say.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use serde_json::{Value, json};
use tokio::time::Sleep;

use crate::server::demo::MODELS;

/// Pause between two pieces of a streamed answer: quick, yet visible to the eye.
const PACE: Duration = Duration::from_millis(25);

const STORY: &str = "Once there was a small gateway with three keys. The first was steady, the second was \
often told to wait, and the third took its time. People came with questions at all hours, and the gateway \
looked at its keys, chose one, and passed the question on. When a key was told to wait, it took the next \
one and said nothing of it. So nobody who asked ever knew which key had answered, or that one had not. \
And if they wanted to know, it was written in the headers.";

/// A chat request, as far as the demo understands it.
#[derive(Debug)]
pub(super) struct Question {
    model: &'static str,
    stream: bool,
    include_usage: bool,
    /// The last user text.
    text: String,
    /// The first tool on offer, if no result of one has come yet.
    tool: Option<String>,
    prompt_tokens: usize,
}

impl Question {
    /// Reads the request; an unknown model is the only error.
    pub(super) fn read(body: &Value) -> Result<Self, String> {
        let name = body["model"].as_str().unwrap_or_default();
        let model = MODELS
            .into_iter()
            .find(|&known| known == name)
            .ok_or_else(|| {
                format!(
                    "the demo has no model `{name}` (it has {})",
                    MODELS.join(", ")
                )
            })?;
        let messages = body["messages"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let last_user = messages
            .iter()
            .rev()
            .find(|message| message["role"] == "user");
        let answered = messages
            .last()
            .is_some_and(|message| message["role"] == "tool");
        let tool = body["tools"][0]["function"]["name"]
            .as_str()
            .map(str::to_owned);
        Ok(Self {
            model,
            stream: body["stream"].as_bool().unwrap_or(false),
            include_usage: body["stream_options"]["include_usage"]
                .as_bool()
                .unwrap_or(false),
            text: last_user
                .map(|message| text_of(&message["content"]))
                .unwrap_or_default(),
            tool: tool.filter(|_| !answered && model == "tools"),
            prompt_tokens: messages
                .iter()
                .map(|message| tokens(&text_of(&message["content"])))
                .sum(),
        })
    }

    fn reply_text(&self) -> String {
        match self.model {
            "story" => STORY.to_owned(),
            "tools" => {
                "The tool has answered. (Offer `demo/tools` a tool and it will call it.)".to_owned()
            }
            _ if self.text.is_empty() => "(nothing to echo)".to_owned(),
            _ => self.text.clone(),
        }
    }

    fn usage(&self, completion: usize) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion
        })
    }
}

/// The answer, after a delay.
pub(super) fn reply(question: &Question, delay: Duration) -> Response<DemoBody> {
    if question.stream {
        return stream(frames(question, delay));
    }
    let text = question.reply_text();
    let completion = tokens(&text);
    let (message, reason) = match &question.tool {
        Some(name) => (
            json!({"role": "assistant", "content": null, "tool_calls": [{
                "id": "call_demo1", "type": "function", "function": {"name": name, "arguments": "{}"}
            }]}),
            "tool_calls",
        ),
        None => (json!({"role": "assistant", "content": text}), "stop"),
    };
    let body = json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": question.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": question.usage(completion)
    });
    let steps = [(delay, Bytes::from(body.to_string()))].into();
    respond("application/json", DemoBody::steps(steps, false))
}

/// A stream that breaks off after so many pieces.
pub(super) fn cut(question: &Question, after: usize) -> Response<DemoBody> {
    let mut steps = frames(question, Duration::ZERO);
    steps.truncate(after + 1);
    respond("text/event-stream", DemoBody::steps(steps, true))
}

/// A stream of which nothing ever comes.
pub(super) fn stall() -> Response<DemoBody> {
    let forever = Duration::from_hours(24);
    stream([(forever, Bytes::from_static(b"data: [DONE]\n\n"))].into())
}

/// A 200 whose first event is an error.
pub(super) fn error_in_stream(message: &str) -> Response<DemoBody> {
    let error =
        json!({"error": {"message": message, "type": "server_error", "code": "overloaded"}});
    stream([(Duration::ZERO, Bytes::from(format!("data: {error}\n\n")))].into())
}

/// The model list.
pub(super) fn models() -> String {
    let data: Vec<_> = MODELS
        .iter()
        .map(|id| json!({"id": id, "object": "model", "created": 0, "owned_by": "demo"}))
        .collect();
    json!({"object": "list", "data": data}).to_string()
}

/// Small vectors that depend on the text and on nothing else.
pub(super) fn embeddings(body: &Value) -> String {
    let inputs: Vec<&str> = match &body["input"] {
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let data: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
            let vector = [f64::from(length), f64::from(length % 7), 1.0];
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let used: usize = inputs.iter().map(|text| tokens(text)).sum();
    json!({
        "object": "list", "model": body["model"], "data": data,
        "usage": {"prompt_tokens": used, "total_tokens": used}
    })
    .to_string()
}

fn frames(question: &Question, delay: Duration) -> VecDeque<(Duration, Bytes)> {
    let chunk = |delta: Value, reason: Value| {
        let chunk = json!({
            "id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": question.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]
        });
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let mut steps = VecDeque::new();
    steps.push_back((
        delay,
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
    ));
    let text = question.reply_text();
    let reason = if let Some(name) = &question.tool {
        let call = json!({"tool_calls": [{
            "index": 0, "id": "call_demo1", "type": "function", "function": {"name": name, "arguments": "{}"}
        }]});
        steps.push_back((PACE, chunk(call, Value::Null)));
        "tool_calls"
    } else {
        for word in text.split_inclusive(' ') {
            steps.push_back((PACE, chunk(json!({"content": word}), Value::Null)));
        }
        "stop"
    };
    steps.push_back((Duration::ZERO, chunk(json!({}), json!(reason))));
    if question.include_usage {
        let usage = json!({
            "id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": question.model,
            "choices": [], "usage": question.usage(tokens(&text))
        });
        steps.push_back((Duration::ZERO, Bytes::from(format!("data: {usage}\n\n"))));
    }
    steps.push_back((Duration::ZERO, Bytes::from_static(b"data: [DONE]\n\n")));
    steps
}

fn stream(steps: VecDeque<(Duration, Bytes)>) -> Response<DemoBody> {
    respond("text/event-stream", DemoBody::steps(steps, false))
}

fn respond(content_type: &'static str, body: DemoBody) -> Response<DemoBody> {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::OK;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    }
}

/// One token a word: near enough for a demo.
fn tokens(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Pieces of an answer, each after its pause; may break off instead of ending.
#[derive(Debug)]
pub(super) struct DemoBody {
    steps: VecDeque<(Duration, Bytes)>,
    pause: Option<Pin<Box<Sleep>>>,
    breaks_off: bool,
}

/// The connection is to be dropped.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the demo cuts this stream")]
pub(super) struct Cut;

impl DemoBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::steps([(Duration::ZERO, bytes)].into(), false)
    }

    fn steps(steps: VecDeque<(Duration, Bytes)>, breaks_off: bool) -> Self {
        Self {
            steps,
            pause: None,
            breaks_off,
        }
    }
}

impl Body for DemoBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Some((delay, _)) = self.steps.front() else {
            let breaks_off = std::mem::take(&mut self.breaks_off);
            return Poll::Ready(breaks_off.then_some(Err(Cut)));
        };
        if !delay.is_zero() {
            let delay = *delay;
            let pause = self
                .pause
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(delay)));
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let piece = self
            .steps
            .pop_front()
            .map(|(_, piece)| Ok(Frame::data(piece)));
        Poll::Ready(piece)
    }

    fn size_hint(&self) -> SizeHint {
        let mut steps = self.steps.iter();
        match (steps.next(), steps.next()) {
            (Some((_, only)), None) if !self.breaks_off => SizeHint::with_exact(only.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
