//! What a failed answer of Code Assist means, beyond what `google.rpc` details say of it for every
//! provider: errors without details, and sentences in place of errors.

use crate::providers::code_assist::malformed;
use crate::providers::signals::Signal;
use crate::providers::spec::Spec;
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::providers::{Answer, judge};

/// Words of `error.message` at both services, as reported by 2026-11-22.
pub(super) const SIGNALS: &[Signal] = &[
    // The project is not one of the account's: see `is_wrong_project`.
    Signal::says(403, WRONG_PROJECT, Verdict::ActionNeeded),
    Signal::says(
        403,
        "verify your account to continue",
        Verdict::ActionNeeded,
    ),
    Signal::says(400, "user location is not supported", Verdict::NotAllowed),
    Signal::says(400, "prompt is too long", Verdict::ContextLength),
    // A model that does not exist, or not for this tier.
    Signal::code("NOT_FOUND", Verdict::NotAllowed).on(404),
    Signal::says(404, "entity was not found", Verdict::NotAllowed),
];

/// The permission that a project of somebody else's, or none, does not give.
const WRONG_PROJECT: &str = "cloudaicompanion.companions.generatechat";

/// Google's sentence for a back end that is busy, which also hits its own clients. With details
/// it is a quota's.
const BUSY: &str = "resource has been exhausted (e.g. check quota)";

/// What a sentence of Antigravity's in place of the model's words begins with, and what is in it
/// beside (reports in the issue trackers of CLIProxyAPI, Antigravity-Manager and sub2api, read
/// 2026-11-22).
const OUTDATED: [(&str, &str); 6] = [
    ("this version of antigravity", "no longer supported"),
    ("your current version of antigravity", "out of date"),
    ("claude", "not available on this version"),
    ("claude", "is no longer available. please switch to"),
    ("gemini", "not available on this version"),
    ("gemini", "is no longer available. please switch to"),
];

/// Longest text that is taken for such a sentence.
const MAX_SENTENCE_BYTES: usize = 400;

/// Judges a failed answer.
pub(super) fn judge(spec: &Spec, answer: &Answer<'_>) -> Failure {
    let mut failure = judge::by_signals(spec, answer);
    let message = failure.message.to_lowercase();
    if malformed::broken_text(&failure.message).is_some() {
        failure.verdict = Verdict::Transient(Fault::Garbage);
    } else if outdated(&failure.message) {
        failure.verdict = Verdict::Transient(Fault::Server);
    } else if failure.verdict == Verdict::RateLimit
        && failure.hint.is_none()
        && message.contains(BUSY)
        && !has_details(answer.body)
    {
        failure.verdict = Verdict::Capacity;
    }
    failure
}

/// `true` if another host of the service may do better. Quotas are the account's on every host.
pub(super) fn may_another_host(failure: &Failure) -> bool {
    match failure.verdict {
        Verdict::Capacity => true,
        Verdict::Transient(fault) => {
            matches!(
                fault,
                Fault::Connect | Fault::Reset | Fault::Server | Fault::Timeout
            )
        }
        _ => false,
    }
}

/// `true` if the account's project is at fault: it is to be found anew.
pub(super) fn is_wrong_project(failure: &Failure) -> bool {
    failure.status == Some(403) && failure.message.to_lowercase().contains(WRONG_PROJECT)
}

/// `true` for a text by which Antigravity refuses a client that it thinks too old.
pub(super) fn outdated(text: &str) -> bool {
    if text.len() > MAX_SENTENCE_BYTES {
        return false;
    }
    let text = text.trim().to_lowercase();
    OUTDATED.iter().any(|(beginning, words)| {
        text.starts_with(beginning) && text.contains(words) && text.contains("version")
    })
}

