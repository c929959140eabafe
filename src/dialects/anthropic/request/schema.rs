//! JSON Schema as Anthropic takes it: for tool inputs nearly all of it, for answers a strict part.
//!
//! Source: Anthropic's structured-outputs page (unsupported keywords) and the transformation its
//! SDK applies; read 2026-11-22.

use serde_json::value::{RawValue, to_raw_value};

use crate::dialects::fields::{Fields, Raw};
use crate::dialects::json::raw_object;
use crate::dialects::schema::tree::{Members, Tree};
use crate::dialects::schema::{self, Form, Rules};

/// Keywords that answer schemas must not have; they go on as words in the description.
const NOTED: [&str; 19] = [
    "contains",
    "dependentRequired",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "uniqueItems",
];

/// Keywords that mean nothing to it and would not read well.
const DROPPED: [&str; 9] = [
    "$defs",
    "definitions",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// A tool's `input_schema`: an object at its root, whatever the client wrote.
pub(super) fn input(schema: Option<&Raw>) -> Raw {
    let empty = || {
        raw_object(|o| {
            o.put("type", "object");
            o.object("properties", |_| {});
        })
    };
    let Some(schema) = schema else {
        return empty();
    };
    let Ok(fields) = Fields::parse_raw(schema) else {
        return empty();
    };
    let is_object = fields
        .raw("type")
        .is_some_and(|kind| kind.get() == "\"object\"");
    let has_choice = ["allOf", "anyOf", "oneOf"]
        .iter()
        .any(|name| fields.raw(name).is_some());
    if is_object && !has_choice {
        return schema.clone();
    }
    match serde_json::from_str(schema.get()) {
        Ok(Tree::Object(members)) => to_raw(&Tree::Object(merged_root(members))),
        _ => empty(),
    }
}

/// The root with `anyOf`, `oneOf` and `allOf` merged into it: all their properties, and what all
/// of them require (each of them, for `allOf`).
fn merged_root(mut root: Members) -> Members {
    let mut properties = match root.take("properties") {
        Some(Tree::Object(properties)) => properties,
        _ => Members::default(),
    };
    let mut required = names(root.take("required").as_ref());
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let Some(Tree::Array(branches)) = root.take(keyword) else {
            continue;
        };
        let mut shared: Option<Vec<String>> = None;
        for branch in &branches {
            let Tree::Object(branch) = branch else {
                continue;
            };
            if let Some(Tree::Object(more)) = branch.get("properties") {
                for (name, property) in &more.0 {
                    if properties.get(name).is_none() {
                        properties.0.push((name.clone(), property.clone()));
                    }
                }
            }
            let wanted = names(branch.get("required"));
            shared = Some(match shared {
                None => wanted,
                Some(known) if keyword == "allOf" => known.into_iter().chain(wanted).collect(),
                Some(known) => known.into_iter().filter(|n| wanted.contains(n)).collect(),
            });
        }
        for name in shared.unwrap_or_default() {
            if !required.contains(&name) {
                required.push(name);
            }
        }
    }
    root.set("type", Tree::text("object"));
    root.set("properties", Tree::Object(properties));
    if !required.is_empty() {
        root.set(
            "required",
            Tree::Array(required.into_iter().map(Tree::String).collect()),
        );
    }
    root
}

