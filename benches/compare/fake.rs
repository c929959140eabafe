//! The fake upstream: fixed answers in the four dialects, chosen by the path and the model's name.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response};
use llmproxy::dialects::Dialect;
use memchr::memmem;

use crate::Result;

/// Events of text in one streamed answer.
pub(crate) const EVENTS: usize = 100;

/// Serves until killed.
pub(crate) async fn serve() -> Result<()> {
    crate::listen(answer).await
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let named = |name: &str| path.contains(name) || memmem::find(&body, name.as_bytes()).is_some();
    let dialect = [
        ("a-", Dialect::Anthropic),
        ("g-", Dialect::Gemini),
        ("r-", Dialect::OpenAiResponses),
    ]
    .into_iter()
    .find(|(mark, _)| {
        ["whole", "each", "burst"]
            .iter()
            .any(|kind| named(&format!("{mark}{kind}")))
    })
    .map_or(Dialect::OpenAiChat, |(_, dialect)| dialect);
    let (kind, body) = if named("each") {
        ("text/event-stream", events(dialect, 1).boxed())
    } else if named("burst") {
        ("text/event-stream", events(dialect, 20).boxed())
    } else if named("whole") {
        ("application/json", Full::from(whole(dialect)).boxed())
    } else {
        (
            "application/json",
            Full::from("{\"object\":\"list\",\"data\":[]}").boxed(),
        )
    };
    Ok(Response::builder()
        .header("content-type", kind)
        .body(body)?)
}

/// About 1 KB, as long as a short answer is.
fn whole(dialect: Dialect) -> String {
    let text = "All work and no play makes a dull answer. ".repeat(16);
    match dialect {
        Dialect::Anthropic => format!(
            "{{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"fake-1\",\
             \"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],\"stop_reason\":\"end_turn\",\
             \"stop_sequence\":null,\"usage\":{{\"input_tokens\":9,\"output_tokens\":160}}}}"
        ),
        Dialect::Gemini => format!(
            "{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}},\
             \"finishReason\":\"STOP\",\"index\":0}}],\"usageMetadata\":{{\"promptTokenCount\":9,\
             \"candidatesTokenCount\":160,\"totalTokenCount\":169}},\"modelVersion\":\"fake-1\"}}"
        ),
        Dialect::OpenAiChat => format!(
            "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1764000000,\
             \"model\":\"fake-1\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
             \"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}],\
             \"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":160,\"total_tokens\":169}}}}"
        ),
        Dialect::OpenAiResponses => format!(
            "{{\"id\":\"resp_1\",\"object\":\"response\",\"created_at\":1764000000,\"status\":\"completed\",\
             \"model\":\"fake-1\",\"output\":[{}],{RESPONSES_USAGE}}}",
            responses_message(&text)
        ),
    }
}

const RESPONSES_USAGE: &str =
    "\"usage\":{\"input_tokens\":9,\"output_tokens\":100,\"total_tokens\":109}";

fn responses_message(text: &str) -> String {
    format!(
        "{{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"completed\",\"role\":\"assistant\",\
         \"content\":[{{\"type\":\"output_text\",\"text\":\"{text}\",\"annotations\":[]}}]}}"
    )
}

fn named(events: &[(&str, String)]) -> String {
    let frame = |(name, data): &(&str, String)| format!("event: {name}\ndata: {data}\n\n");
    events.iter().map(frame).collect()
}

