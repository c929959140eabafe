//! Claims about the narrow form (wire-format notes on Antigravity, C.5).

use super::*;

fn tree(json: &str) -> Tree {
    serde_json::from_str(json).expect("JSON")
}

fn cleaned(json: &str) -> String {
    clean(&tree(json)).to_json()
}

/// The cleaned form of one required property's schema.
fn property(json: &str) -> String {
    let whole = format!(r#"{{"type":"object","properties":{{"p":{json}}},"required":["p"]}}"#);
    let whole = clean(&tree(&whole));
    let properties = whole.as_object().and_then(|w| w.get("properties").cloned());
    let property = properties.and_then(|p| p.as_object()?.get("p").cloned());
    property.expect("the property").to_json()
}

#[test]
fn a_tool_without_arguments_gets_a_reason() {
    assert_eq!(
        cleaned(r#"{"type":"object","properties":{},"additionalProperties":false,"$schema":"x"}"#),
        format!(
            r#"{{"type":"object","description":"No extra properties allowed","properties":{{"reason":{{"type":"string","description":"{REASON_NOTE}"}}}},"required":["reason"]}}"#
        )
    );
    for nothing in ["null", "{}", "true", "7"] {
        assert!(cleaned(nothing).contains(r#""required":["reason"]"#));
    }
}

#[test]
fn constants_become_one_enum() {
    assert_eq!(
        property(
            r#"{"anyOf":[{"type":"null"},{"type":"string","const":"a"},{"type":"string","const":"b"}]}"#
        ),
        r#"{"type":"string","description":"Allowed: a, b; nullable","enum":["a","b"]}"#
    );
    assert_eq!(
        property(r#"{"enum":[1,2.5],"type":"number"}"#),
        r#"{"type":"string","description":"Allowed: 1, 2.5","enum":["1","2.5"]}"#
    );
    assert_eq!(
        property(r#"{"const":"only"}"#),
        r#"{"type":"string","enum":["only"]}"#
    );
}

#[test]
fn bounds_become_words_and_unknown_keywords_go() {
    assert_eq!(
        property(
            r#"{"type":"string","description":"d","minLength":2,"pattern":"^a","title":"T","x-y":1,"format":"uri","deprecated":true}"#
        ),
        r#"{"type":"string","description":"d (minLength: 2; pattern: \"^a\"; format: \"uri\")"}"#
    );
}

#[test]
fn the_richest_branch_of_a_choice_stays() {
    assert_eq!(
        property(r#"{"oneOf":[{"type":"string"},{"type":"array","items":{"type":"integer"}}]}"#),
        r#"{"type":"array","description":"Accepts: string | array","items":{"type":"integer"}}"#
    );
    let both = property(
        r#"{"anyOf":[{"type":"object","properties":{"a":{"type":"string"},"k":{"type":"string"}},"required":["a","k"]},{"type":"object","properties":{"b":{"type":"string"},"k":{"type":"string"}},"required":["b","k"]}]}"#,
    );
    assert!(
        both.contains(r#""a":"#) && both.contains(r#""b":"#),
        "{both}"
    );
    assert!(both.ends_with(r#""required":["k"]}"#), "{both}");
}

#[test]
fn what_may_be_null_is_not_required() {
    let out = cleaned(
        r#"{"properties":{"a":{"type":["string","null"]},"b":{"type":"string"}},"required":["a","b","gone"]}"#,
    );
    assert!(out.ends_with(r#""required":["b"]}"#), "{out}");
    assert!(out.contains(r#""a":{"type":"string","description":"nullable"}"#));
}

#[test]
fn references_and_unions_stand_in_their_place_and_cycles_end() {
    let out = cleaned(
        r##"{"allOf":[{"$ref":"#/$defs/A"}],"$defs":{"A":{"properties":{"n":{"$ref":"#/$defs/A"}},"required":["n"]}}}"##,
    );
    assert!(
        out.contains("recursive: A") && !out.contains("$ref"),
        "{out}"
    );
    let conditional = cleaned(
        r#"{"properties":{"a":{"type":"string"}},"required":["a"],"if":{},"then":{"properties":{"b":{"type":"integer"}},"required":["b"]}}"#,
    );
    assert!(
        conditional.contains(r#""b":{"type":"integer"}"#),
        "{conditional}"
    );
    assert!(
        conditional.ends_with(r#""required":["a"]}"#),
        "{conditional}"
    );
}

#[test]
fn a_bare_map_of_properties_is_an_object_and_a_misplaced_required_moves() {
    let out = cleaned(r#"{"city":{"type":"string","required":true},"unit":{"type":"string"}}"#);
    assert_eq!(
        out,
        r#"{"type":"object","properties":{"city":{"type":"string"},"unit":{"type":"string"}},"required":["city"]}"#
    );
}

#[test]
fn properties_may_be_called_like_keywords() {
    let out = cleaned(
        r#"{"type":"object","properties":{"default":{"type":"string"},"format":{"type":"string"},"type":{"type":"string"}},"required":["type"]}"#,
    );
    for name in ["default", "format", "type"] {
        assert!(
            out.contains(&format!(r#""{name}":{{"type":"string"}}"#)),
            "{out}"
        );
    }
}

#[test]
fn nested_objects_that_require_nothing_get_a_flag() {
    let out = property(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#);
    assert!(out.contains(r#""required":["_"]"#), "{out}");
    let own = cleaned(r#"{"properties":{"reason":{"type":"string"}}}"#);
    assert!(own.ends_with(r#""required":["_"]}"#), "{own}");
    let both = cleaned(r#"{"properties":{"reason":{"type":"string"},"_":{"type":"string"}}}"#);
    assert!(!both.contains("required"), "{both}");
}

#[test]
fn calls_come_back_as_the_tool_asked_for_them() {
    let schema = clean(&tree(
        r#"{"properties":{"list":{"type":"array","items":{"type":"object","properties":{"a":{"type":"string"}}}},"text":{"type":"string"}}}"#,
    ));
    for (said, meant) in [
        (r#"{"reason":"look"}"#, "{}"),
        (
            r#"{"list":"[{\"a\":\"x\",\"_\":true}]","text":"[1]","reason":"r"}"#,
            r#"{"list":[{"a":"x"}],"text":"[1]"}"#,
        ),
    ] {
        let mut value = tree(said);
        assert!(settle(&mut value, &schema));
        assert_eq!(value.to_json(), meant);
    }
    let mut right = tree(r#"{"list":[],"text":"t"}"#);
    assert!(!settle(&mut right, &schema));
    let own = clean(&tree(
        r#"{"properties":{"reason":{"type":"string"}},"required":["reason"]}"#,
    ));
    let mut kept = tree(r#"{"reason":"mine"}"#);
    assert!(!settle(&mut kept, &own));
}
