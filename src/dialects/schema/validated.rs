//! Cleaning for back ends that hold every call against a narrow schema, as Antigravity does in its
//! `VALIDATED` mode: only `type`, `description`, `enum`, `properties`, `items` and `required` stay.
//!
//! What else a schema says becomes words in the description. An object that requires nothing gets
//! a required property of ours, because such calls come back malformed or not at all otherwise;
//! [`settle`] takes it out of the model's calls again. Rules as observed in CLIProxyAPI and in
//! LLM-API-Key-Proxy's adapter (wire-format notes, read 2026-11-22).

use crate::dialects::schema::choice::absorb;
use crate::dialects::schema::refs::Refs;
use crate::dialects::schema::tree::{Members, Tree};

/// What a tool's arguments get to require where they require nothing.
const REASON: &str = "reason";
const REASON_NOTE: &str = "Why this tool is called, in a few words (added by llmproxy)";

/// The same inside nested objects, and where the tool has a `reason` of its own.
const FLAG: &str = "_";
const FLAG_NOTE: &str = "Always true (added by llmproxy)";

/// So many `enum` values are worth repeating in the description.
const LISTED: std::ops::RangeInclusive<usize> = 2..=10;

/// Longest value repeated in a description.
const MAX_HINT: usize = 200;

/// Keywords whose value a model should know and the back end refuses.
const HINTED: [&str; 17] = [
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "default",
    "examples",
    "not",
];

/// Keywords by which a schema is known from a bare map of properties.
const KEYWORDS: [&str; 17] = [
    "$defs",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "default",
    "definitions",
    "description",
    "enum",
    "format",
    "items",
    "not",
    "oneOf",
    "properties",
    "required",
    "type",
];

/// Cleans the schema of a tool's arguments: always an object.
pub(super) fn clean(root: &Tree) -> Tree {
    let mut cleaner = Cleaner {
        refs: Refs::new(root),
    };
    let input = root.as_object().cloned().unwrap_or_default();
    Tree::Object(cleaner.node(input, true).members)
}

/// Makes a call's arguments what the tool's own schema asks for: without the properties that
/// [`clean`] added, and with arrays and objects that came as JSON text unfolded. Returns whether
/// anything was changed.
pub(super) fn settle(value: &mut Tree, cleaned: &Tree) -> bool {
    let Some(schema) = cleaned.as_object() else {
        return false;
    };
    let kind = schema.get("type").and_then(Tree::as_str).unwrap_or("");
    let mut changed = false;
    if let Tree::String(text) = &*value
        && let Ok(unfolded) = serde_json::from_str::<Tree>(text)
        && matches!(
            (kind, &unfolded),
            ("object", Tree::Object(_)) | ("array", Tree::Array(_))
        )
    {
        *value = unfolded;
        changed = true;
    }
    match value {
        Tree::Object(members) => {
            let named = schema.get("properties").and_then(Tree::as_object);
            for (name, schema) in named.map_or(&[][..], |named| &named.0) {
                if is_invented(schema) {
                    changed |= members.take(name).is_some();
                }
            }
            for (name, value) in &mut members.0 {
                if let Some(schema) = named.and_then(|named| named.get(name)) {
                    changed |= settle(value, schema);
                }
            }
        }
        Tree::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    changed |= settle(item, schema);
                }
            }
        }
        Tree::Bool(_) | Tree::Null | Tree::Number(_) | Tree::String(_) => {}
    }
    changed
}

struct Cleaner<'a> {
    refs: Refs<'a>,
}

/// A cleaned node.
struct Cleaned {
    members: Members,
    nullable: bool,
}

/// What becomes of a node while its keywords are read.
#[derive(Default)]
struct Notes {
    hints: Vec<String>,
    nullable: bool,
}

