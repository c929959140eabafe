//! OpenRouter: one account before many vendors. Its errors say whose fault they are in `metadata`.

use crate::providers::signals::{Reset, Signal};
use crate::providers::spec::{KeySign, KeyTest, Listing, Offers, Spec};
use crate::providers::verdict::{Failure, Verdict};
use crate::providers::{Answer, Provider, judge};

/// OpenRouter.
#[derive(Debug)]
pub struct OpenRouter(Spec);

impl OpenRouter {
    /// `https://openrouter.ai/api/v1`.
    pub(super) const VENDOR: Self = Self(Spec {
        base_urls: &["https://openrouter.ai/api/v1"],
        key_env: &["OPENROUTER_API_KEY"],
        key_url: Some("https://openrouter.ai/settings/keys"),
        offers: Offers::TEXT,
        listing: Listing::Public("/models"),
        key_test: KeyTest::Get("/key"),
        key_signs: &[KeySign::BrokeIfNotPositive("/data/limit_remaining")],
        signals: SIGNALS,
        ..Spec::compatible("openrouter", "OpenRouter")
    });
}

/// <https://openrouter.ai/docs/api/reference/errors-and-debugging>, read 2026-11-22.
const SIGNALS: &[Signal] = &[
    Signal::says(401, "user not found", Verdict::Auth),
    Signal::says(403, "key limit exceeded", Verdict::NoMoney),
    Signal::says(429, "free-models-per-day", Verdict::Quota).until(Reset::UtcMidnight),
    Signal::says(429, "free-models-per-min", Verdict::RateLimit),
];

impl Provider for OpenRouter {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn judge(&self, answer: &Answer<'_>) -> Failure {
        judge::by_signals(&self.0, answer)
    }
}
