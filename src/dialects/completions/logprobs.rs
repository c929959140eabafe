//! Token log-probabilities of chat as those of text completions.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialects::fields::Raw;
use crate::dialects::json::raw_object;

#[derive(Deserialize)]
struct Chat {
    content: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    token: String,
    logprob: f64,
}

/// The legacy shape, with offsets counted in characters from `offset`, which moves on. `None` if
/// there is nothing to tell.
pub(super) fn legacy(chat: &RawValue, offset: &mut usize) -> Option<Raw> {
    let tokens = serde_json::from_str::<Chat>(chat.get()).ok()?.content?;
    Some(raw_object(|o| {
        let texts: Vec<&str> = tokens.iter().map(|entry| entry.token.as_str()).collect();
        let values: Vec<f64> = tokens.iter().map(|entry| entry.logprob).collect();
        o.put("tokens", &texts);
        o.put("token_logprobs", &values);
        o.array("top_logprobs", |list| {
            for token in &tokens {
                list.object(|o| {
                    for top in &token.top_logprobs {
                        o.put(&top.token, &top.logprob);
                    }
                });
            }
        });
        o.array("text_offset", |list| {
            for token in &tokens {
                list.put(&*offset);
                *offset = offset.saturating_add(token.token.chars().count());
            }
        });
    }))
}
