//! Writes a request for a vendor of this dialect.

use crate::dialects::chat::ChatRequest;
use crate::dialects::error::ErrorReply;
use crate::dialects::fields::Fields;
use crate::dialects::ids::openai_user;
use crate::dialects::json::{self, Object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_chat::request::history::History;
use crate::dialects::openai_chat::request::{controls, tools};
use crate::dialects::openai_chat::vendor::Vendor;
use crate::dialects::{Dialect, Target, leftover};

/// Top-level members that only Anthropic, Gemini or the Responses dialect understand. Members
/// nobody knows cross over; these would be a 400 or do the wrong thing.
const FOREIGN: &[&str] = &[
    "anthropic_beta",
    "anthropic_version",
    "background",
    "betas",
    "cache_control",
    "cachedContent",
    "cached_content",
    "client_metadata",
    "container",
    "context_management",
    "conversation",
    "diagnostics",
    "generationConfig",
    "generation_config",
    "include",
    "inference_geo",
    "input",
    "instructions",
    "labels",
    "max_tool_calls",
    "mcp_servers",
    "output_config",
    "previous_response_id",
    "prompt",
    "safetySettings",
    "safety_settings",
    "serviceTier",
    "speed",
    "stream_options",
    "text",
    "toolConfig",
    "tool_config",
    "truncation",
];

/// Those of them that steer transport and caching, not the answer: leaving them out loses nothing
/// that a client could see.
const WITHOUT_EFFECT: &[&str] = &["cache_control", "include", "stream_options", "truncation"];

/// Members whose values mean something else here than in Anthropic's and Gemini's dialects.
const MISREAD: &[&str] = &["metadata", "service_tier", "store"];

/// Writes the body for the target.
pub(in crate::dialects::openai_chat) fn write(
    request: &ChatRequest,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, ErrorReply> {
    let vendor = Vendor::of(target.provider);
    let mut out = Vec::with_capacity(16 * 1024);
    let mut refused = None;
    json::object(&mut out, |o| {
        o.put("model", target.model);
        o.array("messages", |list| {
            let mut history = History {
                request,
                vendor,
                facts: target.facts,
                losses: &mut *losses,
                moved: Vec::new(),
            };
            refused = history.write(list).err();
        });
        tools::write(o, request, vendor, losses);
        controls::write_limit(o, request, target);
        controls::write_sampling(o, request, target, vendor, losses);
        controls::write_reasoning(o, request, target, vendor, losses);
        controls::write_format(o, &request.format);
        if let Some(user) = &request.user {
            o.put("user", &openai_user(user));
        }
        if request.stream {
            o.put("stream", &true);
            // Asked for whatever the client wants: accounts and quotas live on it.
            o.object("stream_options", |o| o.put("include_usage", &true));
        }
        write_extra(o, request, vendor, losses);
    });
    if vendor.is_strict && request.source != Dialect::OpenAiChat {
        leftover::record(request, losses);
    }
    refused.map_or(Ok(out), Err)
}

fn write_extra(o: &mut Object<'_>, request: &ChatRequest, vendor: Vendor, losses: &mut Losses) {
    let is_openai = matches!(
        request.source,
        Dialect::OpenAiChat | Dialect::OpenAiResponses
    );
    for (name, value) in &request.extra.0 {
        let is_foreign = request.source != Dialect::OpenAiChat && FOREIGN.contains(&name.as_str())
            || !is_openai && (MISREAD.contains(&name.as_str()) || vendor.is_strict);
        if is_foreign {
            if !WITHOUT_EFFECT.contains(&name.as_str()) {
                losses.drop_member(name, value);
            }
        } else if name == "extra_body" {
            // SDKs merge this before they send; a client that did not means the same.
            match Fields::parse_raw(value) {
                Ok(members) => members.iter().for_each(|(name, value)| o.raw(name, value)),
                Err(_) => losses.drop_field("extra_body"),
            }
        } else {
            o.raw(name, value);
        }
    }
}
