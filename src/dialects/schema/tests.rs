//! Claims about schema cleaning; numbers refer to the cases of the wire-format notes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn raw(value: &Value) -> Raw {
    to_raw_value(value).expect("JSON")
}

fn cleaned(schema: &Value, rules: Rules) -> Value {
    serde_json::from_str(clean(&raw(schema), rules).get()).expect("JSON")
}

fn parameters(schema: &Value) -> Value {
    cleaned(schema, Rules::PARAMETERS)
}

/// The cleaned form of one property's schema.
fn property(schema: &Value) -> Value {
    let whole = parameters(&json!({"type": "object", "properties": {"p": schema}}));
    whole["properties"]["p"].clone()
}

#[test]
fn case_42_a_nullable_string_loses_its_unknown_format() {
    assert_eq!(
        property(&json!({"type": ["string", "null"], "format": "email"})),
        json!({"type": "STRING", "nullable": true})
    );
}

#[test]
fn case_43_constants_and_numbers_become_string_enums_only_in_parameters() {
    assert_eq!(
        property(&json!({"const": "a"})),
        json!({"type": "STRING", "enum": ["a"]})
    );
    let numbers = json!({"enum": [1, 2], "type": "integer"});
    assert_eq!(
        property(&numbers),
        json!({"type": "STRING", "enum": ["1", "2"]})
    );
    assert_eq!(cleaned(&numbers, Rules::JSON_SCHEMA), numbers);
    assert_eq!(
        cleaned(&numbers, Rules::RESPONSE),
        json!({"type": "INTEGER", "description": "one of 1, 2"})
    );
}

#[test]
fn case_44_a_choice_with_null_is_nullable_and_real_choices_stay() {
    assert_eq!(
        property(&json!({"anyOf": [{"type": "string"}, {"type": "null"}], "description": "d"})),
        json!({"type": "STRING", "description": "d", "nullable": true})
    );
    let choice = property(&json!({"oneOf": [
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "properties": {"b": {"type": "string"}}},
    ], "description": "d"}));
    assert_eq!(
        choice,
        json!({"anyOf": [
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "description": "d"},
            {"type": "OBJECT", "properties": {"b": {"type": "STRING"}}, "description": "d"},
        ]})
    );
    assert_eq!(
        property(&json!({"anyOf": [{"type": "null"}, {"const": "a"}, {"const": "b"}]})),
        json!({"type": "STRING", "enum": ["a", "b"], "nullable": true})
    );
}

#[test]
fn case_45_recursion_ends_and_property_names_survive() {
    let tree = json!({"type": "object", "properties": {"root": {"$ref": "#/$defs/Node"}},
    "$defs": {"Node": {"type": "object", "properties": {
        "value": {"type": "string"},
        "next": {"$ref": "#/$defs/Node"},
    }}}});
    assert_eq!(
        parameters(&tree),
        json!({"type": "OBJECT", "properties": {"root": {"type": "OBJECT", "properties": {
            "value": {"type": "STRING"},
            "next": {"type": "OBJECT", "description": "recursive: Node"},
        }}}})
    );
    let names = [
        "$ref",
        "title",
        "format",
        "type",
        "enum",
        "const",
        "anyOf",
        "default",
        "required",
        "properties",
        "additionalProperties",
        "$defs",
        "x-y",
        "nullable",
        "description",
    ];
    for rules in [Rules::PARAMETERS, Rules::JSON_SCHEMA, Rules::RESPONSE] {
        let properties: serde_json::Map<_, _> = names
            .iter()
            .map(|name| ((*name).to_owned(), json!({"type": "string"})))
            .collect();
        let out = cleaned(
            &json!({"type": "object", "properties": properties, "required": names}),
            rules,
        );
        for name in names {
            assert!(out["properties"][name].is_object(), "{name} is lost");
            assert!(
                out["required"]
                    .as_array()
                    .expect("a list")
                    .contains(&json!(name))
            );
        }
    }
}