/// A stream's beginning, one event of text, and its end.
fn stream(dialect: Dialect) -> (String, String, String) {
    match dialect {
        Dialect::Anthropic => (
            named(&[
                (
                    "message_start",
                    "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\
                     \"role\":\"assistant\",\"model\":\"fake-1\",\"content\":[],\"stop_reason\":null,\
                     \"stop_sequence\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}"
                        .to_owned(),
                ),
                (
                    "content_block_start",
                    "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\
                     \"text\":\"\"}}"
                        .to_owned(),
                ),
            ]),
            named(&[(
                "content_block_delta",
                "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\
                 \"text\":\" word\"}}"
                    .to_owned(),
            )]),
            named(&[
                ("content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}".to_owned()),
                (
                    "message_delta",
                    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\
                     \"stop_sequence\":null},\"usage\":{\"output_tokens\":100}}"
                        .to_owned(),
                ),
                ("message_stop", "{\"type\":\"message_stop\"}".to_owned()),
            ]),
        ),
        Dialect::Gemini => {
            let chunk = |finish: &str| {
                format!(
                    "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\" word\"}}],\
                     \"role\":\"model\"}},{finish}\"index\":0}}],\"usageMetadata\":{{\"promptTokenCount\":9,\
                     \"candidatesTokenCount\":100,\"totalTokenCount\":109}},\"modelVersion\":\"fake-1\"}}\n\n"
                )
            };
            (String::new(), chunk(""), chunk("\"finishReason\":\"STOP\","))
        }
        Dialect::OpenAiChat => {
            let chunk = |delta: &str, finish: &str, usage: &str| {
                format!(
                    "data: {{\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx\",\"object\":\"chat.completion.chunk\",\
                     \"created\":1764000000,\"model\":\"fake-1\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
                     \"logprobs\":null,\"finish_reason\":{finish}}}],\"usage\":{usage}}}\n\n"
                )
            };
            let usage = "{\"prompt_tokens\":9,\"completion_tokens\":100,\"total_tokens\":109}";
            (
                String::new(),
                chunk("{\"content\":\" word\"}", "null", "null"),
                chunk("{}", "\"stop\"", usage) + "data: [DONE]\n\n",
            )
        }
        Dialect::OpenAiResponses => responses_stream(),
    }
}

fn responses_stream() -> (String, String, String) {
    let response = |status: &str, output: &str, usage: &str| {
        format!(
            "\"response\":{{\"id\":\"resp_1\",\"object\":\"response\",\"created_at\":1764000000,\
                     \"status\":\"{status}\",\"model\":\"fake-1\",\"output\":[{output}]{usage}}}"
        )
    };
    let text = " word".repeat(EVENTS);
    let (item, usage) = (responses_message(&text), format!(",{RESPONSES_USAGE}"));
    (
                named(&[
                    (
                        "response.created",
                        format!(
                            "{{\"type\":\"response.created\",\"sequence_number\":0,{}}}",
                            response("in_progress", "", "")
                        ),
                    ),
                    (
                        "response.output_item.added",
                        "{\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\
                         \"item\":{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"in_progress\",\
                         \"role\":\"assistant\",\"content\":[]}}"
                            .to_owned(),
                    ),
                    (
                        "response.content_part.added",
                        "{\"type\":\"response.content_part.added\",\"sequence_number\":2,\"item_id\":\"msg_1\",\
                         \"output_index\":0,\"content_index\":0,\"part\":{\"type\":\"output_text\",\"text\":\"\",\
                         \"annotations\":[]}}"
                            .to_owned(),
                    ),
                ]),
                named(&[(
                    "response.output_text.delta",
                    "{\"type\":\"response.output_text.delta\",\"sequence_number\":3,\"item_id\":\"msg_1\",\
                     \"output_index\":0,\"content_index\":0,\"delta\":\" word\"}"
                        .to_owned(),
                )]),
                named(&[
                    (
                        "response.output_item.done",
                        format!(
                            "{{\"type\":\"response.output_item.done\",\"sequence_number\":104,\
                             \"output_index\":0,\"item\":{item}}}"
                        ),
                    ),
                    (
                        "response.completed",
                        format!(
                            "{{\"type\":\"response.completed\",\"sequence_number\":105,{}}}",
                            response("completed", &item, &usage)
                        ),
                    ),
                ]),
            )
}

fn events(dialect: Dialect, per_write: usize) -> Events {
    let (begin, event, end) = stream(dialect);
    Events {
        begin: Some(Bytes::from(begin + &event)),
        chunk: Bytes::from(event.repeat(per_write)),
        end: Some(Bytes::from(end)),
        left: EVENTS / per_write,
        pause: false,
    }
}

/// A streamed answer, a write for each chunk: between two chunks hyper finds nothing and flushes.
struct Events {
    begin: Option<Bytes>,
    chunk: Bytes,
    end: Option<Bytes>,
    left: usize,
    pause: bool,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        self.pause = !self.pause;
        if self.pause {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = if let Some(begin) = self.begin.take() {
            Some(begin)
        } else if self.left > 0 {
            self.left -= 1;
            Some(self.chunk.clone())
        } else {
            self.end.take()
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}
