//! The canonical request as a `generateContent` body for an upstream.

use serde_json::value::RawValue;

use crate::dialects::chat::{ChatRequest, Effort, ResponseFormat};
use crate::dialects::effort::{nearest, wanted, wanted_budget};
use crate::dialects::error::ErrorReply;
use crate::dialects::fields::{Extra, Fields};
use crate::dialects::gemini::{contents, is_before_2_5, tools, wants_openapi};
use crate::dialects::json::{Object, object};
use crate::dialects::loss::Losses;
use crate::dialects::models::Thinking;
use crate::dialects::schema::{self, Rules};
use crate::dialects::{Dialect, Target, effort, leftover};

/// Gemini takes this many stop sequences (API reference, read 2026-11-22).
const MAX_STOPS: usize = 5;

/// Least thinking budget that a Claude served in Gemini's dialect takes.
const CLAUDE_BUDGET: (i64, i64) = (effort::MIN_CLAUDE_BUDGET, 64_000);

/// Top-level members of other dialects that steer accounting, caching or transport and not the
/// answer: leaving them out loses nothing that a client could see.
const WITHOUT_EFFECT: [&str; 16] = [
    "background",
    "client_metadata",
    "context_management",
    "include",
    "metadata",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "truncation",
    "web_search_options",
    "previous_response_id",
];

/// Members of `extra` that this module places itself when they come from OpenAI Chat.
const PLACED: [&str; 5] = [
    "audio",
    "extra_body",
    "google",
    "modalities",
    "safety_settings",
];

/// Writes the body; the model and the verb go into the URL.
pub(super) fn write(
    request: &ChatRequest,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Vec<u8>, ErrorReply> {
    let format = Format::of(request, target);
    let mut out = Vec::with_capacity(4096);
    object(&mut out, |body| {
        contents::write(body, request, target, format.note.as_deref(), losses)?;
        tools::write(body, request, target, losses);
        let config = GenerationConfig {
            request,
            target,
            format: &format,
        };
        let mut written = Vec::new();
        object(&mut written, |o| config.write(o, losses));
        if written.len() > 2 {
            body.key("generationConfig").extend_from_slice(&written);
        }
        extras(body, request, losses);
        Ok(())
    })
    .map(|()| out)
}

/// How the answer's shape is asked for.
struct Format<'r> {
    mime: Option<&'static str>,
    schema: Option<&'r RawValue>,
    /// Words for the system prompt where the model has no such mode beside tools.
    note: Option<String>,
}

impl<'r> Format<'r> {
    fn of(request: &'r ChatRequest, target: &Target<'_>) -> Self {
        let mut format = Format {
            mime: None,
            schema: None,
            note: None,
        };
        let with_tools = !request.tools.is_empty() && !target.facts.json_schema_with_tools;
        match &request.format {
            ResponseFormat::Text => {}
            ResponseFormat::JsonObject if with_tools => {
                format.note = Some("Answer with a single JSON object and nothing else.".to_owned());
            }
            ResponseFormat::JsonSchema { schema, .. } if with_tools => {
                format.note = Some(format!(
                    "When you give your final answer, answer with JSON that matches this schema \
                     and nothing else:\n{}",
                    schema.get()
                ));
            }
            ResponseFormat::JsonObject => format.mime = Some("application/json"),
            ResponseFormat::JsonSchema { schema, .. } => {
                format.mime = Some("application/json");
                format.schema = Some(schema);
            }
        }
        format
    }
}

struct GenerationConfig<'a> {
    request: &'a ChatRequest,
    target: &'a Target<'a>,
    format: &'a Format<'a>,
}

