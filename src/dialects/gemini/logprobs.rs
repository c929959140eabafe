//! Token log-probabilities: Gemini's `logprobsResult` and OpenAI's `logprobs`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialects::fields::Raw;
use crate::dialects::json::{Object, raw_object};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GeminiToken {
    token: String,
    log_probability: f64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GeminiTop {
    candidates: Vec<GeminiToken>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GeminiResult {
    chosen_candidates: Vec<GeminiToken>,
    top_candidates: Vec<GeminiTop>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OpenAiToken {
    token: String,
    logprob: f64,
    top_logprobs: Vec<Self>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OpenAiResult {
    content: Option<Vec<OpenAiToken>>,
}

/// OpenAI's shape of a `logprobsResult`; `None` if it is not one.
pub(super) fn to_openai(raw: &RawValue) -> Option<Raw> {
    let result: GeminiResult = serde_json::from_str(raw.get()).ok()?;
    Some(raw_object(|o| {
        o.array("content", |list| {
            for (at, token) in result.chosen_candidates.iter().enumerate() {
                list.object(|o| {
                    openai_token(o, token);
                    o.array("top_logprobs", |list| {
                        let top = result.top_candidates.get(at);
                        for token in top.map(|top| top.candidates.as_slice()).unwrap_or_default() {
                            list.object(|o| openai_token(o, token));
                        }
                    });
                });
            }
        });
        o.put("refusal", &());
    }))
}

fn openai_token(o: &mut Object<'_>, token: &GeminiToken) {
    o.put("token", &token.token);
    o.put("logprob", &token.log_probability);
    o.put("bytes", &token.token.as_bytes());
}

/// Writes `logprobsResult` from OpenAI's shape; nothing if it is not one.
pub(super) fn write(o: &mut Object<'_>, raw: &RawValue) -> bool {
    let Ok(result) = serde_json::from_str::<OpenAiResult>(raw.get()) else {
        return false;
    };
    let tokens = result.content.unwrap_or_default();
    o.object("logprobsResult", |o| {
        o.array("chosenCandidates", |list| {
            for token in &tokens {
                list.object(|o| gemini_token(o, token));
            }
        });
        o.array("topCandidates", |list| {
            for token in &tokens {
                list.object(|o| {
                    o.array("candidates", |list| {
                        for token in &token.top_logprobs {
                            list.object(|o| gemini_token(o, token));
                        }
                    });
                });
            }
        });
    });
    true
}

fn gemini_token(o: &mut Object<'_>, token: &OpenAiToken) {
    o.put("token", &token.token);
    o.put("logProbability", &token.logprob);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_go_there_and_back() {
        let gemini = r#"{"chosenCandidates":[{"token":"a","logProbability":-0.5}],"topCandidates":[{"candidates":[{"token":"b","logProbability":-1.5}]}]}"#;
        let openai =
            to_openai(&RawValue::from_string(gemini.to_owned()).expect("JSON")).expect("a result");
        assert_eq!(
            openai.get(),
            r#"{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1.5,"bytes":[98]}]}],"refusal":null}"#
        );
        let mut out = Vec::new();
        crate::dialects::json::object(&mut out, |o| assert!(write(o, &openai)));
        assert_eq!(
            String::from_utf8(out).expect("text"),
            format!(r#"{{"logprobsResult":{gemini}}}"#)
        );
    }
}
