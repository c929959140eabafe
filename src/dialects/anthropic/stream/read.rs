//! Reads a stream of events.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::anthropic::reply::{explanation, stop_reason};
use crate::dialects::anthropic::usage::Wire;
use crate::dialects::chat::ToolKind;
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::event::{Event, EventKind, SignatureOf, StopReason};
use crate::dialects::fields::Fields;
use crate::dialects::ids::IdSource;
use crate::dialects::{Dialect, StreamReader, signature};

/// Reads one stream of any upstream of this dialect.
#[derive(Debug, Default)]
pub(in crate::dialects::anthropic) struct Reader {
    usage: Wire,
    /// Calls that are open: the block's index on the wire, and ours.
    calls: Vec<(u64, u32)>,
    started: u32,
    has_stopped: bool,
    has_failed: bool,
    /// `message_stop` was seen.
    is_over: bool,
}

impl Reader {
    fn emit(out: &mut Vec<Event>, kind: EventKind) {
        out.push(Event::first(kind));
    }

    fn report_usage(&mut self, raw: Option<&RawValue>, out: &mut Vec<Event>) {
        if let Some(raw) = raw {
            self.usage.update(Wire::read(raw));
            Self::emit(out, EventKind::Usage(self.usage.usage()));
        }
    }

    fn start(&mut self, fields: &mut Fields<'_>, out: &mut Vec<Event>) -> Result<(), ReadError> {
        let mut message = match fields.take("message") {
            Some(raw) => Fields::parse_raw(raw)?,
            None => Fields::default(),
        };
        Self::emit(
            out,
            EventKind::Start {
                id: message.take_as("id").ok().flatten(),
                model: message.take_as("model").ok().flatten(),
            },
        );
        self.report_usage(message.take("usage"), out);
        Ok(())
    }

    fn start_block(
        &mut self,
        fields: &mut Fields<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let at = fields.take_count("index")?.unwrap_or(0);
        let Some(raw) = fields.take("content_block") else {
            return Ok(());
        };
        let mut block = Fields::parse_raw(raw)?;
        let mut member = |name: &str| -> Option<String> {
            let said: Option<String> = block.take_as(name).ok().flatten();
            said.filter(|said| !said.is_empty())
        };
        match member("type").as_deref() {
            Some("text") => {
                if let Some(text) = member("text") {
                    Self::emit(out, EventKind::Text(text));
                }
            }
            Some("thinking") => {
                if let Some(text) = member("thinking") {
                    Self::emit(out, EventKind::Thinking(text));
                }
                sign(member("signature"), out);
            }
            Some("redacted_thinking") => {
                let data = member("data").unwrap_or_default();
                let data = signature::from_client(Dialect::Anthropic, &data).into_owned();
                Self::emit(out, EventKind::RedactedThinking(data));
            }
            Some("tool_use") => {
                let index = self.started;
                self.started = self.started.saturating_add(1);
                self.calls.push((at, index));
                let id = member("id").unwrap_or_else(|| IdSource::random().make("toolu_"));
                let name = member("name").unwrap_or_default();
                Self::emit(
                    out,
                    EventKind::ToolStart {
                        index,
                        id,
                        name,
                        kind: ToolKind::Function,
                        signature: None,
                    },
                );
                let input = block.take("input").map(RawValue::get);
                if let Some(input) = input.filter(|input| !matches!(*input, "{}" | "null" | "\"\""))
                {
                    let delta = input.to_owned();
                    Self::emit(out, EventKind::ToolArguments { index, delta });
                }
            }
            // Server tools and what comes next year: nothing another dialect could show.
            _ => {}
        }
        Ok(())
    }