fn names(list: Option<&Tree>) -> Vec<String> {
    list.and_then(Tree::as_array)
        .unwrap_or_default()
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// The schema of an answer (`output_config.format.schema`): references inlined, `oneOf` as
/// `anyOf`, limits as words, every object closed.
pub(super) fn answer(schema: &RawValue) -> Raw {
    let inlined = schema::clean(
        schema,
        Rules {
            form: Form::JsonSchemaInlined,
            ..Rules::JSON_SCHEMA
        },
    );
    match serde_json::from_str(inlined.get()) {
        Ok(tree) => to_raw(&strict(tree)),
        Err(_) => inlined,
    }
}

/// One schema node, and the schemas in it. Depth is bounded by the parser.
fn strict(node: Tree) -> Tree {
    let Tree::Object(members) = node else {
        return node;
    };
    let mut out = Members::default();
    let mut notes = Vec::new();
    for (name, value) in members.0 {
        match (name.as_str(), value) {
            (name, value) if NOTED.contains(&name) => {
                notes.push(format!("{name}: {}", value.to_json()));
            }
            (name, _) if DROPPED.contains(&name) || name == "additionalProperties" => {}
            ("oneOf" | "anyOf", Tree::Array(list)) => {
                out.set("anyOf", Tree::Array(list.into_iter().map(strict).collect()));
            }
            ("allOf", Tree::Array(list)) => {
                out.set("allOf", Tree::Array(list.into_iter().map(strict).collect()));
            }
            ("properties", Tree::Object(named)) => {
                let named = named.0.into_iter().map(|(name, node)| (name, strict(node)));
                out.set("properties", Tree::Object(Members(named.collect())));
            }
            ("items", value) => out.set("items", strict(value)),
            (name, value) => out.set(name, value),
        }
    }
    let is_object = match out.get("type") {
        Some(Tree::String(kind)) => kind == "object",
        Some(Tree::Array(kinds)) => kinds.iter().any(|kind| kind.as_str() == Some("object")),
        _ => out.get("properties").is_some(),
    };
    if is_object {
        out.set("additionalProperties", Tree::Bool(false));
    }
    if enum_contradicts(&out) {
        out.take("type");
    }
    if !notes.is_empty() {
        let said = out
            .get("description")
            .and_then(Tree::as_str)
            .unwrap_or_default();
        let gap = if said.is_empty() { "" } else { " " };
        let text = format!("{said}{gap}({})", notes.join(", "));
        out.set("description", Tree::String(text));
    }
    Tree::Object(out)
}

/// `true` if the values of an `enum` are not of the type beside it.
fn enum_contradicts(node: &Members) -> bool {
    let (Some(kind), Some(Tree::Array(values))) =
        (node.get("type").and_then(Tree::as_str), node.get("enum"))
    else {
        return false;
    };
    values.iter().any(|value| {
        !matches!(
            (kind, value),
            ("string", Tree::String(_))
                | ("number" | "integer", Tree::Number(_))
                | ("boolean", Tree::Bool(_))
                | ("null", Tree::Null)
                | ("array", Tree::Array(_))
                | ("object", Tree::Object(_))
        )
    })
}

fn to_raw(tree: &Tree) -> Raw {
    to_raw_value(tree).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Raw {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn case_16_tool_inputs_are_objects_at_their_root() {
        assert_eq!(input(None).get(), r#"{"type":"object","properties":{}}"#);
        let plain = raw(r#"{"type": "object", "properties": {"anyOf": {"type":"string"}}}"#);
        assert_eq!(input(Some(&plain)).get(), plain.get());
        let choice = raw(
            r#"{"anyOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"a":{},"b":{"type":"integer"}},"required":["a","b"]}]}"#,
        );
        assert_eq!(
            input(Some(&choice)).get(),
            r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["a"]}"#
        );
        assert_eq!(
            input(Some(&raw("7"))).get(),
            r#"{"type":"object","properties":{}}"#
        );
    }

    #[test]
    fn case_30_answer_schemas_are_closed_inlined_and_say_their_limits() {
        let schema = raw(
            r##"{"type":"object","properties":{"name":{"type":"string","minLength":2,"description":"A name."},"kind":{"oneOf":[{"$ref":"#/$defs/K"},{"type":"null"}]},"minLength":{"type":"integer"}},"$defs":{"K":{"type":"object","properties":{"x":{"type":"string"}}}}}"##,
        );
        assert_eq!(
            answer(&schema).get(),
            r#"{"type":"object","properties":{"name":{"type":"string","description":"A name. (minLength: 2)"},"kind":{"anyOf":[{"type":"object","properties":{"x":{"type":"string"}},"additionalProperties":false},{"type":"null"}]},"minLength":{"type":"integer"}},"additionalProperties":false}"#
        );
    }
}
