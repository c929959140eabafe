//! What may be written for a vendor of this dialect in a translation, as data: what it understands
//! beyond OpenAI's own members.
//!
//! How a vendor spells, limits or refuses OpenAI's members is no business of a translation: the
//! providers' quirks put every body right afterwards, a client's own like a translated one.
//!
//! OpenAI refuses what it does not know; most compatible servers ignore it. Rows follow the
//! vendors' API pages and LiteLLM's adapters, read 2026-11-22. An unknown provider id (a server
//! somebody runs) gets [`Vendor::LENIENT`].

/// What one vendor takes.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about a vendor"
)]
pub(super) struct Vendor {
    /// Unknown members are a 400.
    pub(super) is_strict: bool,
    /// What becomes of reasoning text in the history.
    pub(super) replay: Replay,
    /// `cache_control` marks are understood.
    pub(super) cache_control: bool,
    /// Neighbours of one role must be one message.
    pub(super) merges: bool,
    pub(super) effort: EffortField,
    /// The member that makes the last assistant message be continued.
    pub(super) prefill: Option<&'static str>,
    /// Custom (free-text) tools are understood.
    pub(super) custom_tools: bool,
}

/// What a vendor wants of earlier reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replay {
    /// `reasoning_details`, whole.
    Details,
    /// Nothing.
    Drop,
    /// `reasoning_content` where there is some.
    Keep,
}

/// How a vendor is told how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EffortField {
    /// `reasoning_effort`, if the model takes levels.
    Effort,
    /// OpenRouter's `reasoning: {effort | max_tokens}`.
    Reasoning,
    /// `reasoning_effort` whatever the model: it has a switch of its own, set by its quirks.
    Switch,
    /// The same, with a `thinking_budget` beside it.
    SwitchAndBudget,
}

impl Vendor {
    const LENIENT: Self = Self {
        is_strict: false,
        replay: Replay::Drop,
        cache_control: false,
        merges: false,
        effort: EffortField::Effort,
        prefill: None,
        custom_tools: false,
    };

    const STRICT: Self = Self {
        is_strict: true,
        ..Self::LENIENT
    };

    /// The row of a provider id.
    pub(super) fn of(provider: &str) -> Self {
        match provider {
            "openai" | "azure" => Self {
                custom_tools: true,
                ..Self::STRICT
            },
            "cerebras" | "cohere" | "gemini" | "github" | "groq" | "sambanova" => Self::STRICT,
            "mistral" | "codestral" => Self {
                prefill: Some("prefix"),
                merges: true,
                ..Self::STRICT
            },
            "perplexity" => Self {
                merges: true,
                ..Self::LENIENT
            },
            "openrouter" => Self {
                replay: Replay::Details,
                cache_control: true,
                effort: EffortField::Reasoning,
                ..Self::LENIENT
            },
            "moonshot" => Self {
                replay: Replay::Keep,
                effort: EffortField::Switch,
                prefill: Some("partial"),
                ..Self::LENIENT
            },
            "deepseek" | "volcengine" | "xiaomi_mimo" | "zai" => Self {
                replay: Replay::Keep,
                effort: EffortField::Switch,
                ..Self::LENIENT
            },
            "dashscope" | "modelscope" | "qwen_code" | "siliconflow" => Self {
                effort: EffortField::SwitchAndBudget,
                cache_control: provider == "dashscope" || provider == "qwen_code",
                ..Self::LENIENT
            },
            "minimax" | "nvidia_nim" => Self {
                replay: Replay::Keep,
                ..Self::LENIENT
            },
            _ => Self::LENIENT,
        }
    }
}
