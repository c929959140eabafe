//! What a request would take and cost, without asking anybody.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::estimate::estimate_tokens;
use crate::dialects::{Dialect, RequestHint, codec};
use crate::gateway::cost::{self, Charged};
use crate::gateway::facts::Source;
use crate::gateway::plan::{self, MayUse};
use crate::gateway::snapshot::Snapshot;
use crate::providers::catalog_data::Prices;
use crate::server::respond::{self, Answer};

/// `POST /v1/token-count`: the tokens of an OpenAI chat body, estimated.
pub(super) fn token_count(body: &[u8]) -> Answer {
    let hint = RequestHint {
        model: None,
        stream: None,
    };
    match codec(Dialect::OpenAiChat).read_request(body, hint) {
        Ok(request) => {
            let body = json!({"token_count": estimate_tokens(&request)});
            respond::json(StatusCode::OK, body.to_string())
        }
        Err(ReadError::Field(field)) => {
            let error = ErrorReply::invalid(field.to_string()).with_param(field.name.clone());
            respond::error(Dialect::OpenAiChat, &error)
        }
        Err(error) => respond::error(Dialect::OpenAiChat, &ErrorReply::invalid(error.to_string())),
    }
}

/// The body of `POST /v1/cost-estimate`. Prompt tokens are those that no cache had.
#[derive(Deserialize)]
struct Estimate {
    model: String,
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    cache_read_tokens: u64,
    #[serde(default)]
    cache_creation_tokens: u64,
}

/// `POST /v1/cost-estimate`: at the list prices of the model, or of the first target of a name.
pub(super) fn cost_estimate(snapshot: &Snapshot, body: &[u8], may_use: MayUse<'_>) -> Answer {
    let estimate: Estimate = match serde_json::from_slice(body) {
        Ok(estimate) => estimate,
        Err(error) => {
            let message = format!("the body is not an estimate to make: {error}");
            return respond::error(Dialect::OpenAiChat, &ErrorReply::invalid(message));
        }
    };
    if estimate.model.is_empty() {
        let error = ErrorReply::invalid("the body names no `model`").with_param("model");
        return respond::error(Dialect::OpenAiChat, &error);
    }
    let body = match prices(snapshot, &estimate.model, may_use) {
        Some((prices, source)) => known(&estimate, &prices, source),
        None => json!({
            "model": estimate.model,
            "cost": null,
            "currency": "USD",
            "pricing": {},
            "source": "unknown",
            "error": "no price is known for this model",
        }),
    };
    respond::json(StatusCode::OK, Bytes::from(body.to_string()))
}

#[expect(clippy::indexing_slicing, reason = "members of an object made here")]
fn known(estimate: &Estimate, prices: &Prices, source: Source) -> Value {
    let charged = Charged {
        uncached: estimate.prompt_tokens,
        cache_read: estimate.cache_read_tokens,
        cache_write: estimate.cache_creation_tokens,
        output: estimate.completion_tokens,
    };
    let mut pricing = json!({
        "input_cost_per_token": cost::a_token(prices.input),
        "output_cost_per_token": cost::a_token(prices.output),
    });
    if let Some(cached) = prices.cached {
        pricing["cache_read_input_token_cost"] = json!(cost::a_token(cached));
    }
    if let Some(cache_write) = prices.cache_write {
        pricing["cache_creation_input_token_cost"] = json!(cost::a_token(cache_write));
    }
    json!({
        "model": estimate.model,
        "cost": charged.at(prices),
        "currency": "USD",
        "pricing": pricing,
        "source": match source {
            Source::BuiltIn => "catalog",
            Source::Config => "config",
            Source::Online => "online",
        },
    })
}

/// The prices of a configured model; a provider without a credential has list prices as well.
fn prices(snapshot: &Snapshot, name: &str, may_use: MayUse<'_>) -> Option<(Prices, Source)> {
    let facts = &snapshot.facts;
    if let Ok(targets) = plan::targets(snapshot, name, may_use) {
        let first = targets.first()?;
        return facts.prices(first.runtime.id.as_str(), &first.model);
    }
    let (provider, model) = name.split_once('/')?;
    facts.prices(provider, model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimated(body: &str) -> (u16, Value) {
        let answer = cost_estimate(&Snapshot::default(), body.as_bytes(), &|_, _, _| true);
        let status = answer.status().as_u16();
        let crate::server::body::AnswerBody::Whole(Some(bytes)) = answer.into_body() else {
            panic!("a whole body");
        };
        (status, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[test]
    fn cache_reads_and_writes_have_prices_of_their_own() {
        let (status, body) = estimated(
            r#"{"model":"anthropic/claude-sonnet-4-5","prompt_tokens":1000,"completion_tokens":100,
                "cache_read_tokens":10000,"cache_creation_tokens":1000}"#,
        );
        assert_eq!(status, 200);
        let cost = body["cost"].as_f64().expect("a number");
        assert!((cost - 0.01125).abs() < 1e-9, "{body}");
        assert_eq!(body["pricing"]["input_cost_per_token"], 0.000_003);
        assert_eq!(
            (&body["currency"], &body["source"]),
            (&json!("USD"), &json!("catalog"))
        );
    }

    #[test]
    fn an_unknown_model_is_said_to_be_unknown() {
        let (status, body) = estimated(r#"{"model":"nobody/nothing","prompt_tokens":1}"#);
        assert_eq!(status, 200);
        assert_eq!(
            (&body["cost"], &body["source"]),
            (&Value::Null, &json!("unknown"))
        );
        assert!(body["error"].is_string());
    }

    #[test]
    fn what_is_no_estimate_is_a_400() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"model":""}"#,
            r#"{"model":"a/b","prompt_tokens":-1}"#,
        ] {
            assert_eq!(estimated(body).0, 400, "{body}");
        }
    }
}
