//! Items, of a client's input and of an upstream's output, as messages and parts.

use serde_json::value::RawValue;

use crate::dialects::Dialect;
use crate::dialects::chat::{
    Media, MediaKind, MediaSource, Message, Part, Role, Thinking, Tool, ToolCall, ToolKind,
    ToolResult,
};
use crate::dialects::error::ReadError;
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::openai_responses::content::{self, kept};
use crate::dialects::openai_responses::held::{self, Held};
use crate::dialects::openai_responses::tools;

/// What separates a namespace from a tool's name where the dialect has no namespaces.
pub(super) const NAMESPACE: &str = "__";

/// Messages being put together out of items.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) messages: Vec<Message>,
    /// Tools that came in the middle of the conversation.
    pub(super) tools: Vec<Tool>,
    /// A signature for the call to come.
    next_signature: Option<String>,
}

impl Reading {
    /// Reads one item.
    pub(super) fn item(&mut self, raw: &RawValue) -> Result<(), ReadError> {
        let mut fields = Fields::parse_raw(raw)
            .map_err(|error| content::wrong("input", &format!("holds no item: {error}")))?;
        let kind: Option<String> = fields.take_as("type")?;
        match kind.as_deref() {
            None | Some("message") => self.message(fields),
            Some("reasoning") => self.reasoning(fields),
            Some("function_call") => self.call(fields, ToolKind::Function, "arguments"),
            Some("custom_tool_call") => self.call(fields, ToolKind::Custom, "input"),
            Some("local_shell_call" | "shell_call" | "apply_patch_call") => {
                let name = kind.as_deref().and_then(|kind| kind.strip_suffix("_call"));
                self.vendor_call(fields, name.unwrap_or_default())
            }
            Some(
                "function_call_output"
                | "custom_tool_call_output"
                | "local_shell_call_output"
                | "shell_call_output"
                | "apply_patch_call_output",
            ) => self.output(fields),
            Some("image_generation_call") if fields.raw("result").is_some() => {
                self.picture(fields, raw)
            }
            Some("additional_tools") => {
                if let Some(list) = fields.take("tools") {
                    self.tools.extend(tools::read(list)?);
                }
                Ok(())
            }
            Some(_) => {
                self.push(
                    Role::Assistant,
                    Part::Raw {
                        dialect: Dialect::OpenAiResponses,
                        json: raw.to_owned(),
                    },
                );
                Ok(())
            }
        }
    }

    /// Adds a part to the message that is being said, or begins one.
    fn push(&mut self, role: Role, part: Part) {
        match self.messages.last_mut() {
            Some(last) if last.role == role && matches!(role, Role::Assistant | Role::Tool) => {
                last.parts.push(part);
            }
            _ => self.messages.push(Message {
                role,
                parts: vec![part],
                extra: Extra::default(),
            }),
        }
    }

    fn message(&mut self, mut fields: Fields<'_>) -> Result<(), ReadError> {
        let role: Option<String> = fields.take_as("role")?;
        let role = match role.as_deref() {
            Some("assistant") => Role::Assistant,
            Some("system" | "developer") => Role::System,
            _ => Role::User,
        };
        let parts = match fields.take("content") {
            Some(raw) => content::read(raw)?,
            None => Vec::new(),
        };
        let extra = kept(fields);
        if role != Role::Assistant {
            self.messages.push(Message { role, parts, extra });
            return Ok(());
        }
        for mut part in parts {
            if let Part::Text(text) = &mut part {
                text.extra.0.extend(extra.0.iter().cloned());
            }
            self.push(role, part);
        }
        Ok(())
    }

    fn reasoning(&mut self, mut fields: Fields<'_>) -> Result<(), ReadError> {
        let held = fields
            .take_as::<String>("encrypted_content")?
            .filter(|content| !content.is_empty())
            .map(|content| held::read(&content));
        let mut text = texts(fields.take("summary"))?;
        if text.is_empty() {
            text = texts(fields.take("content"))?;
        }
        let signature = match held {
            Some(Held::Last(signature)) => {
                self.sign_last(signature);
                return Ok(());
            }
            Some(Held::Next(signature)) => {
                self.next_signature = Some(signature);
                return Ok(());
            }
            Some(Held::Redacted(data)) => {
                self.push(Role::Assistant, Part::RedactedThinking { data });
                return Ok(());
            }
            Some(Held::Own(signature)) => Some(signature),
            None => None,
        };
        if text.is_empty() && signature.is_none() {
            return Ok(());
        }
        let thinking = Thinking {
            text,
            signature,
            extra: Extra::default(),
        };
        self.push(Role::Assistant, Part::Thinking(thinking));
        Ok(())
    }

