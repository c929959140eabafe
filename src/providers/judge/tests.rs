//! Verdicts over the recorded shapes of `tests/fixtures/vendors`, one file a vendor.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::providers::spec::{KeyTest, Listing, Spec};
use crate::providers::verdict::{KeyStatus, Verdict};
use crate::providers::{Answer, Provider, all, custom, find};
use crate::time::Timestamp;

/// 2026-11-22T12:00:00Z.
const RECEIVED: Timestamp = Timestamp::from_secs(1_795_348_800);

/// What is on record of one vendor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    /// Where the shapes come from.
    source: String,
    #[serde(default)]
    failures: Vec<FailureCase>,
    /// A model list and the ids in it.
    models: Option<ModelsCase>,
    /// Method and URL of the key test.
    key_test: Option<String>,
    #[serde(default)]
    key_answers: Vec<KeyCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureCase {
    /// Where this one comes from, if not from the fixture's source.
    source: Option<String>,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON, or text that is none.
    body: Value,
    verdict: String,
    /// The stated wait.
    wait_ms: Option<u64>,
    link: Option<String>,
    /// The status the failure passes on, where it is not the answer's.
    passes: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelsCase {
    body: Value,
    ids: Vec<String>,
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyCase {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
    says: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendors")
}

/// Every fixture by the vendor's id.
fn fixtures() -> Vec<(String, Fixture)> {
    let files = fs::read_dir(folder()).expect("the fixtures");
    files
        .map(|file| {
            let path = file.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a fixture");
            let fixture = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let id = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .expect("a name");
            (id.to_owned(), fixture)
        })
        .collect()
}

fn vendor(id: &str) -> &'static dyn Provider {
    if id == "openai_compatible" {
        return custom(crate::dialects::Dialect::OpenAiChat);
    }
    find(id).unwrap_or_else(|| panic!("{id} is no vendor"))
}

fn headers(pairs: &BTreeMap<String, String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a header name");
        headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
    }
    headers
}

fn text(body: &Value) -> String {
    match body {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        json => json.to_string(),
    }
}

fn check_failure(vendor: &dyn Provider, case: &FailureCase) {
    let (headers, body) = (headers(&case.headers), text(&case.body));
    let answer = Answer {
        status: case.status,
        headers: &headers,
        body: body.as_bytes(),
        model: "m",
        received: RECEIVED,
    };
    let failure = vendor.judge(&answer);
    let from = case.source.as_deref().unwrap_or("its fixture");
    let about = format!("{} {}: {body} ({from})", vendor.spec().id, case.status);
    assert_eq!(failure.verdict.as_str(), case.verdict, "{about}");
    let wait = failure
        .hint
        .map(|hint| u64::try_from(RECEIVED.until(hint.end(RECEIVED)).as_millis()).expect("short"));
    assert_eq!(wait, case.wait_ms, "{about}");
    assert_eq!(failure.link, case.link, "{about}");
    if let Some(status) = case.passes {
        assert_eq!(failure.status, Some(status), "{about}");
    }
    assert!(!failure.message.is_empty(), "{about}");
    assert!(failure.message.len() <= 1024, "{about}");
    let lower = failure.message.to_lowercase();
    assert!(
        !lower.contains("<html") && !lower.contains("<!doctype"),
        "{about}"
    );
}

fn check_key(vendor: &dyn Provider, case: &KeyCase) {
    let (headers, body) = (headers(&case.headers), text(&case.body));
    let answer = Answer {
        status: case.status,
        headers: &headers,
        body: body.as_bytes(),
        model: "",
        received: RECEIVED,
    };
    let status = vendor
        .read_key_test(&answer)
        .map_or_else(|failure| failure.verdict.key_status(), |()| KeyStatus::Ok);
    let about = format!("{} {}: {body}", vendor.spec().id, case.status);
    assert_eq!(status.as_str(), case.says, "{about}");
}

#[test]
fn each_vendors_failures_are_judged_as_recorded() {
    for (id, fixture) in fixtures() {
        assert!(!fixture.source.is_empty(), "{id}");
        for case in &fixture.failures {
            check_failure(vendor(&id), case);
        }
    }
}

#[test]
fn every_vendor_of_keys_is_on_record() {
    let fixtures: BTreeMap<String, Fixture> = fixtures().into_iter().collect();
    for spec in all().map(Provider::spec).filter(|spec| !spec.is_oauth) {
        let id = spec.id;
        let fixture = fixtures.get(id);
        let fixture = fixture.unwrap_or_else(|| panic!("{id} has no fixture"));
        assert!(
            !fixture.failures.is_empty(),
            "{id} has no failure on record"
        );
        let lists = spec.listing != Listing::None;
        assert!(!lists || fixture.models.is_some(), "{id}: no model list");
    }
}

