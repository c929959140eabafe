//! Parts of a message and of a tool's output.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::dialects::Dialect;
use crate::dialects::chat::{Media, MediaKind, MediaSource, Part, Text};
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::fields::{Extra, FieldError, Fields};
use crate::dialects::json::{Array, raw_object};
use crate::dialects::loss::Losses;
use crate::dialects::{citation, flatten, media};

/// A text, or parts; read in one pass.
pub(super) enum Content<'a> {
    Parts(Vec<Fields<'a>>),
    Text(String),
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of content parts")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Content::Parts(Vec::new()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Reads a message's `content` or an output. JSON that is neither text nor parts is text.
pub(super) fn read(raw: &RawValue) -> Result<Vec<Part>, ReadError> {
    let parts = match serde_json::from_str(raw.get()) {
        Ok(Content::Text(text)) => return Ok(vec![Part::text(text)]),
        Ok(Content::Parts(parts)) => parts,
        Err(_) => return Ok(vec![Part::text(raw.get())]),
    };
    let mut read = Vec::with_capacity(parts.len());
    for part in parts {
        read.push(part_of(part)?);
    }
    Ok(read)
}

fn part_of(mut part: Fields<'_>) -> Result<Part, ReadError> {
    let kind: String = part.take_as("type")?.unwrap_or_default();
    match kind.as_str() {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
            let text = part.take_as("text")?.unwrap_or_default();
            let citations = part
                .take("annotations")
                .filter(|list| !matches!(list.get(), "[]" | "null"))
                .map(nested_annotations);
            part.take("logprobs");
            Ok(Part::Text(Text {
                text,
                citations,
                extra: part.into_extra(),
                ..Text::default()
            }))
        }
        "refusal" => Ok(Part::Refusal(part.take_as("refusal")?.unwrap_or_default())),
        "input_image" => image(part),
        "input_file" => file(part),
        "input_audio" => audio(part),
        _ => {
            let mut members = part.into_extra();
            members
                .0
                .insert(0, ("type".to_owned(), to_raw_value(&kind)?));
            Ok(Part::Raw {
                dialect: Dialect::OpenAiResponses,
                json: to_raw_value(&members)?,
            })
        }
    }
}

/// Annotations are flat here and nested in Chat, whose shape is the canonical one.
fn nested_annotations(raw: &RawValue) -> Box<RawValue> {
    let list: Vec<Box<RawValue>> = citation::list(raw).iter().map(|one| nested(one)).collect();
    to_raw_value(&list).unwrap_or_else(|_| raw.to_owned())
}

/// One annotation in Chat's shape; those that are no `url_citation` pass.
pub(super) fn nested(raw: &RawValue) -> Box<RawValue> {
    let Ok(mut fields) = Fields::parse_raw(raw) else {
        return raw.to_owned();
    };
    let is_url = fields
        .raw("type")
        .is_some_and(|kind| kind.get() == "\"url_citation\"");
    if !is_url || fields.raw("url_citation").is_some() {
        return raw.to_owned();
    }
    fields.take("type");
    raw_object(|o| {
        o.put("type", "url_citation");
        o.object("url_citation", |o| o.extra(&fields.into_extra()));
    })
}

/// One annotation in the flat shape; `None` if it names no URL.
pub(super) fn flat(raw: &RawValue, place: Option<(usize, usize)>) -> Option<Box<RawValue>> {
    let annotation = citation::to_openai(raw, place)?;
    let mut fields = Fields::parse_raw(&annotation).ok()?;
    let Some(inner) = fields.take("url_citation") else {
        return Some(annotation);
    };
    let inner = Fields::parse_raw(inner).ok()?.into_extra();
    Some(raw_object(|o| {
        o.put("type", "url_citation");
        o.extra(&inner);
    }))
}

fn image(mut part: Fields<'_>) -> Result<Part, ReadError> {
    let url: Option<String> = part.take_as("image_url")?;
    let file: Option<String> = part.take_as("file_id")?;
    let source = match (url, file) {
        (Some(url), _) => media::source(&url).map_err(|error| wrong("image_url", &error))?,
        (None, Some(id)) => MediaSource::FileId(id),
        (None, None) => return Err(wrong("image_url", &"is missing")),
    };
    let detail = part.take_as::<String>("detail")?;
    Ok(Part::Media(Media {
        kind: MediaKind::Image,
        source,
        detail,
        filename: None,
        cache_control: None,
        extra: part.into_extra(),
    }))
}

fn file(mut part: Fields<'_>) -> Result<Part, ReadError> {
    let filename: Option<String> = part.take_as("filename")?;
    let data: Option<String> = part.take_as("file_data")?;
    let url: Option<String> = part.take_as("file_url")?;
    let id: Option<String> = part.take_as("file_id")?;
    let by_name = filename.as_deref().and_then(media::mime_of_filename);
    let source = match (data, url, id) {
        (Some(data), _, _) => match media::data_url(&data) {
            Some(parsed) => {
                let parsed = parsed.map_err(|error| wrong("file_data", &error))?;
                MediaSource::Base64 {
                    mime: parsed.mime,
                    data: parsed.data.into_owned(),
                }
            }
            None => MediaSource::Base64 {
                mime: by_name.unwrap_or("application/pdf").to_owned(),
                data: media::standard_base64(&data)
                    .ok_or_else(|| wrong("file_data", &"is not base64"))?
                    .into_owned(),
            },
        },
        (None, Some(url), _) => MediaSource::Url {
            mime: by_name.map(str::to_owned),
            url,
        },
        (None, None, Some(id)) => MediaSource::FileId(id),
        (None, None, None) => return Err(wrong("file_data", &"is missing")),
    };
    let kind = match &source {
        MediaSource::Base64 { mime, .. } => media::kind(mime),
        _ => by_name.map_or(MediaKind::Document, media::kind),
    };
    Ok(Part::Media(Media {
        kind,
        source,
        detail: None,
        filename,
        cache_control: None,
        extra: part.into_extra(),
    }))
}

