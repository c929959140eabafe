//! Reads content blocks.

use serde_json::value::RawValue;

use crate::dialects::chat::{
    Media, MediaKind, MediaSource, Part, Text, Thinking, ToolCall, ToolResult,
};
use crate::dialects::fields::{FieldError, Fields};
use crate::dialects::{Dialect, media, signature};

/// Reads `content`: a string or blocks.
pub(in crate::dialects::anthropic) fn read_blocks(raw: &RawValue) -> Result<Vec<Part>, FieldError> {
    let json = raw.get();
    if json.starts_with('"') {
        return Ok(vec![Part::text(text(raw)?)]);
    }
    let blocks: Vec<&RawValue> = serde_json::from_str::<Option<_>>(json)
        .map_err(|error| FieldError::new("content", error.to_string()))?
        .unwrap_or_default();
    let mut parts = Vec::with_capacity(blocks.len());
    for (at, block) in blocks.into_iter().enumerate() {
        parts.push(read_block(block).map_err(|error| error.within(&format!("content[{at}]")))?);
    }
    adopt_signatures(&mut parts);
    Ok(parts)
}

fn text(raw: &RawValue) -> Result<String, FieldError> {
    serde_json::from_str(raw.get()).map_err(|error| FieldError::new("content", error.to_string()))
}

fn read_block(raw: &RawValue) -> Result<Part, FieldError> {
    let mut fields =
        Fields::parse_raw(raw).map_err(|error| FieldError::new("", error.to_string()))?;
    let kind = fields.take_as::<String>("type")?.unwrap_or_default();
    Ok(match kind.as_str() {
        "text" => Part::Text(Text {
            text: fields.take_as("text")?.unwrap_or_default(),
            cache_control: mark(&mut fields),
            citations: fields
                .take("citations")
                .filter(|raw| !matches!(raw.get(), "null" | "[]"))
                .map(ToOwned::to_owned),
            signature: None,
            extra: fields.into_extra(),
        }),
        "thinking" => {
            let signed: Option<String> = fields.take_as("signature")?;
            Part::Thinking(Thinking {
                text: fields.take_as("thinking")?.unwrap_or_default(),
                signature: signed
                    .filter(|signed| !signed.is_empty())
                    .map(|signed| from_wire(&signed)),
                extra: fields.into_extra(),
            })
        }
        "redacted_thinking" => Part::RedactedThinking {
            data: from_wire(&fields.take_as::<String>("data")?.unwrap_or_default()),
        },
        "tool_use" => {
            let id: Option<String> = fields.take_as("id")?;
            let name: Option<String> = fields.take_as("name")?;
            let input = fields.take("input").map_or("{}", RawValue::get);
            Part::ToolCall(ToolCall {
                cache_control: mark(&mut fields),
                extra: fields.into_extra(),
                ..ToolCall::function(id.unwrap_or_default(), name.unwrap_or_default(), input)
            })
        }
        "tool_result" => read_result(fields)?,
        "image" => read_media(fields, MediaKind::Image, raw)?,
        "document" => read_media(fields, MediaKind::Document, raw)?,
        _ => Part::Raw {
            dialect: Dialect::Anthropic,
            json: raw.to_owned(),
        },
    })
}

fn from_wire(signed: &str) -> String {
    signature::from_client(Dialect::Anthropic, signed).into_owned()
}

fn mark(fields: &mut Fields<'_>) -> Option<Box<RawValue>> {
    fields
        .take("cache_control")
        .filter(|raw| raw.get() != "null")
        .map(ToOwned::to_owned)
}

fn read_result(mut fields: Fields<'_>) -> Result<Part, FieldError> {
    let parts = match fields.take("content") {
        Some(content) => read_blocks(content)?,
        None => Vec::new(),
    };
    Ok(Part::ToolResult(ToolResult {
        call_id: fields.take_as("tool_use_id")?.unwrap_or_default(),
        name: None,
        parts,
        is_error: fields.take_as("is_error")?.unwrap_or(false),
        cache_control: mark(&mut fields),
        extra: fields.into_extra(),
    }))
}

/// Reads an image or document; sources that hold blocks of their own stay as they are.
fn read_media(mut fields: Fields<'_>, kind: MediaKind, raw: &RawValue) -> Result<Part, FieldError> {
    let missing = || FieldError::new("source", "is missing");
    let source = fields.take("source").ok_or_else(missing)?;
    let mut source =
        Fields::parse_raw(source).map_err(|error| FieldError::new("source", error.to_string()))?;
    let form = source.take_as::<String>("type")?.unwrap_or_default();
    let mut member = |name: &str| -> Result<String, FieldError> {
        source
            .take_as::<String>(name)
            .map_err(|error| error.within("source"))?
            .ok_or_else(|| FieldError::new(format!("source.{name}"), "is missing"))
    };
    let source = match form.as_str() {
        "base64" => {
            let data = member("data")?;
            let mime = member("media_type")?;
            let data = media::standard_base64(&data)
                .ok_or_else(|| FieldError::new("source.data", "is not base64"))?;
            MediaSource::Base64 {
                mime: media::true_mime(&mime, &data).to_owned(),
                data: data.into_owned(),
            }
        }
        "url" => MediaSource::Url {
            url: member("url")?,
            mime: None,
        },
        "file" => MediaSource::FileId(member("file_id")?),
        "text" => MediaSource::Text(member("data")?),
        _ => {
            return Ok(Part::Raw {
                dialect: Dialect::Anthropic,
                json: raw.to_owned(),
            });
        }
    };
    Ok(Part::Media(Media {
        kind,
        source,
        detail: None,
        filename: fields.take_as("title")?,
        cache_control: mark(&mut fields),
        extra: fields.into_extra(),
    }))
}

/// Gives signatures that Gemini made back to the part they were put in front of: the next call or
/// text, or the last text where none follows.
fn adopt_signatures(parts: &mut Vec<Part>) {
    let is_foreign = |part: &Part| match part {
        Part::Thinking(thinking) => {
            let made = thinking.signature.as_deref().and_then(signature::maker);
            matches!(made, Some((Dialect::Gemini, _)))
        }
        _ => false,
    };
    if !parts.iter().any(is_foreign) {
        return;
    }
    let mut adopted: Vec<Part> = Vec::with_capacity(parts.len());
    let mut held: Option<String> = None;
    for mut part in parts.drain(..) {
        if is_foreign(&part) {
            give_to_last_text(held.take(), &mut adopted);
            if let Part::Thinking(thinking) = &mut part {
                held = thinking.signature.take();
                if thinking.text.is_empty() {
                    continue;
                }
            }
        } else {
            match &mut part {
                Part::ToolCall(call) => call.signature = held.take().or(call.signature.take()),
                Part::Text(text) => text.signature = held.take().or(text.signature.take()),
                _ => {}
            }
        }
        adopted.push(part);
    }
    give_to_last_text(held, &mut adopted);
    *parts = adopted;
}

fn give_to_last_text(held: Option<String>, parts: &mut [Part]) {
    let Some(held) = held else {
        return;
    };
    let text = parts.iter_mut().rev().find_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    if let Some(text) = text {
        text.signature = Some(held);
    }
}