impl Cleaner<'_> {
    fn node(&mut self, mut input: Members, at_root: bool) -> Cleaned {
        let mark = self.refs.mark();
        self.flatten(&mut input);
        wrap_bare_properties(&mut input);
        let mut notes = Notes {
            nullable: input.get("nullable") == Some(&Tree::Bool(true)),
            ..Notes::default()
        };
        if let Some(constant) = input.take("const")
            && input.get("enum").is_none()
        {
            input.set("enum", Tree::Array(vec![constant]));
        }
        self.choose(&mut input, &mut notes);
        let mut kind = kind(&mut input, &mut notes, at_root);
        let values = values(&mut input, &mut notes);
        if values.is_some() {
            kind = "string";
        }
        let mut shape = Members::default();
        if let Some(values) = values {
            shape.set("enum", values);
        }
        match kind {
            "object" => self.object(&input, &mut notes, at_root, &mut shape),
            "array" => self.array(&input, &mut shape),
            _ => {}
        }
        for name in HINTED {
            if let Some(value) = input.get(name) {
                notes.hints.push(hint(name, value));
            }
        }
        if notes.nullable {
            notes.hints.push("nullable".to_owned());
        }
        let mut members = Members(vec![("type".to_owned(), Tree::text(kind))]);
        let own = input
            .get("description")
            .and_then(Tree::as_str)
            .unwrap_or("");
        let description = described(own, &notes.hints);
        if !description.is_empty() {
            members.set("description", Tree::String(description));
        }
        members.0.append(&mut shape.0);
        self.refs.close(mark);
        Cleaned {
            members,
            nullable: notes.nullable,
        }
    }

    /// Puts references, `allOf` and conditions in their place.
    fn flatten(&mut self, node: &mut Members) {
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
        for branch in ["then", "else"] {
            if let Some(Tree::Object(mut part)) = node.take(branch) {
                self.refs.inline(&mut part);
                // What holds on a condition only is not required.
                part.take("required");
                part.take("description");
                absorb(node, part);
            }
        }
    }

    /// Makes one schema of `anyOf` and `oneOf`: an `enum` of constants, all properties where
    /// several are objects, else the richest branch.
    fn choose(&mut self, input: &mut Members, notes: &mut Notes) {
        let mut branches = Vec::new();
        for keyword in ["anyOf", "oneOf"] {
            let Some(Tree::Array(list)) = input.take(keyword) else {
                continue;
            };
            for branch in list {
                let Tree::Object(mut branch) = branch else {
                    continue;
                };
                self.flatten(&mut branch);
                if is_null(&branch) {
                    notes.nullable = true;
                } else {
                    branches.push(branch);
                }
            }
        }
        if branches.is_empty() {
            return;
        }
        if let Some(constants) = constants(&branches) {
            input.set("enum", Tree::Array(constants));
            return;
        }
        if branches.len() > 1 {
            notes.hints.push(accepted(&branches));
        }
        branches.sort_by_key(|branch| std::cmp::Reverse(richness(branch)));
        let objects = branches
            .iter()
            .filter(|branch| branch.get("properties").is_some())
            .count();
        branches.truncate(objects.max(1));
        let mut in_all: Option<Vec<Tree>> = None;
        for mut branch in branches {
            let required = match branch.take("required") {
                Some(Tree::Array(names)) => names,
                _ => Vec::new(),
            };
            in_all = Some(match in_all {
                None => required,
                Some(names) => names
                    .into_iter()
                    .filter(|name| required.contains(name))
                    .collect(),
            });
            absorb(input, branch);
        }
        if let Some(names) = in_all.filter(|names| !names.is_empty()) {
            let required = ("required".to_owned(), Tree::Array(names));
            absorb(input, Members(vec![required]));
        }
        // A branch may have been a choice itself; references are bounded, so this ends.
        if input.get("anyOf").is_some() || input.get("oneOf").is_some() {
            self.choose(input, notes);
        }
    }

    fn object(&mut self, input: &Members, notes: &mut Notes, at_root: bool, shape: &mut Members) {
        let mut required: Vec<String> = Vec::new();
        if let Some(Tree::Array(names)) = input.get("required") {
            required.extend(names.iter().filter_map(Tree::as_str).map(str::to_owned));
        }
        let mut properties = Members::default();
        let named = input.get("properties").and_then(Tree::as_object);
        for (name, schema) in named.map_or(&[][..], |named| &named.0) {
            let members = match schema {
                Tree::Bool(false) => continue,
                Tree::Object(members) => members.clone(),
                _ => Members::default(),
            };
            // MCP servers write `required: true` inside the property.
            if members.get("required") == Some(&Tree::Bool(true)) {
                required.push(name.clone());
            }
            let cleaned = self.node(members, false);
            if cleaned.nullable {
                required.retain(|known| known != name);
            }
            properties.set(name, Tree::Object(cleaned.members));
        }
        match input.get("additionalProperties") {
            Some(Tree::Bool(false)) => notes.hints.push("No extra properties allowed".to_owned()),
            Some(extra @ Tree::Object(members)) if !members.0.is_empty() => {
                notes.hints.push(hint("additional properties", extra));
            }
            _ => {}
        }
        let mut known: Vec<Tree> = Vec::new();
        for name in required {
            let name = Tree::String(name);
            let is_there = name
                .as_str()
                .is_some_and(|name| properties.get(name).is_some());
            if is_there && !known.contains(&name) {
                known.push(name);
            }
        }
        if known.is_empty()
            && let Some((name, schema)) = invention(&properties, at_root)
        {
            properties.set(name, schema);
            known.push(Tree::text(name));
        }
        shape.set("properties", Tree::Object(properties));
        if !known.is_empty() {
            shape.set("required", Tree::Array(known));
        }
    }

    fn array(&mut self, input: &Members, shape: &mut Members) {
        let tuple = |list: &Tree| list.as_array().and_then(|items| items.first().cloned());
        let items = match (input.get("items"), input.get("prefixItems")) {
            (Some(Tree::Object(items)), _) => Some(Tree::Object(items.clone())),
            (Some(list @ Tree::Array(_)), _) | (_, Some(list)) => tuple(list),
            _ => None,
        };
        let items = match items {
            Some(Tree::Object(items)) => self.node(items, false).members,
            _ => Members(vec![("type".to_owned(), Tree::text("string"))]),
        };
        shape.set("items", Tree::Object(items));
    }
}