#[test]
fn choices_that_name_each_other_end() {
    let loops = [
        json!({"anyOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}}),
        json!({"anyOf": [{"$ref": "#/$defs/A"}, {}], "$defs": {"A": {"type": "object", "properties": {
            "x": {"properties": {"y": {}}, "anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}]}}}}}),
        json!({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}}}),
        json!({"properties": {"p": {"$ref": "#/properties/p"}}}),
    ];
    for schema in loops {
        assert_legal(&parameters(&schema));
    }
}

#[test]
fn references_that_double_at_each_level_stay_small() {
    let mut definitions = serde_json::Map::new();
    for level in 0..9 {
        let next = json!({"$ref": format!("#/$defs/D{}", level + 1)});
        let fan: serde_json::Map<_, _> = (0..8).map(|i| (format!("p{i}"), next.clone())).collect();
        definitions.insert(
            format!("D{level}"),
            json!({"type": "object", "properties": fan}),
        );
    }
    definitions.insert("D9".to_owned(), json!({"type": "string"}));
    let bomb = json!({"$ref": "#/$defs/D0", "$defs": definitions});
    assert!(parameters(&bomb).to_string().len() < 400_000);
}

#[test]
fn case_46_exclusive_bounds_of_integers_become_inclusive() {
    assert_eq!(
        property(&json!({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9})),
        json!({"type": "INTEGER", "minimum": 1, "maximum": 8})
    );
    assert_eq!(
        property(&json!({"type": "number", "exclusiveMinimum": 0.5})),
        json!({"type": "NUMBER", "description": "exclusiveMinimum: 0.5"})
    );
    assert_eq!(
        parameters(
            &json!({"type": "object", "properties": {"a": {"type": "string"}},
            "additionalProperties": false})
        ),
        json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}})
    );
}

#[test]
fn case_47_required_names_only_what_exists() {
    assert_eq!(
        parameters(&json!({"type": "object", "required": ["a", "ghost"],
            "properties": {"a": {"type": "string"}, "b": {"type": "string", "required": true}}})),
        json!({"type": "OBJECT", "required": ["a", "b"],
            "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}}})
    );
    assert_eq!(
        parameters(&json!({"type": "object", "properties": {}, "required": null})),
        json!({"type": "OBJECT"})
    );
    assert_eq!(
        cleaned(
            &json!({"type": "object", "required": ["a", "ghost"],
            "properties": {"a": {"type": "string"}, "b": {"type": "string", "required": true}}}),
            Rules::JSON_SCHEMA
        ),
        json!({"type": "object", "required": ["a", "b"],
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}}})
    );
}

#[test]
fn case_48_arrays_always_have_items() {
    let strings = json!({"type": "ARRAY", "items": {"type": "STRING"}});
    assert_eq!(property(&json!({"type": "array"})), strings);
    assert_eq!(property(&json!({"type": "array", "items": {}})), strings);
    assert_eq!(
        property(
            &json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "string"}]})
        ),
        strings
    );
    assert_eq!(
        property(&json!({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]})),
        json!({"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}})
    );
}

#[test]
fn several_types_become_a_choice() {
    assert_eq!(
        property(&json!({"type": ["string", "integer", "null"], "description": "d"})),
        json!({"anyOf": [
            {"type": "STRING", "nullable": true, "description": "d"},
            {"type": "INTEGER", "nullable": true, "description": "d"},
        ]})
    );
}

