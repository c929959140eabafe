//! The cheapest request that tells whether a key works, and what its answer says.

use http::Method;
use serde_json::Value;

use crate::dialects::error::UpstreamError;
use crate::dialects::{Dialect, Operation};
use crate::providers::spec::{KeySign, KeyTest};
use crate::providers::verdict::{Failure, Verdict};
use crate::providers::{Answer, Call, Provider};

/// The request of [`Provider::key_test`] by the spec.
pub(super) fn call<P: Provider + ?Sized>(provider: &P) -> Call {
    match provider.spec().key_test {
        KeyTest::Chat(model) => {
            let path = provider.path(Operation::Chat, Dialect::OpenAiChat, model, false);
            let body = serde_json::json!({
                "model": model,
                "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 1,
            });
            Call::post(path, body.to_string())
        }
        KeyTest::Get(path) => Call::get(path),
        KeyTest::List => provider
            .list_models(None)
            .unwrap_or_else(|| Call::get("/models")),
        KeyTest::Post(path) => Call {
            method: Method::POST,
            ..Call::get(path)
        },
    }
}

/// Reads the answer by its status, the vendor's [`KeySign`]s and its verdicts.
pub(super) fn read<P: Provider + ?Sized>(provider: &P, answer: &Answer<'_>) -> Result<(), Failure> {
    let spec = provider.spec();
    let succeeded = (200..300).contains(&answer.status);
    if succeeded && is_json(answer.body) && !is_error(answer) {
        return spec
            .key_signs
            .iter()
            .find_map(|sign| held_against(*sign, answer))
            .map_or(Ok(()), Err);
    }
    let failure = provider.judge(answer);
    let message = failure.message.to_lowercase();
    let proves_valid =
        |sign: &KeySign| matches!(sign, KeySign::ValidIfSays(words) if message.contains(words));
    // A chat test that got as far as being told its model or parameters are wrong had a good key.
    let got_through = matches!(spec.key_test, KeyTest::Chat(_))
        && matches!(answer.status, 400 | 404 | 422)
        && matches!(
            failure.verdict,
            Verdict::BadRequest | Verdict::ContextLength | Verdict::NotAllowed
        );
    if got_through || spec.key_signs.iter().any(proves_valid) {
        return Ok(());
    }
    Err(failure)
}

/// What a successful answer still holds against the key.
fn held_against(sign: KeySign, answer: &Answer<'_>) -> Option<Failure> {
    let member = |pointer: &str| -> Option<Value> {
        let body: Value = serde_json::from_slice(answer.body).ok()?;
        body.pointer(pointer).cloned()
    };
    let failure = match sign {
        KeySign::BrokeIfFalse(pointer) if member(pointer) == Some(Value::Bool(false)) => {
            Failure::new(
                Verdict::NoMoney,
                "the key is valid, but the account has no money left",
            )
        }
        KeySign::BrokeIfNotPositive(pointer)
            if number(&member(pointer)?).is_some_and(|left| left <= 0.0) =>
        {
            Failure::new(
                Verdict::NoMoney,
                "the key is valid, but its credit limit is used up",
            )
        }
        KeySign::BrokeIfZero(name) if answer.headers.get(name)?.as_bytes() == b"0" => Failure::new(
            Verdict::NoMoney,
            "the key is valid, but its plan has no quota",
        ),
        KeySign::DeadIfTrue(pointer) if member(pointer) == Some(Value::Bool(true)) => Failure::new(
            Verdict::Banned,
            "the key, or the team it belongs to, is blocked",
        ),
        KeySign::InvalidIfFalse(pointer) if member(pointer) == Some(Value::Bool(false)) => {
            Failure::new(Verdict::Auth, "the provider does not know this key")
        }
        _ => return None,
    };
    Some(Failure {
        status: Some(answer.status),
        ..failure
    })
}

/// A number, also one in a string.
fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

/// `true` if the body begins like JSON: it may be cut, so it cannot be parsed as a whole. An empty
/// one passes: some checks answer 204.
fn is_json(body: &[u8]) -> bool {
    body.trim_ascii_start()
        .first()
        .is_none_or(|first| b"{[".contains(first))
}

fn is_error(answer: &Answer<'_>) -> bool {
    UpstreamError::parse(Some(answer.status), answer.body).is_some()
}