    fn read_delta(
        &mut self,
        fields: &mut Fields<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let at = fields.take_count("index")?.unwrap_or(0);
        let Some(raw) = fields.take("delta") else {
            return Ok(());
        };
        let mut delta = Fields::parse_raw(raw)?;
        let kind = delta.take_as::<Cow<'_, str>>("type")?.unwrap_or_default();
        let mut member = |name: &str| -> Option<String> {
            let said: Option<String> = delta.take_as(name).ok().flatten();
            said.filter(|said| !said.is_empty())
        };
        match kind.as_ref() {
            "text_delta" => {
                if let Some(text) = member("text") {
                    Self::emit(out, EventKind::Text(text));
                }
            }
            "thinking_delta" => {
                if let Some(text) = member("thinking") {
                    Self::emit(out, EventKind::Thinking(text));
                }
            }
            "signature_delta" => sign(member("signature"), out),
            "input_json_delta" => {
                let call = self.calls.iter().rfind(|(block, _)| *block == at);
                if let (Some((_, index)), Some(delta)) = (call, member("partial_json")) {
                    let index = *index;
                    Self::emit(out, EventKind::ToolArguments { index, delta });
                }
            }
            "citations_delta" => {
                if let Some(raw) = delta.take("citation") {
                    Self::emit(out, EventKind::Citation(raw.to_owned()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end_block(
        &mut self,
        fields: &mut Fields<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let at = fields.take_count("index")?.unwrap_or(0);
        if let Some(place) = self.calls.iter().rposition(|(block, _)| *block == at) {
            let (_, index) = self.calls.remove(place);
            Self::emit(out, EventKind::ToolEnd { index });
        }
        Ok(())
    }

    fn read_end(&mut self, fields: &mut Fields<'_>, out: &mut Vec<Event>) -> Result<(), ReadError> {
        self.report_usage(fields.take("usage"), out);
        let Some(raw) = fields.take("delta") else {
            return Ok(());
        };
        let mut delta = Fields::parse_raw(raw)?;
        let Some(word) = delta.take_as::<String>("stop_reason")? else {
            return Ok(());
        };
        if std::mem::replace(&mut self.has_stopped, true) {
            return Ok(());
        }
        let reason = stop_reason(&word);
        if reason == StopReason::Refusal
            && let Some(why) = delta.take("stop_details").and_then(explanation)
        {
            Self::emit(out, EventKind::Refusal(why));
        }
        let sequence = delta.take_as("stop_sequence").ok().flatten();
        Self::emit(out, EventKind::Stop { reason, sequence });
        Ok(())
    }
}

impl StreamReader for Reader {
    fn read(&mut self, name: &str, data: &[u8], out: &mut Vec<Event>) -> Result<(), ReadError> {
        if self.has_failed || data.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut fields = Fields::parse(data)?;
        let kind = fields.take_as::<Cow<'_, str>>("type")?;
        match kind.as_deref().unwrap_or(name) {
            "message_start" => self.start(&mut fields, out),
            "content_block_start" => self.start_block(&mut fields, out),
            "content_block_delta" => self.read_delta(&mut fields, out),
            "content_block_stop" => self.end_block(&mut fields, out),
            "message_delta" => self.read_end(&mut fields, out),
            "error" => {
                self.has_failed = true;
                let error = UpstreamError::parse(None, data).unwrap_or_default();
                Self::emit(out, EventKind::Error(Box::new(error)));
                Ok(())
            }
            "message_stop" => {
                self.is_over = true;
                Ok(())
            }
            // `ping`, and events nobody knows yet.
            _ => match UpstreamError::parse(None, data) {
                Some(error) if kind.is_none() => {
                    self.has_failed = true;
                    Self::emit(out, EventKind::Error(Box::new(error)));
                    Ok(())
                }
                _ => Ok(()),
            },
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn finish(&mut self, _out: &mut Vec<Event>) -> Result<(), ReadError> {
        if self.has_stopped || self.has_failed {
            Ok(())
        } else {
            Err(ReadError::Truncated)
        }
    }
}

fn sign(signed: Option<String>, out: &mut Vec<Event>) {
    if let Some(signed) = signed {
        Reader::emit(
            out,
            EventKind::Signature {
                of: SignatureOf::Thinking,
                value: signature::from_client(Dialect::Anthropic, &signed).into_owned(),
            },
        );
    }
}
