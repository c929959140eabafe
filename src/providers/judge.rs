//! Judges failed answers: the vendor's own signals first, then Google's `rpc` details, then the
//! general table of words and statuses.
//!
//! The classes and whom they blame are in [`verdict`](crate::providers::verdict). Blame lands on
//! the smallest thing at fault; where an answer leaves it open, the milder verdict is given.

mod calendar;
mod general;
mod google;

use std::time::Duration;

use http::header;

use crate::dialects::error::UpstreamError;
use crate::providers::signals::Reset;
use crate::providers::spec::Spec;
use crate::providers::verdict::{Failure, Fault, Hint, Verdict};
use crate::providers::{Answer, hints, redact};

/// A rate limit that lasts longer than this is a quota: the credential is not coming back soon.
const FAR_AWAY: Duration = Duration::from_mins(15);

/// With no money left, a shorter stated wait is some other limit's.
const LEAST_MONEY_WAIT: Duration = Duration::from_hours(1);

/// The longest message kept: `Failure::message` promises it.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Judges an answer by the spec's signals and the general table.
pub(super) fn by_signals(spec: &Spec, answer: &Answer<'_>) -> Failure {
    match UpstreamError::parse(Some(answer.status), answer.body) {
        Some(error) => by_error(spec, answer, error),
        None => without_error(spec, answer),
    }
}

/// Judges an answer whose error has been read already.
pub(super) fn by_error(spec: &Spec, answer: &Answer<'_>, error: UpstreamError) -> Failure {
    if is_page(answer) {
        return page(answer);
    }
    let case = Case::new(answer.status, error);
    let (verdict, reset) = class(spec, &case);
    let stated = hints::hint(case.status, answer.headers, answer.body, answer.received);
    let hint = match (verdict, reset) {
        (_, Reset::NextMonth) => Some(calendar::next_month(answer.received)),
        (_, Reset::PacificMidnight) => Some(calendar::pacific_midnight(answer.received)),
        (Verdict::NoMoney, _) => stated.filter(|hint| wait(*hint, answer) >= LEAST_MONEY_WAIT),
        (Verdict::Quota, Reset::ChinaMidnight) => {
            Some(stated.unwrap_or_else(|| calendar::china_midnight(answer.received)))
        }
        (Verdict::Quota, Reset::UtcMidnight) => {
            Some(stated.unwrap_or_else(|| calendar::utc_midnight(answer.received)))
        }
        (
            Verdict::Capacity | Verdict::Quota | Verdict::RateLimit | Verdict::Transient(_),
            Reset::ChinaMidnight | Reset::Stated | Reset::UtcMidnight,
        ) => stated,
        _ => None,
    };
    let far_away = if case.details.is_empty() {
        FAR_AWAY
    } else {
        google::FAR_AWAY
    };
    let is_far = hint.is_some_and(|hint| wait(hint, answer) > far_away);
    Failure {
        verdict: if verdict == Verdict::RateLimit && is_far {
            Verdict::Quota
        } else {
            verdict
        },
        hint,
        status: Some(relayed_status(&case, verdict)),
        link: link(&case, verdict),
        message: sentence(&case),
    }
}

/// What is known of a failed answer.
struct Case {
    /// The HTTP status, or the one inside a 200's body.
    status: u16,
    error: UpstreamError,
    details: google::Details,
    /// The error's message in lower case, without links: `…/account/billing` is no bill.
    message: String,
}

impl Case {
    fn new(http_status: u16, error: UpstreamError) -> Self {
        let mut case = Self {
            status: http_status,
            details: google::Details::read(&error.raw),
            message: without_links(&error.message.to_lowercase()),
            error,
        };
        if (200..300).contains(&http_status) {
            case.status = case
                .error
                .status
                .unwrap_or_else(|| general::implied_status(&case.codes()));
        }
        case
    }

    /// The words a program is meant to read.
    fn codes(&self) -> Vec<&str> {
        let named = [&self.error.code, &self.error.kind];
        let named = named.into_iter().filter_map(|code| code.as_deref());
        named.chain(self.details.reasons()).collect()
    }
}

fn without_links(message: &str) -> String {
    let mut parts = message.split("https://");
    let mut text = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let end = part.find(char::is_whitespace).unwrap_or(part.len());
        text.push_str(part.get(end..).unwrap_or(""));
    }
    text
}

