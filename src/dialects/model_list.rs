//! Lists of models in each dialect's shape.
//!
//! Sources: openai 2.54.0, anthropic 0.125.0 and google-genai 3.4.0 types; Codex's catalogue
//! request; read 2026-11-22. One page holds everything: `has_more` is false, there is no
//! `nextPageToken`.

use crate::dialects::Dialect;
use crate::dialects::fields::Extra;
use crate::dialects::json::{Object, object};

/// A model that clients may ask for.
#[derive(Clone, Debug, Default)]
pub struct ListedEntry {
    /// The name to ask for: `provider/model`, or one of the config's own.
    pub id: String,
    /// A name for people; the id where nobody gave one.
    pub display_name: Option<String>,
    /// OpenAI's `owned_by`: the provider's id.
    pub owned_by: String,
    /// When the model came out, in seconds since the epoch; 0 if not known.
    pub created: i64,
    /// Most input tokens, where known.
    pub input_limit: Option<u64>,
    /// Most answer tokens, where known.
    pub output_limit: Option<u64>,
    /// Whether it makes vectors, not answers.
    pub embeds: bool,
    /// More members for OpenAI's shape (`?enriched=true`).
    pub more: Extra,
}

/// Writes the whole list.
///
/// [`Dialect::OpenAiResponses`] is OpenAI's list with the `models` that Codex looks for beside
/// it. Codex keeps its own instructions and limits for models whose entry is not complete, which
/// ours never are.
pub fn write_list(dialect: Dialect, entries: &[ListedEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + entries.len() * 160);
    object(&mut out, |o| match dialect {
        Dialect::Anthropic => {
            o.array("data", |list| {
                for entry in entries {
                    list.object(|o| anthropic(o, entry));
                }
            });
            o.put("has_more", &false);
            o.put("first_id", &entries.first().map(|entry| &entry.id));
            o.put("last_id", &entries.last().map(|entry| &entry.id));
        }
        Dialect::Gemini => o.array("models", |list| {
            for entry in entries {
                list.object(|o| gemini(o, entry));
            }
        }),
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            o.put("object", "list");
            o.array("data", |list| {
                for entry in entries {
                    list.object(|o| openai(o, entry));
                }
            });
            if dialect == Dialect::OpenAiResponses {
                o.array("models", |list| {
                    for entry in entries.iter().filter(|entry| !entry.embeds) {
                        list.object(|o| codex(o, entry));
                    }
                });
            }
        }
    });
    out
}

/// Writes one model.
pub fn write_one(dialect: Dialect, entry: &ListedEntry) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    object(&mut out, |o| match dialect {
        Dialect::Anthropic => anthropic(o, entry),
        Dialect::Gemini => gemini(o, entry),
        Dialect::OpenAiChat | Dialect::OpenAiResponses => openai(o, entry),
    });
    out
}

impl ListedEntry {
    fn shown_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(&self.id)
    }
}

fn openai(o: &mut Object<'_>, entry: &ListedEntry) {
    o.put("id", &entry.id);
    o.put("object", "model");
    o.put("created", &entry.created);
    o.put("owned_by", &entry.owned_by);
    o.extra(&entry.more);
}

fn anthropic(o: &mut Object<'_>, entry: &ListedEntry) {
    o.put("type", "model");
    o.put("id", &entry.id);
    o.put("display_name", &entry.shown_name());
    o.put("created_at", &rfc3339(entry.created));
    o.put_some("max_input_tokens", entry.input_limit.as_ref());
    o.put_some("max_tokens", entry.output_limit.as_ref());
}

fn gemini(o: &mut Object<'_>, entry: &ListedEntry) {
    o.put("name", &format!("models/{}", entry.id));
    o.put("displayName", &entry.shown_name());
    o.put_some("inputTokenLimit", entry.input_limit.as_ref());
    o.put_some("outputTokenLimit", entry.output_limit.as_ref());
    let methods: &[&str] = if entry.embeds {
        &["embedContent", "batchEmbedContents"]
    } else {
        &["generateContent", "streamGenerateContent", "countTokens"]
    };
    o.array("supportedGenerationMethods", |list| {
        for method in methods {
            list.put(&method);
        }
    });
}

fn codex(o: &mut Object<'_>, entry: &ListedEntry) {
    o.put("slug", &entry.id);
    o.put("display_name", &entry.shown_name());
    o.put("visibility", "list");
    o.put("supported_in_api", &true);
    o.put_some("context_window", entry.input_limit.as_ref());
}

/// The instant in RFC 3339, which Anthropic's SDK parses; the epoch for what is out of range.
fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entries() -> Vec<ListedEntry> {
        let chat = ListedEntry {
            id: "gemini/pro".to_owned(),
            owned_by: "gemini".to_owned(),
            created: 1_700_000_000,
            input_limit: Some(1_000),
            output_limit: Some(100),
            ..ListedEntry::default()
        };
        let vectors = ListedEntry {
            id: "gemini/vectors".to_owned(),
            display_name: Some("Vectors".to_owned()),
            embeds: true,
            ..chat.clone()
        };
        vec![chat, vectors]
    }

    fn listed(dialect: Dialect) -> Value {
        serde_json::from_slice(&write_list(dialect, &entries())).expect("JSON")
    }

    #[test]
    fn case_80_each_dialect_gets_its_shape() {
        let anthropic = listed(Dialect::Anthropic);
        assert_eq!(anthropic["has_more"], false);
        assert_eq!(anthropic["first_id"], "gemini/pro");
        assert_eq!(anthropic["last_id"], "gemini/vectors");
        assert_eq!(anthropic["data"][0]["created_at"], "2023-11-14T22:13:20Z");
        let openai = listed(Dialect::OpenAiChat);
        assert_eq!(
            openai["data"][0],
            json!({"id": "gemini/pro", "object": "model", "created": 1_700_000_000, "owned_by": "gemini"})
        );
        assert!(openai.get("models").is_none());
        let codex = listed(Dialect::OpenAiResponses);
        assert_eq!(codex["data"].as_array().map(Vec::len), Some(2));
        assert_eq!(codex["models"][0]["slug"], "gemini/pro");
        let gemini = listed(Dialect::Gemini);
        assert_eq!(gemini["models"][0]["name"], "models/gemini/pro");
        assert_eq!(gemini["models"][1]["displayName"], "Vectors");
        assert_eq!(
            gemini["models"][1]["supportedGenerationMethods"][0],
            "embedContent"
        );
    }

    #[test]
    fn an_empty_list_is_a_list() {
        for dialect in Dialect::ALL {
            let body = write_list(dialect, &[]);
            assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }

    #[test]
    fn one_model_is_written_like_its_list_entry() {
        for dialect in [Dialect::Anthropic, Dialect::Gemini, Dialect::OpenAiChat] {
            let one: Value =
                serde_json::from_slice(&write_one(dialect, &entries()[0])).expect("JSON");
            let key = if dialect == Dialect::Gemini {
                "models"
            } else {
                "data"
            };
            assert_eq!(listed(dialect)[key][0], one);
        }
    }
}
