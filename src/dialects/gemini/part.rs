//! One `Part`, as clients and Gemini itself write it.

use std::collections::VecDeque;

use serde_json::value::to_raw_value;

use crate::dialects::Dialect;
use crate::dialects::chat::{
    Media, MediaKind, MediaSource, Part, Text, Thinking, ToolCall, ToolKind, ToolResult,
};
use crate::dialects::error::ReadError;
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::gemini::signature::{self, Held};
use crate::dialects::gemini::wire::{Many, pick, pick_as, pick_object, wrong};
use crate::dialects::ids::IdSource;
use crate::dialects::media;

/// The members of a functionResponse that mean "this text is the result".
const RESULT_NAMES: [&str; 3] = ["result", "output", "content"];

/// Ids for calls that have none, and which calls still wait for their answer.
pub(super) struct Calls {
    ids: IdSource,
    waiting: VecDeque<(String, String)>,
}

impl Calls {
    /// For a request: a conversation read twice gets the same ids twice, so that the upstream's
    /// prompt cache still hits as it grows.
    pub(super) const fn of_history() -> Self {
        Self {
            ids: IdSource::new(0),
            waiting: VecDeque::new(),
        }
    }

    /// For an answer: ids unlike any other answer's, since clients put histories together.
    pub(super) fn of_answer() -> Self {
        Self {
            ids: IdSource::random(),
            waiting: VecDeque::new(),
        }
    }

    /// A model turn begins: what was not answered by now never will be.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    fn called(&mut self, id: Option<String>, name: &str) -> String {
        let id = id
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| self.ids.make_call());
        self.waiting.push_back((id.clone(), name.to_owned()));
        id
    }

    /// The call that a response answers: the one with its id, else the first of its name, else
    /// the first that waits.
    fn answered(&mut self, id: Option<String>, name: &str) -> String {
        let id = id.filter(|id| !id.is_empty());
        let at = match &id {
            Some(id) => self.waiting.iter().position(|(known, _)| known == id),
            None => self
                .waiting
                .iter()
                .position(|(_, known)| known == name)
                .or_else(|| (!self.waiting.is_empty()).then_some(0)),
        };
        let known = at.and_then(|at| self.waiting.remove(at));
        id.or(known.map(|(id, _)| id))
            .unwrap_or_else(|| self.ids.make_call())
    }
}

/// Reads one part; `None` if it says nothing at all.
pub(super) fn read(mut part: Fields<'_>, calls: &mut Calls) -> Result<Option<Part>, ReadError> {
    // Code Assist was seen to write the truth value as text.
    let thought =
        pick(&mut part, "thought").is_some_and(|raw| raw.get().trim_matches('"') == "true");
    let held = pick_as::<String>(&mut part, "thoughtSignature")?
        .filter(|text| !text.is_empty())
        .map(|text| signature::read(&text));
    let signature = match held {
        Some(Held::Redacted(data)) => return Ok(Some(Part::RedactedThinking { data })),
        Some(Held::Signature(signature)) => Some(signature),
        None | Some(Held::Nothing) => None,
    };
    if let Some(text) = pick_as::<String>(&mut part, "text")? {
        return Ok(Some(text_part(text, thought, signature, part.into_extra())));
    }
    if let Some(call) = pick_object(&mut part, "functionCall")? {
        return tool_call(call, signature, part.into_extra(), calls).map(Some);
    }
    if let Some(response) = pick_object(&mut part, "functionResponse")? {
        return tool_result(response, part.into_extra(), calls).map(Some);
    }
    if let Some(media) = media_part(&mut part)? {
        return Ok(Some(Part::Media(Media {
            detail: detail(&part),
            extra: part.into_extra(),
            ..media
        })));
    }
    let rest = part.into_extra();
    if rest.is_empty() {
        return Ok(signature.map(|signature| {
            text_part(String::new(), thought, Some(signature), Extra::default())
        }));
    }
    let json = to_raw_value(&rest)?;
    Ok(Some(Part::Raw {
        dialect: Dialect::Gemini,
        json,
    }))
}

fn text_part(text: String, thought: bool, signature: Option<String>, extra: Extra) -> Part {
    if thought {
        return Part::Thinking(Thinking {
            text,
            signature,
            extra,
        });
    }
    Part::Text(Text {
        text,
        signature,
        extra,
        ..Text::default()
    })
}

