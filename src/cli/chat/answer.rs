//! An answer on its way to the terminal or pipe.

use std::future::poll_fn;

use bytes::Bytes;
use serde_json::Value;

use crate::cli::Context;
use crate::cli::chat::send::Reply;
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::dialects::event::{Event, EventKind};
use crate::dialects::sse::Splitter;
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, StreamReader, codec};

/// What is shown beside the answer's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// The whole completion object instead of the text.
    pub(super) json: bool,
    pub(super) reasoning: bool,
    pub(super) usage: bool,
}

/// Prints an answer as it comes; returns its text.
pub(super) async fn print(
    reply: Reply,
    shown: Shown,
    context: &Context,
) -> Result<String, Failure> {
    let mut screen = Screen {
        context,
        shown,
        text: String::new(),
        usage: None,
        in_reasoning: false,
    };
    match reply {
        Reply::Whole(body) => screen.whole(&body)?,
        Reply::Relay(mut relay) => {
            let mut stream = Stream::default();
            while let Some(piece) = poll_fn(|context| relay.poll_piece(context)).await {
                stream.push(piece, &mut screen)?;
            }
            stream.finish(&mut screen)?;
        }
        Reply::Remote(mut body) => {
            let mut stream = Stream::default();
            let mut first = true;
            loop {
                let piece = body
                    .chunk()
                    .await
                    .map_err(|error| broken(&error.to_string()))?;
                let Some(piece) = piece else { break };
                if first && piece.first() == Some(&b'{') {
                    let rest = body
                        .read_all(64 << 20)
                        .await
                        .map_err(|error| broken(&error.to_string()))?;
                    screen.whole(&[piece, rest].concat())?;
                    return screen.end();
                }
                first = false;
                stream.push(piece, &mut screen)?;
            }
            stream.finish(&mut screen)?;
        }
    }
    screen.end()
}

fn broken(what: &str) -> Failure {
    Failure::failed(format!("the answer broke off: {what}"), "ask again")
}

/// An event stream being read.
struct Stream {
    splitter: Splitter,
    reader: Box<dyn StreamReader>,
    events: Vec<Event>,
}

impl Default for Stream {
    fn default() -> Self {
        let reader = codec(Dialect::OpenAiChat).stream_reader();
        Self {
            splitter: Splitter::default(),
            reader,
            events: Vec::new(),
        }
    }
}

impl Stream {
    fn push(&mut self, piece: Bytes, screen: &mut Screen<'_>) -> Result<(), Failure> {
        self.splitter.push(piece);
        while let Some(frame) = self.splitter.next() {
            let frame = frame.map_err(|error| broken(&error.to_string()))?;
            if frame.is_comment_only() {
                continue;
            }
            self.reader
                .read(frame.event(), &frame.data(), &mut self.events)
                .map_err(|error| broken(&error.to_string()))?;
        }
        screen.events(&mut self.events)
    }

    fn finish(mut self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let read = self.reader.finish(&mut self.events);
        screen.events(&mut self.events)?;
        read.map_err(|error| broken(&error.to_string()))
    }
}

struct Screen<'a> {
    context: &'a Context,
    shown: Shown,
    text: String,
    usage: Option<Usage>,
    /// The last thing shown was reasoning, without a line break yet.
    in_reasoning: bool,
}

impl Screen<'_> {
    fn events(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        for event in events.drain(..) {
            if event.choice > 0 {
                continue;
            }
            match event.kind {
                EventKind::Text(text) | EventKind::Refusal(text) => self.say(&text)?,
                EventKind::Thinking(text) => self.think(&text),
                EventKind::Usage(usage) => self.usage = Some(usage),
                EventKind::Error(error) => return Err(broken(&error.message)),
                _ => {}
            }
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8]) -> Result<(), Failure> {
        let reply = codec(Dialect::OpenAiChat)
            .read_reply(body)
            .map_err(|error| broken(&error.to_string()))?;
        self.usage = reply.usage;
        if self.shown.json {
            let value: Value = serde_json::from_slice(body).unwrap_or_default();
            let content = value["choices"][0]["message"]["content"].as_str();
            content.unwrap_or_default().clone_into(&mut self.text);
            return self
                .context
                .printer
                .line(String::from_utf8_lossy(body).trim_end());
        }
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = &value["choices"][0]["message"];
        if let Some(reasoning) = message["reasoning_content"].as_str() {
            self.think(reasoning);
        }
        self.say(message["content"].as_str().unwrap_or_default())
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        self.end_reasoning();
        self.text.push_str(text);
        self.context.printer.write(text)
    }

    fn think(&mut self, text: &str) {
        if self.shown.reasoning && !text.is_empty() {
            self.in_reasoning = true;
            self.context.printer.aside(Style::Dim, text);
        }
    }

    fn end_reasoning(&mut self) {
        if std::mem::take(&mut self.in_reasoning) {
            self.context.printer.aside(Style::Dim, "\n");
        }
    }

    fn end(mut self) -> Result<String, Failure> {
        self.end_reasoning();
        if !self.shown.json && !self.text.ends_with('\n') {
            self.context.printer.write("\n")?;
        }
        if self.shown.usage {
            let usage = self.usage.unwrap_or_default();
            self.context.printer.note(&format!(
                "{} prompt tokens ({} cached), {} completion tokens ({} reasoning)",
                usage.input, usage.cache_read, usage.output, usage.reasoning
            ));
        }
        Ok(self.text)
    }
}
