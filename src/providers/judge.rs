//! Judges failed answers: the vendor's own signals first, then the general table of `pool.md`.

use crate::dialects::error::UpstreamError;
use crate::providers::Answer;
use crate::providers::spec::Spec;
use crate::providers::verdict::{Failure, Fault, Verdict};

/// Judges an answer by the vendor's signals, then by its status.
pub(super) fn by_signals(spec: &Spec, answer: &Answer<'_>) -> Failure {
    let error = UpstreamError::parse(Some(answer.status), answer.body).unwrap_or_default();
    let status = match answer.status {
        200..300 => error.status.unwrap_or(500),
        status => status,
    };
    let codes: Vec<&str> = [&error.code, &error.kind]
        .into_iter()
        .filter_map(|code| code.as_deref())
        .collect();
    let message = error.message.to_lowercase();
    let verdict = spec
        .signals
        .iter()
        .find(|signal| signal.matches(status, &codes, &message))
        .map_or_else(|| by_status(status), |signal| signal.verdict);
    Failure {
        status: Some(status),
        ..Failure::new(verdict, error.message)
    }
}

/// The verdict of a bare status.
fn by_status(status: u16) -> Verdict {
    match status {
        401 => Verdict::Auth,
        402 => Verdict::NoMoney,
        403 => Verdict::NotAllowed,
        408 | 504 | 524 => Verdict::Transient(Fault::Timeout),
        429 => Verdict::RateLimit,
        498 | 503 | 529 => Verdict::Capacity,
        400..500 => Verdict::BadRequest,
        _ => Verdict::Transient(Fault::Server),
    }
}