fn has_details(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"details\"").is_some()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;
    use crate::providers::find;
    use crate::providers::verdict::Hint;
    use crate::time::Timestamp;

    fn judged(provider: &str, status: u16, body: &Value) -> Failure {
        let (headers, body) = (HeaderMap::new(), body.to_string());
        let answer = Answer {
            status,
            headers: &headers,
            body: body.as_bytes(),
            model: "m",
            received: Timestamp::from_secs(1_780_000_000),
        };
        find(provider).expect("built in").judge(&answer)
    }

    fn error_info(reason: &str, metadata: &Value) -> Value {
        json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason,
            "domain": "cloudcode-pa.googleapis.com", "metadata": metadata})
    }

    fn retry_info(delay: &str) -> Value {
        json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    }

    #[test]
    fn a_spent_quota_rests_until_its_reset() {
        for (provider, message, delay, seconds) in [
            (
                "gemini_cli",
                "You have exhausted your capacity on this model. Your quota will reset after 3h22m10s.",
                "12130.41s",
                12_130.41,
            ),
            (
                "antigravity",
                "Individual quota reached. Contact your administrator to enable overages. Resets in 108h48m29s.",
                "391709.79s",
                391_709.79,
            ),
        ] {
            let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message,
                "details": [error_info("QUOTA_EXHAUSTED", &json!({"model": "m"})), retry_info(delay)]}});
            let failure = judged(provider, 429, &body);
            assert_eq!(failure.verdict, Verdict::Quota, "{provider}");
            let wait = Duration::from_secs_f64(seconds);
            assert_eq!(failure.hint, Some(Hint::After(wait)), "{provider}");
        }
        let bare = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
            "message": "Individual quota reached. Contact your administrator to enable overages. Resets in 108h48m29s."}});
        let failure = judged("antigravity", 429, &bare);
        assert_eq!(failure.verdict, Verdict::Quota);
        assert_eq!(
            failure.hint,
            Some(Hint::After(Duration::from_secs(391_709)))
        );
    }

    #[test]
    fn short_limits_wait_and_long_ones_are_quotas() {
        for (delay, verdict) in [
            ("2s", Verdict::RateLimit),
            ("299s", Verdict::RateLimit),
            ("301s", Verdict::Quota),
        ] {
            let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down",
                "details": [error_info("RATE_LIMIT_EXCEEDED", &json!({})), retry_info(delay)]}});
            assert_eq!(judged("gemini_cli", 429, &body).verdict, verdict, "{delay}");
        }
    }

    #[test]
    fn a_busy_back_end_is_nobodys_fault() {
        let bare = json!({"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota).",
            "status": "RESOURCE_EXHAUSTED"}});
        let failure = judged("antigravity", 429, &bare);
        assert_eq!((failure.verdict, failure.hint), (Verdict::Capacity, None));
        assert!(may_another_host(&failure));
        for status in [429, 503] {
            let capacity = json!({"error": {"code": status, "status": "UNAVAILABLE",
                "message": "No capacity available for model gemini-pro-agent on the server",
                "details": [error_info("MODEL_CAPACITY_EXHAUSTED", &json!({"model": "gemini-pro-agent"})), retry_info("39s")]}});
            let failure = judged("antigravity", status, &capacity);
            assert_eq!(failure.verdict, Verdict::Capacity);
            assert_eq!(failure.hint, Some(Hint::After(Duration::from_secs(39))));
        }
        let quota = json!({"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota).",
            "status": "RESOURCE_EXHAUSTED", "details": [error_info("QUOTA_EXHAUSTED", &json!({})), retry_info("1000s")]}});
        let failure = judged("antigravity", 429, &quota);
        assert_eq!(failure.verdict, Verdict::Quota);
        assert!(!may_another_host(&failure));
    }

    #[test]
    fn what_concerns_the_account_is_told_apart() {
        let with = |message: &str, reason: &str, metadata: &Value| {
            json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": message,
                "details": [error_info(reason, metadata)]}})
        };
        for (body, verdict, link) in [
            (
                with(
                    "Verify your account to continue.",
                    "VALIDATION_REQUIRED",
                    &json!({"validation_link": "https://accounts.google.com/verify"}),
                ),
                Verdict::ActionNeeded,
                Some("https://accounts.google.com/verify"),
            ),
            (
                with(
                    "disabled",
                    "TOS_VIOLATION",
                    &json!({"appeal_url": "https://forms.gle/appeal"}),
                ),
                Verdict::Banned,
                Some("https://forms.gle/appeal"),
            ),
            (
                with(
                    "API has not been used",
                    "SERVICE_DISABLED",
                    &json!({"activationUrl": "https://console.cloud.google.com/apis"}),
                ),
                Verdict::ActionNeeded,
                Some("https://console.cloud.google.com/apis"),
            ),
        ] {
            for provider in ["gemini_cli", "antigravity"] {
                let failure = judged(provider, 403, &body);
                assert_eq!(failure.verdict, verdict, "{body}");
                assert_eq!(failure.link.as_deref(), link, "{body}");
            }
        }
        let project = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message":
            "Permission 'cloudaicompanion.companions.generateChat' denied on resource '//cloudaicompanion.googleapis.com/projects/x'"}});
        let failure = judged("gemini_cli", 403, &project);
        assert!(is_wrong_project(&failure));
        assert_eq!(failure.verdict, Verdict::ActionNeeded);
        for (status, message, verdict) in [
            (
                401,
                "Request had invalid authentication credentials.",
                Verdict::Auth,
            ),
            (404, "Requested entity was not found.", Verdict::NotAllowed),
            (
                400,
                "User location is not supported for the API use.",
                Verdict::NotAllowed,
            ),
            (
                400,
                "prompt is too long: 250001 tokens > 200000 maximum",
                Verdict::ContextLength,
            ),
            (
                499,
                "The operation was cancelled.",
                Verdict::Transient(Fault::Server),
            ),
        ] {
            let body = json!({"error": {"code": status, "message": message}});
            assert_eq!(
                judged("antigravity", status, &body).verdict,
                verdict,
                "{message}"
            );
        }
    }

    #[test]
    fn an_array_a_nested_document_and_doubled_commas_are_read() {
        let inner = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota",
            "details": [error_info("QUOTA_EXHAUSTED", &json!({"quotaResetDelay": "539.477544ms"}))]}});
        let nested = json!({"error": {"code": 429, "message": inner.to_string()}});
        for body in [json!([inner]), nested] {
            let failure = judged("gemini_cli", 429, &body);
            assert!(failure.hint.is_some(), "{body}");
        }
    }

    #[test]
    fn sentences_for_people_are_told_from_answers() {
        for text in [
            "This version of Antigravity is no longer supported. Please update to receive the latest features!",
            "Gemini 3.1 Pro is not available on this version. Please upgrade to the latest version.",
            "Gemini 3 Pro is no longer available. Please switch to Gemini 3.1 Pro in the latest version of Antigravity.",
        ] {
            assert!(outdated(text), "{text}");
        }
        for text in [
            "This feature is not available on this version.",
            "Gemini 3 is a model of Google's.",
            "",
        ] {
            assert!(!outdated(text), "{text}");
        }
    }
}
