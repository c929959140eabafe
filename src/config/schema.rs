//! The JSON Schema of `config.toml` (draft 2020-12), for editors.

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::keys::{self, Key, Shape};
use crate::config::provider::Provider;

/// Keys that their table cannot do without.
const REQUIRED: [&str; 12] = [
    "model_facts[].model",
    "models.*.targets",
    "providers.*.api_keys[].key",
    "providers.*.caps[].limit",
    "providers.*.models[].name",
    "providers.*.windows[].every",
    "routing.errors[].action",
    "server.api_keys[].key",
    "server.clients[].key",
    "server.clients[].name",
    "server.tls.cert",
    "server.tls.key",
];

/// The whole schema.
pub fn schema() -> Value {
    let mut whole = object("");
    whole.insert(
        "$schema".to_owned(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    whole.insert("title".to_owned(), "llmproxy config.toml".into());
    whole.insert("$defs".to_owned(), definitions());
    Value::Object(whole)
}

fn definitions() -> Value {
    json!({
        "duration": {
            "type": "string",
            "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$",
            "examples": ["500ms", "30s", "5m", "24h"],
        },
        "secret": {
            "type": "string",
            "description": "A text, \"env:NAME\" or \"file:PATH\"",
        },
        "size": {
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?([KMG]i?B|B)?$",
            "minimum": 0,
            "examples": ["32MiB"],
        },
    })
}

/// A table at a pattern path, with the keys below it.
fn object(path: &str) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut others = Value::Bool(false);
    let mut required = Vec::new();
    for name in keys::children(path) {
        let below = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        let Some(key) = keys::find(&below) else {
            continue;
        };
        if name == "*" {
            others = described(key);
            continue;
        }
        if REQUIRED.contains(&key.path) {
            required.push(Value::from(name));
        }
        properties.insert(name.to_owned(), described(key));
    }
    let mut object = Map::new();
    object.insert("type".to_owned(), "object".into());
    if !properties.is_empty() {
        object.insert("properties".to_owned(), properties.into());
    }
    object.insert("additionalProperties".to_owned(), others);
    if !required.is_empty() {
        object.insert("required".to_owned(), required.into());
    }
    object
}

/// What a key takes, with its description and default.
fn described(key: &Key) -> Value {
    let mut described = Map::new();
    described.insert("description".to_owned(), key.about.into());
    if let Value::Object(shape) = shape(key) {
        described.extend(shape);
    }
    if let Some(default) = default(key.path) {
        described.insert("default".to_owned(), default);
    }
    Value::Object(described)
}

fn shape(key: &Key) -> Value {
    let elements = || Value::Object(object(&format!("{}[]", key.path)));
    let durations = json!({"$ref": "#/$defs/duration"});
    let secret = json!({"$ref": "#/$defs/secret"});
    match key.shape {
        Shape::Any => json!({"type": "object"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Duration => durations,
        Shape::Durations => json!({"type": "array", "items": durations}),
        Shape::Integer(max) => json!({"type": "integer", "minimum": 0, "maximum": max}),
        Shape::Keys => json!({"type": "array", "items": {"anyOf": [secret, elements()]}}),
        Shape::Limit => json!({"anyOf": [
            {"type": "integer", "not": {"const": 0}},
            {"type": "string", "pattern": "^([1-9][0-9]?%|100%|-?[0-9]+)$"},
        ]}),
        Shape::Named => {
            json!({"type": "array", "items": {"anyOf": [{"type": "string"}, elements()]}})
        }
        Shape::Number => json!({"type": "number"}),
        Shape::OneOf(words) => json!({"enum": words}),
        Shape::Secret => secret,
        Shape::Size => json!({"$ref": "#/$defs/size"}),
        Shape::Table => Value::Object(object(key.path)),
        Shape::Tables => json!({"type": "array", "items": elements()}),
        Shape::Text => json!({"type": "string"}),
        Shape::TextOrTexts => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
        }
        Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
    }
}

/// The default of a single value; lists and tables that are empty say nothing.
fn default(path: &str) -> Option<Value> {
    let (whole, path) = match path.strip_prefix("providers.*.") {
        Some(below) => (serde_json::to_value(Provider::default()), below),
        None => (serde_json::to_value(Config::default()), path),
    };
    let whole = whole.ok()?;
    let found = path
        .split('.')
        .try_fold(&whole, |value, name| value.get(name))?;
    match found {
        Value::Array(items) if items.is_empty() => None,
        Value::Null | Value::Object(_) => None,
        value => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of the schema, as the table writes it.
    fn paths(schema: &Value, path: &str, found: &mut Vec<String>) {
        let below = |name: &str| match path {
            "" => name.to_owned(),
            _ => format!("{path}.{name}"),
        };
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                found.push(below(name));
                paths(property, &below(name), found);
            }
        }
        if schema["additionalProperties"].is_object() {
            found.push(below("*"));
            paths(&schema["additionalProperties"], &below("*"), found);
        }
        let items = &schema["items"];
        let choices = items["anyOf"].as_array().into_iter().flatten();
        for element in choices.chain([items]).filter(|element| element.is_object()) {
            paths(element, &format!("{path}[]"), found);
        }
    }

    #[test]
    fn the_schema_has_every_key_and_no_other() {
        let mut found = Vec::new();
        paths(&schema(), "", &mut found);
        found.sort_unstable();
        let mut known: Vec<_> = keys::KEYS.iter().map(|key| key.path).collect();
        known.sort_unstable();
        assert_eq!(found, known);
    }

    #[test]
    fn defaults_are_those_of_the_program() {
        let schema = schema();
        let server = &schema["properties"]["server"]["properties"];
        assert_eq!(server["port"]["default"], 8000);
        assert_eq!(server["max_body"]["default"], "32MiB");
        let provider = &schema["properties"]["providers"]["additionalProperties"]["properties"];
        assert_eq!(provider["rotation"]["default"], "sequential");
        let words = &provider["rotation"]["enum"];
        assert!(
            words
                .as_array()
                .is_some_and(|words| words.contains(&"expiring".into()))
        );
    }

    #[test]
    fn what_is_required_exists() {
        for path in REQUIRED {
            assert!(keys::find(path).is_some(), "{path}");
        }
    }
}
