//! Adapts request bodies to what a vendor takes, by its [`Quirks`].
//!
//! A body in which nothing is to do comes back as it was, without a parse beyond a search for the
//! telling names. Otherwise the members touched are replaced, and all others keep their bytes.

mod messages;
mod tools;

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::ids::IdRule;
use crate::dialects::{Dialect, Operation};
use crate::providers::Outgoing;
use crate::providers::quirks::{Quirks, Switch, Thinking, TokenLimit};

/// The levels of `reasoning_effort`, weakest first.
const LEVELS: [&str; 6] = ["minimal", "low", "medium", "high", "xhigh", "max"];

/// Other words for "do not think".
const OFF: [&str; 4] = ["none", "off", "disable", "disabled"];

/// Returns the body unchanged, without a copy, where nothing is to do; also a body that is no JSON
/// object, which the vendor may refuse in its own words.
pub(super) fn by_quirks(body: Bytes, request: &Outgoing<'_>, quirks: &Quirks) -> Bytes {
    if request.dialect != Dialect::OpenAiChat {
        return body;
    }
    let model = request.model.to_lowercase();
    match request.operation {
        Operation::Chat => chat(body, &model, quirks),
        Operation::Embeddings => embeddings(body, &model, quirks),
        Operation::Compact | Operation::Completions | Operation::CountTokens => body,
    }
}

/// Adds what the vendor's embedding models cannot do without.
fn embeddings(body: Bytes, model: &str, quirks: &Quirks) -> Bytes {
    let mut wanted = quirks
        .embedding_defaults
        .iter()
        .filter(|(part, ..)| model.contains(part))
        .peekable();
    if wanted.peek().is_none() {
        return body;
    }
    let Some(mut members) = Members::parse(&body) else {
        return body;
    };
    for (_, name, json) in wanted {
        members.set_if_absent(name, (*json).to_owned());
    }
    members.into_changed().map_or(body.clone(), Bytes::from)
}

fn chat(body: Bytes, model: &str, quirks: &Quirks) -> Bytes {
    if !may_concern(&body, model, quirks) {
        return body;
    }
    let Some(mut members) = Members::parse(&body) else {
        return body;
    };
    rename_members(&mut members, quirks);
    drop_refused(&mut members, model, quirks);
    clamp(&mut members, quirks);
    cap_output(&mut members, model, quirks);
    if let Some(thinking) = of_model(quirks.thinking, model) {
        switch_thinking(&mut members, *thinking);
    }
    if !quirks.refused_in_tools.is_empty()
        && let Some(raw) = members.raw("tools")
        && let Some(tools) = tools::without(raw, quirks.refused_in_tools)
    {
        members.set("tools", tools);
    }
    let thinks = thinks(&members, model, quirks);
    if let Some(raw) = members.raw("messages")
        && let Some(messages) = messages::adapt(raw, quirks, model, thinks)
    {
        members.set("messages", messages);
    }
    members.into_changed().map_or(body.clone(), Bytes::from)
}

/// `true` if the body holds a name that a quirk is about. Most bodies do not, and a search is ten
/// times cheaper than a parse.
fn may_concern(body: &[u8], model: &str, quirks: &Quirks) -> bool {
    let has = |name: &str| memmem::find(body, name.as_bytes()).is_some();
    let limit = match quirks.token_limit {
        TokenLimit::Either => false,
        TokenLimit::MaxCompletionTokens => has("\"max_tokens\""),
        TokenLimit::MaxTokens => has("\"max_completion_tokens\""),
    };
    limit
        || quirks.no_developer_role && has("\"developer\"")
        || quirks.pictures.are_refused_by(model) && has("\"image_url\"")
        || quirks.no_message_names && has("\"name\"")
        || quirks.renamed.iter().any(|(name, _)| has(name))
        || refused(model, quirks).any(has)
        || quirks.max_stops.is_some() && has("\"stop\"")
        || quirks.max_temperature.is_some() && has("\"temperature\"")
        || quirks.min_temperature.is_some() && has("\"temperature\"")
        || !quirks.thinking.is_empty() && has("\"reasoning_effort\"")
        || !quirks.needs_reasoning.is_empty() && has("\"assistant\"")
        || !quirks.refused_in_tools.is_empty() && has("\"tools\"")
        || !quirks.max_output.is_empty() && has("_tokens\"")
        || quirks.tool_ids != IdRule::Any && has("\"tool_call_id\"")
        || quirks.tool_ids != IdRule::Any && has("\"tool_calls\"")
}

/// The members this model refuses.
fn refused<'a>(model: &'a str, quirks: &Quirks) -> impl Iterator<Item = &'static str> + use<'a> {
    quirks
        .refused
        .iter()
        .filter(move |(part, _)| model.contains(part))
        .flat_map(|(_, names)| names.iter().copied())
}

