//! Tests of the scan, the session keys and the splice.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;

fn chat(body: &str) -> Result<Head<'_>, HeadError> {
    scan(body.as_bytes(), Dialect::OpenAiChat)
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("valid JSON")
}

#[test]
fn the_head_of_a_chat_request_is_found() {
    let body = r#" {"messages":[{"role":"user","content":"{\"model\":1}"}], "model" : "a/b",
        "stream":true,"stream_options":{"include_usage":true},"user":"u","prompt_cache_key":"k"} "#;
    let head = chat(body).expect("a sound body");
    let model = head.model.expect("a model");
    assert_eq!(model.name, "a/b");
    assert_eq!(&body[model.span], "\"a/b\"");
    assert_eq!(head.stream, Some(true));
    assert_eq!(head.include_usage, Some(true));
    assert_eq!(head.session.as_deref(), Some("k"));
}

#[test]
fn a_model_written_with_escapes_is_decoded() {
    let head = chat(r#"{"\u006dodel":"gpt\u002d5\/x"}"#).expect("a sound body");
    assert_eq!(head.model.expect("a model").name, "gpt-5/x");
}

#[test]
fn bad_bodies_are_refused_with_their_place() {
    for (body, expected) in [
        (
            "",
            HeadError::NotJson {
                at: 0,
                expected: "a JSON object",
            },
        ),
        (
            "  \n",
            HeadError::NotJson {
                at: 3,
                expected: "a JSON object",
            },
        ),
        (
            "hello",
            HeadError::NotJson {
                at: 0,
                expected: "a JSON object",
            },
        ),
        (" [1]", HeadError::NotObject { at: 1 }),
        ("null", HeadError::NotObject { at: 0 }),
        (
            r#"{"model":"a","model":"b"}"#,
            HeadError::DuplicateModel { at: 21 },
        ),
        (
            r#"{"model":"a","mode\u006c":"a"}"#,
            HeadError::DuplicateModel { at: 26 },
        ),
        (r#"{"model":7}"#, HeadError::ModelNotString { at: 9 }),
        (r#"{"model":null}"#, HeadError::ModelNotString { at: 9 }),
        (r#"{"model":""}"#, HeadError::ModelNotString { at: 9 }),
        (r#"{"model":"\ud800"}"#, HeadError::ModelNotString { at: 9 }),
        (r#"{"stream":"true"}"#, HeadError::StreamNotBool { at: 10 }),
        (r#"{"stream":1}"#, HeadError::StreamNotBool { at: 10 }),
        (
            r#"{"a":1}x"#,
            HeadError::NotJson {
                at: 7,
                expected: "nothing after the object",
            },
        ),
        (
            r#"{"a":1,}"#,
            HeadError::NotJson {
                at: 7,
                expected: "a member's name in quotes",
            },
        ),
        (
            r#"{"a":[1,]}"#,
            HeadError::NotJson {
                at: 8,
                expected: "a value",
            },
        ),
        (
            r#"{"a":01}"#,
            HeadError::NotJson {
                at: 6,
                expected: "`,` or `}`",
            },
        ),
        (
            r#"{"a":"x"#,
            HeadError::NotJson {
                at: 7,
                expected: "the end of a string",
            },
        ),
        (
            "{\"a\":\"x\n\"}",
            HeadError::NotJson {
                at: 7,
                expected: "no raw control character in a string",
            },
        ),
        (
            "\u{feff}{}",
            HeadError::NotJson {
                at: 0,
                expected: "a JSON object",
            },
        ),
    ] {
        assert_eq!(chat(body).map(|_| ()), Err(expected), "{body}");
        assert!(expected.at() <= body.len());
    }
    let not_text = scan(b"{\"a\":\"\xff\"}", Dialect::OpenAiChat).map(|_| ());
    assert_eq!(not_text, Err(HeadError::NotUtf8 { at: 6 }));
}

#[test]
fn a_stream_of_null_is_as_good_as_none() {
    assert_eq!(chat(r#"{"stream":null}"#).expect("sound").stream, None);
}

#[test]
fn the_url_says_it_for_gemini() {
    let body = r#"{"contents":[],"stream":"never read"}"#;
    let head = scan(body.as_bytes(), Dialect::Gemini).expect("a sound body");
    assert_eq!((head.model, head.stream), (None, None));
}

#[test]
fn nesting_ends_at_128_levels() {
    let nested = |levels: usize| {
        format!(
            "{{\"a\":{}1{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    };
    assert!(chat(&nested(128)).is_ok());
    assert_eq!(
        chat(&nested(129)).map(|_| ()),
        Err(HeadError::TooDeep { at: 133 })
    );
    let bomb = format!("{{\"a\":{}", "[{\"a\":".repeat(100_000));
    assert!(matches!(chat(&bomb), Err(HeadError::TooDeep { .. })));
}

#[test]
fn the_better_session_hint_wins_whatever_the_order() {
    for (body, expected) in [
        (
            r#"{"user":"u","session_id":"s","prompt_cache_key":"k"}"#,
            Some("s"),
        ),
        (r#"{"prompt_cache_key":"k","user":"u"}"#, Some("k")),
        (r#"{"metadata":{"user_id":"m"},"user":"u"}"#, Some("m")),
        (r#"{"session_id":"","user":"u"}"#, Some("u")),
        (r#"{"session_id":null,"chat_id":17}"#, Some("17")),
        (r#"{"conversation":{"id":"conv_1"}}"#, Some("conv_1")),
        (r#"{"metadata":{"a":"b"}}"#, None),
    ] {
        assert_eq!(
            chat(body).expect("sound").session.as_deref(),
            expected,
            "{body}"
        );
    }
}

/// A conversation in each dialect: the turns, `true` for the model's.
fn conversation(dialect: Dialect, turns: &[(bool, &str)]) -> Vec<u8> {
    let messages = |model: &str, inner: fn(&str) -> Value, name: &str| -> Vec<Value> {
        turns
            .iter()
            .map(|(by_model, text)| {
                let role = if *by_model { model } else { "user" };
                json!({"role": role, name: inner(text)})
            })
            .collect()
    };
    let body = match dialect {
        Dialect::Anthropic => json!({
            "model": "m", "system": "be kind",
            "messages": messages("assistant", |text| json!([{"type": "text", "text": text}]), "content"),
        }),
        Dialect::Gemini => json!({
            "systemInstruction": {"parts": [{"text": "be kind"}]},
            "contents": messages("model", |text| json!([{"text": text}]), "parts"),
        }),
        Dialect::OpenAiChat => json!({
            "model": "m", "messages": messages("assistant", |text| json!(text), "content"),
        }),
        Dialect::OpenAiResponses => json!({
            "model": "m", "instructions": "be kind",
            "input": messages("assistant", |text| json!(text), "content"),
        }),
    };
    serde_json::to_vec(&body).expect("a value")
}

#[test]
fn the_next_turn_finds_what_the_last_one_remembered() {
    let long = "long ".repeat(200);
    let turns = [
        (false, "hi"),
        (true, "hello"),
        (false, &long),
        (true, "well"),
        (true, "and more"),
        (false, "bye"),
    ];
    for dialect in Dialect::ALL {
        let mut remembered = Vec::new();
        for length in [1, 3, 6] {
            let body = conversation(dialect, &turns[..length]);
            let head = scan(&body, dialect).expect("a sound body");
            let keys = head.session_keys("client").expect("a conversation");
            let known = keys.iter().find(|key| remembered.contains(key));
            assert_eq!(known, remembered.last().copied(), "{dialect} at {length}");
            remembered.push(keys.newest());
            assert_eq!(head.session_hash("client"), Some(keys.newest()));
        }
    }
}

#[test]
fn users_who_open_alike_part_company() {
    for dialect in Dialect::ALL {
        let key = |client: &str, turns: &[(bool, &str)]| {
            let body = conversation(dialect, turns);
            let head = scan(&body, dialect).expect("a sound body");
            head.session_hash(client).expect("a conversation")
        };
        let opening = [(false, "hi")];
        assert_eq!(key("a", &opening), key("a", &opening));
        assert_ne!(key("a", &opening), key("b", &opening));
        let one = [(false, "hi"), (true, "hello"), (false, "x")];
        let other = [(false, "hi"), (true, "hello!"), (false, "x")];
        assert_ne!(key("a", &one), key("a", &other));
    }
}

#[test]
fn cache_marks_and_spacing_do_not_change_a_session() {
    let plain = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#;
    let marked = r#"{ "messages" : [ {"role":"user","content":[
        {"type":"text","cache_control":{"type":"ephemeral","ttl":"1h"},"text":"hi"}]}]}"#;
    let key = |body: &str| {
        scan(body.as_bytes(), Dialect::Anthropic)
            .expect("sound")
            .session_hash("c")
    };
    assert_eq!(key(plain), key(marked));
}

#[test]
fn responses_items_without_a_role_tell_who_made_them() {
    let first = r#"{"input":[{"role":"user","content":"go"}]}"#;
    let second = r#"{"input":[{"role":"user","content":"go"},{"type":"reasoning","summary":[]},
        {"type":"function_call","call_id":"1","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"1","output":"4"}]}"#;
    let keys = |body: &str| {
        scan(body.as_bytes(), Dialect::OpenAiResponses)
            .expect("sound")
            .session_keys("c")
            .expect("a conversation")
    };
    let remembered = keys(first).newest();
    assert_eq!(
        keys(second).iter().collect::<Vec<_>>().get(1),
        Some(&remembered)
    );
}

#[test]
fn a_body_without_conversation_has_no_session() {
    for body in [
        r#"{"model":"m","input":"text"}"#,
        r#"{"messages":[]}"#,
        r#"{"messages":7}"#,
    ] {
        assert_eq!(chat(body).expect("sound").session_keys("c"), None, "{body}");
    }
}

#[test]
fn a_splice_changes_the_model_and_nothing_else() {
    for (body, expected) in [
        (
            r#"{"model":"a","n":1e400}"#,
            r#"{"model":"new\"name","n":1e400}"#,
        ),
        (
            " {\"x\":\"\\u00e9\", \"model\" :\t\"p/a\" }\n",
            " {\"x\":\"\\u00e9\", \"model\" :\t\"new\\\"name\" }\n",
        ),
        (r#"{"contents":[]}"#, r#"{"contents":[]}"#),
    ] {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let head = chat(body).expect("sound");
        assert_eq!(splice(&bytes, &head, "new\"name", &[]), expected);
    }
}

#[test]
fn an_unchanged_body_is_not_copied() {
    let body = Bytes::from_static(br#"{"model":"\u0061"}"#);
    let head = scan(&body, Dialect::OpenAiChat).expect("sound");
    let spliced = splice(&body, &head, "a", &[]);
    assert_eq!(spliced.as_ptr(), body.as_ptr());
}

#[test]
fn extra_members_override_or_go_last() {
    let (one, two) = (raw("1"), raw(r#"{"x":2}"#));
    for (body, expected) in [
        (
            r#"{"model":"a","b":[0] , "c":3}"#,
            r#"{"model":"a","b":1 , "c":3,"d":{"x":2}}"#,
        ),
        (r#"{"\u0062":0,"b":0}"#, r#"{"\u0062":1,"b":1,"d":{"x":2}}"#),
        ("{ }", r#"{ "b":1,"d":{"x":2}}"#),
    ] {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let head = chat(body).expect("sound");
        let spliced = splice(&bytes, &head, "a", &[("b", &one), ("d", &two)]);
        assert_eq!(spliced, expected);
    }
    let bytes = Bytes::from_static(br#"{"model":"a"}"#);
    let head = scan(&bytes, Dialect::OpenAiChat).expect("sound");
    let spliced = splice(
        &bytes,
        &head,
        "a",
        &[("d", &one), ("model", &one), ("d", &two)],
    );
    assert_eq!(spliced, r#"{"model":"a","d":{"x":2}}"#);
}

#[test]
fn usage_is_asked_for_beside_the_clients_options() {
    for (body, expected) in [
        (r#"{"stream":true}"#, Some(r#"{"include_usage":true}"#)),
        (
            r#"{"stream_options":{"include_obfuscation":false,"include_usage":false}}"#,
            Some(r#"{"include_obfuscation":false,"include_usage":true}"#),
        ),
        (r#"{"stream_options":{"include_usage":true}}"#, None),
    ] {
        let options = chat(body).expect("sound").stream_options_with_usage();
        assert_eq!(options.as_deref().map(RawValue::get), expected);
    }
}

/// Any JSON value, a few levels deep, strings with escapes and all.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"\\\\é]{0,4}", inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// `true` if `serde_json` takes the bytes as one object. Without building strings, as it judges
/// surrogates then, which the grammar does not.
fn is_object(body: &[u8]) -> bool {
    let sound = std::str::from_utf8(body).is_ok()
        && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    sound && body.trim_ascii_start().starts_with(b"{")
}

proptest! {
    #[test]
    fn scan_and_serde_agree_on_what_is_json(
        members in prop::collection::btree_map("[a-z]{1,4}", value(), 0..5),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..3),
    ) {
        let whole: Value = members.into_iter().collect();
        let mut body = serde_json::to_vec_pretty(&whole).expect("a value");
        prop_assert!(scan(&body, Dialect::Gemini).is_ok());
        for (place, byte, kind) in cuts {
            let at = place.index(body.len().max(1));
            match kind {
                0 if at < body.len() => body[at] = byte,
                1 => body.truncate(at),
                _ => body.insert(at.min(body.len()), b"{}[]\",:\\0-e. \n"[usize::from(byte) % 14]),
            }
            let taken = scan(&body, Dialect::Gemini);
            let unlike = matches!(
                taken,
                Err(HeadError::ModelNotString { .. } | HeadError::DuplicateModel { .. })
            );
            prop_assert!(unlike || taken.is_ok() == is_object(&body), "{:?}", taken);
        }
    }

    #[test]
    fn a_splice_is_the_same_body_with_another_model(
        before in prop::collection::btree_map("[a-ln-z]{1,4}", value(), 0..4),
        after in prop::collection::btree_map("m[a-z]{1,3}", value(), 0..4),
        old in ".{1,12}",
        new in ".{1,12}",
        pretty in any::<bool>(),
    ) {
        let write = |value: &Value| if pretty {
            serde_json::to_string_pretty(value).expect("a value")
        } else {
            value.to_string()
        };
        let inner = |members: &std::collections::BTreeMap<String, Value>| {
            members.iter().fold(String::new(), |text, (name, value)| {
                text + &format!("{}: {},", Value::from(name.as_str()), write(value))
            })
        };
        let (head_part, tail_part) = (format!("{{{}\"model\":", inner(&before)), inner(&after));
        let build = |model: &str| {
            format!("{head_part}{},{tail_part}\"zz\":0}}", Value::from(model))
        };
        let body = Bytes::from(build(&old));
        let head = scan(&body, Dialect::OpenAiChat).expect("a sound body");
        prop_assert_eq!(&head.model.as_ref().expect("a model").name, &old);
        prop_assert_eq!(splice(&body, &head, &new, &[]), build(&new));
    }

    #[test]
    fn no_bytes_make_the_scan_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in Dialect::ALL {
            if let Ok(head) = scan(&body, dialect) {
                head.session_keys("c");
            }
        }
    }
}
