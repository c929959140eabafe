//! Full cleaning: JSON Schema down to the `OpenAPI` subset of Gemini's `Schema` type.
//!
//! Each node is built anew from the keywords that the subset has; what it lacks and a model
//! should know becomes words in the description.

use serde_json::Number;

use crate::dialects::schema::choice::{Variant, absorb, any_of, has_structure};
use crate::dialects::schema::refs::Refs;
use crate::dialects::schema::tree::{Members, Tree};
use crate::dialects::schema::{INVENTED_PROPERTY, NumberEnums, Rules};

/// Longest value repeated in a description: a hint, not the schema in another place.
const MAX_HINT: usize = 200;

/// Keywords that the subset lacks and whose value is worth telling the model.
const HINTED: [&str; 13] = [
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependentRequired",
    "patternProperties",
    "propertyNames",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "multipleOf",
    "uniqueItems",
];

/// Cleans a whole schema; the root is always an object for tools, any type for answers.
pub(super) fn clean(root: &Tree, rules: Rules) -> Tree {
    let mut cleaner = Cleaner {
        refs: Refs::new(root),
        rules,
    };
    let cleaned = match root {
        Tree::Object(members) => cleaner.node(members.clone(), true),
        _ => Members::default(),
    };
    if cleaned.0.is_empty() {
        return Tree::Object(Members(vec![("type".to_owned(), Tree::text("OBJECT"))]));
    }
    Tree::Object(cleaned)
}

pub(super) struct Cleaner<'a> {
    pub(super) refs: Refs<'a>,
    rules: Rules,
}

/// A cleaned node under construction.
#[derive(Default)]
pub(super) struct Built {
    node: Members,
    hints: Vec<String>,
    pub(super) nullable: bool,
}