/// The first entry for this model.
fn of_model<'a, T>(table: &'a [(&str, T)], model: &str) -> Option<&'a T> {
    table
        .iter()
        .find(|(part, _)| model.contains(part))
        .map(|(_, entry)| entry)
}

fn rename_members(members: &mut Members<'_>, quirks: &Quirks) {
    match quirks.token_limit {
        TokenLimit::Either => {}
        TokenLimit::MaxCompletionTokens => members.rename("max_tokens", "max_completion_tokens"),
        TokenLimit::MaxTokens => members.rename("max_completion_tokens", "max_tokens"),
    }
    for (ours, theirs) in quirks.renamed {
        members.rename(ours, theirs);
    }
}

fn drop_refused(members: &mut Members<'_>, model: &str, quirks: &Quirks) {
    for name in refused(model, quirks) {
        members.remove(name);
    }
}

/// Keeps stop sequences and temperature inside what the vendor takes.
fn clamp(members: &mut Members<'_>, quirks: &Quirks) {
    if let Some(limit) = quirks.max_stops
        && let Some(raw) = members.raw("stop")
        && let Ok(stops) = serde_json::from_str::<Vec<&RawValue>>(raw)
        && stops.len() > limit
    {
        let kept: Vec<_> = stops.iter().take(limit).map(|stop| stop.get()).collect();
        let kept = format!("[{}]", kept.join(","));
        members.set("stop", kept);
    }
    let Some(wanted) = members
        .raw("temperature")
        .and_then(|raw| raw.parse::<f64>().ok())
    else {
        return;
    };
    let highest = quirks.max_temperature.filter(|limit| wanted > *limit);
    let lowest = quirks.min_temperature.filter(|limit| wanted < *limit);
    if let Some(limit) = highest.or(lowest) {
        members.set("temperature", limit.to_string());
    }
}

/// Keeps the limit of answer tokens inside what the model can write.
fn cap_output(members: &mut Members<'_>, model: &str, quirks: &Quirks) {
    let Some(most) = of_model(quirks.max_output, model) else {
        return;
    };
    for name in ["max_tokens", "max_completion_tokens"] {
        let wanted = members.raw(name).and_then(|raw| raw.parse::<u64>().ok());
        if wanted.is_some_and(|wanted| wanted > *most) {
            members.set(name, most.to_string());
        }
    }
}

/// Puts `reasoning_effort` into the vendor's own words. A switch the client set itself stays.
fn switch_thinking(members: &mut Members<'_>, thinking: Thinking) {
    let Some(effort) = members
        .raw("reasoning_effort")
        .and_then(|raw| serde_json::from_str::<Cow<'_, str>>(raw).ok())
        .map(|effort| effort.to_lowercase())
    else {
        return;
    };
    let on = !OFF.contains(&effort.as_str());
    match thinking.switch {
        Switch::EnableThinking => members.set_if_absent("enable_thinking", on.to_string()),
        Switch::None => {}
        Switch::Template(name) => {
            let arguments = serde_json::json!({ name: on }).to_string();
            members.set_if_absent("chat_template_kwargs", arguments);
        }
        Switch::ThinkingType => {
            let kind = if on { "enabled" } else { "disabled" };
            members.set_if_absent("thinking", format!(r#"{{"type":"{kind}"}}"#));
        }
    }
    let level = if on {
        level(&effort, thinking.levels)
    } else {
        weakest(thinking)
    };
    match level {
        Some(level) if level == effort => {}
        Some(level) => members.set("reasoning_effort", format!("\"{level}\"")),
        None => members.remove("reasoning_effort"),
    }
}

/// The vendor's level for no thinking at all; `None` where the switch says it.
fn weakest(thinking: Thinking) -> Option<&'static str> {
    let mut levels = thinking.levels.iter().copied();
    match thinking.switch {
        Switch::None => levels.next(),
        Switch::EnableThinking | Switch::Template(_) | Switch::ThinkingType => None,
    }
}

/// The vendor's level for what was asked: the weakest that is not below it, else its strongest.
fn level(effort: &str, levels: &[&'static str]) -> Option<&'static str> {
    let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
    let wanted = rank(effort)?;
    let strong_enough = |level: &&'static str| rank(level).is_some_and(|rank| rank >= wanted);
    levels
        .iter()
        .copied()
        .find(strong_enough)
        .or(levels.last().copied())
}

/// `true` if the model will think, so that it demands the reasoning of earlier turns back.
fn thinks(members: &Members<'_>, model: &str, quirks: &Quirks) -> bool {
    if quirks.needs_reasoning.is_empty() {
        return false;
    }
    let switch = members.raw("thinking").and_then(|raw| {
        let thinking: Value = serde_json::from_str(raw).ok()?;
        Some(thinking.get("type")?.as_str()? == "enabled")
    });
    switch.unwrap_or_else(|| {
        quirks
            .needs_reasoning
            .iter()
            .any(|part| model.contains(part))
    })
}

#[cfg(test)]
mod tests;
