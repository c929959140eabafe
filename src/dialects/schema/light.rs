//! Light cleaning for back ends that read JSON Schema but stumble over its fringes.

use crate::dialects::schema::keywords::{MANY, NAMED, ONE};
use crate::dialects::schema::refs::Refs;
use crate::dialects::schema::tree::{Members, Tree};
use crate::dialects::schema::{Form, INVENTED_PROPERTY, Rules};

/// Keywords that some back ends refuse and no model needs.
const DROPPED: [&str; 6] = [
    "$anchor",
    "$comment",
    "$id",
    "$schema",
    "$vocabulary",
    "strict",
];

/// Keywords beyond those that Code Assist answers with a 400 (reports of gemini-cli's issue
/// tracker, in the wire-format notes read 2026-11-22).
const REFUSED: [&str; 11] = [
    "default",
    "deprecated",
    "else",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if",
    "not",
    "patternProperties",
    "propertyNames",
    "then",
];

/// Cleans a whole schema; the root becomes an object if it names no type.
pub(super) fn clean(root: &Tree, rules: Rules) -> Tree {
    let mut cleaner = Cleaner {
        refs: Refs::new(root),
        rules,
    };
    let mut cleaned = match root {
        Tree::Object(_) => cleaner.schema(root),
        _ => Tree::Object(Members::default()),
    };
    if let Tree::Object(members) = &mut cleaned
        && ["type", "anyOf", "oneOf", "allOf", "$ref"]
            .iter()
            .all(|name| members.get(name).is_none())
    {
        members
            .0
            .insert(0, ("type".to_owned(), Tree::text("object")));
    }
    cleaned
}

struct Cleaner<'a> {
    refs: Refs<'a>,
    rules: Rules,
}

impl Cleaner<'_> {
    fn inline(&self) -> bool {
        self.rules.form == Form::JsonSchemaInlined || self.is_strict()
    }

    fn is_strict(&self) -> bool {
        self.rules.form == Form::JsonSchemaStrict
    }

    fn schema(&mut self, input: &Tree) -> Tree {
        let Tree::Object(input) = input else {
            return input.clone();
        };
        let mut input = input.clone();
        let mark = self.refs.mark();
        if self.inline() {
            self.refs.inline(&mut input);
        }
        if self.is_strict() {
            constants(&mut input);
        }
        let mut node = Members::default();
        for (name, value) in &input.0 {
            if let Some(cleaned) = self.member(name, value) {
                node.0.push((name.clone(), cleaned));
            }
        }
        require(&input, &mut node, self.rules);
        self.refs.close(mark);
        Tree::Object(node)
    }

    fn member(&mut self, name: &str, value: &Tree) -> Option<Tree> {
        if DROPPED.contains(&name) || name.starts_with("x-") {
            return None;
        }
        if self.is_strict() && REFUSED.contains(&name) {
            return None;
        }
        if self.inline() && (name == "$defs" || name == "definitions") {
            return None;
        }
        let cleaned = match value {
            // Draft 4 lets `items` be a list.
            Tree::Array(list) if MANY.contains(&name) || name == "items" => {
                Tree::Array(list.iter().map(|schema| self.schema(schema)).collect())
            }
            Tree::Object(named) if NAMED.contains(&name) => Tree::Object(Members(
                named
                    .0
                    .iter()
                    .map(|(name, schema)| (name.clone(), self.schema(schema)))
                    .collect(),
            )),
            Tree::Object(_) if ONE.contains(&name) => self.schema(value),
            other => other.clone(),
        };
        Some(cleaned)
    }
}

/// Makes an `enum` of strings of a node's `const` and `enum`.
fn constants(node: &mut Members) {
    if let Some(constant) = node.take("const")
        && node.get("enum").is_none()
    {
        node.set("enum", Tree::Array(vec![constant]));
    }
    let Some(Tree::Array(values)) = node.take("enum") else {
        return;
    };
    let mut texts = Vec::with_capacity(values.len());
    for value in &values {
        let text = match value {
            Tree::Null => continue,
            Tree::String(text) => text.clone(),
            other => other.to_json(),
        };
        texts.push(Tree::String(text));
    }
    if texts.is_empty() {
        return;
    }
    if values.iter().any(|value| value.as_str().is_none()) || node.get("type").is_none() {
        node.set("type", Tree::text("string"));
    }
    node.set("enum", Tree::Array(texts));
}

/// Repairs `required`: a list of names that exist, in the object and not in the property.
fn require(input: &Members, node: &mut Members, rules: Rules) {
    let mut names: Vec<Tree> = Vec::new();
    let mut listed = false;
    if let Some(Tree::Array(list)) = node.take("required") {
        listed = true;
        names = list;
    }
    let Some(Tree::Object(properties)) = input.get("properties") else {
        if listed && !names.is_empty() {
            // `required` without `properties` is a condition inside `anyOf`: as it is.
            node.set("required", Tree::Array(names));
        }
        if rules.invent_required && is_object(node) && !listed {
            invent(node);
        }
        return;
    };
    names.retain(|name| {
        name.as_str()
            .is_some_and(|name| properties.get(name).is_some())
    });
    for (name, schema) in &properties.0 {
        if let Tree::Object(schema) = schema
            && schema.get("required") == Some(&Tree::Bool(true))
            && !names.iter().any(|known| known.as_str() == Some(name))
        {
            names.push(Tree::text(name));
        }
    }
    if rules.invent_required && names.is_empty() {
        invent(node);
    } else if !names.is_empty() {
        node.set("required", Tree::Array(names));
    }
}

fn is_object(node: &Members) -> bool {
    node.get("type").and_then(Tree::as_str) == Some("object")
}

/// Adds the invented property to an object that requires nothing.
fn invent(node: &mut Members) {
    let mut properties = match node.take("properties") {
        Some(Tree::Object(properties)) => properties,
        _ => Members::default(),
    };
    properties.set(
        INVENTED_PROPERTY,
        Tree::Object(Members(vec![
            ("type".to_owned(), Tree::text("string")),
            (
                "description".to_owned(),
                Tree::text("Why this is called, in a few words"),
            ),
        ])),
    );
    node.set("properties", Tree::Object(properties));
    node.set("required", Tree::Array(vec![Tree::text(INVENTED_PROPERTY)]));
}
