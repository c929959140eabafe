//! Finds the error in whatever an upstream sent instead of an answer.
//!
//! Vendors agree on little: an `error` object, a bare string, a `detail`, a list, an HTML
//! page of the proxy in front. This reads them all into [`UpstreamError`]; what the error *means*
//! is decided two floors up. Shapes as documented or seen by 2026-11-22.

use memchr::memmem;
use serde_json::Value;

use crate::dialects::error::UpstreamError;

/// Longest message kept: vendors repeat whole requests in theirs.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// Longest copy of the body kept for hints and details.
const MAX_RAW_BYTES: usize = 64 * 1024;

/// Characters kept of a body that is a page or plain text.
const MAX_PAGE_CHARS: usize = 300;

/// How deep a sentence is looked for: Mistral's `message.detail[].msg` takes five steps.
const MAX_NESTING: u8 = 6;

impl UpstreamError {
    /// Reads the error out of a body or of one in-stream event.
    ///
    /// `status` is the HTTP status the body came with, `None` inside a stream. With a success or
    /// none, only what says plainly that it is an error counts (a truthy `error`, `type` or
    /// `object` of `"error"`, `response.failed`, a `base_resp` code, …), so that any answer may be
    /// passed in. With a failing status, every body that is not blank is an error, and the best
    /// sentence in it becomes the message: JSON members first, else the page's text.
    ///
    /// Returns `None` if there is no error to be found.
    pub fn parse(status: Option<u16>, json: &[u8]) -> Option<Self> {
        let failed = status.is_some_and(|status| !(200..300).contains(&status));
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let mut error = match read_json(json) {
            Some(value) => {
                plain_error(&value).or_else(|| failed.then(|| likely_error(&value)).flatten())?
            }
            None if failed => Self::default(),
            None => return None,
        };
        if failed && error.message.is_empty() {
            error.message = page_text(&String::from_utf8_lossy(json));
            if error.message.is_empty() {
                return None;
            }
        }
        unfold(&mut error);
        cut(&mut error.message, MAX_MESSAGE_BYTES);
        error.raw = String::from_utf8_lossy(json.get(..MAX_RAW_BYTES).unwrap_or(json)).into_owned();
        cut(&mut error.raw, MAX_RAW_BYTES);
        Some(error)
    }
}

/// Parses JSON; doubled commas, seen in Code Assist's stream errors, are forgiven.
fn read_json(json: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(json) {
        return Some(value);
    }
    memmem::find(json, b",,")?;
    let mut single = json.to_vec();
    single.dedup_by(|next, previous| *next == b',' && *previous == b',');
    serde_json::from_slice(&single).ok()
}

/// The error of a value that says plainly that it is one.
fn plain_error(value: &Value) -> Option<UpstreamError> {
    let Value::Object(members) = value else {
        // Gemini wraps errors in an array where `alt=sse` was not asked for.
        return value.as_array()?.iter().find_map(plain_error);
    };
    let text_is =
        |name: &str, wanted: &str| members.get(name).and_then(Value::as_str) == Some(wanted);

    if let Some(error) = members.get("error").filter(|error| is_truthy(error)) {
        return Some(from_member(error, value));
    }
    if let Some(response) = members.get("response") {
        let error = response.get("error").filter(|error| is_truthy(error));
        if text_is("type", "response.failed") || error.is_some() {
            return Some(from_member(error.unwrap_or(response), response));
        }
    }
    if text_is("type", "error") || text_is("object", "error") {
        return Some(from_object(value));
    }
    if text_is("object", "response") && text_is("status", "failed") {
        return Some(from_object(value));
    }
    // OpenRouter: the choice that broke off holds its own error.
    if let Some(error) = members
        .get("choices")
        .and_then(Value::as_array)
        .and_then(|choices| choices.iter().find_map(|choice| choice.get("error")))
        .filter(|error| is_truthy(error))
    {
        return Some(from_member(error, error));
    }
    // MiniMax: HTTP 200 with a code of its own; 0 is success.
    if let Some(base) = members.get("base_resp") {
        let code = base.get("status_code").and_then(scalar);
        if code.as_deref().is_some_and(|code| code != "0") {
            return Some(UpstreamError {
                code,
                message: base.get("status_msg").map(sentence).unwrap_or_default(),
                ..UpstreamError::default()
            });
        }
    }
    // iFlow: HTTP 200 with `{"status":"434","msg":"…"}`.
    if let (Some(Value::String(status)), Some(message)) =
        (members.get("status"), members.get("msg"))
        && !members.contains_key("choices")
    {
        return Some(UpstreamError {
            code: Some(status.clone()),
            message: sentence(message),
            ..UpstreamError::default()
        });
    }
    if members.get("success") == Some(&Value::Bool(false)) {
        return likely_error(value);
    }
    None
}

