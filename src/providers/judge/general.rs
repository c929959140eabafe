//! The general table: words that most vendors use, then the status.
//!
//! Words count in the error's message, code and type only, and where a wrong guess would cost a
//! key (400), only whole phrases: a 400 may quote what the client wrote.

use super::Case;
use crate::providers::verdict::{Fault, Verdict};

/// Words that mean one verdict when they come with one of these statuses.
struct Words {
    on: &'static [u16],
    codes: &'static [&'static str],
    says: &'static [&'static str],
    verdict: Verdict,
}

/// The first row that matches counts.
const TABLE: &[Words] = &[
    Words {
        on: &[400, 403, 413, 422],
        codes: &[
            "context_length_exceeded",
            "context_window_exceeded",
            "model_context_window_exceeded",
        ],
        says: &[
            "context length",
            "context window",
            "context size",
            "prompt is too long",
            "prompt too long",
            "input is too long",
            "input token count",
            "exceeds the maximum number of tokens",
            "exceed context limit",
            "too many tokens",
            "longer than the maximum model length",
            "maximum prompt length",
            "max_new_tokens` must be",
            "reduce the length of the messages",
        ],
        verdict: Verdict::ContextLength,
    },
    Words {
        on: &[400, 403, 422],
        codes: &[
            "content_filter",
            "content_policy_violation",
            "cyber_policy",
            "invalid_prompt",
            "moderation_blocked",
            "responsibleaipolicyviolation",
        ],
        says: &[
            "content policy",
            "content management policy",
            "flagged by our moderation",
            "requires moderation",
            "usage policies",
            "safety system",
        ],
        verdict: Verdict::BadRequest,
    },
    Words {
        on: &[429],
        codes: &["request_too_large"],
        says: &["request too large for", "request is too large"],
        verdict: Verdict::BadRequest,
    },
    Words {
        on: &[400, 401, 402, 403, 429],
        codes: &[
            "account_overdue",
            "arrearage",
            "billing_error",
            "billing_hard_limit_reached",
            "billing_not_active",
            "credit_balance_exhausted",
            "insufficient_balance",
            "insufficient_credits",
            "insufficient_quota",
            "organization_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "payment_required",
            "project_spend_limit_exceeded",
        ],
        says: &[
            "insufficient_quota",
            "insufficient balance",
            "insufficient credit",
            "insufficient funds",
            "credit balance is too low",
            "doesn't have any credits",
            "prepayment credits are depleted",
            "out of credits",
        ],
        verdict: Verdict::NoMoney,
    },
    Words {
        on: &[402, 403, 429],
        codes: &[],
        says: &[
            "balance is insufficient",
            "balance is not enough",
            "not enough balance",
            "payment required",
            "spend limit",
            "spending limit",
            "usage_limit_exceeded",
            "arrearage",
            "overdue",
        ],
        verdict: Verdict::NoMoney,
    },
    // Not with 429: many a rate limit ends in advice on billing.
    Words {
        on: &[402, 403],
        codes: &[],
        says: &["billing"],
        verdict: Verdict::NoMoney,
    },
    Words {
        on: &[401, 403],
        codes: &[
            "account_deactivated",
            "account_suspended",
            "account_banned",
            "consumer_suspended",
        ],
        says: &[
            "account has been suspended",
            "account has been banned",
            "account has been terminated",
            "account has been deactivated",
            "account is suspended",
            "account is banned",
            "violation of our terms",
            "violates our terms",
            "violated our terms",
            "tos_violation",
        ],
        verdict: Verdict::Banned,
    },
    Words {
        on: &[403],
        codes: &["validation_required", "verification_required"],
        says: &[
            "verify your account",
            "validation_required",
            "accept the terms",
            "accept our terms",
        ],
        verdict: Verdict::ActionNeeded,
    },
    Words {
        on: &[400, 401, 403],
        codes: &[
            "invalid_api_key",
            "invalid_authentication",
            "invalid_authentication_error",
            "api_key_invalid",
        ],
        says: &[
            "invalid api key",
            "incorrect api key",
            "invalid_api_key",
            "api key not valid",
            "api key is invalid",
            "api_key_invalid",
            "api key expired",
            "api key has expired",
            "api key not found",
            "invalid x-api-key",
        ],
        verdict: Verdict::Auth,
    },
    Words {
        on: &[401, 403],
        codes: &[],
        says: &[
            "revoked",
            "account is not active",
            "has been disabled",
            "reported as leaked",
            "user not found",
            "authentication fail",
            "invalid authentication",
            "invalid token",
            "invalid credentials",
        ],
        verdict: Verdict::Auth,
    },
    Words {
        on: &[403, 404],
        codes: &[
            "model_not_available",
            "model_access_denied",
            "access_denied_to_model",
        ],
        says: &[
            "not have access",
            "don't have access",
            "not have permission",
            "not available for your",
            "not available on your",
            "not available in your",
            "not enabled for",
            "not found for account",
            "not included in your",
            "not supported for your",
            "must be verified to use",
            "upgrade your plan",
        ],
        verdict: Verdict::NotAllowed,
    },
    Words {
        on: &[429, 500, 502, 503, 529],
        codes: &[
            "engine_overloaded_error",
            "overloaded_error",
            "overloaded",
            "server_is_overloaded",
        ],
        says: &[
            "overloaded",
            "at capacity",
            "no capacity",
            "over capacity",
            "capacity exceeded",
            "rate-limited upstream",
        ],
        verdict: Verdict::Capacity,
    },
    Words {
        on: &[429],
        codes: &[
            "quota_exhausted",
            "daily_limit_exceeded",
            "usage_limit_reached",
        ],
        says: &[
            "per day",
            "per-day",
            "daily",
            "per week",
            "weekly",
            "per month",
            "monthly",
            "(rpd)",
            "(tpd)",
        ],
        verdict: Verdict::Quota,
    },
    Words {
        on: &[403],
        codes: &[],
        says: &["error code: 10"],
        verdict: Verdict::Transient(Fault::Garbage),
    },
];

