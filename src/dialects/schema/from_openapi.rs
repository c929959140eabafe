//! The way back: Google's `Schema` type as JSON Schema, for every other dialect.

use crate::dialects::schema::tree::{Members, Tree};

/// Counts that protobuf-JSON may write as strings.
const COUNTS: [&str; 6] = [
    "maxItems",
    "maxLength",
    "maxProperties",
    "minItems",
    "minLength",
    "minProperties",
];

/// Rewrites one schema: lower-case types, `nullable` as a type, no `propertyOrdering`.
pub(super) fn convert(input: &Tree) -> Tree {
    let Tree::Object(input) = input else {
        return input.clone();
    };
    let mut node = Members::default();
    for (name, value) in &input.0 {
        match (name.as_str(), value) {
            ("nullable" | "propertyOrdering" | "property_ordering", _) => {}
            ("type", Tree::String(kind)) => {
                node.set("type", Tree::String(kind.to_ascii_lowercase()));
            }
            ("properties" | "defs" | "$defs", Tree::Object(named)) => {
                let named = named
                    .0
                    .iter()
                    .map(|(name, schema)| (name.clone(), convert(schema)));
                node.set(name, Tree::Object(Members(named.collect())));
            }
            ("anyOf" | "any_of", Tree::Array(variants)) => {
                node.set("anyOf", Tree::Array(variants.iter().map(convert).collect()));
            }
            ("items" | "additionalProperties", schema) => node.set(name, convert(schema)),
            (count, Tree::String(number)) if COUNTS.contains(&count) => {
                let number = number.parse::<u64>().map(|n| Tree::Number(n.into()));
                node.set(count, number.unwrap_or_else(|_| value.clone()));
            }
            _ => node.set(name, value.clone()),
        }
    }
    if input.get("nullable") == Some(&Tree::Bool(true)) {
        allow_null(&mut node);
    }
    Tree::Object(node)
}

fn allow_null(node: &mut Members) {
    if let Some(Tree::String(kind)) = node.get("type") {
        let kinds = vec![Tree::String(kind.clone()), Tree::text("null")];
        node.set("type", Tree::Array(kinds));
    } else if let Some(Tree::Array(variants)) = node.take("anyOf") {
        let mut variants = variants;
        variants.push(Tree::Object(Members(vec![(
            "type".to_owned(),
            Tree::text("null"),
        )])));
        node.set("anyOf", Tree::Array(variants));
    }
    if let Some(Tree::Array(values)) = node.take("enum") {
        let mut values = values;
        values.push(Tree::Null);
        node.set("enum", Tree::Array(values));
    }
}
