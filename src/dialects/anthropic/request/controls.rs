//! What steers an answer: limit, thinking, sampling, format, fitted to the model.

use crate::dialects::anthropic::request::schema;
use crate::dialects::chat::{ChatRequest, Effort, Part, ResponseFormat, Role};
use crate::dialects::effort::{self, MIN_CLAUDE_BUDGET};
use crate::dialects::json::Object;
use crate::dialects::loss::Losses;
use crate::dialects::models::{Off, Sampling, Thinking};
use crate::dialects::{Dialect, Target, signature};

/// The limit for models nobody knows: every Claude since 3.5 takes it.
const SAFE_LIMIT: u64 = 8_192;

/// The default limit of answers that do not stream: beyond about 21,000 tokens an answer may take
/// longer than the ten minutes Anthropic allows without streaming (its SDK, read 2026-11-22).
const UNSTREAMED_LIMIT: u64 = 16_384;

/// The part of `top_p` that is allowed beside thinking.
const THINKING_TOP_P: f64 = 0.95;

/// How the request asks for thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Adaptive,
    BetweenTools,
    Disabled,
    Enabled {
        budget: i64,
    },
    /// No `thinking` member.
    Silent,
}

/// Everything the model's facts decide for one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) max_tokens: u64,
    pub(super) thinking: Form,
    pub(super) effort: Option<Effort>,
    /// Whether a tool call may be forced.
    pub(super) can_force: bool,
    /// Whether a trailing assistant message may stay.
    pub(super) can_prefill: bool,
    /// Whether the answer's schema goes into a tool instead of the format.
    pub(super) json_tool: bool,
}