/// The error of a value that came with a failing status but does not say that it is one.
fn likely_error(value: &Value) -> Option<UpstreamError> {
    if let Value::Array(items) = value {
        return items.iter().find_map(likely_error);
    }
    if let Some(first) = value
        .get("errors")
        .and_then(Value::as_array)
        .and_then(|errors| errors.first())
        .filter(|first| first.is_object())
    {
        return Some(from_member(first, value));
    }
    Some(from_object(value))
}

/// Reads an `error` member; what it lacks is looked for beside it (xAI: `{"code","error":"text"}`).
/// Where it is a mere word, the sentence stands beside it (Scaleway:
/// `{"error":"Too Many Requests","status":429,"message":"…"}`).
fn from_member(error: &Value, parent: &Value) -> UpstreamError {
    let mut found = from_object(error);
    if error.is_string()
        && let Some(Value::String(message)) = parent.get("message")
        && !message.trim().is_empty()
    {
        let word = std::mem::replace(&mut found.message, message.trim().to_owned());
        found.kind = Some(word);
    }
    if found.message.is_empty()
        && let Some(message) = parent.get("message")
    {
        found.message = sentence(message);
    }
    if found.code.is_none() {
        found.code = parent.get("code").and_then(scalar);
    }
    found
}

/// Reads an object that is the error, or a scalar that is its message.
fn from_object(error: &Value) -> UpstreamError {
    let Value::Object(members) = error else {
        return UpstreamError {
            message: sentence(error),
            ..UpstreamError::default()
        };
    };
    let status = ["code", "status", "status_code"]
        .iter()
        .find_map(|name| http_status(members.get(*name)?));
    let kind = ["type", "status"]
        .iter()
        .filter_map(|name| members.get(*name).and_then(Value::as_str))
        .find(|text| !matches!(*text, "" | "error" | "failed" | "response.failed"));
    let code = error
        .pointer("/details/error_code")
        .or_else(|| members.get("code"))
        .and_then(scalar);
    UpstreamError {
        status,
        kind: kind.map(str::to_owned),
        code,
        param: members
            .get("param")
            .and_then(Value::as_str)
            .map(str::to_owned),
        message: sentence(error),
        raw: String::new(),
    }
}

/// The best sentence in a value.
fn sentence(value: &Value) -> String {
    nested_sentence(value, MAX_NESTING).unwrap_or_default()
}

fn nested_sentence(value: &Value, depth: u8) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Array(items) => {
            let sentences: Vec<_> = items
                .iter()
                .take(8)
                .filter_map(|item| nested_sentence(item, depth))
                .collect();
            Some(sentences.join("; ")).filter(|text| !text.is_empty())
        }
        Value::Object(members) => {
            let text = [
                "message",
                "detail",
                "msg",
                "errors",
                "error_description",
                "error",
                "title",
                "reason",
            ]
            .iter()
            .find_map(|name| nested_sentence(members.get(*name)?, depth))?;
            // FastAPI: `{"loc":["body","model"],"msg":"Field required"}`.
            match members.get("loc").and_then(Value::as_array) {
                Some(steps) => {
                    let path: Vec<_> = steps.iter().filter_map(scalar).collect();
                    Some(format!("{}: {text}", path.join(".")))
                }
                None => Some(text),
            }
        }
        Value::Null | Value::Bool(_) => None,
        Value::Number(number) => Some(number.to_string()),
    }
}

/// Some proxies put the vendor's error, as JSON text, into their own message.
fn unfold(error: &mut UpstreamError) {
    if !error.message.starts_with(['{', '[']) {
        return;
    }
    let Some(inner) = read_json(error.message.as_bytes())
        .as_ref()
        .and_then(plain_error)
    else {
        return;
    };
    if !inner.message.is_empty() {
        error.message = inner.message;
    }
    error.status = inner.status.or(error.status);
    error.kind = inner.kind.or_else(|| error.kind.take());
    error.code = inner.code.or_else(|| error.code.take());
    error.param = inner.param.or_else(|| error.param.take());
}

