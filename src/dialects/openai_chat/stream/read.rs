//! Reads a stream of chunks into events.

use serde_json::value::RawValue;

use crate::dialects::StreamReader;
use crate::dialects::chat::Part;
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::ids::IdSource;
use crate::dialects::openai_chat::reply::{KNOWN_EXTRA, read_audio, stop_reason};
use crate::dialects::openai_chat::request::messages;
use crate::dialects::openai_chat::stream::calls::Calls;
use crate::dialects::openai_chat::{content, reasoning, usage};

/// Reads one stream of any vendor of this dialect.
#[derive(Debug)]
pub(in crate::dialects::openai_chat) struct Reader {
    ids: IdSource,
    phase: Phase,
    has_started: bool,
    has_content: bool,
    choices: Vec<State>,
    /// Members of the whole answer that were already reported.
    reported: Vec<String>,
}

/// How far the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `[DONE]` was seen.
    Done,
    /// An error was seen: nothing after it counts.
    Failed,
    Running,
}

#[derive(Debug, Default)]
struct State {
    calls: Calls,
    /// What a plain end means after what was said: tool use, a refusal, or just that.
    plain_end: Option<StopReason>,
    has_stopped: bool,
    /// Reasoning came as plain text: then texts beside signatures repeat it.
    has_plain_thoughts: bool,
}

impl Reader {
    pub(in crate::dialects::openai_chat) fn new() -> Self {
        Self {
            ids: IdSource::random(),
            phase: Phase::Running,
            has_started: false,
            has_content: false,
            choices: Vec::new(),
            reported: Vec::new(),
        }
    }

    fn fail(&mut self, error: UpstreamError, out: &mut Vec<Event>) {
        self.phase = Phase::Failed;
        out.push(Event::first(EventKind::Error(Box::new(error))));
    }

    fn start(&mut self, fields: &mut Fields<'_>, out: &mut Vec<Event>) {
        let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
        let id = fields.take("id").and_then(text);
        let model = fields.take("model").and_then(text);
        if !self.has_started {
            self.has_started = true;
            out.push(Event::first(EventKind::Start {
                id: id.filter(|id| !id.is_empty()),
                model: model.filter(|model| !model.is_empty()),
            }));
        }
    }

    fn read_choice(&mut self, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        let index = fields.take_count("index").ok().flatten().unwrap_or(0);
        let choice = u32::try_from(index).unwrap_or(0).min(127);
        let at = usize::try_from(choice).unwrap_or(0);
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, State::default);
        }
        let before = out.len();
        if let Some(logprobs) = fields.take("logprobs").filter(|raw| raw.get() != "null") {
            push(out, choice, EventKind::Logprobs(logprobs.to_owned()));
        }
        let delta = fields.take("delta").or_else(|| fields.take("message"));
        if let Some(state) = self.choices.get_mut(at) {
            if let Some(delta) = delta.and_then(|raw| Fields::parse_raw(raw).ok()) {
                read_delta(delta, choice, state, &mut self.ids, out);
            } else if let Some(text) = fields.take_as::<String>("text").ok().flatten() {
                push_text(text, choice, out);
            }
        }
        self.has_content |= out.len() > before;
        let word = fields.take_as::<String>("finish_reason").ok().flatten();
        let Some(reason) = word.as_deref().and_then(stop_reason) else {
            return;
        };
        if reason == StopReason::Error {
            let error = fields.take("error");
            let error = error
                .and_then(|raw| UpstreamError::parse(Some(502), raw.get().as_bytes()))
                .unwrap_or_else(|| UpstreamError {
                    code: word,
                    message: "the provider broke off its answer".to_owned(),
                    ..UpstreamError::default()
                });
            self.fail(error, out);
            return;
        }
        self.stop(at, choice, reason, out);
    }

    fn stop(&mut self, at: usize, choice: u32, reason: StopReason, out: &mut Vec<Event>) {
        let Some(state) = self.choices.get_mut(at) else {
            return;
        };
        state.calls.end(choice, &mut self.ids, out);
        if state.has_stopped {
            return;
        }
        state.has_stopped = true;
        let reason = match reason {
            StopReason::EndTurn | StopReason::ToolUse => {
                state.plain_end.unwrap_or(StopReason::EndTurn)
            }
            reason => reason,
        };
        push(
            out,
            choice,
            EventKind::Stop {
                reason,
                sequence: None,
            },
        );
    }

    fn report_extra(&mut self, fields: &Fields<'_>, out: &mut Vec<Event>) {
        let mut extra = Vec::new();
        for (name, value) in fields.iter() {
            let is_new = KNOWN_EXTRA.contains(&name)
                && value.get() != "null"
                && !self.reported.iter().any(|known| known == name);
            if is_new {
                self.reported.push(name.to_owned());
                extra.push((name.to_owned(), value.to_owned()));
            }
        }
        if !extra.is_empty() {
            out.push(Event::first(EventKind::Extra(Extra(extra))));
        }
    }
}

