//! The guard against hallucinated tools, for Gemini 3 (a switch of the config, off by default).
//!
//! These models fall back to tools they met in training: they call a declared name with the
//! parameters of another program's tool. The remedies are LLM-API-Key-Proxy's (wire-format notes,
//! read 2026-11-22): names of a namespace of ours, closed schemas, the parameters in words, and a
//! paragraph of system text. [`unguarded`] takes the namespace off the model's calls.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::fields::Raw;
use crate::dialects::ids::{NameRule, tool_name};
use crate::providers::code_assist::body::{Body, Members, Part, list, objects};

/// What stands in front of each name.
const NAMESPACE: &str = "gemini3_";

/// Told to the model beside the system text of the client.
const PARAGRAPH: &str = "Call only the tools that are declared in this conversation, and give each \
    call only the parameters that its own declaration names, spelled as they are there. Tools of \
    the same purpose that you know from elsewhere have other parameters and do not exist here.";

/// Parameters described in a tool's description; more would cost more than it helps.
const MAX_PARAMETERS: usize = 40;

/// `true` for the models that need it.
pub(super) fn concerns(model: &str) -> bool {
    model.starts_with("gemini-3")
}

/// The name a tool is declared by.
pub(super) fn guarded(name: &str) -> String {
    tool_name(&format!("{NAMESPACE}{name}"), NameRule::Gemini).into_owned()
}

/// The name of the tool that the model called, among those that were declared.
pub(super) fn unguarded<'n>(
    called: &'n str,
    mut declared: impl Iterator<Item = &'n str>,
) -> Cow<'n, str> {
    match declared.find(|name| guarded(name) == called) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Borrowed(called.strip_prefix(NAMESPACE).unwrap_or(called)),
    }
}

/// Puts the guard around a request's tools.
pub(super) fn put(body: &mut Body) {
    let Some(tools) = &body.tools else { return };
    let mut tools = objects(tools);
    let mut guards_any = false;
    for tool in &mut tools {
        let Some(declarations) = tool.get("functionDeclarations") else {
            continue;
        };
        let mut declarations = objects(declarations);
        for declaration in &mut declarations {
            guard_declaration(declaration);
            guards_any = true;
        }
        let declarations = list(&declarations);
        tool.set_raw("functionDeclarations", declarations);
    }
    if !guards_any {
        return;
    }
    body.tools = Some(list(&tools));
    for part in body
        .contents
        .iter_mut()
        .flat_map(|content| &mut content.parts)
    {
        part.rename(|name| Some(guarded(name)));
    }
    if let Some(config) = body.tool_config.as_deref().and_then(guarded_config) {
        body.tool_config = Some(config);
    }
    body.system.push(Part::of_text(PARAGRAPH));
}

fn guard_declaration(declaration: &mut Members) {
    let name = declaration.text("name").unwrap_or_default();
    declaration.set("name", guarded(&name));
    let kind = ["parametersJsonSchema", "parameters"]
        .into_iter()
        .find(|kind| declaration.get(kind).is_some());
    let Some(kind) = kind else { return };
    let schema = declaration.get(kind).map(ToOwned::to_owned);
    let Some(schema) = schema else { return };
    let parameters = parameters(schema.get());
    if !parameters.is_empty() {
        let own = declaration.text("description").unwrap_or_default();
        let words = format!("Parameters: {}.", parameters.join(", "));
        let description = if own.is_empty() {
            words
        } else {
            format!("{own}\n\n{words}")
        };
        declaration.set("description", description);
    }
    // The `OpenAPI` subset knows no such keyword.
    if kind == "parametersJsonSchema"
        && let Some(mut schema) = Members::parse(&schema)
        && schema.get("properties").is_some()
        && schema.get("additionalProperties").is_none()
    {
        schema.set("additionalProperties", false);
        declaration.set_raw(kind, schema.to_raw());
    }
}

/// The parameters of a schema in words: `path (string, required)`.
fn parameters(schema: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let words = properties
        .iter()
        .take(MAX_PARAMETERS)
        .map(|(name, schema)| {
            let kind = schema.get("type").and_then(Value::as_str).unwrap_or("any");
            let must = if required.contains(&name.as_str()) {
                ", required"
            } else {
                ""
            };
            format!("{name} ({}{must})", kind.to_ascii_lowercase())
        });
    words.collect()
}

/// `toolConfig` with the names it allows guarded.
fn guarded_config(config: &RawValue) -> Option<Raw> {
    let mut config = Members::parse(config)?;
    let mut calling = Members::parse(config.get("functionCallingConfig")?)?;
    let names: Vec<String> =
        serde_json::from_str(calling.get("allowedFunctionNames")?.get()).ok()?;
    let names: Vec<String> = names.iter().map(|name| guarded(name)).collect();
    calling.set("allowedFunctionNames", names);
    config.set_raw("functionCallingConfig", calling.to_raw());
    Some(config.to_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_descriptions_schemas_and_history_are_guarded() {
        let json = r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"read","id":"1","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"read","id":"1","response":{}}}]}],"tools":[{"functionDeclarations":[{"name":"read","description":"Reads.","parametersJsonSchema":{"type":"object","properties":{"path":{"type":"string"},"from":{"type":"integer"}},"required":["path"]}}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["read"]}}}"#;
        let mut body = Body::parse(json.as_bytes()).expect("a body");
        put(&mut body);
        let out = String::from_utf8(body.write(None)).expect("text");
        assert!(!out.contains(r#""read""#), "{out}");
        assert_eq!(out.matches(r#""gemini3_read""#).count(), 4, "{out}");
        assert!(out.contains("Parameters: from (integer), path (string, required)."));
        assert!(out.contains(r#""additionalProperties":false"#));
        assert!(out.contains("Call only the tools"));
    }

    #[test]
    fn a_request_without_tools_stays_as_it_is() {
        let json = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"tools":[{"googleSearch":{}}]}"#;
        let mut body = Body::parse(json.as_bytes()).expect("a body");
        put(&mut body);
        assert_eq!(String::from_utf8(body.write(None)).expect("text"), json);
    }

    #[test]
    fn the_tool_of_a_guarded_name_is_found_again() {
        let long = "n".repeat(64);
        let declared = ["read", "gemini3_read", long.as_str()];
        for name in declared {
            let called = guarded(name);
            assert!(called.len() <= 64);
            assert_eq!(unguarded(&called, declared.into_iter()), name);
        }
        assert_eq!(unguarded("gemini3_other", declared.into_iter()), "other");
    }
}