impl Cleaner<'_> {
    /// Cleans whatever stands in a schema position; `None` for `false`, which nothing fits.
    fn schema(&mut self, input: &Tree) -> Option<Tree> {
        match input {
            Tree::Bool(false) => None,
            Tree::Object(members) => Some(Tree::Object(self.node(members.clone(), false))),
            _ => Some(typed("STRING")),
        }
    }

    pub(super) fn node(&mut self, mut input: Members, at_root: bool) -> Members {
        let mark = self.refs.mark();
        self.flatten(&mut input);
        let node = self.flat_node(input, at_root);
        self.refs.close(mark);
        node
    }

    /// Puts references and `allOf` in their place, so that only one node's keywords remain.
    pub(super) fn flatten(&mut self, node: &mut Members) {
        self.refs.inline(node);
        while let Some(all) = node.take("allOf") {
            for part in all.as_array().unwrap_or_default() {
                if let Tree::Object(part) = part {
                    let mut part = part.clone();
                    self.refs.inline(&mut part);
                    absorb(node, part);
                }
            }
        }
    }

    fn flat_node(&mut self, mut input: Members, at_root: bool) -> Members {
        let mut built = Built {
            nullable: input.get("nullable") == Some(&Tree::Bool(true)),
            ..Built::default()
        };
        if let Some(constant) = input.take("const")
            && input.get("enum").is_none()
        {
            input.set("enum", Tree::Array(vec![constant]));
        }
        if let Some(variants) = self.variants(&mut input, &mut built) {
            if !at_root && !has_structure(&input) {
                let variants = self.clean_variants(variants);
                return any_of(variants, &input, &built);
            }
            self.merge_variants(&mut input, variants);
        }
        let kind = match self.kind(&mut input, &mut built, at_root) {
            Kind::One(kind) => kind,
            Kind::Several(kinds) => {
                let variants = kinds
                    .into_iter()
                    .map(|kind| {
                        let mut variant = input.clone();
                        variant.set("type", Tree::text(kind));
                        variant.take("description");
                        Variant {
                            node: variant,
                            opened: Vec::new(),
                        }
                    })
                    .collect();
                let variants = self.clean_variants(variants);
                return any_of(variants, &input, &built);
            }
        };
        built.node.set("type", Tree::text(kind));
        match kind {
            "OBJECT" => self.object(&input, &mut built),
            "ARRAY" => self.array(&input, &mut built),
            "STRING" => self.string(&input, &mut built),
            _ => self.number(kind, &input, &mut built),
        }
        hints(&input, &mut built);
        finish(&input, built)
    }

    /// The node's type or types, in the subset's spelling.
    fn kind(&self, input: &mut Members, built: &mut Built, at_root: bool) -> Kind {
        let listed: Vec<&str> = match input.get("type") {
            Some(Tree::String(kind)) => vec![kind.as_str()],
            Some(Tree::Array(kinds)) => kinds.iter().filter_map(Tree::as_str).collect(),
            _ => Vec::new(),
        };
        let mut kinds: Vec<&'static str> = Vec::new();
        let mut only_null = false;
        for name in listed {
            if name.eq_ignore_ascii_case("null") {
                built.nullable = true;
                only_null = kinds.is_empty();
            } else if let Some(kind) = known_type(name)
                && !kinds.contains(&kind)
            {
                kinds.push(kind);
            }
        }
        self.enumeration(input, built, &mut kinds);
        match kinds.as_slice() {
            [] if only_null => Kind::One("STRING"),
            [] => Kind::One(inferred_type(input, at_root)),
            [kind] => Kind::One(kind),
            // The root is no choice: arguments are an object.
            several if at_root && several.contains(&"OBJECT") => Kind::One("OBJECT"),
            [first, ..] if at_root => Kind::One(first),
            _ => Kind::Several(kinds),
        }
    }

    /// Makes strings of an `enum`, or words where that would change the type.
    fn enumeration(&self, input: &mut Members, built: &mut Built, kinds: &mut Vec<&'static str>) {
        let Some(Tree::Array(values)) = input.take("enum") else {
            return;
        };
        let mut texts: Vec<String> = Vec::new();
        let mut all_strings = true;
        for value in &values {
            let text = match value {
                Tree::Null => {
                    built.nullable = true;
                    continue;
                }
                Tree::String(text) => text.clone(),
                other => {
                    all_strings = false;
                    other.to_json()
                }
            };
            if !text.is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
        }
        if texts.is_empty() {
            return;
        }
        if all_strings || self.rules.number_enums == NumberEnums::Stringify {
            *kinds = vec!["STRING"];
            let values = texts.into_iter().map(Tree::String).collect();
            input.set("enum", Tree::Array(values));
            return;
        }
        if kinds.is_empty() {
            kinds.push(scalar_type(&values));
        }
        built.hints.push(format!("one of {}", texts.join(", ")));
    }

    fn object(&mut self, input: &Members, built: &mut Built) {
        let mut required: Vec<String> = Vec::new();
        if let Some(Tree::Array(names)) = input.get("required") {
            required.extend(names.iter().filter_map(Tree::as_str).map(str::to_owned));
        }
        let mut properties = Members::default();
        if let Some(Tree::Object(named)) = input.get("properties") {
            for (name, schema) in &named.0 {
                // MCP servers write `required: true` inside the property.
                if let Tree::Object(members) = schema
                    && members.get("required") == Some(&Tree::Bool(true))
                {
                    required.push(name.clone());
                }
                if let Some(cleaned) = self.schema(schema) {
                    properties.set(name, cleaned);
                }
            }
        }
        if let Some(extra @ Tree::Object(members)) = input.get("additionalProperties")
            && !members.0.is_empty()
        {
            built.hints.push(hint("additional properties", extra));
        }
        let mut known: Vec<Tree> = Vec::new();
        for name in required {
            if properties.get(&name).is_some() && !known.iter().any(|k| k.as_str() == Some(&name)) {
                known.push(Tree::String(name));
            }
        }
        if self.rules.invent_required && known.is_empty() {
            properties.set(INVENTED_PROPERTY, invented());
            known.push(Tree::text(INVENTED_PROPERTY));
        }
        if properties.0.is_empty() {
            return;
        }
        if self.rules.property_ordering && properties.0.len() > 1 {
            let names = properties.0.iter().map(|(name, _)| Tree::text(name));
            let names = names.collect();
            built.node.set("propertyOrdering", Tree::Array(names));
        }
        built.node.set("properties", Tree::Object(properties));
        if !known.is_empty() {
            built.node.set("required", Tree::Array(known));
        }
        self.bounds(input, built, &["minProperties", "maxProperties"]);
    }

    fn array(&mut self, input: &Members, built: &mut Built) {
        let items = match (input.get("items"), input.get("prefixItems")) {
            (Some(Tree::Array(tuple)), _)
            | (None | Some(Tree::Bool(_)), Some(Tree::Array(tuple))) => self.tuple(tuple),
            (Some(Tree::Object(items)), _) if !items.0.is_empty() => {
                Tree::Object(self.node(items.clone(), false))
            }
            _ => typed("STRING"),
        };
        built.node.set("items", items);
        self.bounds(input, built, &["minItems", "maxItems"]);
    }

    /// One schema for the members of a tuple: theirs if they agree, else a choice.
    fn tuple(&mut self, members: &[Tree]) -> Tree {
        let mut kinds: Vec<Tree> = Vec::new();
        for member in members {
            if let Some(cleaned) = self.schema(member)
                && !kinds.contains(&cleaned)
            {
                kinds.push(cleaned);
            }
        }
        match (kinds.pop(), kinds.is_empty()) {
            (None, _) => typed("STRING"),
            (Some(only), true) => only,
            (Some(last), false) => {
                kinds.push(last);
                Tree::Object(Members(vec![("anyOf".to_owned(), Tree::Array(kinds))]))
            }
        }
    }

    fn string(&self, input: &Members, built: &mut Built) {
        if let Some(values) = input.get("enum") {
            built.node.set("enum", values.clone());
        }
        if let Some(format @ ("enum" | "date-time")) = input.get("format").and_then(Tree::as_str) {
            built.node.set("format", Tree::text(format));
        }
        self.bounds(input, built, &["minLength", "maxLength", "pattern"]);
    }

    fn number(&self, kind: &'static str, input: &Members, built: &mut Built) {
        let formats: &[&str] = match kind {
            "INTEGER" => &["int32", "int64"],
            "NUMBER" => &["float", "double"],
            _ => return,
        };
        if let Some(format) = input.get("format").and_then(Tree::as_str)
            && formats.contains(&format)
        {
            built.node.set("format", Tree::text(format));
        }
        self.bounds(input, built, &["minimum", "maximum"]);
        for (exclusive, inclusive, step) in [
            ("exclusiveMinimum", "minimum", 1),
            ("exclusiveMaximum", "maximum", -1),
        ] {
            let limit = match input.get(exclusive) {
                Some(Tree::Number(limit)) => limit,
                // JSON Schema draft 4: a flag beside the limit.
                Some(Tree::Bool(true)) => match input.get(inclusive) {
                    Some(Tree::Number(limit)) => limit,
                    _ => continue,
                },
                _ => continue,
            };
            match limit.as_i64().and_then(|limit| limit.checked_add(step)) {
                Some(limit) if kind == "INTEGER" && self.rules.keep_bounds => {
                    built.node.set(inclusive, Tree::Number(limit.into()));
                }
                _ => built.hints.push(format!("{exclusive}: {limit}")),
            }
        }
    }

    fn bounds(&self, input: &Members, built: &mut Built, names: &[&str]) {
        for name in names {
            let Some(value) = input.get(name) else {
                continue;
            };
            if !self.rules.keep_bounds {
                built.hints.push(hint(name, value));
            } else if matches!(value, Tree::Number(n) if *name == "minimum" || *name == "maximum" || is_count(n))
                || (*name == "pattern" && value.as_str().is_some())
            {
                built.node.set(name, value.clone());
            }
        }
    }
}