impl StreamReader for Reader {
    fn read(&mut self, _name: &str, data: &[u8], out: &mut Vec<Event>) -> Result<(), ReadError> {
        let data = data.trim_ascii();
        // Behind the end stands nothing that belongs to the answer.
        if self.phase != Phase::Running || data.is_empty() {
            return Ok(());
        }
        if data.starts_with(b"[DONE]") {
            self.phase = Phase::Done;
            return Ok(());
        }
        let mut fields = match Fields::parse(data) {
            Ok(fields) => fields,
            Err(error) => {
                // A stream that is no JSON may still be an error page.
                return match UpstreamError::parse(None, data) {
                    Some(error) => {
                        self.fail(error, out);
                        Ok(())
                    }
                    None => Err(error.into()),
                };
            }
        };
        let choices = fields.take("choices");
        let error = fields.raw("error");
        let has_error = error.is_some_and(|raw| !matches!(raw.get(), "null" | "\"\"" | "false"));
        if (has_error || choices.is_none())
            && let Some(error) = UpstreamError::parse(None, data)
        {
            self.fail(error, out);
            return Ok(());
        }
        let list: Vec<Fields<'_>> = match choices {
            Some(raw) => serde_json::from_str::<Option<_>>(raw.get())?.unwrap_or_default(),
            None => Vec::new(),
        };
        let counted = fields.take("usage").and_then(usage::read).or_else(|| {
            let mut groq = Fields::parse_raw(fields.take("x_groq")?).ok()?;
            usage::read(groq.take("usage")?)
        });
        if !list.is_empty() {
            self.start(&mut fields, out);
        }
        self.report_extra(&fields, out);
        for choice in list {
            self.read_choice(choice, out);
            if self.phase == Phase::Failed {
                return Ok(());
            }
        }
        if let Some(counted) = counted {
            out.push(Event::first(EventKind::Usage(counted)));
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Done
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), ReadError> {
        if self.phase == Phase::Failed {
            return Ok(());
        }
        if self.choices.is_empty() {
            return Err(ReadError::Truncated);
        }
        for at in 0..self.choices.len() {
            let choice = u32::try_from(at).unwrap_or(0);
            let Some(state) = self.choices.get_mut(at) else {
                continue;
            };
            if !state.has_stopped {
                // `[DONE]` without a reason still says that the vendor thinks it said all.
                if self.phase != Phase::Done || !self.has_content {
                    return Err(ReadError::Truncated);
                }
                self.stop(at, choice, StopReason::EndTurn, out);
            }
        }
        Ok(())
    }
}

fn push(out: &mut Vec<Event>, choice: u32, kind: EventKind) {
    out.push(Event { choice, kind });
}

fn push_text(text: String, choice: u32, out: &mut Vec<Event>) {
    if !text.is_empty() {
        push(out, choice, EventKind::Text(text));
    }
}

fn read_delta(
    mut delta: Fields<'_>,
    choice: u32,
    state: &mut State,
    ids: &mut IdSource,
    out: &mut Vec<Event>,
) {
    let is_plain = ["reasoning_content", "reasoning"]
        .iter()
        .any(|name| delta.raw(name).is_some_and(|raw| raw.get().len() > 2));
    let repeats = state.has_plain_thoughts && !is_plain;
    let starts_plain = is_plain && delta.raw("reasoning_details").is_none();
    state.has_plain_thoughts |= starts_plain;
    for part in reasoning::take(&mut delta) {
        push_part(part, choice, repeats, out);
    }
    // The usual content is a string; parts come from Mistral.
    if let Some(raw) = delta.take("content") {
        if raw.get().starts_with('"') {
            if let Ok(text) = serde_json::from_str(raw.get()) {
                push_text(text, choice, out);
            }
        } else {
            for part in content::read(Some(raw)).unwrap_or_default() {
                push_part(part, choice, false, out);
            }
        }
    }
    if let Some(value) = reasoning::take_google_signature(&mut delta) {
        let of = SignatureOf::Text;
        push(out, choice, EventKind::Signature { of, value });
    }
    if let Some(refusal) = delta.take_as::<String>("refusal").ok().flatten()
        && !refusal.is_empty()
    {
        state.plain_end.get_or_insert(StopReason::Refusal);
        push(out, choice, EventKind::Refusal(refusal));
    }
    if let Some(raw) = delta.take("tool_calls") {
        state.calls.read(raw, choice, ids, out);
    }
    if let Some(raw) = delta
        .take("function_call")
        .filter(|raw| raw.get() != "null")
    {
        state.calls.read_legacy(raw, choice, ids, out);
    }
    if !state.calls.is_empty() {
        state.plain_end = Some(StopReason::ToolUse);
    }
    if let Some(raw) = delta.take("images") {
        let mut images = Vec::new();
        messages::read_images(raw, &mut images);
        for part in images {
            push_part(part, choice, false, out);
        }
    }
    if let Some(audio) = delta.take("audio").and_then(read_audio) {
        push(out, choice, EventKind::Media(audio));
    }
    if let Some(raw) = delta.take("annotations") {
        let annotations: Vec<Box<RawValue>> = serde_json::from_str(raw.get()).unwrap_or_default();
        for annotation in annotations {
            push(out, choice, EventKind::Citation(annotation));
        }
    }
}

/// A part of a delta as events. `repeats`: its thinking text was already streamed.
fn push_part(part: Part, choice: u32, repeats: bool, out: &mut Vec<Event>) {
    match part {
        Part::Text(text) => push_text(text.text, choice, out),
        Part::Thinking(thinking) => {
            let repeats = repeats && thinking.signature.is_some();
            if !thinking.text.is_empty() && !repeats {
                push(out, choice, EventKind::Thinking(thinking.text));
            }
            if let Some(value) = thinking.signature {
                let of = SignatureOf::Thinking;
                push(out, choice, EventKind::Signature { of, value });
            }
        }
        Part::RedactedThinking { data } => push(out, choice, EventKind::RedactedThinking(data)),
        Part::Refusal(refusal) => push(out, choice, EventKind::Refusal(refusal)),
        Part::Media(media) => push(out, choice, EventKind::Media(media)),
        Part::Raw { .. } | Part::ToolCall(_) | Part::ToolResult(_) => {}
    }
}
