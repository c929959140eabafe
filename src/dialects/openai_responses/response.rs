//! The response object: the frame of every answer, whole or streamed.

use crate::dialects::ReplyContext;
use crate::dialects::chat::{Part, ResponseFormat};
use crate::dialects::effort;
use crate::dialects::error::ErrorReply;
use crate::dialects::event::StopReason;
use crate::dialects::fields::Raw;
use crate::dialects::ids::IdSource;
use crate::dialects::json::{Object, object};
use crate::dialects::loss::Losses;
use crate::dialects::openai_responses::error::code_of;
use crate::dialects::openai_responses::tools;
use crate::dialects::usage::Usage;

/// What a response came to.
pub(super) enum Outcome<'e> {
    Completed,
    Failed(&'e ErrorReply),
    InProgress,
    /// Cut short, and why in the dialect's words.
    Incomplete(&'static str),
}

impl Outcome<'_> {
    pub(super) const fn status(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::InProgress => "in_progress",
            Self::Incomplete(_) => "incomplete",
        }
    }

    /// What a stop reason means; `None` for one that is a failure.
    pub(super) const fn of(stop: StopReason) -> Option<Self> {
        match stop {
            StopReason::ContextWindow | StopReason::MaxTokens => {
                Some(Self::Incomplete("max_output_tokens"))
            }
            StopReason::ContentFilter => Some(Self::Incomplete("content_filter")),
            StopReason::EndTurn
            | StopReason::Pause
            | StopReason::Refusal
            | StopReason::StopSequence
            | StopReason::ToolUse => Some(Self::Completed),
            StopReason::Error => None,
        }
    }
}

/// The members of a response that stay the same while it streams.
pub(super) struct Frame {
    pub(super) id: String,
    created: i64,
    /// Members that repeat the request, written once.
    echo: Vec<u8>,
}

impl Frame {
    pub(super) fn new(context: &ReplyContext, ids: &mut IdSource) -> Self {
        let mut echo = Vec::with_capacity(512);
        object(&mut echo, |o| echo_request(o, context));
        Self {
            id: ids.make("resp_"),
            created: context.created,
            echo,
        }
    }

    /// Writes the response object.
    pub(super) fn write(
        &self,
        outcome: &Outcome<'_>,
        output: &[Raw],
        usage: Option<&Usage>,
        out: &mut Vec<u8>,
    ) {
        object(out, |o| {
            o.put("id", &self.id);
            o.put("object", "response");
            o.put("created_at", &self.created);
            o.put("status", outcome.status());
            o.put("background", &false);
            match outcome {
                Outcome::Failed(error) => o.object("error", |o| {
                    o.put("code", code_of(error));
                    o.put("message", &super::error::message(error));
                }),
                _ => o.null("error"),
            }
            match outcome {
                Outcome::Incomplete(reason) => {
                    o.object("incomplete_details", |o| o.put("reason", reason));
                }
                _ => o.null("incomplete_details"),
            }
            o.array("output", |list| {
                for item in output {
                    list.raw(item);
                }
            });
            match usage {
                Some(usage) => write_usage(o, usage),
                None => o.null("usage"),
            }
        });
        // The rest of the object was written beforehand: `{…}` and `{…}` become one.
        if self.echo.len() > 2 {
            out.pop();
            out.push(b',');
            out.extend(self.echo.iter().skip(1));
        }
    }
}

/// Writes `usage`: integers always, since clients parse them strictly.
pub(super) fn write_usage(o: &mut Object<'_>, usage: &Usage) {
    o.object("usage", |o| {
        o.put("input_tokens", &usage.input);
        o.object("input_tokens_details", |o| {
            o.put("cached_tokens", &usage.cache_read);
            o.put("cache_write_tokens", &usage.cache_write);
        });
        o.put("output_tokens", &usage.output);
        o.object("output_tokens_details", |o| {
            o.put("reasoning_tokens", &usage.reasoning);
        });
        o.put("total_tokens", &usage.total());
    });
}

/// The members that repeat the request, with the dialect's defaults where it did not say.
fn echo_request(o: &mut Object<'_>, context: &ReplyContext) {
    o.put("model", &context.model);
    let Some(request) = context.request.as_deref() else {
        o.null("instructions");
        o.put("parallel_tool_calls", &true);
        o.put("tool_choice", "auto");
        o.array("tools", |_| {});
        return;
    };
    let texts: Vec<&str> = request
        .system
        .iter()
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    let instructions = Some(texts.join("\n\n")).filter(|text| !text.is_empty());
    o.put("instructions", &instructions);
    o.put("max_output_tokens", &request.max_tokens);
    o.put(
        "parallel_tool_calls",
        &request.parallel_tool_calls.unwrap_or(true),
    );
    o.object("reasoning", |o| {
        o.put("effort", &request.reasoning.effort.map(effort::name));
        match request.reasoning.extra.get("summary") {
            Some(summary) => o.raw("summary", summary),
            None => o.null("summary"),
        }
    });
    o.put("temperature", &request.temperature);
    o.object("text", |o| {
        o.object("format", |o| match &request.format {
            ResponseFormat::Text => o.put("type", "text"),
            ResponseFormat::JsonObject => o.put("type", "json_object"),
            ResponseFormat::JsonSchema {
                name,
                schema,
                strict,
                description,
            } => {
                o.put("type", "json_schema");
                o.put("name", name.as_deref().unwrap_or("answer"));
                o.put_some("description", description.as_ref());
                o.raw("schema", schema);
                o.put_some("strict", strict.as_ref());
            }
        });
        if let Some(verbosity) = request.extra.get("verbosity") {
            o.raw("verbosity", verbosity);
        }
    });
    match &request.tool_choice {
        Some(choice) => tools::write_choice(o, choice, request),
        None => o.put("tool_choice", "auto"),
    }
    o.array("tools", |list| {
        tools::write(request, list, &mut Losses::default());
    });
    o.put("top_p", &request.top_p);
    o.put_some("user", request.user.as_ref());
    for name in [
        "metadata",
        "previous_response_id",
        "store",
        "truncation",
        "service_tier",
    ] {
        if let Some(value) = request.extra.get(name) {
            o.raw(name, value);
        }
    }
}
