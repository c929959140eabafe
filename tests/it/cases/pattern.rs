//! JSON patterns: what a document must hold, without saying all of it.
//!
//! An object matches one that has at least its members, a list one of its length. A text in angle
//! brackets stands for many values; every other value stands for itself.

use serde_json::Value;

/// Why a value does not match, with the place; `None` if it does.
pub(super) fn mismatch(pattern: &Value, value: &Value) -> Option<String> {
    compare(pattern, Some(value), "")
}

fn compare(pattern: &Value, value: Option<&Value>, place: &str) -> Option<String> {
    if let Some(wanted) = pattern.as_str().and_then(in_brackets) {
        return (!holds(wanted, value))
            .then(|| format!("{place}: <{wanted}> was expected, not {}", shown(value)));
    }
    let Some(value) = value else {
        return Some(format!("{place}: {pattern} was expected, nothing is there"));
    };
    match (pattern, value) {
        (Value::Object(members), Value::Object(have)) => members
            .iter()
            .find_map(|(name, each)| compare(each, have.get(name), &format!("{place}/{name}"))),
        (Value::Array(list), Value::Array(have)) if list.len() == have.len() => {
            let pairs = list.iter().zip(have).enumerate();
            pairs
                .into_iter()
                .find_map(|(at, (each, one))| compare(each, Some(one), &format!("{place}/{at}")))
        }
        (Value::Number(number), Value::Number(have)) if number.as_f64() == have.as_f64() => None,
        _ if pattern == value => None,
        _ => Some(format!("{place}: {pattern} was expected, not {value}")),
    }
}

fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('<')?.strip_suffix('>')
}

/// `absent`, `text`, `number`, `list`, `contains …`, `lacks …`, `starts …`, `is … characters` or
/// `json …`, a text that is a document which matches.
fn holds(wanted: &str, value: Option<&Value>) -> bool {
    let Some(value) = value else {
        return wanted == "absent" || wanted.starts_with("lacks ");
    };
    let (word, rest) = wanted.split_once(' ').unwrap_or((wanted, ""));
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match word {
        "text" => value.is_string(),
        "number" => value.is_number(),
        "list" => value.is_array(),
        "contains" => text.contains(rest),
        "lacks" => !text.contains(rest),
        "starts" => text.starts_with(rest),
        "is" => rest == format!("{} characters", text.chars().count()),
        "json" => {
            let pattern = serde_json::from_str(rest).expect("a pattern is JSON");
            value.is_string()
                && serde_json::from_str(&text).is_ok_and(|have| mismatch(&pattern, &have).is_none())
        }
        _ => false,
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}
