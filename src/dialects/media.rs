//! Images, documents and sounds: data URLs, base64, and what the first bytes say.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::dialects::Dialect;
use crate::dialects::chat::{ChatRequest, Media, MediaKind, MediaSource, Part};

/// Base64 characters decoded to look at magic bytes: 48 bytes hold every signature known here.
const SNIFFED_CHARS: usize = 64;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A parsed `data:[mime][;params…];base64,DATA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataUrl<'a> {
    /// The type in lower case, without parameters; `text/plain` where the URL has none.
    pub mime: String,
    /// Standard padded base64 (borrowed where it already was).
    pub data: Cow<'a, str>,
}

/// Why a media part cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum MediaError {
    /// A `data:` URL without `;base64,`, or whose data are not base64.
    #[error("not a valid base64 data URL")]
    DataUrl,
}

/// Reads a data URL; the scheme in any case. `None` if it is another kind of URL.
pub fn data_url(url: &str) -> Option<Result<DataUrl<'_>, MediaError>> {
    let scheme = url.get(..5)?;
    if !scheme.eq_ignore_ascii_case("data:") {
        return None;
    }
    Some(parse_data_url(url.get(5..).unwrap_or_default()))
}

fn parse_data_url(rest: &str) -> Result<DataUrl<'_>, MediaError> {
    let (head, data) = rest.split_once(',').ok_or(MediaError::DataUrl)?;
    let mut params = head.split(';');
    let mime = params.next().unwrap_or_default().trim();
    if !params.any(|param| param.trim().eq_ignore_ascii_case("base64")) {
        return Err(MediaError::DataUrl);
    }
    let mime = if mime.is_empty() { "text/plain" } else { mime };
    Ok(DataUrl {
        mime: mime.to_ascii_lowercase(),
        data: standard_base64(data).ok_or(MediaError::DataUrl)?,
    })
}

/// Base64 as vendors want it: standard alphabet, padded, no line breaks. Accepts line breaks, the
/// URL-safe alphabet and missing padding. `None` if it is no base64.
pub fn standard_base64(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    let mut out = if plain {
        if text.len().is_multiple_of(4) && !text.trim_end_matches('=').contains('=') {
            return Some(Cow::Borrowed(text));
        }
        text.to_owned()
    } else {
        let mut out = String::with_capacity(text.len() + 4);
        for c in text.chars() {
            match c {
                '-' => out.push('+'),
                '_' => out.push('/'),
                '+' | '/' | '=' => out.push(c),
                c if c.is_ascii_alphanumeric() => out.push(c),
                c if c.is_ascii_whitespace() => {}
                _ => return None,
            }
        }
        out
    };
    out.truncate(out.trim_end_matches('=').len());
    match out.len() % 4 {
        _ if out.contains('=') => return None,
        0 => {}
        2 => out.push_str("=="),
        3 => out.push('='),
        _ => return None,
    }
    Some(Cow::Owned(out))
}

/// Decodes base64 in any of the spellings [`standard_base64`] takes.
pub fn decode(data: &str) -> Option<Vec<u8>> {
    LENIENT.decode(standard_base64(data)?.as_bytes()).ok()
}

/// Encodes as standard padded base64.
pub fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A text document with its name before it, if it has one.
pub fn titled<'a>(text: &'a str, name: Option<&str>) -> Cow<'a, str> {
    match name {
        Some(name) => Cow::Owned(format!("{name}:\n{text}")),
        None => Cow::Borrowed(text),
    }
}

/// Writes a data URL.
pub fn to_data_url(mime: &str, data: &str) -> String {
    format!("data:{mime};base64,{data}")
}

/// The type the first bytes of base64 data show; `None` where they show none.
pub fn sniff(data: &str) -> Option<&'static str> {
    let end = data.len().min(SNIFFED_CHARS) / 4 * 4;
    let head = LENIENT.decode(data.get(..end)?).ok()?;
    let at = |from: usize, magic: &[u8]| head.get(from..).is_some_and(|h| h.starts_with(magic));
    let types: [(bool, &'static str); 9] = [
        (at(0, b"\xff\xd8\xff"), "image/jpeg"),
        (at(0, b"\x89PNG\r\n\x1a\n"), "image/png"),
        (at(0, b"GIF87a") || at(0, b"GIF89a"), "image/gif"),
        (at(0, b"RIFF") && at(8, b"WEBP"), "image/webp"),
        (at(0, b"%PDF-"), "application/pdf"),
        (at(0, b"RIFF") && at(8, b"WAVE"), "audio/wav"),
        (
            at(0, b"ID3") || at(0, b"\xff\xfb") || at(0, b"\xff\xf3"),
            "audio/mpeg",
        ),
        (at(0, b"fLaC"), "audio/flac"),
        (at(0, b"OggS"), "audio/ogg"),
    ];
    types.into_iter().find(|(is, _)| *is).map(|(_, mime)| mime)
}

/// The declared type, corrected where an image's first bytes show another image type: vendors
/// answer 400 on a mismatch.
pub fn true_mime<'a>(mime: &'a str, data: &str) -> &'a str {
    match sniff(data) {
        Some(seen) if seen != mime && (mime.starts_with("image/") || mime.is_empty()) => seen,
        _ if mime == "image/jpg" => "image/jpeg",
        _ => mime,
    }
}

/// What sort of thing a type is; everything unknown is a document.
pub fn kind(mime: &str) -> MediaKind {
    match mime.split_once('/').map_or(mime, |(family, _)| family) {
        "image" => MediaKind::Image,
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        _ => MediaKind::Document,
    }
}

/// The source a URL names: inline data for data URLs, else the URL itself.
pub fn source(url: &str) -> Result<MediaSource, MediaError> {
    match data_url(url) {
        Some(parsed) => parsed.map(|DataUrl { mime, data }| MediaSource::Base64 {
            mime: true_mime(&mime, &data).to_owned(),
            data: data.into_owned(),
        }),
        None => Ok(MediaSource::Url {
            url: url.to_owned(),
            mime: None,
        }),
    }
}

/// OpenAI's word for an audio type (`wav`, `mp3`, …); `None` for what it has no word for.
pub fn audio_format(mime: &str) -> Option<&'static str> {
    match mime.split(';').next().unwrap_or(mime).trim() {
        "audio/wav" | "audio/x-wav" | "audio/wave" => Some("wav"),
        "audio/mpeg" | "audio/mp3" => Some("mp3"),
        "audio/flac" => Some("flac"),
        "audio/ogg" | "audio/opus" => Some("opus"),
        "audio/aac" => Some("aac"),
        "audio/pcm" | "audio/l16" => Some("pcm16"),
        _ => None,
    }
}

/// The type of an OpenAI audio format.
pub fn audio_mime(format: &str) -> String {
    match format {
        "mp3" => "audio/mpeg".to_owned(),
        "pcm16" => "audio/pcm".to_owned(),
        other => format!("audio/{other}"),
    }
}

/// The type a file name's ending tells; `None` for unknown endings.
pub fn mime_of_filename(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "pdf" => "application/pdf",
        "txt" | "md" | "log" => "text/plain",
        "csv" => "text/csv",
        "json" => "application/json",
        "html" | "htm" => "text/html",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    })
}

/// `true` if the upstream's dialect cannot take this media part by its URL, so that its bytes must
/// be fetched first (Anthropic takes https images and PDFs; OpenAI takes image URLs; Gemini takes
/// `gs://` and its own file URIs).
pub fn needs_bytes(upstream: Dialect, media: &Media) -> bool {
    let MediaSource::Url { url, .. } = &media.source else {
        return false;
    };
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_http = scheme.eq_ignore_ascii_case("http");
    let is_web = is_http || scheme.eq_ignore_ascii_case("https");
    match upstream {
        Dialect::Anthropic => is_http,
        Dialect::Gemini => is_web && !is_gemini_uri(url),
        Dialect::OpenAiChat => is_web && media.kind != MediaKind::Image,
        Dialect::OpenAiResponses => {
            is_web && !matches!(media.kind, MediaKind::Image | MediaKind::Document)
        }
    }
}