/// Python's truth, which the SDKs go by: `null`, `false`, `0`, and what is empty say nothing.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// A string or number as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A number that is a failing HTTP status, also written as text.
fn http_status(value: &Value) -> Option<u16> {
    let status = match value {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    (400..600).contains(&status).then_some(status)
}

/// The readable text of an HTML page, or of plain text: at most [`MAX_PAGE_CHARS`] characters,
/// scripts and styles left out, white space collapsed.
fn page_text(page: &str) -> String {
    // Error pages are small; the rest of a large one is not worth reading.
    let page = page
        .get(..page.floor_char_boundary(MAX_RAW_BYTES))
        .unwrap_or("");
    let lower = page.to_ascii_lowercase();
    let mut visible = String::new();
    let mut at = 0;
    while let Some((before, tag)) = page.get(at..).and_then(|rest| rest.split_once('<')) {
        visible.push_str(before);
        visible.push(' ');
        let inside = page.len() - tag.len();
        let close = lower.get(inside..).and_then(|tag| {
            let hidden = [
                ("script", "</script>"),
                ("style", "</style>"),
                ("!--", "-->"),
            ];
            let (_, close) = hidden.iter().find(|(name, _)| tag.starts_with(name))?;
            Some(*close)
        });
        let close = close.unwrap_or(">");
        at = memmem::find(
            lower.as_bytes().get(inside..).unwrap_or_default(),
            close.as_bytes(),
        )
        .map_or(page.len(), |found| inside + found + close.len());
    }
    visible.push_str(page.get(at..).unwrap_or(""));
    let words: Vec<_> = visible.split_whitespace().take(MAX_PAGE_CHARS).collect();
    words.join(" ").chars().take(MAX_PAGE_CHARS).collect()
}

/// Cuts `text` to at most `limit` bytes, between characters.
fn cut(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one body yields: status in the body, kind, code, message.
    type Row = (
        &'static str,
        Option<u16>,
        Option<&'static str>,
        Option<&'static str>,
        &'static str,
    );

    fn check(status: Option<u16>, rows: &[Row]) {
        for (body, inner, kind, code, message) in rows {
            let error = UpstreamError::parse(status, body.as_bytes())
                .unwrap_or_else(|| panic!("no error in {body}"));
            assert_eq!(error.message, *message, "{body}");
            assert_eq!(error.status, *inner, "{body}");
            assert_eq!(error.kind.as_deref(), *kind, "{body}");
            assert_eq!(error.code.as_deref(), *code, "{body}");
            assert_eq!(error.raw, *body);
        }
    }

    const PLAIN: &[Row] = &[
        (
            r#"{"error":{"message":"no","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            None,
            Some("tokens"),
            Some("rate_limit_exceeded"),
            "no",
        ),
        (r#"{"error":"text"}"#, None, None, None, "text"),
        (
            r#"{"code":"invalid","error":"Incorrect API key provided"}"#,
            None,
            None,
            Some("invalid"),
            "Incorrect API key provided",
        ),
        (
            r#"{"error":"Too Many Requests","status":429,"message":"quota of requests per minute"}"#,
            None,
            Some("Too Many Requests"),
            None,
            "quota of requests per minute",
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            None,
            Some("overloaded_error"),
            None,
            "Overloaded",
        ),
        (
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"ramp_limit_exceeded"}}}"#,
            None,
            Some("rate_limit_error"),
            Some("ramp_limit_exceeded"),
            "m",
        ),
        (
            r#"[{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}]"#,
            Some(429),
            Some("RESOURCE_EXHAUSTED"),
            Some("429"),
            "slow",
        ),
        (
            r#"{"type":"error","code":"server_error","message":"m","param":null}"#,
            None,
            None,
            Some("server_error"),
            "m",
        ),
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
            None,
            None,
            Some("rate_limit_exceeded"),
            "m",
        ),
        (
            r#"{"object":"error","message":{"detail":[{"loc":["body","x"],"msg":"bad"}]},"type":"invalid","code":"1300"}"#,
            None,
            Some("invalid"),
            Some("1300"),
            "body.x: bad",
        ),
        (
            r#"{"base_resp":{"status_code":1002,"status_msg":"rate limit"}}"#,
            None,
            None,
            Some("1002"),
            "rate limit",
        ),
        (
            r#"{"choices":[{"finish_reason":"error","error":{"code":502,"message":"broke"}}]}"#,
            Some(502),
            None,
            Some("502"),
            "broke",
        ),
        (
            r#"{"error":{"code":429,"message":"{\"error\":{\"code\":503,\"message\":\"busy\",\"status\":\"UNAVAILABLE\"}}"}}"#,
            Some(503),
            Some("UNAVAILABLE"),
            Some("503"),
            "busy",
        ),
        (
            r#"{"error":{"code":500,,"message":"doubled"}}"#,
            Some(500),
            None,
            Some("500"),
            "doubled",
        ),
        (
            r#"{"status":"434","msg":"Invalid apiKey","body":null}"#,
            None,
            None,
            Some("434"),
            "Invalid apiKey",
        ),
        (
            r#"{"success":false,"errors":[{"code":4006,"message":"daily"}]}"#,
            None,
            None,
            Some("4006"),
            "daily",
        ),
    ];

    #[test]
    fn a_plain_error_needs_no_failing_status() {
        check(None, PLAIN);
        check(Some(400), PLAIN);
    }

    #[test]
    fn with_a_failing_status_any_sentence_will_do() {
        check(
            Some(422),
            &[
                (
                    r#"{"detail":"Unauthorized"}"#,
                    None,
                    None,
                    None,
                    "Unauthorized",
                ),
                (
                    r#"{"detail":[{"loc":["body","model"],"msg":"Field required","type":"missing"}]}"#,
                    None,
                    None,
                    None,
                    "body.model: Field required",
                ),
                (
                    r#"{"message":"invalid api token"}"#,
                    None,
                    None,
                    None,
                    "invalid api token",
                ),
                (r#"{"errors":["a","b"]}"#, None, None, None, "a; b"),
                (
                    r#"{"status":401,"title":"Unauthorized","detail":"no key"}"#,
                    Some(401),
                    None,
                    None,
                    "no key",
                ),
                (
                    "<html><head><title>502 Bad Gateway</title><style>a > b{}</style></head><body><SCRIPT>if(a<b){}</SCRIPT><h1>Oops</h1></body></html>",
                    None,
                    None,
                    None,
                    "502 Bad Gateway Oops",
                ),
                (
                    "upstream connect error",
                    None,
                    None,
                    None,
                    "upstream connect error",
                ),
                (r#"{"error":{}}"#, None, None, None, r#"{"error":{}}"#),
            ],
        );
    }

    #[test]
    fn an_answer_is_no_error() {
        for body in [
            r#"{"choices":[{"message":{"content":"error"},"finish_reason":"stop"}],"error":null}"#,
            r#"{"object":"response","status":"completed","error":null,"output":[]}"#,
            r#"{"type":"response.completed","response":{"error":null}}"#,
            r#"{"type":"message","content":[]}"#,
            r#"{"base_resp":{"status_code":0,"status_msg":"success"},"choices":[]}"#,
            r#"{"message":"hello","detail":"x"}"#,
            "[1,2]",
            "\"error\"",
            "not json",
            "",
        ] {
            assert_eq!(
                UpstreamError::parse(Some(200), body.as_bytes()),
                None,
                "{body}"
            );
        }
    }

    #[test]
    fn a_blank_body_holds_no_error_whatever_the_status() {
        assert_eq!(UpstreamError::parse(Some(502), b" \r\n"), None);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let body = format!(r#"{{"error":{{"message":"x{}"}}}}"#, "é".repeat(60_000));
        let error = UpstreamError::parse(None, body.as_bytes()).expect("an error");
        assert_eq!(error.message.len(), MAX_MESSAGE_BYTES - 1);
        assert!(error.raw.len() <= MAX_RAW_BYTES);
        let page = UpstreamError::parse(Some(500), "é ".repeat(9_000).as_bytes());
        assert_eq!(
            page.expect("an error").message.chars().count(),
            MAX_PAGE_CHARS
        );
    }
}
