//! A tool call's arguments as the JSON object that Anthropic and Gemini insist on.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::json;

/// Returns the arguments as one JSON object.
///
/// Valid objects pass as written. Nothing becomes `{}`, other JSON `{"value": …}`, and text that
/// is no JSON `{"_raw": "…"}`, so that nothing is lost.
pub fn object(arguments: &str) -> Cow<'_, str> {
    let trimmed = arguments.trim();
    if trimmed.is_empty() || trimmed == "null" {
        return Cow::Borrowed("{}");
    }
    match serde_json::from_str::<&RawValue>(trimmed) {
        Ok(_) if trimmed.starts_with('{') => Cow::Borrowed(trimmed),
        Ok(_) => Cow::Owned(format!(r#"{{"value":{trimmed}}}"#)),
        Err(_) => Cow::Owned(wrapped("_raw", arguments)),
    }
}

/// Returns an object with one text: what stands in for a free-text tool's input.
pub fn wrapped(name: &str, text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + name.len() + 8);
    json::object(&mut out, |o| o.put(name, text));
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_always_an_object_and_never_lost() {
        for (arguments, expected) in [
            ("", "{}"),
            ("null", "{}"),
            (r#" {"a": 1.0} "#, r#"{"a": 1.0}"#),
            ("[1]", r#"{"value":[1]}"#),
            ("\"x\"", r#"{"value":"x"}"#),
            ("{bad", r#"{"_raw":"{bad"}"#),
        ] {
            assert_eq!(object(arguments), expected);
        }
    }
}