impl GenerationConfig<'_> {
    fn write(&self, o: &mut Object<'_>, losses: &mut Losses) {
        let request = self.request;
        let facts = self.target.facts;
        let limit = match (request.max_tokens, facts.max_output) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, _) => asked,
        };
        o.put_some("maxOutputTokens", limit.as_ref());
        o.put_some(
            "temperature",
            request.temperature.map(|t| t.clamp(0.0, 2.0)).as_ref(),
        );
        o.put_some("topP", request.top_p.as_ref());
        o.put_some("topK", request.top_k.as_ref());
        self.stops(o, losses);
        o.put_some("seed", request.seed.map(wrapped).as_ref());
        o.put_some(
            "candidateCount",
            request.candidates.filter(|n| *n > 1).as_ref(),
        );
        for (name, path, value) in [
            (
                "presencePenalty",
                "presence_penalty",
                request.presence_penalty,
            ),
            (
                "frequencyPenalty",
                "frequency_penalty",
                request.frequency_penalty,
            ),
        ] {
            if facts.penalties {
                o.put_some(name, value.as_ref());
            } else if value.is_some_and(|value| value != 0.0) {
                losses.drop_field(path);
            }
        }
        if request.logprobs == Some(true) {
            o.put("responseLogprobs", &true);
            o.put_some(
                "logprobs",
                request.top_logprobs.map(|count| count.min(20)).as_ref(),
            );
        }
        if request.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
            losses.drop_field("parallel_tool_calls");
        }
        self.shape(o);
        self.modalities(o);
        self.thinking(o, losses);
        self.leftovers(o);
    }

    fn stops(&self, o: &mut Object<'_>, losses: &mut Losses) {
        let stops: Vec<&String> = self.request.stop.iter().filter(|s| !s.is_empty()).collect();
        let kept = stops.get(..MAX_STOPS).unwrap_or(&stops);
        if kept.len() < stops.len() {
            losses.drop_field(format!("stop[{MAX_STOPS}]"));
        }
        if !kept.is_empty() {
            o.put("stopSequences", &kept);
        }
    }

    fn shape(&self, o: &mut Object<'_>) {
        o.put_some("responseMimeType", self.format.mime.as_ref());
        let Some(schema) = self.format.schema else {
            return;
        };
        if wants_openapi(self.target) || is_before_2_5(self.target) {
            o.raw("responseSchema", &schema::clean(schema, Rules::RESPONSE));
        } else {
            o.raw(
                "responseJsonSchema",
                &schema::clean(schema, Rules::JSON_SCHEMA),
            );
        }
    }

    /// OpenAI Chat's `modalities` and `audio.voice`.
    fn modalities(&self, o: &mut Object<'_>) {
        if self.request.source != Dialect::OpenAiChat {
            return;
        }
        let extra = &self.request.extra;
        let modalities: Vec<String> = extra
            .get("modalities")
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        if modalities.iter().any(|modality| modality != "text") {
            let upper: Vec<_> = modalities.iter().map(|m| m.to_ascii_uppercase()).collect();
            o.put("responseModalities", &upper);
        }
        let voice = extra
            .get("audio")
            .and_then(|raw| Fields::parse_raw(raw).ok())
            .and_then(|mut audio| audio.take_as::<String>("voice").ok().flatten());
        if let Some(voice) = voice {
            o.object("speechConfig", |o| {
                o.object("voiceConfig", |o| {
                    o.object("prebuiltVoiceConfig", |o| {
                        o.put("voiceName", &voice);
                    });
                });
            });
        }
    }

    /// `thinkingConfig`: a budget or a level, never both.
    fn thinking(&self, o: &mut Object<'_>, losses: &mut Losses) {
        let reasoning = &self.request.reasoning;
        if let Some(own) = google_extra(self.request, "thinking_config") {
            o.raw("thinkingConfig", &own);
            return;
        }
        let asked = reasoning.effort.is_some() || reasoning.budget.is_some();
        if !asked && reasoning.show.is_none() {
            return;
        }
        let budget = wanted_budget(reasoning);
        let is_off = budget == Some(0);
        let show = reasoning.show.unwrap_or(!is_off) && !is_off;
        let amount = match self.target.facts.thinking {
            Thinking::None => {
                if asked && !is_off {
                    losses.drop_field("reasoning");
                }
                return;
            }
            Thinking::Budget { min, max, off } => {
                budget.map(|wanted| Amount::Budget(clamped(wanted, min, max, off)))
            }
            Thinking::Adaptive { .. } => {
                let (min, max) = CLAUDE_BUDGET;
                budget.map(|wanted| Amount::Budget(clamped(wanted, min, max, true)))
            }
            Thinking::Level => wanted(reasoning)
                .and_then(|wanted| nearest(wanted, &self.target.facts.efforts))
                .map(Amount::Level),
        };
        o.object("thinkingConfig", |o| {
            match amount {
                Some(Amount::Budget(budget)) => {
                    o.put("thinkingBudget", &budget);
                }
                Some(Amount::Level(level)) => {
                    o.put("thinkingLevel", &effort::name(level));
                }
                None => {}
            }
            o.put("includeThoughts", &show);
        });
    }

    /// What a Gemini client wrote that no other dialect knows.
    fn leftovers(&self, o: &mut Object<'_>) {
        if self.request.source == Dialect::Gemini
            && let Some(rest) = self.request.extra.get("generationConfig")
            && let Ok(rest) = Fields::parse_raw(rest)
        {
            o.extra(&rest.into_extra());
        }
    }
}