fn tool_call(
    mut call: Fields<'_>,
    signature: Option<String>,
    mut extra: Extra,
    calls: &mut Calls,
) -> Result<Part, ReadError> {
    let name = call.take_as::<String>("name")?.unwrap_or_default();
    let id = call.take_as::<String>("id")?;
    let arguments = match pick(&mut call, "args") {
        Some(args) => args.get().to_owned(),
        None => "{}".to_owned(),
    };
    extra.0.extend(call.into_extra().0);
    Ok(Part::ToolCall(ToolCall {
        id: calls.called(id, &name),
        name,
        arguments,
        kind: ToolKind::Function,
        signature,
        cache_control: None,
        extra,
    }))
}

fn tool_result(
    mut response: Fields<'_>,
    mut extra: Extra,
    calls: &mut Calls,
) -> Result<Part, ReadError> {
    let name = response.take_as::<String>("name")?.unwrap_or_default();
    let id = response.take_as::<String>("id")?;
    let mut parts = Vec::new();
    let mut is_error = false;
    if let Some(raw) = pick(&mut response, "response") {
        let text = match plain_result(raw.get()) {
            Some((text, error)) => {
                is_error = error;
                text
            }
            None => raw.get().to_owned(),
        };
        parts.push(Part::text(text));
    }
    if let Some(raw) = pick(&mut response, "parts") {
        let list: Many<Fields<'_>> = serde_json::from_str(raw.get())
            .map_err(|error| wrong("functionResponse.parts", &error.to_string()))?;
        for mut part in list.0 {
            if let Some(media) = media_part(&mut part)? {
                parts.push(Part::Media(media));
            }
        }
    }
    extra.0.extend(response.into_extra().0);
    Ok(Part::ToolResult(ToolResult {
        call_id: calls.answered(id, &name),
        name: Some(name).filter(|name| !name.is_empty()),
        parts,
        is_error,
        cache_control: None,
        extra,
    }))
}

/// The text of a response whose only member is a text under a conventional name, and whether it
/// is an error.
fn plain_result(json: &str) -> Option<(String, bool)> {
    let fields: Fields<'_> = serde_json::from_str(json).ok()?;
    let mut members = fields.iter();
    let (Some((name, value)), None) = (members.next(), members.next()) else {
        return None;
    };
    let is_error = name == "error";
    if !is_error && !RESULT_NAMES.contains(&name) {
        return None;
    }
    let text = serde_json::from_str(value.get()).ok()?;
    Some((text, is_error))
}

fn media_part(part: &mut Fields<'_>) -> Result<Option<Media>, ReadError> {
    if let Some(mut inline) = pick_object(part, "inlineData")? {
        let mime: String = pick_as(&mut inline, "mimeType")?.unwrap_or_default();
        let data: String = pick_as(&mut inline, "data")?.unwrap_or_default();
        let data = match media::standard_base64(&data) {
            Some(standard) => standard.into_owned(),
            None => return Err(wrong("inlineData.data", "expected base64")),
        };
        let filename = pick_as(&mut inline, "displayName")?;
        return Ok(Some(Media {
            kind: media::kind(&mime),
            source: MediaSource::Base64 { mime, data },
            detail: None,
            filename,
            cache_control: None,
            extra: Extra::default(),
        }));
    }
    if let Some(mut file) = pick_object(part, "fileData")? {
        let mime: Option<String> = pick_as(&mut file, "mimeType")?;
        let url: String = pick_as(&mut file, "fileUri")?.unwrap_or_default();
        let filename = pick_as(&mut file, "displayName")?;
        let kind = mime
            .as_deref()
            .map_or_else(|| kind_of_url(&url), media::kind);
        return Ok(Some(Media {
            kind,
            source: MediaSource::Url { url, mime },
            detail: None,
            filename,
            cache_control: None,
            extra: Extra::default(),
        }));
    }
    Ok(None)
}

fn kind_of_url(url: &str) -> MediaKind {
    let is_film = ["youtube.com/", "youtu.be/"]
        .iter()
        .any(|host| url.contains(host));
    if is_film {
        return MediaKind::Video;
    }
    let path = url.split(['?', '#']).next().unwrap_or(url);
    media::mime_of_filename(path).map_or(MediaKind::Document, media::kind)
}

/// OpenAI's word for a part's `mediaResolution`, which also stays in `extra`.
fn detail(part: &Fields<'_>) -> Option<String> {
    let raw = part
        .raw("mediaResolution")
        .or_else(|| part.raw("media_resolution"))?
        .get();
    let word = if raw.contains("_LOW") {
        "low"
    } else if raw.contains("HIGH") {
        "high"
    } else {
        return None;
    };
    Some(word.to_owned())
}