impl Plan {
    /// Fits the request to the target's model.
    pub(super) fn new(request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Self {
        let facts = target.facts;
        let max_tokens = limit(request, target);
        let (thinking, effort) = thinking(request, target, max_tokens, losses);
        let is_manual = matches!(thinking, Form::Enabled { .. });
        let is_thinking = is_manual || thinking == Form::Adaptive;
        let wants_schema = matches!(request.format, ResponseFormat::JsonSchema { .. });
        Self {
            max_tokens,
            thinking,
            effort,
            can_force: facts.forced_tool && !is_manual,
            can_prefill: facts.prefill && !is_thinking,
            json_tool: wants_schema && !facts.json_schema,
        }
    }

    /// Writes `thinking` and `output_config`.
    pub(super) fn write(&self, o: &mut Object<'_>, request: &ChatRequest) {
        match self.thinking {
            Form::Silent => {}
            Form::Adaptive => o.object("thinking", |o| {
                o.put("type", "adaptive");
                // Without it the newer models send thinking without its text.
                let shows = request.reasoning.show != Some(false);
                o.put("display", if shows { "summarized" } else { "omitted" });
            }),
            Form::BetweenTools => o.object("thinking", |o| o.put("type", "between_tools")),
            Form::Disabled => o.object("thinking", |o| o.put("type", "disabled")),
            Form::Enabled { budget } => o.object("thinking", |o| {
                o.put("type", "enabled");
                o.put("budget_tokens", &budget);
            }),
        }
        let schema = match &request.format {
            ResponseFormat::JsonSchema { schema, .. } if !self.json_tool => Some(schema),
            _ => None,
        };
        if self.effort.is_none() && schema.is_none() {
            return;
        }
        o.object("output_config", |o| {
            o.put_some("effort", self.effort.map(effort::name));
            if let Some(schema) = schema {
                o.object("format", |o| {
                    o.put("type", "json_schema");
                    o.raw("schema", &schema::answer(schema));
                });
            }
        });
    }

    /// Writes `temperature`, `top_p` and `top_k` as far as model and thinking allow.
    pub(super) fn write_sampling(
        &self,
        o: &mut Object<'_>,
        request: &ChatRequest,
        sampling: Sampling,
        losses: &mut Losses,
    ) {
        let is_thinking = matches!(self.thinking, Form::Adaptive | Form::Enabled { .. });
        let is_free = sampling != Sampling::Refused;
        let mut has_temperature = false;
        if let Some(temperature) = request.temperature {
            let is_default = (temperature - 1.0).abs() < f64::EPSILON;
            if is_free && !is_thinking {
                has_temperature = true;
                o.put("temperature", &temperature.clamp(0.0, 1.0));
            } else if !is_default {
                losses.drop_field("temperature");
            }
        }
        if let Some(top_p) = request.top_p {
            let is_default = (top_p - 1.0).abs() < f64::EPSILON;
            let is_one_too_many = sampling == Sampling::OneOf && has_temperature;
            let is_too_low = is_thinking && top_p < THINKING_TOP_P;
            if is_free && !is_one_too_many && !is_too_low {
                o.put("top_p", &top_p);
            } else if !is_default {
                losses.drop_field("top_p");
            }
        }
        if let Some(top_k) = request.top_k {
            if is_free && !is_thinking {
                o.put("top_k", &top_k);
            } else {
                losses.drop_field("top_k");
            }
        }
    }
}

fn limit(request: &ChatRequest, target: &Target<'_>) -> u64 {
    let known = target.facts.max_output;
    match (request.max_tokens, known) {
        (Some(wanted), Some(most)) => wanted.clamp(1, most),
        (Some(wanted), None) => wanted.max(1),
        (None, Some(most)) if request.stream => most,
        (None, Some(most)) => most.min(UNSTREAMED_LIMIT),
        (None, None) => SAFE_LIMIT,
    }
}

fn thinking(
    request: &ChatRequest,
    target: &Target<'_>,
    max_tokens: u64,
    losses: &mut Losses,
) -> (Form, Option<Effort>) {
    let facts = target.facts;
    let Some(wanted) = effort::wanted(&request.reasoning) else {
        return (Form::Silent, None);
    };
    match facts.thinking {
        Thinking::Adaptive { off, .. } if wanted == Effort::None => match off {
            Off::Always => (Form::Silent, effort::nearest(Effort::Low, &facts.efforts)),
            Off::BetweenTools => (Form::BetweenTools, None),
            Off::Disabled => (Form::Disabled, None),
        },
        Thinking::Adaptive { off, .. } => {
            let form = match off {
                Off::BetweenTools if wanted == Effort::Minimal => Form::BetweenTools,
                _ => Form::Adaptive,
            };
            (form, effort::nearest(wanted, &facts.efforts))
        }
        Thinking::Budget { .. } | Thinking::Level if wanted == Effort::None => (Form::Silent, None),
        Thinking::Budget { min, max, .. } => {
            (manual(request, (min, max), max_tokens, losses), None)
        }
        Thinking::Level => (manual(request, (1024, i64::MAX), max_tokens, losses), None),
        Thinking::None => {
            if !matches!(wanted, Effort::Auto | Effort::None) {
                losses.drop_field("reasoning");
            }
            (Form::Silent, None)
        }
    }
}

/// Thinking by budget, if the limit leaves room and the history allows it.
fn manual(
    request: &ChatRequest,
    (min, max): (i64, i64),
    max_tokens: u64,
    losses: &mut Losses,
) -> Form {
    let wanted = effort::wanted_budget(&request.reasoning).unwrap_or(-1);
    let wanted = if wanted < 0 {
        effort::budget(Effort::Medium)
    } else {
        wanted
    };
    let min = min.max(MIN_CLAUDE_BUDGET);
    let room = i64::try_from(max_tokens).unwrap_or(i64::MAX) - 1;
    if room < min || lacks_thinking(request) {
        losses.drop_field("reasoning");
        return Form::Silent;
    }
    Form::Enabled {
        budget: wanted.clamp(min, max.max(min)).min(room),
    }
}

/// `true` if a tool loop is under way whose assistant turn bears no thinking of Claude's: with
/// thinking by budget that is a 400, so such a request must go without.
fn lacks_thinking(request: &ChatRequest) -> bool {
    let is_loop = request
        .messages
        .iter()
        .rev()
        .take_while(|message| message.role != Role::Assistant)
        .any(|message| message.role == Role::Tool);
    let asking = request
        .messages
        .iter()
        .rfind(|message| message.role == Role::Assistant);
    let Some(asking) = asking.filter(|_| is_loop) else {
        return false;
    };
    let is_own = |signed: &str| signature::for_upstream(Dialect::Anthropic, signed).is_some();
    !asking.parts.iter().any(|part| match part {
        Part::Thinking(thinking) => thinking.signature.as_deref().is_some_and(is_own),
        Part::RedactedThinking { data } => is_own(data),
        _ => false,
    })
}
