//! Reasoning on messages: `reasoning_content`, `reasoning`, `reasoning_details`, `thinking_blocks`.

use crate::dialects::Dialect;
use crate::dialects::chat::{Part, Thinking};
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::json::{Array, Object};
use crate::dialects::signature;

/// `format` values of `reasoning_details` entries (OpenRouter's reasoning guide, read 2026-11-22).
const FORMATS: [(Dialect, &str); 3] = [
    (Dialect::Anthropic, "anthropic-claude-v1"),
    (Dialect::Gemini, "google-gemini-v1"),
    (Dialect::OpenAiResponses, "openai-responses-v1"),
];

/// Takes all reasoning off a message or delta. The richest form counts: blocks, then details, then
/// plain text; the same text in two members is read once.
pub(super) fn take(fields: &mut Fields<'_>) -> Vec<Part> {
    let content = take_text(fields, "reasoning_content");
    let other = take_text(fields, "reasoning");
    let plain = content.filter(|text| !text.is_empty()).or(other);
    let details = fields.take("reasoning_details");
    let blocks = fields.take("thinking_blocks");
    let list = |raw: &serde_json::value::RawValue| -> Vec<Part> {
        let entries: Vec<Fields<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
        let mut parts = Vec::new();
        for entry in entries {
            push_entry(entry, &mut parts);
        }
        parts
    };
    let mut parts = blocks.map(list).unwrap_or_default();
    if parts.is_empty() {
        parts = details.map(list).unwrap_or_default();
    }
    if let Some(plain) = plain.filter(|text| !text.is_empty()) {
        add_plain(plain, &mut parts);
    }
    parts
}

fn take_text(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    let raw = fields.take(name)?;
    serde_json::from_str(raw.get()).ok()
}

/// One entry of either list. Streams cut texts into entries: they grow together until signed.
fn push_entry(mut entry: Fields<'_>, parts: &mut Vec<Part>) {
    let mut text = |name| take_text(&mut entry, name).filter(|text| !text.is_empty());
    let kind = text("type").unwrap_or_default();
    let said = text("text")
        .or_else(|| text("summary"))
        .or_else(|| text("thinking"));
    let signed = text("signature");
    let data = text("data");
    let format = text("format");
    let maker = match format {
        None if kind == "thinking" || kind == "redacted_thinking" => Dialect::Anthropic,
        Some(format) if format.starts_with("anthropic") => Dialect::Anthropic,
        Some(format) if format.starts_with("google") => Dialect::Gemini,
        _ => Dialect::OpenAiResponses,
    };
    if let Some(data) = data {
        let data = signature::tag(maker, &data);
        parts.push(Part::RedactedThinking { data });
        return;
    }
    if said.is_none() && signed.is_none() {
        return;
    }
    let said = said.unwrap_or_default();
    let signed = signed.map(|signed| signature::tag(maker, &signed));
    match parts.last_mut() {
        Some(Part::Thinking(open)) if open.signature.is_none() => {
            open.text.push_str(&said);
            open.signature = signed;
        }
        _ => parts.push(Part::Thinking(Thinking {
            text: said,
            signature: signed,
            extra: Extra::default(),
        })),
    }
}

/// Adds the plain text where the list holds none: to the only signature without text, or in front.
fn add_plain(plain: String, parts: &mut Vec<Part>) {
    let mut thoughts = parts.iter_mut().filter_map(|part| match part {
        Part::Thinking(thinking) => Some(thinking),
        _ => None,
    });
    let (first, second) = (thoughts.next(), thoughts.next());
    match (first, second) {
        (Some(only), None) if only.text.is_empty() => only.text = plain,
        (Some(_), _) => {}
        (None, _) => parts.insert(
            0,
            Part::Thinking(Thinking {
                text: plain,
                ..Thinking::default()
            }),
        ),
    }
}

/// All reasoning text of the parts; `None` if there is none.
pub(super) fn plain<'p>(parts: impl Iterator<Item = &'p Part>) -> Option<String> {
    let mut all = String::new();
    for part in parts {
        if let Part::Thinking(thinking) = part {
            if !all.is_empty() && !thinking.text.is_empty() {
                all.push_str("\n\n");
            }
            all.push_str(&thinking.text);
        }
    }
    (!all.is_empty()).then_some(all)
}

/// `true` if the part needs an entry in `reasoning_details` to come back whole.
pub(super) fn needs_detail(part: &Part) -> bool {
    match part {
        Part::RedactedThinking { .. } => true,
        Part::Thinking(thinking) => thinking.signature.is_some(),
        _ => false,
    }
}

