//! Writes the conversation: system prompt and messages, in the order OpenAI insists on.

use std::borrow::Cow;

use crate::dialects::Dialect;
use crate::dialects::chat::{
    ChatRequest, Media, MediaKind, Message, Part, Role, Text, ToolCall, ToolKind, ToolResult,
};
use crate::dialects::error::ErrorReply;
use crate::dialects::flatten;
use crate::dialects::ids::{IdRule, NameRule, tool_name};
use crate::dialects::json::{Array, Object, raw_object};
use crate::dialects::loss::Losses;
use crate::dialects::models::Facts;
use crate::dialects::openai_chat::content::{self, PartRules};
use crate::dialects::openai_chat::reasoning;
use crate::dialects::openai_chat::vendor::{Replay, Vendor};
use crate::dialects::restore::CUSTOM_INPUT;
use crate::dialects::turns::{self, Turn};

/// Stand where a tool result's media were, for vendors whose tool messages are text.
const IMAGE_BELOW: &str = "(image attached below)";
const FILE_BELOW: &str = "(file attached below)";

/// Writes `messages` of one request.
pub(super) struct History<'a> {
    pub(super) request: &'a ChatRequest,
    pub(super) vendor: Vendor,
    pub(super) facts: &'a Facts,
    pub(super) losses: &'a mut Losses,
    /// Pictures of tool results that wait for the next user message.
    pub(super) moved: Vec<Media>,
}

