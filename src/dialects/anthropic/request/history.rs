//! Writes system prompt and messages.

use std::borrow::Cow;

use crate::dialects::anthropic::request::controls::Plan;
use crate::dialects::chat::{
    ChatRequest, Media, MediaKind, MediaSource, Part, ResponseFormat, Role, Text, ToolCall,
    ToolKind, ToolResult,
};
use crate::dialects::error::ErrorReply;
use crate::dialects::fields::Raw;
use crate::dialects::ids::{IdRule, NameRule, tool_name};
use crate::dialects::json::{Array, Object, raw_object};
use crate::dialects::loss::Losses;
use crate::dialects::models::Facts;
use crate::dialects::restore::{CUSTOM_INPUT, JSON_TOOL};
use crate::dialects::turns::{self, Turn};
use crate::dialects::{Dialect, arguments, citation, flatten, media, signature};

/// Cache marks a request may hold (Anthropic, prompt caching, read 2026-11-22).
const MAX_MARKS: usize = 4;

/// Image types the API takes.
const IMAGES: [&str; 4] = ["image/gif", "image/jpeg", "image/png", "image/webp"];

/// What a user says who said nothing: messages must not be empty.
const NOTHING: &str = ".";

/// What follows an assistant message that the model cannot continue.
const CONTINUE: &str = "Continue.";

/// The cache marks of one request; of too many the first ones go, because later ones cover more.
#[derive(Debug)]
pub(super) struct Marks {
    skip: usize,
}

impl Marks {
    /// Counts the marks of a request, in the order they are written.
    pub(super) fn of(request: &ChatRequest, losses: &mut Losses) -> Self {
        let of_part = |part: &Part| match part {
            Part::Text(text) => usize::from(text.cache_control.is_some()),
            Part::Media(media) => usize::from(media.cache_control.is_some()),
            Part::ToolCall(call) => usize::from(call.cache_control.is_some()),
            Part::ToolResult(result) => usize::from(result.cache_control.is_some()),
            _ => 0,
        };
        let tools = request.tools.iter().filter(|tool| {
            matches!(tool, crate::dialects::chat::Tool::Function(function)
                if function.cache_control.is_some())
        });
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let all: usize = tools.count()
            + request
                .system
                .iter()
                .chain(parts)
                .map(of_part)
                .sum::<usize>();
        let skip = all.saturating_sub(MAX_MARKS);
        if skip > 0 {
            losses.drop_field("cache_control");
        }
        Self { skip }
    }

    /// The mark to write, unless it is one too many.
    pub(super) fn next<'m>(&mut self, mark: Option<&'m Raw>) -> Option<&'m Raw> {
        let mark = mark?;
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(mark)
    }
}

/// Writes the conversation of one request.
pub(super) struct History<'a> {
    pub(super) request: &'a ChatRequest,
    pub(super) facts: &'a Facts,
    pub(super) plan: &'a Plan,
    pub(super) marks: &'a mut Marks,
    pub(super) losses: &'a mut Losses,
    /// Why nothing sensible can be sent.
    pub(super) refused: Option<ErrorReply>,
}

