//! Token counts across dialects: asked of a provider that can count, in its own form.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::dialects::error::ErrorReply;
use crate::dialects::loss::Losses;
use crate::dialects::{Dialect, codec};
use crate::gateway::inbound::Scanned;
use crate::gateway::plan::Target;

/// The count request of another dialect than the client's.
///
/// Gemini counts a whole `generateContentRequest`; Anthropic and OpenAI take a Messages or Responses
/// body without the members that only matter for an answer (sources: the vendors' API references,
/// read 2026-11-22).
pub fn write_request(
    scanned: &Scanned<'_>,
    target: &Target,
    dialect: Dialect,
    losses: &mut Losses,
) -> Result<Bytes, ErrorReply> {
    let request = scanned.canonical()?;
    let to = target.for_codec();
    let chat = codec(dialect).write_request(&request, &to, losses)?;
    let mut body: Value = serde_json::from_slice(&chat).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        match dialect {
            Dialect::Gemini => {
                members.insert(
                    "model".to_owned(),
                    json!(format!("models/{}", target.model)),
                );
            }
            Dialect::Anthropic => {
                for answer_only in [
                    "max_tokens",
                    "stream",
                    "temperature",
                    "top_p",
                    "top_k",
                    "stop_sequences",
                    "metadata",
                ] {
                    members.remove(answer_only);
                }
            }
            Dialect::OpenAiResponses => {
                for answer_only in [
                    "include",
                    "max_output_tokens",
                    "metadata",
                    "prompt_cache_key",
                    "safety_identifier",
                    "service_tier",
                    "store",
                    "stream",
                    "temperature",
                    "top_p",
                    "user",
                ] {
                    members.remove(answer_only);
                }
            }
            Dialect::OpenAiChat => {}
        }
    }
    if dialect == Dialect::Gemini {
        body = json!({ "generateContentRequest": body });
    }
    Ok(Bytes::from(body.to_string()))
}

/// Reads a count in an upstream's form; `None` if it has none.
pub fn read_reply(dialect: Dialect, body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let member = match dialect {
        Dialect::Gemini => "totalTokens",
        Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses => "input_tokens",
    };
    body.get(member)?.as_u64()
}

/// Writes a count in the client's form; an estimate says so.
pub fn write_reply(dialect: Dialect, tokens: u64, estimated: bool) -> Bytes {
    let mut body = match dialect {
        Dialect::Gemini => json!({ "totalTokens": tokens }),
        Dialect::OpenAiResponses => {
            json!({ "object": "response.input_tokens", "input_tokens": tokens })
        }
        Dialect::Anthropic | Dialect::OpenAiChat => json!({ "input_tokens": tokens }),
    };
    if estimated && let Some(members) = body.as_object_mut() {
        members.insert("estimated".to_owned(), Value::Bool(true));
    }
    Bytes::from(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_cross_between_the_dialects_that_count() {
        let tokens = read_reply(Dialect::Gemini, br#"{"totalTokens":7,"x":1}"#).expect("a count");
        assert_eq!(
            write_reply(Dialect::Anthropic, tokens, false),
            r#"{"input_tokens":7}"#
        );
        let tokens = read_reply(Dialect::Anthropic, br#"{"input_tokens":9}"#).expect("a count");
        assert_eq!(
            write_reply(Dialect::Gemini, tokens, false),
            r#"{"totalTokens":9}"#
        );
        assert_eq!(read_reply(Dialect::Gemini, b"{}"), None);
    }

    #[test]
    fn an_estimate_is_marked() {
        assert_eq!(
            write_reply(Dialect::Anthropic, 3, true),
            r#"{"estimated":true,"input_tokens":3}"#
        );
    }
}