enum Kind {
    One(&'static str),
    Several(Vec<&'static str>),
}

fn hints(input: &Members, built: &mut Built) {
    for name in HINTED {
        if let Some(value) = input.get(name) {
            built.hints.push(hint(name, value));
        }
    }
}

fn hint(name: &str, value: &Tree) -> String {
    let mut text = value.to_json();
    if text.len() > MAX_HINT {
        let mut end = MAX_HINT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    format!("{name}: {text}")
}

/// Adds description and `nullable`, which every type may have.
fn finish(input: &Members, built: Built) -> Members {
    let Built {
        mut node,
        hints,
        nullable,
    } = built;
    let own = input
        .get("description")
        .and_then(Tree::as_str)
        .unwrap_or("");
    let description = match (own, hints.join("; ")) {
        (own, hints) if hints.is_empty() => own.to_owned(),
        ("", hints) => hints,
        (own, hints) => format!("{own} ({hints})"),
    };
    if !description.is_empty() {
        node.set("description", Tree::String(description));
    }
    if nullable {
        node.set("nullable", Tree::Bool(true));
    }
    node
}

fn known_type(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 6] = ["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"];
    NAMES
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
}

/// The type of a node that names none.
fn inferred_type(node: &Members, at_root: bool) -> &'static str {
    let has = |names: &[&str]| names.iter().any(|name| node.get(name).is_some());
    if at_root
        || has(&[
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
        ])
    {
        "OBJECT"
    } else if has(&["items", "prefixItems", "minItems", "maxItems"]) {
        "ARRAY"
    } else if has(&[
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ]) {
        "NUMBER"
    } else {
        "STRING"
    }
}

/// The type of an `enum` without one.
fn scalar_type(values: &[Tree]) -> &'static str {
    let mut kind = "STRING";
    for value in values {
        kind = match value {
            Tree::Bool(_) => "BOOLEAN",
            Tree::Number(number) if number.is_f64() => return "NUMBER",
            Tree::Number(_) => "INTEGER",
            _ => continue,
        };
    }
    kind
}

fn typed(kind: &str) -> Tree {
    Tree::Object(Members(vec![("type".to_owned(), Tree::text(kind))]))
}

fn invented() -> Tree {
    Tree::Object(Members(vec![
        ("type".to_owned(), Tree::text("STRING")),
        (
            "description".to_owned(),
            Tree::text("Why this is called, in a few words"),
        ),
    ]))
}

fn is_count(number: &Number) -> bool {
    number.is_u64()
}
