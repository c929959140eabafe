//! What the table of spellings and random answers are held against.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::spellings::*;
use super::*;

/// 2026-11-22T12:00:00Z.
const RECEIVED: Timestamp = Timestamp::from_secs(1_795_348_800);

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a header name");
        headers.append(name, HeaderValue::from_str(value).expect("a header value"));
    }
    headers
}

fn millis(status: u16, pairs: &[(&str, &str)], body: &str) -> Option<i64> {
    hint(status, &headers(pairs), body.as_bytes(), RECEIVED)
        .map(|hint| hint.end(RECEIVED).as_millis() - RECEIVED.as_millis())
}

#[test]
fn the_table_is_long_enough() {
    let rows = RETRY_AFTER.len() + RETRY_AFTER_MS.len() + RESETS.len() + BODIES.len() + TEXTS.len();
    assert!(rows >= 200, "{rows}");
}

#[test]
fn retry_after_is_read_in_all_its_forms() {
    for (value, wanted) in RETRY_AFTER {
        assert_eq!(
            millis(429, &[("retry-after", value)], ""),
            *wanted,
            "{value:?}"
        );
    }
}

#[test]
fn retry_after_ms_is_read_under_both_names() {
    for (value, wanted) in RETRY_AFTER_MS {
        for name in ["retry-after-ms", "x-ms-retry-after-ms"] {
            assert_eq!(millis(429, &[(name, value)], ""), *wanted, "{value:?}");
        }
    }
}

#[test]
fn reset_headers_count_for_the_limit_that_is_used_up() {
    for (pairs, wanted) in RESETS {
        assert_eq!(millis(429, pairs, ""), *wanted, "{pairs:?}");
    }
}

#[test]
fn bodies_are_read_wherever_the_wait_is() {
    for (body, wanted) in BODIES {
        assert_eq!(millis(429, &[], body), *wanted, "{body}");
    }
}

#[test]
fn sentences_are_read() {
    for (sentence, wanted) in TEXTS {
        let body = serde_json::json!({ "error": { "message": sentence } }).to_string();
        assert_eq!(millis(429, &[], &body), *wanted, "{sentence}");
        assert_eq!(millis(429, &[], sentence), *wanted, "plain: {sentence}");
    }
}

#[test]
fn the_more_trusted_source_wins_and_a_broken_one_is_passed_over() {
    let body = r#"{"error":{"message":"try again in 9s","details":[{"retryDelay":"5s"}]}}"#;
    for (pairs, wanted) in [
        (
            &[("retry-after", "2"), ("retry-after-ms", "1500")][..],
            1500,
        ),
        (
            &[("retry-after", "2"), ("retry-after-ms", "-5")],
            2 * SECOND,
        ),
        (
            &[("retry-after", "soon"), ("x-ratelimit-reset", "7")],
            5 * SECOND,
        ),
        (&[("retry-after", "-1"), ("retry-after", "3")], 3 * SECOND),
        (&[], 5 * SECOND),
    ] {
        assert_eq!(millis(429, pairs, body), Some(wanted), "{pairs:?}");
    }
    let sentence = r#"{"error":{"message":"try again in 9s"}}"#;
    assert_eq!(
        millis(429, &[("x-ratelimit-reset", "7")], sentence),
        Some(7 * SECOND)
    );
    assert_eq!(
        millis(429, &[("x-ratelimit-reset", "x")], sentence),
        Some(9 * SECOND)
    );
}

#[test]
fn instants_are_read_by_the_vendors_own_clock() {
    // The vendor's clock is an hour ahead of ours.
    let date = ("date", "Sun, 22 Nov 2026 13:00:00 GMT");
    for pair in [
        ("retry-after", "Sun, 22 Nov 2026 13:00:07 GMT"),
        ("x-ratelimit-reset", "1795352407"),
        ("anthropic-ratelimit-requests-reset", "2026-11-22T13:00:07Z"),
    ] {
        assert_eq!(millis(429, &[date, pair], ""), Some(7 * SECOND), "{pair:?}");
    }
}

#[test]
fn limits_that_are_not_used_up_say_nothing_of_other_failures() {
    let full = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "6s"),
    ];
    let left = [
        ("x-ratelimit-remaining-requests", "9"),
        ("x-ratelimit-reset-requests", "6s"),
    ];
    assert_eq!(millis(500, &left, ""), None);
    assert_eq!(millis(503, &full, ""), Some(6 * SECOND));
}

#[test]
fn a_success_tells_when_a_used_up_limit_is_filled_again() {
    let pairs = [
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "4s"),
        ("x-ratelimit-remaining-requests", "10"),
        ("x-ratelimit-reset-requests", "1h"),
    ];
    assert_eq!(
        exhausted(&headers(&pairs), RECEIVED),
        Some(Hint::After(Duration::from_secs(4)))
    );
    assert_eq!(exhausted(&headers(&pairs[2..]), RECEIVED), None);
}

#[test]
fn what_the_client_sent_is_no_hint() {
    let body = r#"{"detail":[{"loc":["body"],"msg":"bad","input":{"retry_after":7}}]}"#;
    assert_eq!(millis(422, &[], body), None);
}

proptest! {
    #[test]
    fn any_answer_gives_a_wait_in_range_or_none(
        status in 100u16..600,
        value in "[ -~]{0,40}",
        number in any::<f64>(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        sentence in "(try again in|resets at|retry after|wait) [0-9.a-z :\u{b5}\u{e9}-]{0,30}",
        name in proptest::sample::select(vec![
            "retry-after", "retry-after-ms", "date", "x-ratelimit-reset-tokens",
            "anthropic-ratelimit-requests-reset", "x-ratelimit-remaining-tokens",
        ]),
    ) {
        let json = serde_json::json!({
            "error": {"message": sentence, "retry_after": number, "resets_at": value.clone()}
        }).to_string();
        for value in [value, number.to_string()] {
            for body in [&body[..], json.as_bytes(), sentence.as_bytes()] {
                let headers = headers(&[(name, &value)]);
                let found = [hint(status, &headers, body, RECEIVED), exhausted(&headers, RECEIVED)];
                for hint in found.into_iter().flatten() {
                    let end = hint.end(RECEIVED);
                    prop_assert!(end > RECEIVED);
                    prop_assert!(RECEIVED.until(end) <= MAX_WAIT);
                }
            }
        }
    }

    #[test]
    fn more_seconds_never_mean_a_shorter_wait(a in 1u32..2_678_400, b in 1u32..2_678_400) {
        let wait = |seconds: u32| millis(429, &[("retry-after", &seconds.to_string())], "");
        prop_assert_eq!(a.cmp(&b), wait(a).cmp(&wait(b)));
    }
}