/// The class of a failure, and when it ends.
fn class(spec: &Spec, case: &Case) -> (Verdict, Reset) {
    let codes = case.codes();
    let of_vendor = spec
        .signals
        .iter()
        .find(|signal| signal.matches(case.status, &codes, &case.message))
        .map(|signal| (signal.verdict, signal.reset));
    of_vendor
        .or_else(|| google::class(case))
        .unwrap_or_else(|| (general::class(case), Reset::Stated))
}

/// A request that is too large for the key's limits is answered with 429 by some; a client that
/// is told so would try again for ever.
fn relayed_status(case: &Case, verdict: Verdict) -> u16 {
    let blames_request = matches!(verdict, Verdict::BadRequest | Verdict::ContextLength);
    if blames_request && case.status == 429 {
        return 413;
    }
    case.status
}

/// How long the hint is.
fn wait(hint: Hint, answer: &Answer<'_>) -> Duration {
    answer.received.until(hint.end(answer.received))
}

/// The page the owner must open.
fn link(case: &Case, verdict: Verdict) -> Option<String> {
    let needs_owner = matches!(
        verdict,
        Verdict::ActionNeeded
            | Verdict::Banned
            | Verdict::Dead
            | Verdict::NoMoney
            | Verdict::NotAllowed
    );
    if !needs_owner {
        return None;
    }
    case.details.link().map(str::to_owned).or_else(|| {
        let start = case.error.message.find("https://")?;
        let url = case.error.message.get(start..)?;
        let end = url
            .find(|c: char| c.is_whitespace() || "\"'<>()[]`".contains(c))
            .unwrap_or(url.len());
        Some(
            url.get(..end)?
                .trim_end_matches(['.', ',', ';', ':'])
                .to_owned(),
        )
    })
}

/// The provider's own sentence, without keys, at most [`MAX_MESSAGE_BYTES`].
fn sentence(case: &Case) -> String {
    let mut message = redact::redact(&case.error.message, &[]).into_owned();
    message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
    if message.is_empty() {
        return format!(
            "the provider answered HTTP {} without a message",
            case.status
        );
    }
    message
}

/// `true` for an HTML page: a proxy, a challenge or an outage, not the vendor's interface.
fn is_page(answer: &Answer<'_>) -> bool {
    let html_type = answer
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("html"));
    html_type || answer.body.trim_ascii_start().starts_with(b"<")
}

/// Judges a page by its status alone; its text goes nowhere.
fn page(answer: &Answer<'_>) -> Failure {
    let verdict = match answer.status {
        401 => Verdict::Auth,
        413 | 414 | 431 => Verdict::BadRequest,
        429 => Verdict::RateLimit,
        504 | 524 => Verdict::Transient(Fault::Timeout),
        500.. => Verdict::Transient(Fault::Server),
        // A challenge or block page before the vendor, or a wrong base URL.
        _ => Verdict::Transient(Fault::Garbage),
    };
    let is_limit = matches!(
        verdict,
        Verdict::RateLimit | Verdict::Transient(Fault::Server)
    );
    let hint = hints::hint(answer.status, answer.headers, b"", answer.received);
    Failure {
        hint: hint.filter(|_| is_limit),
        status: Some(answer.status),
        ..Failure::new(
            verdict,
            format!(
                "the provider answered with an HTML page instead of JSON (HTTP {})",
                answer.status
            ),
        )
    }
}

/// Judges an answer that holds no error: a blank failure, a redirect, or a success that is none.
fn without_error(spec: &Spec, answer: &Answer<'_>) -> Failure {
    if is_page(answer) {
        return page(answer);
    }
    let blank = answer.body.trim_ascii().is_empty();
    let (fault, message) = match answer.status {
        200..300 if blank => (Fault::Empty, "the provider answered with an empty body"),
        200..300 => (
            Fault::Garbage,
            "the provider's answer is not what was asked for",
        ),
        300..400 => (
            Fault::Garbage,
            "the provider answered with a redirect, which is never followed",
        ),
        _ => return by_error(spec, answer, UpstreamError::default()),
    };
    Failure {
        status: Some(answer.status),
        ..Failure::new(Verdict::Transient(fault), message)
    }
}

#[cfg(test)]
mod tests;
