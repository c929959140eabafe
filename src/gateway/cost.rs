//! What tokens cost at the list prices that are known.

use crate::dialects::usage::Usage;
use crate::gateway::facts::Facts;
use crate::providers::catalog_data::Prices;

/// Tokens that prices are given for.
const MILLION: f64 = 1e6;

/// Tokens by what they are charged as: no token is in two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    pub uncached: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub output: u64,
}

impl Charged {
    /// The tokens of a request. [`Usage::input`] holds those of the cache as well.
    pub const fn of(usage: &Usage) -> Self {
        let cached = usage.cache_read.saturating_add(usage.cache_write);
        Self {
            uncached: usage.input.saturating_sub(cached),
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            output: usage.output,
        }
    }

    /// What they cost, in US dollars.
    pub fn at(&self, prices: &Prices) -> f64 {
        let cached = prices.cached.unwrap_or(prices.input);
        let cache_write = prices.cache_write.unwrap_or(prices.input);
        let sum = count(self.uncached) * prices.input
            + count(self.cache_read) * cached
            + count(self.cache_write) * cache_write
            + count(self.output) * prices.output;
        sum / MILLION
    }
}

/// What a request cost, in US dollars; `None` where no price is known.
pub fn of_request(facts: &Facts, provider: &str, model: &str, usage: &Usage) -> Option<f64> {
    let prices = facts.charged(provider, model)?;
    Some(Charged::of(usage).at(&prices))
}

/// A price of a million tokens as one of a single token, without the noise of binary fractions.
pub fn a_token(price: f64) -> f64 {
    format!("{:.12}", price / MILLION)
        .parse()
        .unwrap_or(price / MILLION)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53 tokens, and an estimate beyond"
)]
const fn count(tokens: u64) -> f64 {
    tokens as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices {
        input: 3.0,
        cached: Some(0.3),
        cache_write: Some(3.75),
        output: 15.0,
    };

    #[test]
    fn cached_tokens_are_priced_apart_and_counted_once() {
        let usage = Usage {
            input: 1_000_000,
            cache_read: 600_000,
            cache_write: 100_000,
            output: 10_000,
            reasoning: 4_000,
            estimated: false,
        };
        let dollars = Charged::of(&usage).at(&PRICES);
        assert!(
            (dollars - (0.9 + 0.18 + 0.375 + 0.15)).abs() < 1e-9,
            "{dollars}"
        );
    }

    #[test]
    fn without_cache_prices_all_input_costs_alike() {
        let flat = Prices {
            cached: None,
            cache_write: None,
            ..PRICES
        };
        let tokens = Charged {
            uncached: 1,
            cache_read: 1,
            cache_write: 1,
            output: 0,
        };
        assert!((tokens.at(&flat) - 9e-6).abs() < 1e-15);
    }

    #[test]
    fn more_cached_than_all_tokens_is_no_negative_price() {
        let usage = Usage {
            input: 10,
            cache_read: 20,
            ..Usage::default()
        };
        assert_eq!(Charged::of(&usage).uncached, 0);
    }

    #[test]
    fn an_unknown_model_has_no_price() {
        let usage = Usage {
            input: 1,
            ..Usage::default()
        };
        assert_eq!(of_request(&Facts::default(), "my_vllm", "m1", &usage), None);
        assert!(of_request(&Facts::default(), "openai", "gpt-4o", &usage).is_some());
    }
}
