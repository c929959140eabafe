//! Takes keywords that a vendor refuses out of the schemas of tools.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::schema::keywords::{MANY, NAMED, ONE};

/// Schemas nested deeper than this are left as they are.
const MAX_DEPTH: usize = 64;

/// The `tools` without these keywords, beside a function's name and anywhere in its schema.
/// `None` if there are none.
pub(super) fn without(tools: &str, keywords: &[&str]) -> Option<String> {
    list(tools, |tool| {
        edit(tool, |tool| {
            change(tool, "function", |function| {
                edit(function, |function| {
                    for keyword in keywords {
                        function.remove(keyword);
                    }
                    change(function, "parameters", |schema| {
                        of_schema(schema, keywords, 0)
                    });
                })
            });
        })
    })
}

/// A schema, if it changes.
fn of_schema(raw: &str, keywords: &[&str], depth: usize) -> Option<String> {
    if depth >= MAX_DEPTH {
        return None;
    }
    let inner = |raw: &str| of_schema(raw, keywords, depth + 1);
    edit(raw, |schema| {
        for keyword in keywords {
            schema.remove(keyword);
        }
        for name in ONE {
            change(schema, name, |raw| inner(raw).or_else(|| list(raw, inner)));
        }
        for name in MANY {
            change(schema, name, |raw| list(raw, inner));
        }
        for name in NAMED {
            change(schema, name, |raw| {
                edit(raw, |members| {
                    let names: Vec<String> = members.names().map(str::to_owned).collect();
                    for name in names {
                        change(members, &name, inner);
                    }
                })
            });
        }
    })
}

/// An object after an edit, if it changed; `None` for anything else.
fn edit(raw: &str, edit: impl FnOnce(&mut Members<'_>)) -> Option<String> {
    let mut members = Members::parse(raw.as_bytes())?;
    edit(&mut members);
    members.into_changed()
}

/// Replaces a member by what becomes of it.
fn change(members: &mut Members<'_>, name: &str, becomes: impl FnOnce(&str) -> Option<String>) {
    if let Some(json) = members.raw(name).and_then(becomes) {
        members.set(name, json);
    }
}

/// A list after each item's change, if any changed; `None` for anything else.
fn list(raw: &str, becomes: impl Fn(&str) -> Option<String>) -> Option<String> {
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let mut is_changed = false;
    let mut changed = Vec::with_capacity(items.len());
    for item in items {
        let json = becomes(item.get());
        is_changed |= json.is_some();
        changed.push(json.map_or(Cow::Borrowed(item.get()), Cow::Owned));
    }
    is_changed.then(|| format!("[{}]", changed.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYWORDS: &[&str] = &["strict", "additionalProperties"];

    #[test]
    fn keywords_go_everywhere_and_properties_of_their_name_stay() {
        let tools = concat!(
            r#"[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","#,
            r#""properties":{"strict":{"type":"boolean"},"additionalProperties":{"anyOf":[{"type":"object","additionalProperties":{}}]}},"#,
            r#""items":[{"additionalProperties":false}],"$defs":{"d":{"strict":1,"x":1e2}},"additionalProperties":false}}}]"#,
        );
        let expected = concat!(
            r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object","#,
            r#""properties":{"strict":{"type":"boolean"},"additionalProperties":{"anyOf":[{"type":"object"}]}},"#,
            r#""items":[{}],"$defs":{"d":{"x":1e2}}}}}]"#,
        );
        assert_eq!(without(tools, KEYWORDS).as_deref(), Some(expected));
    }

    #[test]
    fn what_holds_none_of_them_stays() {
        for tools in [
            r#"[{"type":"function","function":{"name":"f","parameters":{"enum":["strict"]}}}]"#,
            r#"[{"type":"custom","strict":true},7,null]"#,
            "{}",
            "7",
        ] {
            assert_eq!(without(tools, KEYWORDS), None, "{tools}");
        }
    }
}