impl History<'_> {
    /// Writes all messages.
    pub(super) fn write(&mut self, list: &mut Array<'_>) -> Result<(), ErrorReply> {
        let request = self.request;
        self.write_system(list);
        let mut turns = turns::arrange(&request.messages, IdRule::Any);
        if self.vendor.merges {
            turns = join_neighbours(turns);
        }
        let last = turns.len().saturating_sub(1);
        for (at, turn) in turns.iter().enumerate() {
            if !self.moved.is_empty() && !matches!(turn.role, Role::Tool | Role::User) {
                self.write_user(&[], None, list)?;
            }
            match turn.role {
                Role::Assistant => self.write_assistant(turn, at == last, list),
                Role::System => self.write_middle_system(turn, list),
                Role::Tool => {
                    for part in &turn.parts {
                        if let Part::ToolResult(result) = part.as_ref() {
                            self.write_result(result, turn.source, list);
                        }
                    }
                }
                Role::User => self.write_user(&turn.parts, turn.source, list)?,
            }
        }
        if !self.moved.is_empty() {
            self.write_user(&[], None, list)?;
        }
        Ok(())
    }

    /// `true` if the client speaks this dialect: then nothing needs to change its shape.
    fn is_native(&self) -> bool {
        self.request.source == Dialect::OpenAiChat
    }

    fn rules(&self) -> PartRules {
        PartRules {
            cache_control: self.vendor.cache_control || self.is_native(),
            extra: !self.vendor.is_strict || self.is_native(),
        }
    }

    fn write_system(&mut self, list: &mut Array<'_>) {
        let texts: Vec<_> = self
            .request
            .system
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) if !text.is_attribution() => Some(text),
                _ => None,
            })
            .collect();
        let has_marks = texts.iter().any(|text| text.cache_control.is_some());
        if self.is_native() {
            for text in texts {
                list.object(|o| {
                    o.put("role", "system");
                    if text.cache_control.is_some() || !text.extra.is_empty() {
                        o.array("content", |a| {
                            a.object(|o| content::write_text(o, text, self.rules()));
                        });
                    } else {
                        o.put("content", &text.text);
                    }
                });
            }
        } else if has_marks && self.vendor.cache_control {
            list.object(|o| {
                o.put("role", "system");
                o.array("content", |a| {
                    for text in texts {
                        a.object(|o| content::write_text(o, text, self.rules()));
                    }
                });
            });
        } else if !texts.is_empty() {
            let joined: Vec<&str> = texts.iter().map(|text| text.text.as_str()).collect();
            list.object(|o| {
                o.put("role", "system");
                o.put("content", &joined.join("\n\n"));
            });
        }
    }

    fn write_middle_system(&self, turn: &Turn<'_>, list: &mut Array<'_>) {
        let text = joined_text(&turn.parts, "\n\n");
        list.object(|o| {
            if self.facts.mid_system && !self.vendor.merges {
                o.put("role", "system");
                o.put("content", &text);
            } else {
                o.put("role", "user");
                o.put("content", &turns::operator_note(&text));
            }
            self.write_message_extra(o, turn.source);
        });
    }

    fn write_message_extra(&self, o: &mut Object<'_>, source: Option<&Message>) {
        if let Some(message) = source
            && self.rules().extra
        {
            o.extra(&message.extra);
        }
    }

    fn write_user(
        &mut self,
        parts: &[Cow<'_, Part>],
        source: Option<&Message>,
        list: &mut Array<'_>,
    ) -> Result<(), ErrorReply> {
        let rules = self.rules();
        let moved = std::mem::take(&mut self.moved);
        let mut refused = None;
        let texts_only = moved.is_empty() && self.are_plain_texts(parts);
        list.object(|o| {
            o.put("role", "user");
            if texts_only {
                o.put("content", &joined_text(parts, "\n"));
            } else {
                o.array("content", |a| {
                    for media in &moved {
                        self.write_media(a, media, rules, &mut refused);
                    }
                    for part in parts {
                        self.write_user_part(a, part, rules, &mut refused);
                    }
                    if a.is_empty() {
                        a.object(|o| content::write_text(o, &Text::default(), rules));
                    }
                });
            }
            self.write_message_extra(o, source);
        });
        refused.map_or(Ok(()), Err)
    }

    /// `true` if one string says it all.
    fn are_plain_texts(&self, parts: &[Cow<'_, Part>]) -> bool {
        let rules = self.rules();
        let all_plain = parts.iter().all(|part| match part.as_ref() {
            Part::Text(text) => {
                (text.cache_control.is_none() || !rules.cache_control)
                    && (text.extra.is_empty() || !rules.extra)
            }
            _ => false,
        });
        all_plain && !(self.is_native() && parts.len() > 1)
    }

    fn write_user_part(
        &mut self,
        a: &mut Array<'_>,
        part: &Part,
        rules: PartRules,
        refused: &mut Option<ErrorReply>,
    ) {
        match part {
            Part::Text(text) => a.object(|o| content::write_text(o, text, rules)),
            Part::Media(media) => self.write_media(a, media, rules, refused),
            Part::Raw {
                dialect: Dialect::OpenAiChat,
                json,
            } => a.raw(json),
            Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
                Some(text) => a.object(|o| {
                    o.put("type", "text");
                    o.put("text", &text);
                }),
                None => self.losses.drop_field("messages[].content[]"),
            },
            _ => {}
        }
    }

    fn write_media(
        &mut self,
        a: &mut Array<'_>,
        media: &Media,
        rules: PartRules,
        refused: &mut Option<ErrorReply>,
    ) {
        // A strict vendor's leftovers are named elsewhere, all of them.
        let unknown = content::OF_DOCUMENTS.iter().filter(|_| rules.extra);
        for name in unknown.filter(|name| media.extra.get(name).is_some()) {
            self.losses
                .drop_field(format!("messages[].content[].{name}"));
        }
        let mut lacking = None;
        let part = raw_object(|o| lacking = content::write_media(o, media, rules).err());
        match lacking {
            None => a.raw(&part),
            Some(what) => {
                *refused = Some(
                    ErrorReply::invalid(format!("this provider cannot take {what} in a message"))
                        .with_param("messages"),
                );
            }
        }
    }

    fn write_assistant(&mut self, turn: &Turn<'_>, is_last: bool, list: &mut Array<'_>) {
        let parts = || turn.parts.iter().map(Cow::as_ref);
        let calls: Vec<&ToolCall> = parts()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some(call),
                _ => None,
            })
            .collect();
        let refusal = parts().find_map(|part| match part {
            Part::Refusal(refusal) => Some(refusal),
            _ => None,
        });
        let text = self.assistant_text(turn);
        let thoughts = reasoning::plain(parts());
        let keeps_thoughts = self.is_native() || self.vendor.replay != Replay::Drop;
        if !keeps_thoughts
            && (thoughts.is_some() || turn.parts.iter().any(|part| reasoning::needs_detail(part)))
        {
            self.losses.drop_field("messages[].thinking");
        }
        if text.is_none() && calls.is_empty() && refusal.is_none() {
            let says = thoughts.is_some() && keeps_thoughts;
            if !says && turn.source.is_none_or(|message| message.extra.is_empty()) {
                return;
            }
        }
        list.object(|o| {
            o.put("role", "assistant");
            self.write_reasoning(o, turn, thoughts);
            match text {
                Some(Content::Text(text)) => o.put("content", &text),
                Some(Content::Parts) => o.array("content", |a| {
                    for part in parts() {
                        if let Part::Text(text) = part {
                            a.object(|o| content::write_text(o, text, self.rules()));
                        }
                    }
                }),
                None if calls.is_empty() && refusal.is_none() => o.put("content", ""),
                None => o.null("content"),
            }
            o.put_some("refusal", refusal);
            let mut signed = parts().filter_map(|part| match part {
                Part::Text(text) => text.signature.as_deref(),
                _ => None,
            });
            if let Some(signed) = signed.next_back().filter(|_| self.is_native()) {
                reasoning::write_google_signature(o, signed);
            }
            if !calls.is_empty() {
                o.array("tool_calls", |a| {
                    for call in calls {
                        a.object(|o| self.write_call(o, call));
                    }
                });
            } else if is_last && let Some(member) = self.vendor.prefill {
                o.put(member, &true);
            }
            self.write_message_extra(o, turn.source);
        });
    }

    fn assistant_text(&mut self, turn: &Turn<'_>) -> Option<Content> {
        let mut joined: Option<String> = None;
        let (mut count, mut is_plain) = (0, true);
        let mut follows_block = false;
        let rules = self.rules();
        for part in &turn.parts {
            match part.as_ref() {
                Part::Text(text) if text.text.is_empty() && text.signature.is_some() => {}
                Part::Text(text) => {
                    count += 1;
                    is_plain &= text.cache_control.is_none() || !rules.cache_control;
                    is_plain &= text.extra.is_empty() || !rules.extra;
                    let joined = joined.get_or_insert_default();
                    if std::mem::take(&mut follows_block) {
                        joined.push('\n');
                    }
                    joined.push_str(&text.text);
                }
                Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
                    Some(text) => {
                        let joined = joined.get_or_insert_default();
                        if !joined.is_empty() {
                            joined.push('\n');
                        }
                        joined.push_str(&text);
                        follows_block = true;
                    }
                    None => self.losses.drop_field("messages[].content[]"),
                },
                Part::Media(_) => self.losses.drop_field("messages[].content[]"),
                _ => {}
            }
        }
        if count > 0 && (!is_plain || (self.is_native() && count > 1)) {
            return Some(Content::Parts);
        }
        joined.map(Content::Text)
    }

    fn write_reasoning(&self, o: &mut Object<'_>, turn: &Turn<'_>, thoughts: Option<String>) {
        let has_details = turn.parts.iter().any(|part| reasoning::needs_detail(part));
        let replay = match self.vendor.replay {
            Replay::Drop if self.is_native() => Replay::Keep,
            replay => replay,
        };
        match (replay, thoughts) {
            (Replay::Drop, _) | (Replay::Keep | Replay::Details, None) => {}
            (Replay::Keep, Some(thoughts)) => o.put("reasoning_content", &thoughts),
            (Replay::Details, Some(thoughts)) => o.put("reasoning", &thoughts),
        }
        if has_details && (self.is_native() || replay == Replay::Details) {
            o.array("reasoning_details", |list| {
                let mut index = 0;
                for part in &turn.parts {
                    if matches!(part.as_ref(), Part::Thinking(_)) || reasoning::needs_detail(part) {
                        reasoning::write_detail(list, part, index);
                        index += 1;
                    }
                }
            });
        }
    }

    fn write_call(&self, o: &mut Object<'_>, call: &ToolCall) {
        o.put("id", &call.id);
        let name = tool_name(&call.name, NameRule::OpenAi);
        if call.kind == ToolKind::Custom && (self.is_native() || self.vendor.custom_tools) {
            o.put("type", "custom");
            o.object("custom", |o| {
                o.put("name", &name);
                o.put("input", &call.arguments);
            });
        } else {
            o.put("type", "function");
            o.object("function", |o| {
                o.put("name", &name);
                if call.kind == ToolKind::Custom {
                    let wrapped = raw_object(|o| o.put(CUSTOM_INPUT, &call.arguments));
                    o.put("arguments", wrapped.get());
                } else if call.arguments.is_empty() && !self.is_native() {
                    o.put("arguments", "{}");
                } else {
                    o.put("arguments", &call.arguments);
                }
            });
        }
        if self.is_native() || !self.vendor.is_strict {
            if let Some(signed) = &call.signature {
                reasoning::write_google_signature(o, signed);
            }
            o.extra(&call.extra);
        }
    }

    fn write_result(
        &mut self,
        result: &ToolResult,
        source: Option<&Message>,
        list: &mut Array<'_>,
    ) {
        let mut text = String::new();
        if result.is_error {
            text.push_str("Error: ");
        }
        let mut is_first = true;
        for part in &result.parts {
            let piece: Cow<'_, str> = match part {
                Part::Text(part) => Cow::Borrowed(&part.text),
                Part::Media(media) => {
                    self.moved.push(media.clone());
                    Cow::Borrowed(match media.kind {
                        MediaKind::Image => IMAGE_BELOW,
                        MediaKind::Audio | MediaKind::Document | MediaKind::Video => FILE_BELOW,
                    })
                }
                Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
                    Some(text) => Cow::Owned(text),
                    None => continue,
                },
                _ => continue,
            };
            if !is_first {
                text.push('\n');
            }
            is_first = false;
            text.push_str(&piece);
        }
        list.object(|o| {
            o.put("role", "tool");
            o.put("tool_call_id", &result.call_id);
            o.put("content", &text);
            self.write_message_extra(o, source);
        });
    }
}

/// How an assistant's text is written.
enum Content {
    /// As parts, because marks or several texts must survive.
    Parts,
    Text(String),
}

fn joined_text(parts: &[Cow<'_, Part>], between: &str) -> String {
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| match part.as_ref() {
            Part::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    texts.join(between)
}

/// Joins neighbours that are both the user's or both the assistant's; results stay where they are.
fn join_neighbours(turns: Vec<Turn<'_>>) -> Vec<Turn<'_>> {
    let mut joined: Vec<Turn<'_>> = Vec::with_capacity(turns.len());
    for mut turn in turns {
        match joined.last_mut() {
            Some(last) if last.role == turn.role && turn.role != Role::Tool => {
                last.parts.append(&mut turn.parts);
            }
            _ => joined.push(turn),
        }
    }
    joined
}