    fn sign_last(&mut self, signature: String) {
        let Some(last) = self.messages.last_mut() else {
            return;
        };
        for part in last.parts.iter_mut().rev() {
            match part {
                Part::Text(text) => text.signature = Some(signature),
                Part::ToolCall(call) => call.signature = Some(signature),
                _ => continue,
            }
            return;
        }
    }

    fn call(
        &mut self,
        mut fields: Fields<'_>,
        kind: ToolKind,
        member: &str,
    ) -> Result<(), ReadError> {
        let name: String = fields.take_as("name")?.unwrap_or_default();
        let namespace: Option<String> = fields.take_as("namespace")?;
        let id: Option<String> = fields.take_as("call_id")?;
        let own_id: Option<String> = fields.take_as("id")?;
        let arguments = match fields.take(member) {
            Some(raw) => text_or_json(raw),
            None => String::new(),
        };
        let call = ToolCall {
            id: id.or(own_id).unwrap_or_default(),
            name: match namespace {
                Some(namespace) => format!("{namespace}{NAMESPACE}{name}"),
                None => name,
            },
            arguments,
            kind,
            signature: self.next_signature.take(),
            cache_control: None,
            extra: Extra::default(),
        };
        self.push(Role::Assistant, Part::ToolCall(call));
        Ok(())
    }

    /// A call to a tool that has an item type of its own: the action is its arguments.
    fn vendor_call(&mut self, mut fields: Fields<'_>, name: &str) -> Result<(), ReadError> {
        let id: Option<String> = fields.take_as("call_id")?;
        let own_id: Option<String> = fields.take_as("id")?;
        let action = fields.take("action").or_else(|| fields.take("operation"));
        let arguments = action.map_or("{}", RawValue::get);
        let mut call = ToolCall::function(id.or(own_id).unwrap_or_default(), name, arguments);
        call.signature = self.next_signature.take();
        self.push(Role::Assistant, Part::ToolCall(call));
        Ok(())
    }

    fn output(&mut self, mut fields: Fields<'_>) -> Result<(), ReadError> {
        let id: Option<String> = fields.take_as("call_id")?;
        let own_id: Option<String> = fields.take_as("id")?;
        let parts = match fields.take("output") {
            Some(raw) => content::read(raw)?,
            None => Vec::new(),
        };
        let result = ToolResult {
            call_id: id.or(own_id).unwrap_or_default(),
            name: fields.take_as("name")?,
            parts,
            is_error: false,
            cache_control: None,
            extra: Extra::default(),
        };
        self.push(Role::Tool, Part::ToolResult(result));
        Ok(())
    }

    fn picture(&mut self, mut fields: Fields<'_>, raw: &RawValue) -> Result<(), ReadError> {
        let data: Option<String> = fields.take_as("result")?;
        let format: Option<String> = fields.take_as("output_format")?;
        let part = match data {
            Some(data) => Part::Media(Media {
                kind: MediaKind::Image,
                source: MediaSource::Base64 {
                    mime: format!("image/{}", format.as_deref().unwrap_or("png")),
                    data,
                },
                detail: None,
                filename: None,
                cache_control: None,
                extra: Extra::default(),
            }),
            None => Part::Raw {
                dialect: Dialect::OpenAiResponses,
                json: raw.to_owned(),
            },
        };
        self.push(Role::Assistant, part);
        Ok(())
    }
}

/// The texts of a list of summaries or reasoning parts, a blank line between.
fn texts(raw: Option<&RawValue>) -> Result<String, ReadError> {
    let Some(raw) = raw else {
        return Ok(String::new());
    };
    let texts: Vec<String> = content::read(raw)?
        .into_iter()
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.text),
            _ => None,
        })
        .collect();
    Ok(texts.join("\n\n"))
}

/// A JSON string's text; other JSON as it is written.
fn text_or_json(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// Reads `input`: a text, or items.
pub(super) fn read(raw: &RawValue) -> Result<Reading, ReadError> {
    let mut reading = Reading::default();
    if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
        reading.push(Role::User, Part::text(text));
        return Ok(reading);
    }
    let items: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|error| content::wrong("input", &error))?;
    for item in items {
        reading.item(item)?;
    }
    Ok(reading)
}