impl History<'_> {
    /// Writes `system`, with the notes that stand in for an output format.
    pub(super) fn write_system(&mut self, o: &mut Object<'_>) {
        let note = match &self.request.format {
            ResponseFormat::JsonObject => {
                Some("Respond with a single JSON object and nothing else.".to_owned())
            }
            ResponseFormat::JsonSchema { .. } if self.plan.json_tool && !self.plan.can_force => {
                Some(format!(
                    "Give your final answer by calling the tool `{JSON_TOOL}`."
                ))
            }
            _ => None,
        };
        let is_said = |part: &&Part| match part {
            Part::Text(text) => !text.text.trim().is_empty(),
            Part::Raw { dialect, .. } => *dialect == Dialect::Anthropic,
            _ => false,
        };
        let request = self.request;
        let parts: Vec<&Part> = request.system.iter().filter(is_said).collect();
        if parts.is_empty() && note.is_none() {
            return;
        }
        o.array("system", |list| {
            for part in parts {
                self.write_part(list, part);
            }
            if let Some(note) = note {
                list.object(|o| {
                    o.put("type", "text");
                    o.put("text", &note);
                });
            }
        });
    }

    /// Writes all messages.
    pub(super) fn write(&mut self, list: &mut Array<'_>) {
        let turns = turns::arrange(&self.request.messages, IdRule::Anthropic);
        let mut turns = self.fitted(turns);
        self.end(&mut turns);
        let last = turns.len().saturating_sub(1);
        for (at, turn) in turns.iter().enumerate() {
            let role = match turn.role {
                Role::Assistant => "assistant",
                Role::System => "system",
                Role::Tool | Role::User => "user",
            };
            list.object(|o| {
                o.put("role", role);
                o.array("content", |list| {
                    let count = turn.parts.len();
                    for (place, part) in turn.parts.iter().enumerate() {
                        let is_prefill =
                            at == last && turn.role == Role::Assistant && place + 1 == count;
                        match part.as_ref() {
                            Part::Text(text) if is_prefill => {
                                let mut text = text.clone();
                                text.text.truncate(text.text.trim_end().len());
                                self.write_text(list, &text);
                            }
                            part => self.write_part(list, part),
                        }
                    }
                    if list.is_empty() {
                        self.write_text(list, &said(NOTHING));
                    }
                });
            });
        }
    }

    /// The turns without what the API refuses: empty texts, foreign thinking, empty assistant
    /// turns; system turns where they may stand; roles that alternate, a user's first.
    fn fitted<'t>(&self, turns: Vec<Turn<'t>>) -> Vec<Turn<'t>> {
        let mut kept: Vec<Turn<'t>> = Vec::with_capacity(turns.len() + 1);
        let count = turns.len();
        let roles: Vec<Role> = turns.iter().map(|turn| turn.role).collect();
        for (at, mut turn) in turns.into_iter().enumerate() {
            let role = turn.role;
            turn.parts.retain(|part| self.is_sendable(role, part));
            if turn.parts.is_empty() && role != Role::User {
                continue;
            }
            if role == Role::System {
                let before = at.checked_sub(1).and_then(|at| roles.get(at));
                let after = roles
                    .iter()
                    .skip(at + 1)
                    .find(|role| **role != Role::System);
                let fits = matches!(before, Some(Role::System | Role::Tool | Role::User))
                    && (at + 1 == count || matches!(after, None | Some(Role::Assistant)));
                if !(self.facts.mid_system && fits) {
                    turn.role = Role::User;
                    for part in &mut turn.parts {
                        note(part);
                    }
                }
            }
            kept.push(turn);
        }
        let mut merged = turns::merge(kept);
        if merged.first().is_none_or(|turn| turn.role != Role::User) {
            merged.insert(0, made_up(NOTHING));
        }
        merged
    }

    fn is_sendable(&self, role: Role, part: &Part) -> bool {
        match part {
            Part::Text(text) => !text.text.trim().is_empty(),
            Part::Thinking(thinking) => {
                role == Role::Assistant
                    && self.facts.thinking != crate::dialects::models::Thinking::None
                    && thinking.signature.as_deref().is_some_and(is_own)
            }
            Part::RedactedThinking { data } => role == Role::Assistant && is_own(data),
            Part::Media(_) => role != Role::Assistant,
            _ => true,
        }
    }

    /// Sees to it that the last turn is one the model can answer.
    fn end(&mut self, turns: &mut Vec<Turn<'_>>) {
        let Some(last) = turns.last().filter(|turn| turn.role == Role::Assistant) else {
            return;
        };
        let open: Vec<Cow<'_, Part>> = last
            .parts
            .iter()
            .filter_map(|part| match part.as_ref() {
                Part::ToolCall(call) => {
                    let mut result = ToolResult::text(call.id.clone(), turns::NO_RESULT);
                    result.is_error = true;
                    Some(Cow::Owned(Part::ToolResult(result)))
                }
                _ => None,
            })
            .collect();
        if open.is_empty() && self.plan.can_prefill {
            return;
        }
        let mut turn = made_up(CONTINUE);
        turn.parts.splice(0..0, open);
        turns.push(turn);
    }

    fn write_part(&mut self, list: &mut Array<'_>, part: &Part) {
        match part {
            Part::Text(text) => self.write_text(list, text),
            Part::Media(media) => self.write_media(list, media),
            Part::Thinking(thinking) => list.object(|o| {
                let signed = thinking.signature.as_deref();
                let signed = signed.and_then(|s| signature::for_upstream(Dialect::Anthropic, s));
                o.put("type", "thinking");
                o.put("thinking", &thinking.text);
                o.put("signature", signed.unwrap_or_default());
            }),
            Part::RedactedThinking { data } => list.object(|o| {
                let data = signature::for_upstream(Dialect::Anthropic, data);
                o.put("type", "redacted_thinking");
                o.put("data", data.unwrap_or_default());
            }),
            Part::Refusal(refusal) => self.write_text(list, &said(refusal)),
            Part::ToolCall(call) => self.write_call(list, call),
            Part::ToolResult(result) => self.write_result(list, result),
            Part::Raw {
                dialect: Dialect::Anthropic,
                json,
            } => list.raw(json),
            Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
                Some(text) => self.write_text(list, &said(&text)),
                None => self.losses.drop_field("messages[].content[]"),
            },
        }
    }

    fn write_text(&mut self, list: &mut Array<'_>, text: &Text) {
        let is_native = self.request.source == Dialect::Anthropic;
        list.object(|o| {
            o.put("type", "text");
            o.put("text", &text.text);
            o.raw_some(
                "cache_control",
                self.marks.next(text.cache_control.as_ref()),
            );
            if let Some(cited) = text.citations.as_ref().filter(|_| is_native) {
                let own: Vec<Raw> = citation::list(cited)
                    .iter()
                    .filter_map(|raw| citation::to_anthropic(raw))
                    .collect();
                o.put("citations", &own);
            }
            if is_native {
                o.extra(&text.extra);
            }
        });
    }

    fn write_call(&mut self, list: &mut Array<'_>, call: &ToolCall) {
        list.object(|o| {
            o.put("type", "tool_use");
            o.put("id", &call.id);
            o.put("name", &tool_name(&call.name, NameRule::Anthropic));
            match call.kind {
                ToolKind::Custom => o.object("input", |o| o.put(CUSTOM_INPUT, &call.arguments)),
                ToolKind::Function => {
                    let input = arguments::object(&call.arguments);
                    o.key("input").extend_from_slice(input.as_bytes());
                }
            }
            o.raw_some(
                "cache_control",
                self.marks.next(call.cache_control.as_ref()),
            );
            if self.request.source == Dialect::Anthropic {
                o.extra(&call.extra);
            }
        });
    }

    fn write_result(&mut self, list: &mut Array<'_>, result: &ToolResult) {
        let parts: Vec<&Part> = result
            .parts
            .iter()
            .filter(|part| !matches!(part, Part::Text(text) if text.text.trim().is_empty()))
            .collect();
        list.object(|o| {
            o.put("type", "tool_result");
            o.put("tool_use_id", &result.call_id);
            match parts.as_slice() {
                [] => {}
                [Part::Text(text)] if text.cache_control.is_none() => o.put("content", &text.text),
                parts => o.array("content", |list| {
                    for part in parts {
                        self.write_part(list, part);
                    }
                }),
            }
            if result.is_error {
                o.put("is_error", &true);
            }
            o.raw_some(
                "cache_control",
                self.marks.next(result.cache_control.as_ref()),
            );
        });
    }

    fn write_media(&mut self, list: &mut Array<'_>, media: &Media) {
        let source = match media_source(media, self.request.source) {
            Ok(source) => source,
            Err(error) => {
                self.refused.get_or_insert(error);
                return;
            }
        };
        if media
            .detail
            .as_deref()
            .is_some_and(|detail| detail != "auto")
        {
            self.losses
                .drop_field("messages[].content[].image_url.detail");
        }
        let is_image = media.kind == MediaKind::Image;
        list.object(|o| {
            o.put("type", if is_image { "image" } else { "document" });
            o.raw("source", &source);
            if !is_image {
                o.put_some("title", media.filename.as_ref());
            }
            o.raw_some(
                "cache_control",
                self.marks.next(media.cache_control.as_ref()),
            );
            if self.request.source == Dialect::Anthropic {
                o.extra(&media.extra);
            }
        });
    }
}

