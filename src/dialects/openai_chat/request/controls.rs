//! Writes what steers an answer: limits, sampling, reasoning, format.

use crate::dialects::chat::{ChatRequest, Effort, ResponseFormat};
use crate::dialects::json::Object;
use crate::dialects::loss::Losses;
use crate::dialects::models::{Sampling, Thinking};
use crate::dialects::openai_chat::vendor::{EffortField, Vendor};
use crate::dialects::{Dialect, Target, effort};

/// Stop sequences OpenAI takes (API reference, read 2026-11-22).
const MAX_STOPS: usize = 4;

/// Writes the token limit under the name the model knows.
pub(super) fn write_limit(o: &mut Object<'_>, request: &ChatRequest, target: &Target<'_>) {
    let Some(wanted) = request.max_tokens else {
        return;
    };
    let most = target.facts.max_output.unwrap_or(u64::MAX);
    let limit = wanted.clamp(1, most.max(1));
    if target.facts.completion_limit {
        o.put("max_completion_tokens", &limit);
    } else {
        o.put("max_tokens", &limit);
    }
}

/// Writes sampling parameters as far as the model takes them.
pub(super) fn write_sampling(
    o: &mut Object<'_>,
    request: &ChatRequest,
    target: &Target<'_>,
    vendor: Vendor,
    losses: &mut Losses,
) {
    let facts = target.facts;
    let is_free = facts.sampling != Sampling::Refused;
    let mut number = |name: &str, value: Option<f64>, is_taken: bool| match value {
        Some(value) if is_taken => o.put(name, &value),
        // The default says nothing, so nothing is lost.
        Some(value) if (value - 1.0).abs() > f64::EPSILON => losses.drop_field(name),
        _ => {}
    };
    let is_native = request.source == Dialect::OpenAiChat;
    number(
        "temperature",
        request.temperature.map(|t| t.clamp(0.0, 2.0)),
        is_free,
    );
    number("top_p", request.top_p, is_free);
    number(
        "presence_penalty",
        request.presence_penalty,
        facts.penalties,
    );
    number(
        "frequency_penalty",
        request.frequency_penalty,
        facts.penalties,
    );
    if let Some(top_k) = request.top_k {
        if is_native || !vendor.is_strict {
            o.put("top_k", &top_k);
        } else {
            losses.drop_field("top_k");
        }
    }
    o.put_some("seed", request.seed.as_ref());
    let many = request.candidates.filter(|count| is_native || *count > 1);
    o.put_some("n", many.as_ref());
    o.put_some("logprobs", request.logprobs.as_ref());
    if request.logprobs == Some(true) || is_native {
        o.put_some("top_logprobs", request.top_logprobs.as_ref());
    }
    write_stop(o, request, facts.stop, losses);
}

fn write_stop(o: &mut Object<'_>, request: &ChatRequest, is_taken: bool, losses: &mut Losses) {
    if request.stop.is_empty() {
        return;
    }
    if !is_taken {
        losses.drop_field("stop");
        return;
    }
    if request.stop.len() > MAX_STOPS {
        losses.drop_field(format!("stop[{MAX_STOPS}..]"));
    }
    let first: Vec<&str> = request
        .stop
        .iter()
        .take(MAX_STOPS)
        .map(String::as_str)
        .collect();
    o.put("stop", &first);
}

/// Writes how much to think, where vendor and model read it.
pub(super) fn write_reasoning(
    o: &mut Object<'_>,
    request: &ChatRequest,
    target: &Target<'_>,
    vendor: Vendor,
    losses: &mut Losses,
) {
    if request.source == Dialect::OpenAiChat {
        o.put_some("reasoning_effort", native_effort(request, target).as_ref());
        o.extra(&request.reasoning.extra);
        return;
    }
    let Some(wanted) = effort::wanted(&request.reasoning) else {
        return;
    };
    match vendor.effort {
        EffortField::Reasoning => o.object("reasoning", |o| match request.reasoning.budget {
            Some(budget) if budget > 0 => o.put("max_tokens", &budget),
            _ if wanted == Effort::Auto => o.put("enabled", &true),
            _ => o.put("effort", effort::name(wanted)),
        }),
        EffortField::Switch | EffortField::SwitchAndBudget if wanted == Effort::Auto => {}
        EffortField::Switch => o.put("reasoning_effort", effort::name(wanted)),
        EffortField::SwitchAndBudget => {
            o.put("reasoning_effort", effort::name(wanted));
            let budget = effort::wanted_budget(&request.reasoning);
            if let Some(budget) = budget.filter(|budget| *budget > 0) {
                o.put("thinking_budget", &budget);
            }
        }
        EffortField::Effort if target.facts.thinking == Thinking::Level => {
            // "As you like" has no word here; medium is what these models do by themselves.
            let wanted = if wanted == Effort::Auto {
                Effort::Medium
            } else {
                wanted
            };
            if let Some(level) = effort::nearest(wanted, &target.facts.efforts) {
                o.put("reasoning_effort", effort::name(level));
            }
        }
        EffortField::Effort => {
            if !matches!(wanted, Effort::Auto | Effort::None) {
                losses.drop_field("reasoning");
            }
        }
    }
}

/// The client's own word, fitted to the model's list where the list is known.
fn native_effort(request: &ChatRequest, target: &Target<'_>) -> Option<&'static str> {
    let says_elsewhere = request.reasoning.extra.get("reasoning").is_some()
        || request.reasoning.extra.get("thinking").is_some()
        || request.reasoning.extra.get("enable_thinking").is_some();
    let wanted = request.reasoning.effort.filter(|_| !says_elsewhere)?;
    let fitted = effort::nearest(wanted, &target.facts.efforts).unwrap_or(wanted);
    Some(effort::name(fitted))
}

/// Writes `response_format`.
pub(super) fn write_format(o: &mut Object<'_>, format: &ResponseFormat) {
    match format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject => {
            o.object("response_format", |o| o.put("type", "json_object"));
        }
        ResponseFormat::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => o.object("response_format", |o| {
            o.put("type", "json_schema");
            o.object("json_schema", |o| {
                o.put("name", name.as_deref().unwrap_or("output"));
                o.put_some("description", description.as_ref());
                if schema.get() != "null" {
                    o.raw("schema", schema);
                }
                o.put_some("strict", strict.as_ref());
            });
        }),
    }
}
