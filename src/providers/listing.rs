//! Reads model lists in the shapes vendors use: `{"data":[…]}` (OpenAI, Anthropic), a plain array
//! (Together, GitHub), Gemini's and Cohere's paged `{"models":[…]}`, Cloudflare's `{"result":[…]}`.

use std::collections::HashSet;

use serde_json::Value;

use crate::providers::{ListedModel, ModelPage};
use crate::time::Timestamp;

/// Reads one page; models without a usable id and repeated ids are left out.
pub(super) fn read(body: &[u8]) -> Result<ModelPage, String> {
    let list: Value = serde_json::from_slice(body)
        .map_err(|error| format!("the model list is not JSON ({error})"))?;
    let items = match &list {
        Value::Array(items) => items,
        Value::Object(members) => ["data", "models", "result"]
            .iter()
            .find_map(|name| members.get(*name)?.as_array())
            .ok_or("the answer holds no list of models")?,
        _ => return Err("the model list is neither an object nor an array".to_owned()),
    };
    let mut seen = HashSet::new();
    let models = items
        .iter()
        .filter(|item| can_generate(item))
        .filter_map(model)
        .filter(|model| seen.insert(model.id.clone()))
        .collect();
    Ok(ModelPage {
        models,
        next: next_page(&list),
    })
}

/// Gemini and Cohere list what each model can do; only what we can ask for counts.
fn can_generate(item: &Value) -> bool {
    let Some(methods) = item
        .get("supportedGenerationMethods")
        .or_else(|| item.get("endpoints"))
        .and_then(Value::as_array)
        .filter(|methods| methods.iter().any(Value::is_string))
    else {
        return true;
    };
    methods.iter().filter_map(Value::as_str).any(|method| {
        matches!(
            method,
            "generateContent" | "embedContent" | "chat" | "embed"
        )
    })
}

fn model(item: &Value) -> Option<ListedModel> {
    if let Some(id) = item.as_str() {
        return id_of(id).map(|id| ListedModel {
            id,
            ..ListedModel::default()
        });
    }
    // Cloudflare's `id` is a UUID; the name to call a model by begins with `@`.
    let name =
        text(item, "name").filter(|name| name.starts_with('@') || name.starts_with("models/"));
    let id = name
        .or_else(|| text(item, "id"))
        .or_else(|| text(item, "name"))
        .or_else(|| text(item, "model"))?;
    Some(ListedModel {
        served_by: None,
        id: id_of(id)?,
        created: item
            .get("created")
            .or_else(|| item.get("created_at"))
            .and_then(instant),
        context_window: number(
            item,
            &[
                "context_length",
                "context_window",
                "max_context_length",
                "max_model_len",
                "max_input_tokens",
                "inputTokenLimit",
            ],
        )
        .or_else(|| {
            item.pointer("/limits/max_input_tokens")
                .and_then(Value::as_u64)
        }),
        max_output: number(
            item,
            &[
                "max_completion_tokens",
                "max_output_tokens",
                "outputTokenLimit",
                "max_tokens",
            ],
        )
        .or_else(|| {
            item.pointer("/top_provider/max_completion_tokens")
                .and_then(Value::as_u64)
        })
        .or_else(|| {
            item.pointer("/limits/max_output_tokens")
                .and_then(Value::as_u64)
        }),
        display_name: text(item, "display_name")
            .or_else(|| text(item, "displayName"))
            .or_else(|| text(item, "name").filter(|name| *name != id))
            .map(str::to_owned),
    })
}

/// The id to call a model by; `None` for what no URL or log line should have to carry.
fn id_of(id: &str) -> Option<String> {
    let id = id.strip_prefix("models/").unwrap_or(id);
    let usable = !id.is_empty() && id.len() <= 256 && !id.chars().any(char::is_control);
    usable.then(|| id.to_owned())
}