/// OpenAI's sentence for an empty account; Google uses it for a limit a minute.
const QUOTA_SENTENCE: &str = "exceeded your current quota";

/// The class of a failure that neither the vendor's signals nor Google's details explain.
pub(super) fn class(case: &Case) -> Verdict {
    let codes = case.codes();
    let is = |code: &str| codes.iter().any(|seen| seen.eq_ignore_ascii_case(code));
    if case.status == 429 && case.message.contains(QUOTA_SENTENCE) && !is("RESOURCE_EXHAUSTED") {
        return Verdict::NoMoney;
    }
    TABLE
        .iter()
        .filter(|words| words.on.contains(&case.status))
        .find(|words| {
            words.codes.iter().any(|code| is(code))
                || words
                    .says
                    .iter()
                    .any(|phrase| case.message.contains(phrase))
        })
        .map_or_else(|| by_status(case.status), |words| words.verdict)
}

/// The verdict of a bare status.
fn by_status(status: u16) -> Verdict {
    match status {
        401 => Verdict::Auth,
        402 => Verdict::NoMoney,
        403 => Verdict::NotAllowed,
        408 | 504 | 524 => Verdict::Transient(Fault::Timeout),
        425 | 499 => Verdict::Transient(Fault::Server),
        429 => Verdict::RateLimit,
        498 | 503 | 529 => Verdict::Capacity,
        400..500 => Verdict::BadRequest,
        500.. => Verdict::Transient(Fault::Server),
        _ => Verdict::Transient(Fault::Garbage),
    }
}

/// The status that an error inside a success would have had, by its type or code.
pub(super) fn implied_status(codes: &[&str]) -> u16 {
    const IMPLIED: &[(u16, &[&str])] = &[
        (
            401,
            &[
                "authentication_error",
                "invalid_api_key",
                "unauthenticated",
                "unauthorized",
            ],
        ),
        (402, &["billing_error", "payment_required"]),
        (403, &["permission_denied", "permission_error"]),
        (404, &["model_not_found", "not_found", "not_found_error"]),
        (413, &["request_too_large"]),
        (
            429,
            &[
                "insufficient_quota",
                "rate_limit_error",
                "rate_limit_exceeded",
                "rate_limited",
                "resource_exhausted",
                "too_many_requests",
                "too_many_requests_error",
            ],
        ),
        (504, &["deadline_exceeded", "timeout", "timeout_error"]),
        (
            529,
            &[
                "engine_overloaded_error",
                "overloaded",
                "overloaded_error",
                "server_is_overloaded",
                "unavailable",
            ],
        ),
        // Last: OpenAI's type says this of most things, its code is more exact.
        (
            400,
            &[
                "content_filter",
                "context_length_exceeded",
                "invalid_argument",
                "invalid_prompt",
                "invalid_request_error",
            ],
        ),
    ];
    IMPLIED
        .iter()
        .find(|(_, words)| {
            codes
                .iter()
                .any(|code| words.iter().any(|word| word.eq_ignore_ascii_case(code)))
        })
        .map_or(500, |(status, _)| *status)
}
