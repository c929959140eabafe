//! Content of messages: a string, or parts.

use serde_json::value::RawValue;

use crate::dialects::Dialect;
use crate::dialects::chat::{Media, MediaKind, MediaSource, Part, Text, Thinking};
use crate::dialects::fields::{FieldError, Fields};
use crate::dialects::json::Object;
use crate::dialects::{media, signature};

/// Reads `content`: absent, `null`, a string, one part or a list of parts.
pub(super) fn read(raw: Option<&RawValue>) -> Result<Vec<Part>, FieldError> {
    let Some(raw) = raw else {
        return Ok(Vec::new());
    };
    match raw.get().as_bytes().first() {
        Some(b'"') => Ok(vec![Part::text(text(raw)?)]),
        Some(b'[') => {
            let parts: Vec<&RawValue> = serde_json::from_str(raw.get())
                .map_err(|error| FieldError::new("content", error.to_string()))?;
            let mut read = Vec::with_capacity(parts.len());
            for (at, part) in parts.into_iter().enumerate() {
                read.push(
                    read_part(part).map_err(|error| error.within(&format!("content[{at}]")))?,
                );
            }
            Ok(read)
        }
        Some(b'{') => Ok(vec![read_part(raw)?]),
        Some(b'n') | None => Ok(Vec::new()),
        Some(_) => Ok(vec![Part::text(raw.get())]),
    }
}

fn text(raw: &RawValue) -> Result<String, FieldError> {
    serde_json::from_str(raw.get()).map_err(|error| FieldError::new("content", error.to_string()))
}

fn read_part(raw: &RawValue) -> Result<Part, FieldError> {
    if raw.get().starts_with('"') {
        return Ok(Part::text(text(raw)?));
    }
    let mut fields =
        Fields::parse_raw(raw).map_err(|error| FieldError::new("", error.to_string()))?;
    let kind = fields.take_as::<String>("type")?.unwrap_or_default();
    match kind.as_str() {
        "text" | "input_text" | "output_text" | "" if fields.raw("text").is_some() => {
            Ok(Part::Text(Text {
                text: fields.take_as("text")?.unwrap_or_default(),
                cache_control: fields.take("cache_control").map(ToOwned::to_owned),
                extra: fields.into_extra(),
                ..Text::default()
            }))
        }
        "thinking" => Ok(Part::Thinking(read_thinking(fields)?)),
        "refusal" => Ok(Part::Refusal(
            fields.take_as("refusal")?.unwrap_or_default(),
        )),
        "image_url" | "input_image" => read_url(fields, "image_url", MediaKind::Image),
        "video_url" => read_url(fields, "video_url", MediaKind::Video),
        "audio_url" => read_url(fields, "audio_url", MediaKind::Audio),
        "input_audio" => read_audio(fields),
        "file" | "input_file" => read_file(fields),
        _ => Ok(Part::Raw {
            dialect: Dialect::OpenAiChat,
            json: raw.to_owned(),
        }),
    }
}

/// Reads the thinking part some clients and Mistral's answers have: a text, or texts in parts.
fn read_thinking(mut fields: Fields<'_>) -> Result<Thinking, FieldError> {
    let mut text = String::new();
    for part in read(fields.take("thinking"))? {
        if let Part::Text(piece) = part {
            text.push_str(&piece.text);
        }
    }
    let signed: Option<String> = fields.take_as("signature")?;
    Ok(Thinking {
        text,
        signature: signed
            .filter(|signed| !signed.is_empty())
            .map(|signed| signature::from_client(Dialect::Anthropic, &signed).into_owned()),
        ..Thinking::default()
    })
}

fn media(kind: MediaKind, source: MediaSource, mut fields: Fields<'_>) -> Media {
    Media {
        kind,
        source,
        detail: None,
        filename: None,
        cache_control: fields.take("cache_control").map(ToOwned::to_owned),
        extra: fields.into_extra(),
    }
}

/// Reads `image_url` and its like: an object with `url`, or the bare string some clients send.
fn read_url(mut fields: Fields<'_>, name: &str, kind: MediaKind) -> Result<Part, FieldError> {
    let missing = || FieldError::new(name, "is missing");
    let member = fields.take(name).ok_or_else(missing)?;
    let mut detail = fields.take_as("detail")?;
    let url: String = if member.get().starts_with('"') {
        text(member)?
    } else {
        let mut object =
            Fields::parse_raw(member).map_err(|error| FieldError::new(name, error.to_string()))?;
        detail = object.take_as("detail")?.or(detail);
        object
            .take_as("url")
            .map_err(|error| error.within(name))?
            .ok_or_else(missing)?
    };
    let source = media::source(&url).map_err(|error| FieldError::new(name, error.to_string()))?;
    Ok(Part::Media(Media {
        detail,
        ..media(kind, source, fields)
    }))
}

fn read_audio(mut fields: Fields<'_>) -> Result<Part, FieldError> {
    let wrong = |reason: &str| FieldError::new("input_audio", reason);
    let member = fields
        .take("input_audio")
        .ok_or_else(|| wrong("is missing"))?;
    let mut object = Fields::parse_raw(member).map_err(|error| wrong(&error.to_string()))?;
    let data: String = object.take_as("data")?.unwrap_or_default();
    let format: Option<String> = object.take_as("format")?;
    let source = match media::source(&data) {
        Ok(source @ MediaSource::Base64 { .. }) => source,
        _ => MediaSource::Base64 {
            mime: media::audio_mime(format.as_deref().unwrap_or("wav")),
            data: media::standard_base64(&data)
                .ok_or_else(|| wrong("`data` is not base64"))?
                .into_owned(),
        },
    };
    Ok(Part::Media(media(MediaKind::Audio, source, fields)))
}