fn next_page(list: &Value) -> Option<String> {
    let token = text(list, "nextPageToken").or_else(|| text(list, "next_page_token"));
    let after = (list.get("has_more") == Some(&Value::Bool(true)))
        .then(|| text(list, "last_id"))
        .flatten();
    token.or(after).map(str::to_owned)
}

fn text<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The first of these members that is a number above zero.
fn number(item: &Value, names: &[&str]) -> Option<u64> {
    names
        .iter()
        .find_map(|name| item.get(*name)?.as_u64().filter(|number| *number > 0))
}

/// Unix seconds, also as a float, or RFC 3339.
fn instant(value: &Value) -> Option<i64> {
    if let Some(text) = value.as_str() {
        return Timestamp::parse_rfc3339(text).map(|time| time.as_millis().div_euclid(1000));
    }
    value.as_i64().or_else(|| {
        let seconds = value
            .as_f64()
            .filter(|seconds| (0.0..1e11).contains(seconds))?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range was just checked"
        )]
        let whole = seconds as i64;
        Some(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &str) -> Vec<String> {
        let page = read(body.as_bytes()).expect("a list");
        page.models.into_iter().map(|model| model.id).collect()
    }

    #[test]
    fn every_vendors_list_is_read() {
        for (body, wanted) in [
            (
                r#"{"object":"list","data":[{"id":"gpt-4o","object":"model","created":1715367049}]}"#,
                &["gpt-4o"][..],
            ),
            (
                r#"[{"id":"meta/x","context_length":8192},{"id":"y"}]"#,
                &["meta/x", "y"],
            ),
            (
                r#"{"models":[{"name":"models/gemini-2.5-flash","supportedGenerationMethods":["generateContent"]},{"name":"models/imagen-4","supportedGenerationMethods":["predict"]}]}"#,
                &["gemini-2.5-flash"],
            ),
            (
                r#"{"models":[{"name":"command-a-03-2025","endpoints":["chat"]},{"name":"rerank-v3.5","endpoints":["rerank"]}]}"#,
                &["command-a-03-2025"],
            ),
            (
                r#"{"result":[{"id":"429b9e8b-d99e","name":"@cf/meta/llama-3.1-8b-instruct"}],"success":true}"#,
                &["@cf/meta/llama-3.1-8b-instruct"],
            ),
            (
                r#"{"models":[{"name":"llama3:latest","model":"llama3:latest"}]}"#,
                &["llama3:latest"],
            ),
            (r#"{"data":[]}"#, &[]),
            (
                r#"{"data":[{"id":"a"},{"id":"a"},{"id":""},{"x":1},"b",7]}"#,
                &["a", "b"],
            ),
        ] {
            assert_eq!(ids(body), wanted, "{body}");
        }
    }

    #[test]
    fn limits_and_dates_are_read_under_each_name() {
        let body = br#"{"data":[{"type":"model","id":"claude-x","display_name":"Claude X","created_at":"2025-02-24T00:00:00Z","max_input_tokens":200000,"max_tokens":64000}],"has_more":true,"last_id":"claude-x"}"#;
        let page = read(body).expect("a list");
        assert_eq!(page.next.as_deref(), Some("claude-x"));
        assert_eq!(
            page.models,
            [ListedModel {
                served_by: None,
                id: "claude-x".into(),
                created: Some(1_740_355_200),
                context_window: Some(200_000),
                max_output: Some(64_000),
                display_name: Some("Claude X".into()),
            }]
        );
    }

    #[test]
    fn a_further_page_is_named() {
        let page = read(br#"{"models":[],"nextPageToken":"abc"}"#).expect("a list");
        assert_eq!(page.next.as_deref(), Some("abc"));
        let page = read(br#"{"data":[],"has_more":false,"last_id":"x"}"#).expect("a list");
        assert_eq!(page.next, None);
    }

    #[test]
    fn what_is_no_list_is_said_in_a_sentence() {
        for body in [
            "",
            "<html>",
            "7",
            "{}",
            r#"{"data":{}}"#,
            r#"{"error":{"message":"no"}}"#,
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
