//! A tool call's arguments as the JSON object that Anthropic and Gemini insist on.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::json;

/// Returns the arguments as one JSON object.
///
/// Valid objects pass as written, objects that were cut short are closed. Nothing becomes `{}`, other JSON `{"value": …}`, and text that
/// is no JSON `{"_raw": "…"}`, so that nothing is lost.
pub fn object(arguments: &str) -> Cow<'_, str> {
    let trimmed = arguments.trim();
    if trimmed.is_empty() || trimmed == "null" {
        return Cow::Borrowed("{}");
    }
    match serde_json::from_str::<&RawValue>(trimmed) {
        Ok(_) if trimmed.starts_with('{') => Cow::Borrowed(trimmed),
        Ok(_) => Cow::Owned(format!(r#"{{"value":{trimmed}}}"#)),
        Err(_) => Cow::Owned(repaired(trimmed).unwrap_or_else(|| wrapped("_raw", arguments))),
    }
}

/// Returns an object with one text: what stands in for a free-text tool's input.
pub fn wrapped(name: &str, text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + name.len() + 8);
    json::object(&mut out, |o| o.put(name, text));
    String::from_utf8(out).unwrap_or_default()
}

/// The object closed where the model was cut off: open text and brackets are closed, a trailing
/// comma goes. `None` if that does not make it JSON.
fn repaired(text: &str) -> Option<String> {
    if !text.starts_with('{') {
        return None;
    }
    let mut open = Vec::new();
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' => open.push('}'),
            b'[' => open.push(']'),
            b'}' | b']' => {
                open.pop()?;
            }
            _ => {}
        }
    }
    let mut closed = text.to_owned();
    if is_escaped {
        closed.pop();
    }
    if in_text {
        closed.push('"');
    }
    closed.truncate(closed.trim_end().trim_end_matches(',').len());
    closed.extend(open.into_iter().rev());
    serde_json::from_str::<&RawValue>(&closed)
        .is_ok()
        .then_some(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_13_arguments_are_always_an_object_and_never_lost() {
        for (arguments, expected) in [
            ("", "{}"),
            ("null", "{}"),
            (r#" {"a": 1.0} "#, r#"{"a": 1.0}"#),
            ("[1]", r#"{"value":[1]}"#),
            ("\"x\"", r#"{"value":"x"}"#),
            (r#"{"a":[1,2"#, r#"{"a":[1,2]}"#),
            (r#"{"a":"x\"#, r#"{"a":"x"}"#),
            (r#"{"a":1,"#, r#"{"a":1}"#),
            ("{bad", r#"{"_raw":"{bad"}"#),
        ] {
            assert_eq!(object(arguments), expected);
        }
    }
}