fn is_gemini_uri(url: &str) -> bool {
    const OWN: [&str; 4] = [
        "https://generativelanguage.googleapis.com/",
        "https://www.youtube.com/",
        "https://youtube.com/",
        "https://youtu.be/",
    ];
    OWN.iter().any(|prefix| url.starts_with(prefix))
}

/// `true` if [`to_fetch`] would find anything.
pub fn must_fetch(request: &ChatRequest, upstream: Dialect) -> bool {
    let is_one = |part: &Part| matches!(part, Part::Media(media) if needs_bytes(upstream, media));
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    parts.into_iter().any(|part| match part {
        Part::ToolResult(result) => result.parts.iter().any(is_one),
        part => is_one(part),
    })
}

/// All media parts of a request whose bytes must be fetched for the upstream, tool results'
/// included: the gateway replaces their `source`, or refuses the request.
pub fn to_fetch(request: &mut ChatRequest, upstream: Dialect) -> Vec<&mut Media> {
    let mut found = Vec::new();
    for message in &mut request.messages {
        for part in &mut message.parts {
            match part {
                Part::Media(media) if needs_bytes(upstream, media) => found.push(media),
                Part::ToolResult(result) => {
                    found.extend(result.parts.iter_mut().filter_map(|part| match part {
                        Part::Media(media) if needs_bytes(upstream, media) => Some(media),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_read_leniently() {
        let parsed = data_url("DATA:Image/PNG;charset=utf-8;Base64,aGk\n-_w").expect("data");
        assert_eq!(
            parsed,
            Ok(DataUrl {
                mime: "image/png".into(),
                data: "aGk+/w==".into()
            })
        );
        assert_eq!(data_url("https://x/y.png"), None);
        assert_eq!(
            data_url("data:image/png,plain"),
            Some(Err(MediaError::DataUrl))
        );
        assert_eq!(
            data_url("data:image/png;base64,ä"),
            Some(Err(MediaError::DataUrl))
        );
    }

    #[test]
    fn clean_base64_is_borrowed() {
        assert!(matches!(
            standard_base64("aGk="),
            Some(Cow::Borrowed("aGk="))
        ));
        assert_eq!(standard_base64("aG=k"), None);
        assert_eq!(standard_base64("a"), None);
    }

    #[test]
    fn case_27_the_first_bytes_correct_a_wrong_image_type() {
        let jpeg = encode(b"\xff\xd8\xff\xe0\0\x10JFIF");
        assert_eq!(true_mime("image/png", &jpeg), "image/jpeg");
        assert_eq!(true_mime("image/jpg", "AAAA"), "image/jpeg");
        assert_eq!(sniff(&encode(b"%PDF-1.7\n")), Some("application/pdf"));
        assert_eq!(sniff(""), None);
    }

    #[test]
    fn only_what_a_dialect_cannot_take_needs_bytes() {
        let media = |kind, url: &str| Media {
            kind,
            source: MediaSource::Url {
                url: url.into(),
                mime: None,
            },
            detail: None,
            filename: None,
            cache_control: None,
            extra: crate::dialects::fields::Extra::default(),
        };
        let image = MediaKind::Image;
        for (dialect, kind, url, expected) in [
            (Dialect::Anthropic, image, "https://x/a.png", false),
            (Dialect::Anthropic, image, "http://x/a.png", true),
            (Dialect::OpenAiChat, image, "http://x/a.png", false),
            (
                Dialect::OpenAiChat,
                MediaKind::Document,
                "https://x/a.pdf",
                true,
            ),
            (Dialect::Gemini, image, "https://x/a.png", true),
            (Dialect::Gemini, image, "gs://bucket/a.png", false),
        ] {
            assert_eq!(
                needs_bytes(dialect, &media(kind, url)),
                expected,
                "{dialect} {url}"
            );
        }
    }
}
