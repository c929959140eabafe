//! JSON Schema for back ends that take less than JSON Schema (Gemini and what is built like it).
//!
//! Only schemas come here, never whole requests, and inside a schema only schema positions are
//! touched: a name under `properties` is a name, whatever it is called, and values (`enum`,
//! `default`, arguments in a history) are never walked as if they were schemas.
//!
//! Sources: Google's `Schema` type in google-genai 3.4.0 and the reports collected in the
//! wire-format notes, both read 2026-11-22.

mod choice;
mod from_openapi;
pub mod keywords;
mod light;
mod openapi;
mod refs;
mod restore;
pub(in crate::dialects) mod tree;
mod validated;

use serde_json::value::{RawValue, to_raw_value};

use crate::dialects::fields::Raw;
use crate::dialects::schema::tree::Tree;

pub use restore::{changes_arguments, restore_arguments, restore_validated};

/// The required property that [`Rules::invent_required`] adds to objects that require nothing.
/// [`restore_arguments`] takes it out of calls again.
pub const INVENTED_PROPERTY: &str = "_call_reason";

/// Which schema language the back end reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON Schema, nearly as it is (`parametersJsonSchema`, `responseJsonSchema`).
    JsonSchema,
    /// The same, but what `$ref` names stands in its place and cycles are cut.
    JsonSchemaInlined,
    /// [`Form::JsonSchemaInlined`] for back ends that refuse the fringes of JSON Schema (Code
    /// Assist): no `const`, `not`, conditions, exclusive bounds or defaults, and enums of strings.
    JsonSchemaStrict,
    /// The `OpenAPI` subset of `parameters` and `responseSchema`.
    OpenApi,
    /// The narrow subset that Antigravity holds every call against; [`restore_validated`] undoes
    /// in the calls what it adds. No other rule has a say in it.
    Validated,
}

/// What becomes of an `enum` whose members are not strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberEnums {
    /// Words in the description; the type stays.
    Describe,
    /// Strings; [`restore_arguments`] makes numbers of them again in calls.
    Stringify,
}

/// How far to clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub form: Form,
    /// Keeps `pattern`, lengths, ranges and counts; without it they become words in the
    /// description.
    pub keep_bounds: bool,
    /// Adds `propertyOrdering` in source order.
    pub property_ordering: bool,
    /// What becomes of an `enum` of numbers, which only [`Form::JsonSchema`] has.
    pub number_enums: NumberEnums,
    /// Gives each object that requires nothing a required [`INVENTED_PROPERTY`]: Gemini's
    /// `VALIDATED` mode calls tools without arguments wrongly or not at all otherwise.
    pub invent_required: bool,
}

impl Rules {
    /// For `parametersJsonSchema` and `responseJsonSchema`.
    pub const JSON_SCHEMA: Self = Self {
        form: Form::JsonSchema,
        keep_bounds: true,
        property_ordering: false,
        number_enums: NumberEnums::Describe,
        invent_required: false,
    };
    /// For `parametersJsonSchema` at Code Assist.
    pub const CODE_ASSIST: Self = Self {
        form: Form::JsonSchemaStrict,
        number_enums: NumberEnums::Stringify,
        ..Self::JSON_SCHEMA
    };
    /// For `parameters` at Antigravity.
    pub const VALIDATED: Self = Self {
        form: Form::Validated,
        keep_bounds: false,
        invent_required: true,
        ..Self::PARAMETERS
    };
    /// For `functionDeclarations[].parameters`.
    pub const PARAMETERS: Self = Self {
        form: Form::OpenApi,
        keep_bounds: true,
        property_ordering: false,
        number_enums: NumberEnums::Stringify,
        invent_required: false,
    };
    /// For `responseSchema`.
    pub const RESPONSE: Self = Self {
        form: Form::OpenApi,
        keep_bounds: true,
        property_ordering: true,
        number_enums: NumberEnums::Describe,
        invent_required: false,
    };
}

/// Returns the schema in the form that `rules` ask for.
///
/// What is no schema at all (`null`, a number, text that does not parse) becomes an object
/// without properties, because a tool must have some schema.
pub fn clean(schema: &RawValue, rules: Rules) -> Raw {
    let tree = serde_json::from_str(schema.get()).unwrap_or(Tree::Null);
    let cleaned = match rules.form {
        Form::JsonSchema | Form::JsonSchemaInlined | Form::JsonSchemaStrict => {
            light::clean(&tree, rules)
        }
        Form::OpenApi => openapi::clean(&tree, rules),
        Form::Validated => validated::clean(&tree),
    };
    to_raw_value(&cleaned).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Returns Google's `Schema` (upper-case types, `nullable`) as JSON Schema.
pub fn from_openapi(schema: &RawValue) -> Raw {
    let converted = serde_json::from_str(schema.get())
        .map_err(drop)
        .and_then(|tree| to_raw_value(&from_openapi::convert(&tree)).map_err(drop));
    converted.unwrap_or_else(|()| schema.to_owned())
}

/// `true` if the schema is an object without any property: Gemini wants no `parameters` then.
pub fn takes_nothing(schema: &RawValue) -> bool {
    let tree = serde_json::from_str(schema.get()).unwrap_or(Tree::Null);
    match &tree {
        Tree::Object(members) => members.0.iter().all(|(name, value)| match name.as_str() {
            "properties" => value.as_object().is_none_or(|names| names.0.is_empty()),
            "additionalProperties" => *value == Tree::Bool(false),
            "type" | "required" | "$schema" | "title" | "description" | "strict" => true,
            _ => false,
        }),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
