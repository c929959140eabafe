//! Blocks that only one vendor knows, as text for the others: what was searched, fetched or run
//! stays readable in the history, what means nothing elsewhere goes.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::Dialect;

/// The block as text; `None` if nothing of it makes sense to another vendor.
pub fn block(dialect: Dialect, json: &RawValue) -> Option<String> {
    let value: Value = serde_json::from_str(json.get()).ok()?;
    match dialect {
        Dialect::Anthropic => anthropic(&value),
        Dialect::Gemini => gemini(&value),
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            value.get("text")?.as_str().map(str::to_owned)
        }
    }
}

fn anthropic(block: &Value) -> Option<String> {
    let text = |name: &str| block.get(name).and_then(Value::as_str);
    match text("type")? {
        "search_result" => {
            let mut lines = vec![
                text("title").unwrap_or_default(),
                text("source").unwrap_or_default(),
            ];
            lines.retain(|line| !line.is_empty());
            lines.extend(texts(block.get("content")?));
            Some(lines.join("\n"))
        }
        "server_tool_use" => {
            let name = text("name").unwrap_or("tool").replace('_', " ");
            let input = block.get("input")?;
            let query = input.get("query").or_else(|| input.get("url"));
            match query.and_then(Value::as_str) {
                Some(query) => Some(format!("[{name}] {query}")),
                None => Some(format!("[{name}] {input}")),
            }
        }
        "web_search_tool_result" => {
            let results = block.get("content")?.as_array()?;
            let line = |result: &Value| {
                let title = result.get("title").and_then(Value::as_str)?;
                let url = result.get("url").and_then(Value::as_str)?;
                Some(format!("- {title}: {url}"))
            };
            let lines: Vec<String> = results.iter().filter_map(line).collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        }
        kind if kind.ends_with("_tool_result") => {
            let content = block.get("content")?;
            let lines = texts(content);
            let output = ["stdout", "stderr"]
                .iter()
                .filter_map(|name| content.get(name)?.as_str())
                .filter(|output| !output.is_empty());
            let all: Vec<&str> = lines.into_iter().chain(output).collect();
            (!all.is_empty()).then(|| all.join("\n"))
        }
        "tool_reference" => text("tool_name").map(|name| format!("[tool] {name}")),
        _ => None,
    }
}

fn gemini(part: &Value) -> Option<String> {
    if let Some(code) = part.get("executableCode") {
        let language = code.get("language").and_then(Value::as_str);
        let language = language.unwrap_or_default().to_lowercase();
        return Some(format!(
            "```{language}\n{}\n```",
            code.get("code")?.as_str()?
        ));
    }
    let result = part.get("codeExecutionResult")?;
    Some(format!("```\n{}\n```", result.get("output")?.as_str()?))
}

/// The texts of a list of blocks, or the text itself.
fn texts(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(blocks) => blocks
            .iter()
            .filter_map(|block| block.get("text")?.as_str())
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_searched_and_found_stays_readable() {
        for (json, expected) in [
            (
                r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"rust"}}"#,
                Some("[web search] rust"),
            ),
            (
                r#"{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result","url":"https://r","title":"R","encrypted_content":"x"}]}"#,
                Some("- R: https://r"),
            ),
            (
                r#"{"type":"search_result","source":"s","title":"T","content":[{"type":"text","text":"body"}]}"#,
                Some("T\ns\nbody"),
            ),
            (
                r#"{"type":"bash_code_execution_tool_result","content":{"stdout":"ok","stderr":""}}"#,
                Some("ok"),
            ),
            (r#"{"type":"compaction","content":"x"}"#, None),
            (
                r#"{"type":"web_search_tool_result","content":{"type":"e"}}"#,
                None,
            ),
        ] {
            let raw: &RawValue = serde_json::from_str(json).expect("JSON");
            assert_eq!(
                block(Dialect::Anthropic, raw).as_deref(),
                expected,
                "{json}"
            );
        }
    }
}