#[test]
fn all_of_and_root_choices_merge_into_one_object() {
    assert_eq!(
        parameters(&json!({"allOf": [
            {"$ref": "#/definitions/A"},
            {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
        ], "definitions": {"A": {"type": "object", "properties": {"a": {"type": "string"}}}}})),
        json!({"type": "OBJECT", "required": ["b"],
            "properties": {"a": {"type": "STRING"}, "b": {"type": "INTEGER"}}})
    );
    assert_eq!(
        parameters(&json!({"anyOf": [
            {"type": "object", "properties": {"a": {"type": "string"}, "k": {"type": "string"}}, "required": ["a", "k"]},
            {"type": "object", "properties": {"b": {"type": "string"}, "k": {"type": "string"}}, "required": ["k"]},
        ]})),
        json!({"type": "OBJECT", "required": ["k"], "properties": {
            "a": {"type": "STRING"}, "k": {"type": "STRING"}, "b": {"type": "STRING"}}})
    );
}

#[test]
fn what_is_no_schema_becomes_an_object() {
    for odd in [
        json!(null),
        json!(7),
        json!("x"),
        json!([]),
        json!({}),
        json!(true),
    ] {
        assert_eq!(parameters(&odd), json!({"type": "OBJECT"}), "{odd}");
        assert_eq!(
            cleaned(&odd, Rules::JSON_SCHEMA),
            json!({"type": "object"}),
            "{odd}"
        );
    }
}

#[test]
fn an_invented_property_never_reaches_the_client() {
    let rules = Rules {
        invent_required: true,
        ..Rules::PARAMETERS
    };
    let schema = raw(&json!({"type": "object", "properties": {}}));
    let out = clean(&schema, rules);
    assert!(out.get().contains(INVENTED_PROPERTY));
    let call = format!(r#"{{"{INVENTED_PROPERTY}":"because","a":1}}"#);
    assert_eq!(restore_arguments(&call, Some(&schema)), r#"{"a":1}"#);
    let own =
        raw(&json!({"type": "object", "properties": {INVENTED_PROPERTY: {"type": "string"}}}));
    assert_eq!(restore_arguments(&call, Some(&own)), call);
}

#[test]
fn numbers_come_back_where_an_enum_had_numbers() {
    let schema = raw(&json!({"type": "object", "properties": {
        "n": {"enum": [1, 2]}, "s": {"enum": ["1"]}, "l": {"type": "array", "items": {"enum": [true]}},
    }}));
    assert_eq!(
        restore_arguments(r#"{"n":"2","s":"1","l":["true"],"o":"2"}"#, Some(&schema)),
        r#"{"n":2,"s":"1","l":[true],"o":"2"}"#
    );
    assert_eq!(restore_arguments("{not json", Some(&schema)), "{not json");
}

#[test]
fn bounds_become_words_when_the_back_end_takes_none() {
    let rules = Rules {
        keep_bounds: false,
        ..Rules::PARAMETERS
    };
    let out = cleaned(
        &json!({"type": "object", "properties": {
        "s": {"type": "string", "maxLength": 5, "description": "d"}}}),
        rules,
    );
    assert_eq!(
        out["properties"]["s"],
        json!({"type": "STRING", "description": "d (maxLength: 5)"})
    );
}

#[test]
fn googles_schema_becomes_json_schema() {
    let google = raw(
        &json!({"type": "OBJECT", "propertyOrdering": ["nullable"], "properties": {
            "nullable": {"type": "STRING", "nullable": true, "enum": ["a"]},
            "list": {"type": "ARRAY", "minItems": "1", "items": {"type": "INTEGER"}},
        }}),
    );
    let back: Value = serde_json::from_str(from_openapi(&google).get()).expect("JSON");
    assert_eq!(
        back,
        json!({"type": "object", "properties": {
            "nullable": {"type": ["string", "null"], "enum": ["a", null]},
            "list": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
        }})
    );
}

/// The whole vocabulary that Google's `Schema` type has.
const ALLOWED: [&str; 18] = [
    "anyOf",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "propertyOrdering",
    "required",
];

fn assert_legal(node: &Value) {
    let node = node.as_object().expect("a schema is an object");
    for (name, value) in node {
        assert!(name == "type" || ALLOWED.contains(&name.as_str()), "{name}");
        match name.as_str() {
            "type" => assert!(
                ["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"]
                    .contains(&value.as_str().expect("a name"))
            ),
            "items" => assert_legal(value),
            "anyOf" => value
                .as_array()
                .expect("a list")
                .iter()
                .for_each(assert_legal),
            "properties" => {
                let named = value.as_object().expect("names");
                assert!(!named.is_empty());
                named.values().for_each(assert_legal);
            }
            "enum" => assert!(
                value
                    .as_array()
                    .expect("a list")
                    .iter()
                    .all(Value::is_string)
            ),
            "required" => assert!(value.as_array().expect("a list").iter().all(|name| {
                node["properties"]
                    .get(name.as_str().expect("a name"))
                    .is_some()
            })),
            _ => {}
        }
    }
}

/// Any JSON, mostly made of schema keywords.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        prop_oneof![
            Just("string"),
            Just("object"),
            Just("array"),
            Just("integer"),
            Just("null"),
            Just("#/$defs/a"),
            Just("#/properties/a"),
            Just("#"),
            Just("")
        ]
        .prop_map(|s| json!(s)),
    ];
    let name = prop_oneof![
        Just("type"),
        Just("properties"),
        Just("items"),
        Just("required"),
        Just("enum"),
        Just("anyOf"),
        Just("oneOf"),
        Just("allOf"),
        Just("$ref"),
        Just("$defs"),
        Just("a"),
        Just("const"),
        Just("additionalProperties"),
        Just("prefixItems"),
        Just("exclusiveMinimum"),
        Just("minimum"),
        Just("nullable"),
        Just("description"),
        Just("not")
    ];
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|members| Value::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            )),
        ]
    })
}

#[test]
fn arguments_of_several_types_are_an_object() {
    for types in [
        json!(["object", "string"]),
        json!(["string", "object", "null"]),
    ] {
        let cleaned = parameters(&json!({"type": types, "properties": {"a": {"type": "integer"}}}));
        assert_eq!(cleaned["type"], "OBJECT", "{cleaned}");
        assert_eq!(cleaned["properties"]["a"]["type"], "INTEGER", "{cleaned}");
        assert_eq!(parameters(&cleaned), cleaned);
    }
}

proptest! {
    #[test]
    fn any_json_becomes_a_legal_schema(value in anything()) {
        for rules in [Rules::PARAMETERS, Rules::RESPONSE] {
            assert_legal(&cleaned(&value, rules));
        }
        cleaned(&value, Rules::JSON_SCHEMA);
    }

    #[test]
    fn cleaning_a_clean_schema_changes_nothing(value in anything()) {
        let once = parameters(&value);
        prop_assert_eq!(parameters(&once), once);
    }
}

#[test]
fn code_assist_gets_no_keyword_that_it_refuses() {
    let schema = json!({"type": "object", "$schema": "x", "properties": {
        "n": {"const": 7, "default": 7},
        "default": {"type": "string", "deprecated": true},
        "r": {"$ref": "#/$defs/R"},
        "e": {"enum": ["a", 2, null]},
        "b": {"type": "number", "exclusiveMinimum": 0, "not": {}, "minimum": 1},
    }, "required": ["n", "gone"], "if": {}, "then": {}, "patternProperties": {},
       "$defs": {"R": {"type": "array", "items": {"$ref": "#/$defs/R"}}}});
    assert_eq!(
        cleaned(&schema, Rules::CODE_ASSIST),
        json!({"type": "object", "properties": {
            "n": {"type": "string", "enum": ["7"]},
            "default": {"type": "string"},
            "r": {"type": "array", "items": {"type": "object", "description": "recursive: R"}},
            "e": {"type": "string", "enum": ["a", "2"]},
            "b": {"type": "number", "minimum": 1},
        }, "required": ["n"]})
    );
}