fn audio(mut part: Fields<'_>) -> Result<Part, ReadError> {
    #[derive(Deserialize)]
    struct Audio {
        data: String,
        #[serde(default)]
        format: Option<String>,
    }
    let audio: Audio = part
        .take_as("input_audio")?
        .ok_or_else(|| wrong("input_audio", &"is missing"))?;
    let data = media::standard_base64(&audio.data)
        .ok_or_else(|| wrong("input_audio.data", &"is not base64"))?
        .into_owned();
    let mime = media::audio_mime(audio.format.as_deref().unwrap_or("wav"));
    Ok(Part::Media(Media {
        kind: MediaKind::Audio,
        source: MediaSource::Base64 { mime, data },
        detail: None,
        filename: None,
        cache_control: None,
        extra: part.into_extra(),
    }))
}

pub(super) fn wrong(name: &str, reason: &dyn fmt::Display) -> ReadError {
    ReadError::Field(FieldError {
        name: name.to_owned(),
        reason: reason.to_string(),
    })
}

/// Writes one part of a user's message or a tool's output for an upstream.
pub(super) fn write(
    part: &Part,
    parts: &mut Array<'_>,
    losses: &mut Losses,
) -> Result<(), ErrorReply> {
    match part {
        Part::Text(text) => parts.object(|o| {
            o.put("type", "input_text");
            o.put("text", &text.text);
        }),
        Part::Refusal(text) => parts.object(|o| {
            o.put("type", "input_text");
            o.put("text", text);
        }),
        Part::Media(media) => write_media(media, parts)?,
        Part::Raw {
            dialect: Dialect::OpenAiResponses,
            json,
        } => parts.raw(json),
        Part::Raw { dialect, json } => match flatten::block(*dialect, json) {
            Some(text) => parts.object(|o| {
                o.put("type", "input_text");
                o.put("text", &text);
            }),
            None => losses.drop_field("messages[].content[]"),
        },
        Part::RedactedThinking { .. }
        | Part::Thinking(_)
        | Part::ToolCall(_)
        | Part::ToolResult(_) => losses.drop_field("messages[].content[]"),
    }
    Ok(())
}

fn write_media(media: &Media, parts: &mut Array<'_>) -> Result<(), ErrorReply> {
    let url = match &media.source {
        MediaSource::Base64 { mime, data } => Some(media::to_data_url(mime, data)),
        MediaSource::Url { url, .. } => Some(url.clone()),
        MediaSource::FileId(_) => None,
        MediaSource::Text(text) => {
            parts.object(|o| {
                o.put("type", "input_text");
                o.put("text", &media::titled(text, media.filename.as_deref()));
            });
            return Ok(());
        }
    };
    let file_id = match &media.source {
        MediaSource::FileId(id) => Some(id),
        _ => None,
    };
    match (media.kind, &media.source) {
        (MediaKind::Image, _) => parts.object(|o| {
            o.put("type", "input_image");
            o.put_some("image_url", url.as_ref());
            o.put_some("file_id", file_id);
            o.put("detail", media.detail.as_deref().unwrap_or("auto"));
        }),
        (MediaKind::Document, source) => parts.object(|o| {
            o.put("type", "input_file");
            match source {
                MediaSource::Url { url, .. } => o.put("file_url", url),
                MediaSource::FileId(id) => o.put("file_id", id),
                MediaSource::Base64 { .. } | MediaSource::Text(_) => {
                    let name = media.filename.as_deref().unwrap_or("document.pdf");
                    o.put("filename", name);
                    o.put_some("file_data", url.as_ref());
                }
            }
        }),
        (MediaKind::Audio, MediaSource::Base64 { mime, data }) => {
            let Some(format) = media::audio_format(mime) else {
                return Err(refused(&format!("sound of type {mime}")));
            };
            parts.object(|o| {
                o.put("type", "input_audio");
                o.object("input_audio", |o| {
                    o.put("data", data);
                    o.put("format", format);
                });
            });
        }
        (MediaKind::Audio, _) => return Err(refused("sound by reference")),
        (MediaKind::Video, _) => return Err(refused("film")),
    }
    Ok(())
}

fn refused(what: &str) -> ErrorReply {
    ErrorReply::invalid(format!("this model takes no {what}")).with_param("messages")
}

/// Members of a message that other dialects do not know and OpenAI wants back (`phase`).
pub(super) fn kept(fields: Fields<'_>) -> Extra {
    let mut extra = fields.into_extra();
    extra.0.retain(|(name, _)| name == "phase");
    extra
}
