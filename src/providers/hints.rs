//! How long a provider asks to wait: every spelling of it, in one place.
//!
//! The first usable source counts, most trusted first: `retry-after-ms`, `retry-after`, delays and
//! instants inside the body, rate-limit reset headers, and last the words of the message. What is
//! negative, longer than 31 days or no number is passed over as if it were not there. Spellings
//! as documented or seen by 2026-11-22; the order is OpenAI's and Anthropic's SDKs'.

mod body;
mod duration;
mod headers;
#[cfg(test)]
mod spellings;
mod text;
#[cfg(test)]
mod vectors;

use std::time::Duration;

use http::{HeaderMap, header};

use crate::providers::verdict::Hint;
use crate::time::Timestamp;

/// Longer waits are mistakes: no vendor's limit resets later than after a month.
const MAX_WAIT: Duration = Duration::from_hours(31 * 24);

/// What "0 seconds" and instants that have just passed mean: asking again at once has never helped.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// Below this two clocks count as equal: `Date` has whole seconds, and answers travel.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3);

/// The wait a failed answer states. `body` may be cut at 64 KiB; `received` is when it came.
///
/// With a status other than 429, rate-limit headers count only where a limit is used up: vendors
/// send them with every answer.
pub fn hint(status: u16, headers: &HeaderMap, body: &[u8], received: Timestamp) -> Option<Hint> {
    let clock = Clock::new(headers, received);
    let texts = body::Texts::read(body);
    headers::retry_after(headers, clock)
        .or_else(|| texts.delay(clock))
        .or_else(|| headers::resets(headers, clock, status != 429))
        .or_else(|| texts.sentence(clock))
}

/// When a limit that a successful answer reports as used up is filled again: until then the
/// credential would be refused.
pub fn exhausted(headers: &HeaderMap, received: Timestamp) -> Option<Hint> {
    headers::resets(headers, Clock::new(headers, received), true)
}

/// A request limit that an answer reports, over a time it does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Requests allowed.
    pub limit: u64,
    /// Requests left.
    pub remaining: u64,
}

/// The request limits an answer reports: `x-ratelimit-limit-requests` with
/// `x-ratelimit-remaining-requests` and the like. Limits of tokens are left out.
pub fn counted(headers: &HeaderMap) -> Vec<Counted> {
    headers::counted(headers)
}

/// Our time, and the vendor's where the answer carries a `Date`.
#[derive(Clone, Copy, Debug)]
struct Clock {
    received: Timestamp,
    vendor: Option<Timestamp>,
}

impl Clock {
    fn new(headers: &HeaderMap, received: Timestamp) -> Self {
        let vendor = headers
            .get(header::DATE)
            .and_then(|date| duration::http_date(date.to_str().ok()?));
        Self { received, vendor }
    }

    /// A wait, if it makes sense.
    fn after(wait: Duration) -> Option<Hint> {
        if wait > MAX_WAIT {
            return None;
        }
        // Waits are kept in milliseconds: less than one is none, and a part of one counts whole.
        if wait < Duration::from_millis(1) {
            return Some(Hint::After(LEAST_WAIT));
        }
        let millis = wait.as_nanos().div_ceil(1_000_000);
        Some(Hint::After(Duration::from_millis(
            u64::try_from(millis).ok()?,
        )))
    }

    /// An instant by the vendor's clock, if it makes sense.
    fn until(self, instant: Timestamp) -> Option<Hint> {
        let theirs = self
            .vendor
            .filter(|vendor| {
                let apart = vendor.since(self.received) + self.received.since(*vendor);
                apart > CLOCK_TOLERANCE
            })
            .unwrap_or(self.received);
        let wait = theirs.until(instant);
        if wait > MAX_WAIT || instant.until(theirs) > MAX_WAIT {
            return None;
        }
        if wait.is_zero() {
            return Some(Hint::After(LEAST_WAIT));
        }
        Some(Hint::Until(self.received + wait))
    }

    /// A number by itself: seconds to wait, or an instant in seconds or milliseconds since 1970.
    fn number(self, number: f64) -> Option<Hint> {
        const SECONDS_SINCE_1970: std::ops::Range<f64> = 1e9..1e11;
        const MILLIS_SINCE_1970: std::ops::Range<f64> = 1e12..1e14;
        if SECONDS_SINCE_1970.contains(&number) || MILLIS_SINCE_1970.contains(&number) {
            let seconds = if number < 1e11 {
                number
            } else {
                number / 1000.0
            };
            let since_epoch = Duration::try_from_secs_f64(seconds).ok()?;
            return self.until(Timestamp::from_millis(0) + since_epoch);
        }
        Self::after(Duration::try_from_secs_f64(number).ok()?)
    }

    /// Text that is one duration, number, RFC 3339 instant or HTTP date.
    fn text(self, text: &str) -> Option<Hint> {
        let text = text.trim();
        if let Some(number) = duration::number(text) {
            return self.number(number);
        }
        if let Some(wait) = duration::whole(text) {
            return Self::after(wait);
        }
        Timestamp::parse_rfc3339(text)
            .or_else(|| duration::http_date(text))
            .and_then(|instant| self.until(instant))
    }
}