/// Writes the entry of a thinking part; other parts have none.
pub(super) fn write_detail(list: &mut Array<'_>, part: &Part, index: usize) {
    match part {
        Part::RedactedThinking { data } => list.object(|o| {
            let (format, bare) = format_of(data);
            o.put("type", "reasoning.encrypted");
            o.put("data", bare);
            write_place(o, format, index);
        }),
        Part::Thinking(thinking) => list.object(|o| {
            o.put("type", "reasoning.text");
            o.put("text", &thinking.text);
            let signed = thinking.signature.as_deref().map(format_of);
            if let Some((_, bare)) = signed {
                o.put("signature", bare);
            }
            write_place(o, signed.map_or("unknown", |(format, _)| format), index);
        }),
        _ => {}
    }
}

fn write_place(o: &mut Object<'_>, format: &str, index: usize) {
    o.put("format", format);
    o.put("index", &index);
}

fn format_of(signed: &str) -> (&'static str, &str) {
    let Some((maker, bare)) = signature::maker(signed) else {
        return ("unknown", signed);
    };
    let format = FORMATS.iter().find(|(dialect, _)| *dialect == maker);
    (format.map_or("unknown", |(_, format)| format), bare)
}

/// Takes Gemini's signature off a tool call or message: Google's own member, or LiteLLM's.
pub(super) fn take_google_signature(fields: &mut Fields<'_>) -> Option<String> {
    let in_google = fields.raw("extra_content").and_then(|raw| {
        let mut content = Fields::parse_raw(raw).ok()?;
        let mut google = Fields::parse_raw(content.take("google")?).ok()?;
        google.take_as::<String>("thought_signature").ok()?
    });
    if in_google.is_some() {
        fields.take("extra_content");
    }
    let in_litellm = fields.raw("provider_specific_fields").and_then(|raw| {
        let mut content = Fields::parse_raw(raw).ok()?;
        content.take_as::<String>("thought_signature").ok()?
    });
    let signed = in_google.or(in_litellm)?;
    Some(signature::from_client(Dialect::Gemini, &signed).into_owned())
}

/// Writes Gemini's signature where Google's own endpoint has it. Signatures of others stay tagged.
pub(super) fn write_google_signature(o: &mut Object<'_>, signed: &str) {
    o.object("extra_content", |o| {
        o.object("google", |o| {
            o.put(
                "thought_signature",
                signature::for_client(Dialect::Gemini, signed),
            );
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Vec<Part> {
        take(&mut Fields::parse(json.as_bytes()).expect("an object"))
    }

    fn sketch(parts: &[Part]) -> String {
        let lines: Vec<String> = parts
            .iter()
            .map(|part| match part {
                Part::Thinking(t) => {
                    format!("{}/{}", t.text, t.signature.as_deref().unwrap_or("-"))
                }
                Part::RedactedThinking { data } => format!("redacted {data}"),
                other => format!("{other:?}"),
            })
            .collect();
        lines.join("; ")
    }

    #[test]
    fn each_form_of_reasoning_is_read_once() {
        for (json, expected) in [
            (r#"{"reasoning_content":"a","reasoning":"a"}"#, "a/-"),
            (r#"{"reasoning":"a"}"#, "a/-"),
            (
                r#"{"reasoning_content":"a","thinking_blocks":[{"type":"thinking","thinking":"a","signature":"S"}]}"#,
                "a/llmproxy/claude/S",
            ),
            (
                r#"{"reasoning_content":"a","reasoning_details":[{"type":"reasoning.text","signature":"S","format":"anthropic-claude-v1"}]}"#,
                "a/llmproxy/claude/S",
            ),
            (
                r#"{"reasoning_details":[{"type":"reasoning.text","text":"a"},{"type":"reasoning.text","text":"b","signature":"S","format":"google-gemini-v1"},{"type":"reasoning.encrypted","data":"D","format":"openai-responses-v1"}]}"#,
                "ab/llmproxy/gemini/S; redacted llmproxy/openai/D",
            ),
            (
                r#"{"reasoning_content":null,"reasoning_details":"odd"}"#,
                "",
            ),
        ] {
            assert_eq!(sketch(&read(json)), expected, "{json}");
        }
    }

    #[test]
    fn details_written_are_details_read() {
        let parts = read(
            r#"{"thinking_blocks":[{"type":"thinking","thinking":"a","signature":"S"},{"type":"redacted_thinking","data":"D"}]}"#,
        );
        let details = crate::dialects::json::raw_array(|list| {
            for (at, part) in parts.iter().enumerate() {
                write_detail(list, part, at);
            }
        });
        let again = read(&format!("{{\"reasoning_details\":{}}}", details.get()));
        assert_eq!(sketch(&again), sketch(&parts));
    }
}