/// Reads a file part: a data URL, raw base64 with a telling file name, a URL, or a stored file.
fn read_file(mut fields: Fields<'_>) -> Result<Part, FieldError> {
    let wrong = |reason: &str| FieldError::new("file", reason);
    let member = fields.take("file");
    let mut object = match member {
        Some(raw) => Fields::parse_raw(raw).map_err(|error| wrong(&error.to_string()))?,
        None => std::mem::take(&mut fields),
    };
    let filename: Option<String> = object.take_as("filename")?;
    let by_name = filename.as_deref().and_then(media::mime_of_filename);
    let data: Option<String> = object.take_as("file_data")?;
    let url: Option<String> = object.take_as("file_url")?;
    let source = match (data.or(url), object.take_as::<String>("file_id")?) {
        (Some(data), _) if data.contains(':') => {
            media::source(&data).map_err(|error| wrong(&error.to_string()))?
        }
        (Some(data), _) => {
            let data = media::standard_base64(&data)
                .ok_or_else(|| wrong("`file_data` is neither a data URL nor base64"))?;
            MediaSource::Base64 {
                mime: media::sniff(&data)
                    .or(by_name)
                    .unwrap_or("application/pdf")
                    .to_owned(),
                data: data.into_owned(),
            }
        }
        (None, Some(id)) => MediaSource::FileId(id),
        (None, None) => return Err(wrong("holds neither `file_data` nor `file_id`")),
    };
    let kind = match &source {
        MediaSource::Base64 { mime, .. } => media::kind(mime),
        MediaSource::Url { url, .. } => {
            media::mime_of_filename(url).map_or(MediaKind::Document, media::kind)
        }
        _ => MediaKind::Document,
    };
    let mut file = media(kind, source, fields);
    file.cache_control = file
        .cache_control
        .or_else(|| object.take("cache_control").map(ToOwned::to_owned));
    file.filename = filename;
    Ok(Part::Media(file))
}

/// What the target does with parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartRules {
    pub(super) cache_control: bool,
    pub(super) extra: bool,
}

/// Writes a text part.
pub(super) fn write_text(o: &mut Object<'_>, text: &Text, rules: PartRules) {
    o.put("type", "text");
    o.put("text", &text.text);
    if rules.cache_control {
        o.raw_some("cache_control", text.cache_control.as_ref());
    }
    if rules.extra {
        o.extra(&text.extra);
    }
}

/// Members of Anthropic's documents, which no vendor of this dialect knows.
pub(super) const OF_DOCUMENTS: [&str; 2] = ["citations", "context"];

/// The parts of speech this dialect has for a media part; `Err` says what it has none for.
pub(super) fn write_media(
    o: &mut Object<'_>,
    media: &Media,
    rules: PartRules,
) -> Result<(), &'static str> {
    match (media.kind, &media.source) {
        (MediaKind::Image, source) => {
            let url = url_of(source).ok_or("a stored image")?;
            o.put("type", "image_url");
            o.object("image_url", |o| {
                o.put("url", &url);
                o.put_some("detail", media.detail.as_ref());
            });
        }
        (MediaKind::Video, source) => {
            let url = url_of(source).ok_or("a stored film")?;
            o.put("type", "video_url");
            o.object("video_url", |o| o.put("url", &url));
        }
        (MediaKind::Audio, MediaSource::Base64 { mime, data }) => {
            let format = media::audio_format(mime).ok_or("this audio type")?;
            o.put("type", "input_audio");
            o.object("input_audio", |o| {
                o.put("data", data);
                o.put("format", format);
            });
        }
        (MediaKind::Audio, _) => return Err("audio by address"),
        (MediaKind::Document, MediaSource::Text(text)) => {
            o.put("type", "text");
            o.put("text", &media::titled(text, media.filename.as_deref()));
        }
        (MediaKind::Document, source) => {
            o.put("type", "file");
            o.object("file", |o| {
                match source {
                    MediaSource::FileId(id) => o.put("file_id", id),
                    source => o.put("file_data", &url_of(source).unwrap_or_default()),
                }
                let name = media.filename.as_deref();
                let is_stored = matches!(source, MediaSource::FileId(_));
                o.put_some("filename", name.or((!is_stored).then_some("document.pdf")));
            });
        }
    }
    if rules.cache_control {
        o.raw_some("cache_control", media.cache_control.as_ref());
    }
    if rules.extra {
        for (name, value) in &media.extra.0 {
            if !OF_DOCUMENTS.contains(&name.as_str()) {
                o.raw(name, value);
            }
        }
    }
    Ok(())
}

fn url_of(source: &MediaSource) -> Option<String> {
    match source {
        MediaSource::Base64 { mime, data } => Some(media::to_data_url(mime, data)),
        MediaSource::Url { url, .. } => Some(url.clone()),
        MediaSource::FileId(_) | MediaSource::Text(_) => None,
    }
}
