//! Reads a request for a text completion.

use serde_json::value::RawValue;

use crate::dialects::Codec;
use crate::dialects::RequestHint;
use crate::dialects::chat::ChatRequest;
use crate::dialects::error::ReadError;
use crate::dialects::fields::{FieldError, Fields};
use crate::dialects::json;
use crate::dialects::openai_chat::OpenAiChat;

const ECHO: &str = "echo";

/// Reads the body: what it shares with chat is read as chat.
pub(super) fn read(body: &[u8], hint: RequestHint<'_>) -> Result<ChatRequest, ReadError> {
    let mut fields = Fields::parse(body)?;
    let prompt = read_prompt(fields.take("prompt"))?;
    for (name, is_asked) in [
        (
            "suffix",
            fields
                .take_as::<String>("suffix")?
                .is_some_and(|s| !s.is_empty()),
        ),
        (
            "best_of",
            fields.take_count("best_of")?.is_some_and(|count| count > 1),
        ),
    ] {
        if is_asked {
            return Err(FieldError::new(name, "is not possible with a chat model").into());
        }
    }
    let logprobs = fields.take_count("logprobs")?;
    let echo = fields.take_as::<bool>(ECHO)?.unwrap_or(false);
    let mut chat = Vec::with_capacity(body.len() + 64);
    json::object(&mut chat, |o| {
        for (name, value) in fields.iter() {
            o.raw(name, value);
        }
        o.array("messages", |list| {
            list.object(|o| {
                o.put("role", "user");
                o.put("content", &prompt);
            });
        });
        if let Some(top) = logprobs {
            o.put("logprobs", &true);
            o.put("top_logprobs", &top);
        }
    });
    let mut request = OpenAiChat.read_request(&chat, hint)?;
    // No vendor of chat knows it; only the writer of this client's answer does.
    request.echo = echo.then_some(prompt);
    Ok(request)
}

/// Reads the one prompt there may be.
fn read_prompt(raw: Option<&RawValue>) -> Result<String, FieldError> {
    let wrong = |reason: &str| FieldError::new("prompt", reason);
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Err(wrong("is missing"));
    };
    if let Ok(prompt) = serde_json::from_str::<String>(raw.get()) {
        return Ok(prompt);
    }
    match serde_json::from_str::<Vec<String>>(raw.get()) {
        Ok(prompts) => match <[String; 1]>::try_from(prompts) {
            Ok([prompt]) => Ok(prompt),
            Err(_) => Err(wrong("must be one text: send a request for each prompt")),
        },
        Err(_) => Err(wrong("must be text: chat models take no tokens")),
    }
}
