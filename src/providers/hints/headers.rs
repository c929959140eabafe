//! Waits in headers.

use std::time::Duration;

use http::HeaderMap;

use super::{Clock, Counted, duration};
use crate::providers::verdict::Hint;

/// `retry-after-ms` and `x-ms-retry-after-ms` (Azure), then `retry-after`: seconds, also with
/// decimals, or an HTTP date. Of repeated headers the first usable counts.
pub(super) fn retry_after(headers: &HeaderMap, clock: Clock) -> Option<Hint> {
    let millis = ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .flat_map(|name| values(headers, name))
        .find_map(|value| {
            let millis = duration::number(value)?;
            Clock::after(Duration::try_from_secs_f64(millis / 1000.0).ok()?)
        });
    millis.or_else(|| {
        ["retry-after", "x-retry-after"]
            .into_iter()
            .flat_map(|name| values(headers, name))
            .find_map(|value| clock.text(value))
    })
}

/// The reset instants of the rate limits the answer reports: `x-ratelimit-reset-tokens: 6m0s`,
/// `anthropic-ratelimit-requests-reset: 2026-11-22T10:00:00Z`, `x-ratelimit-reset: 1767225600`.
/// The latest of those limits that are used up; with `only_spent`, nothing else; otherwise, where
/// none says so, the latest of all.
pub(super) fn resets(headers: &HeaderMap, clock: Clock, only_spent: bool) -> Option<Hint> {
    let mut spent = None;
    let mut any = None;
    for name in headers.keys() {
        let Some(limit) = Limit::of(name.as_str()) else {
            continue;
        };
        let Some(reset) = values(headers, name.as_str()).find_map(|value| clock.text(value)) else {
            continue;
        };
        later(&mut any, reset, clock);
        if limit.is_spent(headers) {
            later(&mut spent, reset, clock);
        }
    }
    spent.or(any.filter(|_| !only_spent))
}

/// Limits of requests with what is left of them.
pub(super) fn counted(headers: &HeaderMap) -> Vec<Counted> {
    let limits = headers.keys().filter_map(|name| Limit::of(name.as_str()));
    let requests = limits.filter(|limit| {
        let is_plain = limit.after.is_empty() && limit.before.ends_with("limit-");
        is_plain || format!("{}{}", limit.before, limit.after).contains("request")
    });
    requests
        .filter_map(|limit| {
            let count = |word| limit.sibling(headers, word)?.parse().ok();
            Some(Counted {
                limit: count("limit")?,
                remaining: count("remaining")?,
            })
        })
        .collect()
}

/// Keeps the later of two hints.
fn later(kept: &mut Option<Hint>, candidate: Hint, clock: Clock) {
    if kept.is_none_or(|kept| kept.end(clock.received) < candidate.end(clock.received)) {
        *kept = Some(candidate);
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
}

/// One limit, named by the parts of its reset header before and after the word `reset`.
struct Limit<'a> {
    before: &'a str,
    after: &'a str,
}

impl<'a> Limit<'a> {
    /// `None` if the header does not tell a reset time of a rate limit.
    fn of(name: &'a str) -> Option<Self> {
        if !name.contains("ratelimit") && !name.contains("rate-limit") {
            return None;
        }
        let (before, after) = name
            .split_once("timeremaining")
            .or_else(|| name.rsplit_once("reset"))?;
        let whole_word = before.ends_with('-') && (after.is_empty() || after.starts_with('-'));
        whole_word.then_some(Self { before, after })
    }

    /// The header that tells something else of the same limit.
    fn sibling<'h>(&self, headers: &'h HeaderMap, word: &str) -> Option<&'h str> {
        let name = format!("{}{word}{}", self.before, self.after);
        headers.get(name.as_str())?.to_str().ok().map(str::trim)
    }

    fn is_spent(&self, headers: &HeaderMap) -> bool {
        let remaining = self.sibling(headers, "remaining").is_some_and(|left| {
            // Some count below zero.
            left.starts_with('-') || duration::number(left).is_some_and(|left| left <= 0.0)
        });
        let utilization = self
            .sibling(headers, "utilization")
            .and_then(duration::number)
            .is_some_and(|used| used >= 1.0);
        remaining || utilization || self.sibling(headers, "status") == Some("rejected")
    }
}