/// Writes an empty thinking block that carries another vendor's signature, for a client to keep.
pub(in crate::dialects::anthropic) fn write_signature_block(list: &mut Array<'_>, signed: &str) {
    list.object(|o| {
        o.put("type", "thinking");
        o.put("thinking", "");
        o.put(
            "signature",
            signature::for_client(Dialect::Anthropic, signed),
        );
    });
}

fn is_own(signed: &str) -> bool {
    signature::for_upstream(Dialect::Anthropic, signed).is_some()
}

fn said(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        ..Text::default()
    }
}

fn made_up(text: &str) -> Turn<'static> {
    Turn {
        role: Role::User,
        source: None,
        parts: vec![Cow::Owned(Part::text(text))],
    }
}

/// Marks system text that has to stand among the user's.
fn note(part: &mut Cow<'_, Part>) {
    if let Part::Text(text) = part.as_ref() {
        let mut text = text.clone();
        text.text = turns::operator_note(&text.text);
        *part = Cow::Owned(Part::Text(text));
    }
}

/// The `source` of an image or document block.
fn media_source(part: &Media, source: Dialect) -> Result<Raw, ErrorReply> {
    let refuse = |what: &str| {
        Err(
            ErrorReply::invalid(format!("Anthropic models cannot take {what}"))
                .with_param("messages"),
        )
    };
    let typed = |kind: &str, name: &str, value: &str| {
        Ok(raw_object(|o| {
            o.put("type", kind);
            o.put(name, value);
        }))
    };
    let base64 = |mime: &str, data: &str| {
        Ok(raw_object(|o| {
            o.put("type", "base64");
            o.put("media_type", mime);
            o.put("data", data);
        }))
    };
    let text = |text: &str| {
        Ok(raw_object(|o| {
            o.put("type", "text");
            o.put("media_type", "text/plain");
            o.put("data", text);
        }))
    };
    match (part.kind, &part.source) {
        (MediaKind::Audio, _) => refuse("audio"),
        (MediaKind::Video, _) => refuse("video"),
        (_, MediaSource::FileId(id)) if source == Dialect::Anthropic => {
            typed("file", "file_id", id)
        }
        (_, MediaSource::FileId(_)) => refuse("files stored with another provider"),
        (_, MediaSource::Url { url, .. }) if url.starts_with("https://") => {
            typed("url", "url", url)
        }
        (_, MediaSource::Url { .. }) => refuse(
            "media at this address; send it inline, or set `fetch_remote_media` to have it fetched",
        ),
        (MediaKind::Image, MediaSource::Base64 { mime, data }) => {
            let mime = media::true_mime(mime, data);
            if IMAGES.contains(&mime) {
                base64(mime, data)
            } else {
                refuse(&format!("images of type `{mime}`"))
            }
        }
        (MediaKind::Image, MediaSource::Text(_)) => refuse("images given as text"),
        (MediaKind::Document, MediaSource::Text(body)) => text(body),
        (MediaKind::Document, MediaSource::Base64 { mime, data }) => {
            if mime == "application/pdf" {
                return base64(mime, data);
            }
            match media::decode(data).and_then(|bytes| String::from_utf8(bytes).ok()) {
                Some(body) => text(&body),
                None => refuse(&format!("documents of type `{mime}`")),
            }
        }
    }
}
