//! `contents` and `systemInstruction` for an upstream, in the order Gemini insists on.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::dialects::chat::{
    ChatRequest, Media, MediaSource, Part, Role, ToolCall, ToolKind, ToolResult,
};
use crate::dialects::error::ErrorReply;
use crate::dialects::fields::Extra;
use crate::dialects::gemini::signature::NO_SIGNATURE;
use crate::dialects::gemini::{has_call_ids, signer};
use crate::dialects::ids::{IdRule, NameRule, tool_name};
use crate::dialects::json::{Array, Object, array};
use crate::dialects::loss::Losses;
use crate::dialects::media::{mime_of_filename, needs_bytes, true_mime};
use crate::dialects::restore::CUSTOM_INPUT;
use crate::dialects::signature::for_upstream;
use crate::dialects::turns::{Turn, arrange, merge, names_by_call, operator_note};
use crate::dialects::{Dialect, Target, arguments, flatten, media};

/// Writes `systemInstruction` and `contents`. `note` is one more system text.
pub(super) fn write(
    body: &mut Object<'_>,
    request: &ChatRequest,
    target: &Target<'_>,
    note: Option<&str>,
    losses: &mut Losses,
) -> Result<(), ErrorReply> {
    let mut system = system_texts(request, losses);
    system.extend(note);
    let knows_system = !target.model.starts_with("gemma");
    if knows_system && !system.is_empty() {
        body.object("systemInstruction", |o| {
            o.array("parts", |parts| {
                for text in system.drain(..) {
                    parts.object(|o| {
                        o.put("text", text);
                    });
                }
            });
        });
    }
    let turns = merge(users_only(arrange(&request.messages, IdRule::Any)));
    let mut writer = Writer {
        target,
        names: names_by_call(&turns),
        is_gemini: request.source == Dialect::Gemini,
        losses,
    };
    body.array("contents", |contents| {
        if !system.is_empty() {
            user_text(contents, &system.join("\n\n"));
        }
        let mut open: Option<(bool, Vec<u8>)> = None;
        for turn in &turns {
            let mut parts = Vec::new();
            array(&mut parts, |list| writer.turn(turn, list))?;
            if parts.len() <= 2 {
                continue;
            }
            let is_model = turn.role == Role::Assistant;
            match &mut open {
                // Nothing came of the turn between two of one role.
                Some((role, before)) if *role == is_model => {
                    before.pop();
                    before.push(b',');
                    before.extend(parts.into_iter().skip(1));
                }
                _ => {
                    close(contents, open.take());
                    open = Some((is_model, parts));
                }
            }
        }
        close(contents, open);
        if contents.is_empty() {
            user_text(contents, " ");
        }
        Ok(())
    })
}

fn close(contents: &mut Array<'_>, content: Option<(bool, Vec<u8>)>) {
    let Some((is_model, parts)) = content else {
        return;
    };
    if is_model && contents.is_empty() {
        user_text(contents, " ");
    }
    contents.object(|o| {
        o.put("role", if is_model { "model" } else { "user" });
        o.key("parts").extend_from_slice(&parts);
    });
}

fn user_text(contents: &mut Array<'_>, text: &str) {
    contents.object(|o| {
        o.put("role", "user");
        o.array("parts", |parts| parts.object(|o| o.put("text", text)));
    });
}

fn system_texts<'r>(request: &'r ChatRequest, losses: &mut Losses) -> Vec<&'r str> {
    let mut texts = Vec::with_capacity(request.system.len());
    for part in &request.system {
        match part {
            Part::Text(text) if text.text.is_empty() || text.is_attribution() => {}
            Part::Text(text) => texts.push(text.text.as_str()),
            _ => losses.drop_field("system[]"),
        }
    }
    texts
}