#[test]
fn what_all_vendors_share_is_judged_alike_for_all() {
    let (_, shared) = fixtures()
        .into_iter()
        .find(|(id, _)| id == "openai_compatible")
        .expect("the shared fixture");
    // iFlow's limits say no wait and last for seconds: it has one of its own.
    for provider in all().filter(|provider| provider.spec().id != "iflow") {
        for case in &shared.failures {
            // Alibaba's word for a limit that passes, not for an empty purse.
            let is_its_limit = text(&case.body).contains("insufficient_quota");
            if provider.spec().id == "qwen_code" && is_its_limit {
                continue;
            }
            check_failure(provider, case);
        }
    }
}

#[test]
fn a_key_that_lists_models_is_read_alike_for_all() {
    let (_, shared) = fixtures()
        .into_iter()
        .find(|(id, _)| id == "openai_compatible")
        .expect("the shared fixture");
    let lists = |spec: &Spec| spec.key_test == KeyTest::List && spec.key_signs.is_empty();
    for provider in all().filter(|provider| lists(provider.spec())) {
        for case in &shared.key_answers {
            check_key(provider, case);
        }
    }
}

#[test]
fn each_vendors_model_list_is_read() {
    for (id, fixture) in fixtures() {
        let Some(case) = fixture.models else { continue };
        let page = vendor(&id)
            .read_models(text(&case.body).as_bytes())
            .unwrap_or_else(|error| panic!("{id}: {error}"));
        let ids: Vec<_> = page.models.into_iter().map(|model| model.id).collect();
        assert_eq!(ids, case.ids, "{id}");
        assert_eq!(page.next, case.next, "{id}");
    }
}

#[test]
fn each_key_test_asks_what_the_vendor_answers() {
    for (id, fixture) in fixtures() {
        let Some(wanted) = fixture.key_test else {
            continue;
        };
        let (vendor, base) = (vendor(&id), vendor(&id).spec().base_urls.first());
        let call = vendor.key_test();
        let base = base.unwrap_or_else(|| panic!("{id} has no base URL"));
        assert_eq!(
            format!("{} {}", call.method, vendor.url(base, &call.path)),
            wanted,
            "{id}"
        );
    }
}

#[test]
fn each_answer_to_a_key_test_is_read() {
    for (id, fixture) in fixtures() {
        for case in &fixture.key_answers {
            check_key(vendor(&id), case);
        }
    }
}

#[test]
fn a_bad_request_blames_no_key_for_what_the_client_wrote() {
    let headers = HeaderMap::new();
    for word in [
        "billing",
        "revoked",
        "overdue",
        "user not found",
        "authentication fails",
        "overloaded",
        "has been disabled",
        "daily",
        "account is suspended",
        "not have access",
        "payment required",
    ] {
        let message = format!("Invalid value: '{word}'");
        let body = serde_json::json!({ "error": { "message": message } }).to_string();
        for (provider, status) in all().flat_map(|provider| [400, 413, 422].map(|s| (provider, s)))
        {
            let answer = Answer {
                status,
                headers: &headers,
                body: body.as_bytes(),
                model: "m",
                received: RECEIVED,
            };
            let verdict = provider.judge(&answer).verdict;
            assert_eq!(
                verdict,
                Verdict::BadRequest,
                "{} {status} {word}",
                provider.spec().id
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_answer_is_judged_without_its_keys(
        status in 200u16..600,
        text in ".{0,60}",
        code in "[a-zA-Z0-9_]{0,20}",
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
        shape in 0usize..6,
    ) {
        let key = "sk-canary0123456789";
        let body = match shape {
            0 => serde_json::json!({"error": {"message": format!("{text} {key}"), "code": code}}),
            1 => serde_json::json!({"error": format!("{text} {key}"), "code": code}),
            2 => serde_json::json!([{"error": {"message": key, "details": [{"reason": code}, text]}}]),
            3 => serde_json::json!({"detail": [{"msg": key, "loc": [text, 1]}]}),
            4 => serde_json::json!({"error": {"message": text, "metadata": {"raw": key}}}),
            _ => Value::Null,
        };
        let body = if shape == 5 { bytes } else { body.to_string().into_bytes() };
        let headers = HeaderMap::new();
        for provider in all() {
            let answer = Answer { status, headers: &headers, body: &body, model: "m", received: RECEIVED };
            let failure = provider.judge(&answer);
            prop_assert!(!failure.message.contains("canary"), "{}", failure.message);
            prop_assert!(failure.message.len() <= 1024 && !failure.message.is_empty());
            prop_assert!(failure.status.is_some());
        }
    }
}