/// A map of properties where a schema belongs, as some tool servers write it, as an object.
fn wrap_bare_properties(input: &mut Members) {
    let is_bare = !input.0.is_empty()
        && input
            .0
            .iter()
            .all(|(name, value)| value.as_object().is_some() && !KEYWORDS.contains(&name.as_str()));
    if is_bare {
        let properties = std::mem::take(input);
        input.set("type", Tree::text("object"));
        input.set("properties", Tree::Object(properties));
    }
}

/// The node's one type in lower case.
fn kind(input: &mut Members, notes: &mut Notes, at_root: bool) -> &'static str {
    const KINDS: [&str; 6] = ["string", "number", "integer", "boolean", "array", "object"];
    let listed = match input.take("type") {
        Some(Tree::String(kind)) => vec![kind],
        Some(Tree::Array(kinds)) => kinds
            .iter()
            .filter_map(Tree::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    };
    let mut kinds = Vec::new();
    for name in &listed {
        if name.eq_ignore_ascii_case("null") {
            notes.nullable = true;
        }
        kinds.extend(
            KINDS
                .into_iter()
                .find(|kind| kind.eq_ignore_ascii_case(name)),
        );
    }
    if kinds.len() > 1 {
        notes.hints.push(format!("Accepts: {}", kinds.join(" | ")));
    }
    let has = |names: &[&str]| names.iter().any(|name| input.get(name).is_some());
    match kinds.first() {
        _ if at_root => "object",
        Some(kind) => kind,
        None if has(&["properties", "required", "additionalProperties"]) => "object",
        None if has(&["items", "prefixItems"]) => "array",
        None => "string",
    }
}

/// The `enum` as strings; `None` where there is none.
fn values(input: &mut Members, notes: &mut Notes) -> Option<Tree> {
    let Some(Tree::Array(values)) = input.take("enum") else {
        return None;
    };
    let mut texts: Vec<String> = Vec::new();
    for value in values {
        let text = match value {
            Tree::Null => {
                notes.nullable = true;
                continue;
            }
            Tree::String(text) => text,
            other => other.to_json(),
        };
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        return None;
    }
    if LISTED.contains(&texts.len()) {
        notes.hints.push(format!("Allowed: {}", texts.join(", ")));
    }
    Some(Tree::Array(texts.into_iter().map(Tree::String).collect()))
}

/// The property to add to an object that requires nothing; `None` where its name is taken.
fn invention(properties: &Members, at_root: bool) -> Option<(&'static str, Tree)> {
    let property = |kind: &str, note: &str| {
        Tree::Object(Members(vec![
            ("type".to_owned(), Tree::text(kind)),
            ("description".to_owned(), Tree::text(note)),
        ]))
    };
    if at_root && properties.get(REASON).is_none() {
        return Some((REASON, property("string", REASON_NOTE)));
    }
    properties
        .get(FLAG)
        .is_none()
        .then(|| (FLAG, property("boolean", FLAG_NOTE)))
}

fn is_invented(schema: &Tree) -> bool {
    let note = schema
        .as_object()
        .and_then(|schema| schema.get("description")?.as_str());
    matches!(note, Some(REASON_NOTE | FLAG_NOTE))
}

fn is_null(branch: &Members) -> bool {
    branch.get("type").and_then(Tree::as_str) == Some("null")
        || branch.get("const") == Some(&Tree::Null)
        || matches!(branch.get("enum"), Some(Tree::Array(values)) if values.as_slice() == [Tree::Null])
}

/// The values of branches that are nothing but constants.
fn constants(branches: &[Members]) -> Option<Vec<Tree>> {
    let mut values = Vec::new();
    for branch in branches {
        match (branch.get("const"), branch.get("enum")) {
            (Some(value), _) => values.push(value.clone()),
            (None, Some(Tree::Array(more))) => values.extend(more.iter().cloned()),
            _ => return None,
        }
    }
    Some(values)
}

/// How much a branch tells: objects most, then arrays, then the rest.
fn richness(branch: &Members) -> u8 {
    let is = |kind: &str| branch.get("type").and_then(Tree::as_str) == Some(kind);
    if branch.get("properties").is_some() {
        3
    } else if is("object") || is("array") || branch.get("items").is_some() {
        2
    } else {
        1
    }
}

fn accepted(branches: &[Members]) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    for branch in branches {
        let kind = branch.get("type").and_then(Tree::as_str);
        let kind = kind.unwrap_or(if branch.get("properties").is_some() {
            "object"
        } else {
            "string"
        });
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    format!("Accepts: {}", kinds.join(" | "))
}

fn hint(name: &str, value: &Tree) -> String {
    let mut text = value.to_json();
    if text.len() > MAX_HINT {
        text.truncate(text.floor_char_boundary(MAX_HINT));
        text.push('…');
    }
    format!("{name}: {text}")
}

fn described(own: &str, hints: &[String]) -> String {
    match (own, hints.join("; ")) {
        (own, hints) if hints.is_empty() => own.to_owned(),
        ("", hints) => hints,
        (own, hints) => format!("{own} ({hints})"),
    }
}

#[cfg(test)]
mod tests;