/// System turns in the middle as user turns: Gemini knows only two roles.
fn users_only(mut turns: Vec<Turn<'_>>) -> Vec<Turn<'_>> {
    for turn in &mut turns {
        if turn.role == Role::System {
            turn.role = Role::User;
            for part in &mut turn.parts {
                if let Part::Text(text) = part.as_ref() {
                    *part = Cow::Owned(Part::text(operator_note(&text.text)));
                }
            }
        }
    }
    turns
}

struct Writer<'a, 'l> {
    target: &'a Target<'a>,
    names: HashMap<&'a str, &'a str>,
    is_gemini: bool,
    losses: &'l mut Losses,
}

/// What a turn's parts came to.
#[derive(Default)]
struct Written {
    text: bool,
    media: bool,
    calls: bool,
}

impl Writer<'_, '_> {
    fn turn(&mut self, turn: &Turn<'_>, parts: &mut Array<'_>) -> Result<(), ErrorReply> {
        let mut written = Written::default();
        let mut beside = Vec::new();
        for part in &turn.parts {
            self.part(part, parts, &mut written, &mut beside)?;
        }
        for media in beside {
            self.media(media, parts)?;
        }
        if written.media && !written.text && turn.role == Role::User {
            parts.object(|o| {
                o.put("text", " ");
            });
        }
        Ok(())
    }

    fn part<'p>(
        &mut self,
        part: &'p Part,
        parts: &mut Array<'_>,
        written: &mut Written,
        beside: &mut Vec<&'p Media>,
    ) -> Result<(), ErrorReply> {
        match part {
            Part::Text(text) => {
                let signature = text.signature.as_deref().and_then(|s| self.own(s));
                if !text.text.is_empty() || signature.is_some() {
                    written.text |= !text.text.is_empty();
                    parts.object(|o| {
                        o.put("text", &text.text);
                        o.put_some("thoughtSignature", signature.as_ref());
                        self.extra(o, &text.extra);
                    });
                }
            }
            Part::Refusal(text) if !text.is_empty() => {
                written.text = true;
                parts.object(|o| {
                    o.put("text", text);
                });
            }
            Part::Refusal(_) => {}
            Part::Thinking(thinking) => {
                match thinking.signature.as_deref().and_then(|s| self.own(s)) {
                    Some(signature) => parts.object(|o| {
                        o.put("text", &thinking.text);
                        o.put("thought", &true);
                        o.put("thoughtSignature", signature);
                    }),
                    None => self.losses.drop_field("messages[].thinking"),
                }
            }
            Part::RedactedThinking { .. } => self.losses.drop_field("messages[].thinking"),
            Part::ToolCall(call) => {
                self.call(call, !written.calls, parts);
                written.calls = true;
            }
            Part::ToolResult(result) => {
                written.text = true;
                self.result(result, parts, beside);
            }
            Part::Media(media) => {
                written.media = true;
                self.media(media, parts)?;
            }
            Part::Raw {
                dialect: Dialect::Gemini,
                json,
            } => {
                written.text = true;
                parts.raw(json);
            }
            Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
                Some(text) => {
                    written.text = true;
                    parts.object(|o| o.put("text", &text));
                }
                None => self.losses.drop_field("messages[].content[]"),
            },
        }
        Ok(())
    }

    fn call(&mut self, call: &ToolCall, is_first: bool, parts: &mut Array<'_>) {
        let own = call.signature.as_deref().and_then(|s| self.own(s));
        // Of parallel calls only the first bears a signature.
        let signature = own.or((is_first && self.signs()).then_some(NO_SIGNATURE));
        let arguments = match call.kind {
            ToolKind::Function => arguments::object(&call.arguments),
            ToolKind::Custom => Cow::Owned(arguments::wrapped(CUSTOM_INPUT, &call.arguments)),
        };
        parts.object(|o| {
            o.object("functionCall", |o| {
                o.put("name", &tool_name(&call.name, NameRule::Gemini));
                if has_call_ids(self.target) {
                    o.put("id", &call.id);
                }
                o.key("args").extend_from_slice(arguments.as_bytes());
            });
            o.put_some("thoughtSignature", signature.as_ref());
        });
    }

    /// Whether this model refuses calls without a signature: Gemini from 3 on, and no Claude that
    /// is served in Gemini's dialect.
    fn signs(&self) -> bool {
        self.target.facts.call_ids && self.target.model.contains("gemini")
    }

    fn result<'p>(
        &mut self,
        result: &'p ToolResult,
        parts: &mut Array<'_>,
        beside: &mut Vec<&'p Media>,
    ) {
        let mut texts: Vec<&str> = Vec::new();
        // A response has room for bytes, and for nothing beside them (`FunctionResponsePart` in
        // Google's reference, read 2026-11-26).
        let mut media: Vec<(&str, &str, &Extra)> = Vec::new();
        let (call_ids, is_gemini) = (has_call_ids(self.target), self.is_gemini);
        for part in &result.parts {
            match part {
                Part::Text(text) => texts.push(&text.text),
                Part::Media(item) => match &item.source {
                    MediaSource::Base64 { mime, data } if call_ids => {
                        media.push((mime, data, &item.extra));
                    }
                    _ => beside.push(item),
                },
                _ => self.losses.drop_field("messages[].tool_result[]"),
            }
        }
        let text = match texts.as_slice() {
            [only] => Cow::Borrowed(*only),
            several => Cow::Owned(several.join("\n")),
        };
        let call_name = self.names.get(result.call_id.as_str()).copied();
        let name = call_name.or(result.name.as_deref()).unwrap_or("unknown");
        parts.object(|o| {
            o.object("functionResponse", |o| {
                o.put("name", &tool_name(name, NameRule::Gemini));
                if call_ids {
                    o.put("id", &result.call_id);
                }
                response(o, &text, result.is_error);
                if is_gemini {
                    o.extra(&result.extra);
                }
                if !media.is_empty() {
                    o.array("parts", |parts| {
                        for (mime, data, extra) in media {
                            parts.object(|o| {
                                inline_data(o, mime, data);
                                if is_gemini {
                                    o.extra(extra);
                                }
                            });
                        }
                    });
                }
            });
        });
    }

    fn media(&mut self, media: &Media, parts: &mut Array<'_>) -> Result<(), ErrorReply> {
        match &media.source {
            MediaSource::Base64 { mime, data } => parts.object(|o| {
                inline_data(o, mime, data);
                self.resolution(o, media);
            }),
            MediaSource::Url { url, .. } if needs_bytes(Dialect::Gemini, media) => {
                return Err(ErrorReply::invalid(format!(
                    "{} cannot read {}: send it inline as base64, or set `fetch_remote_media = true`",
                    self.target.model,
                    shown(url)
                ))
                .with_param("messages"));
            }
            MediaSource::Url { url, mime } => parts.object(|o| {
                let guessed = mime_of_filename(url.split(['?', '#']).next().unwrap_or(url));
                o.object("fileData", |o| {
                    o.put_some("mimeType", mime.as_deref().or(guessed).as_ref());
                    o.put("fileUri", url);
                });
                self.resolution(o, media);
            }),
            MediaSource::Text(text) => parts.object(|o| {
                o.put("text", &media::titled(text, media.filename.as_deref()));
            }),
            MediaSource::FileId(_) => {
                return Err(ErrorReply::invalid(format!(
                    "{} cannot read a file stored at another vendor: send it inline as base64",
                    self.target.model
                ))
                .with_param("messages"));
            }
        }
        Ok(())
    }

    /// How finely to look: per part from Gemini 3 on.
    fn resolution(&mut self, o: &mut Object<'_>, media: &Media) {
        if self.is_gemini {
            o.extra(&media.extra);
            return;
        }
        let level = match media.detail.as_deref() {
            Some("low") => "MEDIA_RESOLUTION_LOW",
            Some("high") => "MEDIA_RESOLUTION_HIGH",
            _ => return,
        };
        if self.target.facts.call_ids {
            o.object("mediaResolution", |o| {
                o.put("level", level);
            });
        } else {
            self.losses.drop_field("messages[].content[].detail");
        }
    }

    /// The bare signature, if the model itself made it.
    fn own<'s>(&self, signature: &'s str) -> Option<&'s str> {
        for_upstream(signer(self.target), signature)
    }

    fn extra(&self, o: &mut Object<'_>, extra: &Extra) {
        if self.is_gemini {
            o.extra(extra);
        }
    }
}

fn inline_data(o: &mut Object<'_>, mime: &str, data: &str) {
    o.object("inlineData", |o| {
        o.put("mimeType", &gemini_mime(true_mime(mime, data)));
        o.put("data", data);
    });
}

/// A tool's answer as the object Gemini wants: an object as it is, anything else under `result`.
fn response(o: &mut Object<'_>, text: &str, is_error: bool) {
    let trimmed = text.trim();
    if is_error {
        o.object("response", |o| {
            o.put("error", text);
        });
    } else if trimmed.starts_with('{')
        && serde_json::from_str::<&serde_json::value::RawValue>(trimmed).is_ok()
    {
        o.key("response").extend_from_slice(trimmed.as_bytes());
    } else {
        o.object("response", |o| {
            o.put("result", text);
        });
    }
}

/// Gemini's own word for a type.
fn gemini_mime(mime: &str) -> &str {
    match mime {
        "audio/mpeg" => "audio/mp3",
        "audio/x-wav" | "audio/wave" => "audio/wav",
        _ => mime,
    }
}

/// The beginning of a URL, without what may be secret in its query.
fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    plain.chars().take(120).collect()
}
