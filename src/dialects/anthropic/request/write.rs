//! Writes a request for an upstream of this dialect.

use std::borrow::Cow;

use crate::dialects::anthropic::request::controls::Plan;
use crate::dialects::anthropic::request::history::{History, Marks};
use crate::dialects::anthropic::request::tools;
use crate::dialects::chat::ChatRequest;
use crate::dialects::error::ErrorReply;
use crate::dialects::fields::Fields;
use crate::dialects::ids::hash8;
use crate::dialects::json::{self, Object};
use crate::dialects::loss::Losses;
use crate::dialects::{Dialect, Target, leftover};

/// The provider id of Anthropic itself, which refuses what it does not know ("Extra inputs are not
/// permitted"); others of its dialect mostly ignore it.
const STRICT: &str = "anthropic";

/// Members of OpenAI's and Google's dialects with no counterpart here, or handled elsewhere.
const FOREIGN: &[&str] = &[
    "audio",
    "background",
    "cachedContent",
    "client_metadata",
    "conversation",
    "extra_body",
    "generationConfig",
    "include",
    "instructions",
    "labels",
    "logit_bias",
    "max_tool_calls",
    "metadata",
    "modalities",
    "moderation",
    "parallel_tool_calls",
    "prediction",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safetySettings",
    "store",
    "stream_options",
    "text",
    "toolConfig",
    "truncation",
    "verbosity",
];

/// Writes the body for the target.
pub(in crate::dialects::anthropic) fn write(
    request: &ChatRequest,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, ErrorReply> {
    if request.candidates.is_some_and(|count| count > 1) {
        return Err(ErrorReply::invalid(
            "Anthropic models give one answer a request; `n` must be 1",
        )
        .with_param("n"));
    }
    let plan = Plan::new(request, target, losses);
    write_body(request, target, &plan, losses, |o, losses| {
        o.put("max_tokens", &plan.max_tokens);
        plan.write_sampling(o, request, target.facts.sampling, losses);
        write_stop(o, request, losses);
        write_user(o, request);
        if request.stream {
            o.put("stream", &true);
        }
        write_unknown(o, request, target, losses);
    })
}

/// Writes the body of `/v1/messages/count_tokens`: what is counted, without limits.
pub fn write_count_tokens(
    request: &ChatRequest,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, ErrorReply> {
    let plan = Plan::new(request, target, losses);
    write_body(request, target, &plan, losses, |_, _| {})
}

fn write_body(
    request: &ChatRequest,
    target: &Target<'_>,
    plan: &Plan,
    losses: &mut Losses,
    rest: impl FnOnce(&mut Object<'_>, &mut Losses),
) -> Result<Vec<u8>, ErrorReply> {
    let mut out = Vec::with_capacity(16 * 1024);
    let mut marks = Marks::of(request, losses);
    let mut refused = None;
    json::object(&mut out, |o| {
        o.put("model", target.model);
        // Tools, system, messages: the order in which the cache sees them.
        tools::write(o, request, plan, &mut marks, losses);
        let mut history = History {
            request,
            facts: target.facts,
            plan,
            marks: &mut marks,
            losses: &mut *losses,
            refused: None,
        };
        history.write_system(o);
        o.array("messages", |list| history.write(list));
        refused = history.refused.take();
        plan.write(o, request);
        rest(o, losses);
    });
    if request.source != Dialect::Anthropic {
        leftover::record(request, losses);
    }
    refused.map_or(Ok(out), Err)
}

fn write_stop(o: &mut Object<'_>, request: &ChatRequest, losses: &mut Losses) {
    let (kept, blank): (Vec<&str>, Vec<&str>) = request
        .stop
        .iter()
        .map(String::as_str)
        .partition(|stop| !stop.trim().is_empty());
    if !blank.is_empty() {
        losses.drop_field("stop");
    }
    if !kept.is_empty() {
        o.put("stop_sequences", &kept);
    }
}

/// Writes `metadata.user_id`; what looks like an address or a telephone number is refused there, so
/// its hash goes instead.
fn write_user(o: &mut Object<'_>, request: &ChatRequest) {
    let Some(user) = &request.user else {
        return;
    };
    let is_phone = user.len() >= 7
        && user
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | ' ' | '(' | ')' | '.'));
    let shown: Cow<'_, str> = if is_phone || user.contains('@') {
        Cow::Owned(format!("user_{}", hash8(user)))
    } else {
        Cow::Borrowed(user)
    };
    o.object("metadata", |o| {
        o.put("user_id", &shown);
        if request.source == Dialect::Anthropic
            && let Some(metadata) = request.extra.get("metadata")
            && let Ok(mut others) = Fields::parse_raw(metadata)
        {
            others.take("user_id");
            for (name, value) in others.iter() {
                o.raw(name, value);
            }
        }
    });
}

/// Writes top-level members that the canonical form does not name.
fn write_unknown(
    o: &mut Object<'_>,
    request: &ChatRequest,
    target: &Target<'_>,
    losses: &mut Losses,
) {
    let is_native = request.source == Dialect::Anthropic;
    for (name, value) in &request.extra.0 {
        match name.as_str() {
            "metadata" if request.user.is_some() && is_native => {}
            _ if is_native => o.raw(name, value),
            "service_tier" => match value.get() {
                "\"auto\"" => o.put("service_tier", "auto"),
                "\"default\"" => o.put("service_tier", "standard_only"),
                _ => losses.drop_field("service_tier"),
            },
            // Both are spoken for: the one is a tool, the other the user's id.
            "web_search_options" => {}
            "safety_identifier" if request.user.is_some() => {}
            name if target.provider == STRICT || FOREIGN.contains(&name) => {
                losses.drop_member(name, value);
            }
            name => o.raw(name, value),
        }
    }
    if is_native {
        return;
    }
    for (name, is_set) in [
        ("seed", request.seed.is_some()),
        ("presence_penalty", is_nonzero(request.presence_penalty)),
        ("frequency_penalty", is_nonzero(request.frequency_penalty)),
        ("logprobs", request.logprobs == Some(true)),
        (
            "top_logprobs",
            request.top_logprobs.is_some_and(|top| top > 0),
        ),
    ] {
        if is_set {
            losses.drop_field(name);
        }
    }
}

fn is_nonzero(value: Option<f64>) -> bool {
    value.is_some_and(|value| value != 0.0)
}
