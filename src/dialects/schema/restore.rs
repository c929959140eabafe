//! Undoing on a returned call what cleaning did to the tool's schema.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::schema::tree::{Members, Tree};
use crate::dialects::schema::{INVENTED_PROPERTY, validated};

/// Returns a call's arguments as the client's own schema would have them: without the
/// [`INVENTED_PROPERTY`], and with numbers and booleans where an `enum` of them had to be
/// written as strings.
///
/// `schema` is the client's, as it wrote it. Arguments that need no change, and those that are
/// no JSON, come back untouched.
pub fn restore_arguments<'a>(arguments: &'a str, schema: Option<&RawValue>) -> Cow<'a, str> {
    let invented = arguments.contains(INVENTED_PROPERTY)
        && schema.is_none_or(|schema| !schema.get().contains(INVENTED_PROPERTY));
    let enums = schema.is_some_and(|schema| schema.get().contains("\"enum\""));
    if !invented && !enums {
        return Cow::Borrowed(arguments);
    }
    let Ok(mut value) = serde_json::from_str::<Tree>(arguments) else {
        return Cow::Borrowed(arguments);
    };
    let mut changed = invented && strip(&mut value);
    if enums
        && let Some(schema) = schema
        && let Ok(schema) = serde_json::from_str::<Tree>(schema.get())
    {
        changed |= retype(&mut value, &schema);
    }
    if changed {
        Cow::Owned(value.to_json())
    } else {
        Cow::Borrowed(arguments)
    }
}

/// Returns the arguments of a call whose tool was declared by [`Rules::VALIDATED`]: without the
/// properties that were added to its schema, and with lists and objects that came as JSON text
/// unfolded. `None` as the schema is a tool without arguments.
///
/// [`Rules::VALIDATED`]: crate::dialects::schema::Rules::VALIDATED
pub fn restore_validated<'a>(arguments: &'a str, schema: Option<&RawValue>) -> Cow<'a, str> {
    let own = schema.and_then(|schema| serde_json::from_str::<Tree>(schema.get()).ok());
    let cleaned = validated::clean(&own.unwrap_or(Tree::Null));
    let Ok(mut value) = serde_json::from_str::<Tree>(arguments) else {
        return Cow::Borrowed(arguments);
    };
    if validated::settle(&mut value, &cleaned) {
        return Cow::Owned(value.to_json());
    }
    Cow::Borrowed(arguments)
}

/// `true` if a schema decides what [`restore_arguments`] does, so that it is worth keeping.
pub fn changes_arguments(schema: &RawValue) -> bool {
    schema.get().contains("\"enum\"") || schema.get().contains(INVENTED_PROPERTY)
}

/// Takes the invented property out wherever it is.
fn strip(value: &mut Tree) -> bool {
    match value {
        Tree::Object(members) => {
            let mut changed = members.take(INVENTED_PROPERTY).is_some();
            for (_, value) in &mut members.0 {
                changed |= strip(value);
            }
            changed
        }
        Tree::Array(items) => items
            .iter_mut()
            .fold(false, |changed, item| strip(item) | changed),
        _ => false,
    }
}

/// Gives a string the type of the `enum` member it spells.
fn retype(value: &mut Tree, schema: &Tree) -> bool {
    let Tree::Object(schema) = schema else {
        return false;
    };
    match value {
        Tree::String(text) => {
            let Some(meant) = member_spelled(schema, text) else {
                return false;
            };
            *value = meant;
            true
        }
        Tree::Object(members) => {
            let Some(Tree::Object(properties)) = schema.get("properties") else {
                return false;
            };
            let mut changed = false;
            for (name, value) in &mut members.0 {
                if let Some(schema) = properties.get(name) {
                    changed |= retype(value, schema);
                }
            }
            changed
        }
        Tree::Array(items) => {
            let Some(schema) = schema.get("items") else {
                return false;
            };
            items
                .iter_mut()
                .fold(false, |changed, item| retype(item, schema) | changed)
        }
        _ => false,
    }
}

/// The non-string `enum` member that reads like `text`, unless a string member does too.
fn member_spelled(schema: &Members, text: &str) -> Option<Tree> {
    let values = schema.get("enum")?.as_array()?;
    if values.iter().any(|value| value.as_str() == Some(text)) {
        return None;
    }
    values
        .iter()
        .find(|value| !matches!(value, Tree::Null | Tree::String(_)) && value.to_json() == text)
        .cloned()
}