enum Amount {
    Budget(i64),
    Level(Effort),
}

/// A budget the model takes: −1 lets it decide, 0 is off where it can be.
fn clamped(wanted: i64, min: i64, max: i64, off: bool) -> i64 {
    match wanted {
        ..=-1 => -1,
        0 if off => 0,
        wanted => wanted.clamp(min, max),
    }
}

/// Seeds are int32 at Gemini; a longer one keeps its low bits, so it stays the same each time.
fn wrapped(seed: i64) -> i32 {
    i32::try_from(seed).unwrap_or_else(|_| {
        let low = u32::try_from(seed & i64::from(u32::MAX)).unwrap_or_default();
        low.cast_signed()
    })
}

/// Top-level members beside the canonical ones.
fn extras(body: &mut Object<'_>, request: &ChatRequest, losses: &mut Losses) {
    match request.source {
        Dialect::Gemini => {
            let own = request.extra.0.iter();
            for (name, value) in own {
                if name != "generationConfig" && name != "toolConfig" {
                    body.raw(name, value);
                }
            }
        }
        Dialect::Anthropic | Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            for (from, to) in [
                ("safety_settings", "safetySettings"),
                ("cached_content", "cachedContent"),
            ] {
                if let Some(value) = google_extra(request, from) {
                    body.raw(to, &value);
                }
            }
            lost(&request.extra, losses);
            leftover::record(request, losses);
        }
    }
}

fn lost(extra: &Extra, losses: &mut Losses) {
    for (name, value) in &extra.0 {
        let is_known = WITHOUT_EFFECT.contains(&name.as_str()) || PLACED.contains(&name.as_str());
        if !is_known && value.get() != "null" {
            losses.drop_field(name.as_str());
        }
    }
}

/// A member that Google's OpenAI-compatible API takes from `extra_body.google` (also seen as
/// `google`, or at the top level).
fn google_extra(request: &ChatRequest, name: &str) -> Option<Box<RawValue>> {
    if request.source != Dialect::OpenAiChat {
        return None;
    }
    let extra = &request.extra;
    if let Some(value) = extra.get(name) {
        return Some(value.to_owned());
    }
    let inner = |holder: &RawValue| {
        let mut fields = Fields::parse_raw(holder).ok()?;
        fields
            .take("google")
            .or_else(|| fields.take(name))
            .map(ToOwned::to_owned)
    };
    let google = extra
        .get("extra_body")
        .and_then(inner)
        .or_else(|| extra.get("google").map(ToOwned::to_owned))?;
    Fields::parse_raw(&google)
        .ok()?
        .take(name)
        .map(ToOwned::to_owned)
}
