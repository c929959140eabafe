//! What a vendor's chat endpoint refuses or spells differently, as data; `adapt` acts on it, on a
//! client's own body and on a translated one alike. This is the one home of such differences: what a
//! translation may add beyond OpenAI's members is all that `dialects::openai_chat` knows of vendors.

use crate::dialects::ids::IdRule;

/// A vendor's peculiarities. The default is OpenAI's own Chat Completions, taken literally.
#[derive(Clone, Copy, Debug)]
pub struct Quirks {
    /// Which name of the answer's token limit it knows.
    pub token_limit: TokenLimit,
    /// `true` if the role `developer` is refused; `system` is sent instead.
    pub no_developer_role: bool,
    /// `true` if `name` on messages is refused.
    pub no_message_names: bool,
    /// Members it refuses, by model: `(part of the model name, members)`; `""` is every model.
    pub refused: &'static [(&'static str, &'static [&'static str])],
    /// Members it knows by another name: `(OpenAI's, the vendor's)`.
    pub renamed: &'static [(&'static str, &'static str)],
    /// How many stop sequences it takes.
    pub max_stops: Option<usize>,
    /// The highest temperature it takes.
    pub max_temperature: Option<f64>,
    /// The lowest temperature it takes, where that is above 0.
    pub min_temperature: Option<f64>,
    /// Parts of the names of models that demand `reasoning_content` on every assistant message.
    pub needs_reasoning: &'static [&'static str],
    /// How thinking is switched, by model: `(part of the model name, switch)`; the first counts.
    pub thinking: &'static [(&'static str, Thinking)],
    /// Which tool-call ids it takes.
    pub tool_ids: IdRule,
    /// Keywords it refuses in the schemas of tools; a property of such a name stays.
    pub refused_in_tools: &'static [&'static str],
    /// The most answer tokens it takes, by model: `(part of the model name, tokens)`.
    pub max_output: &'static [(&'static str, u64)],
    /// Which models take pictures.
    pub pictures: Pictures,
    /// What embedding requests must hold: `(part of the model name, member, its JSON)`.
    pub embedding_defaults: &'static [(&'static str, &'static str, &'static str)],
}

/// The names of the limit of answer tokens.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum TokenLimit {
    /// Both names are understood.
    Either,
    /// `max_tokens` is refused: OpenAI's reasoning models.
    MaxCompletionTokens,
    /// `max_completion_tokens` is refused or ignored.
    MaxTokens,
}

/// Which of a vendor's models take pictures. To others a word is sent in a picture's place: they
/// would refuse the whole conversation.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Pictures {
    /// All, as far as is known.
    All,
    /// All but those with one of these in their names.
    AllBut(&'static [&'static str]),
    /// Only those with one of these in their names.
    Only(&'static [&'static str]),
}

impl Pictures {
    /// `true` if a model (in lower case) refuses them.
    pub fn are_refused_by(self, model: &str) -> bool {
        let has = |part: &&str| model.contains(part);
        match self {
            Self::All => false,
            Self::AllBut(parts) => parts.iter().any(has),
            Self::Only(parts) => !parts.iter().any(has),
        }
    }
}

/// How a vendor's models are told to think, where `reasoning_effort` alone does not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thinking {
    pub switch: Switch,
    /// The values of `reasoning_effort` it knows, weakest first; none: the member is taken out.
    pub levels: &'static [&'static str],
}

/// The member that turns thinking on and off.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Switch {
    /// `enable_thinking`: true or false (Qwen).
    EnableThinking,
    /// There is none beside `reasoning_effort`; what cannot be switched off gets its weakest level.
    None,
    /// `chat_template_kwargs` with this member true or false (NVIDIA NIM, vLLM).
    Template(&'static str),
    /// `thinking` with `type` `enabled` or `disabled` (DeepSeek, GLM, Kimi, Volcengine).
    ThinkingType,
}

impl Thinking {
    /// `enable_thinking`: Qwen on Alibaba's own hosts, and hosts that took over their interface.
    pub const ENABLE_THINKING: Self = Self {
        switch: Switch::EnableThinking,
        levels: &[],
    };

    /// `thinking: {type}`, no levels: GLM, Kimi before K3, Doubao.
    pub const TYPE: Self = Self {
        switch: Switch::ThinkingType,
        levels: &[],
    };

    /// `reasoning_effort` with these levels, weakest first; with none, not even that.
    pub const fn levels(levels: &'static [&'static str]) -> Self {
        Self {
            switch: Switch::None,
            levels,
        }
    }

    /// An argument of the chat template: `thinking` (DeepSeek, Kimi), `enable_thinking` (Qwen, GLM).
    pub const fn template(name: &'static str) -> Self {
        Self {
            switch: Switch::Template(name),
            levels: &[],
        }
    }

    /// With these levels of `reasoning_effort` beside the switch.
    #[must_use]
    pub const fn with_levels(mut self, levels: &'static [&'static str]) -> Self {
        self.levels = levels;
        self
    }
}

impl Quirks {
    /// None at all.
    pub const NONE: Self = Self {
        token_limit: TokenLimit::Either,
        no_developer_role: false,
        no_message_names: false,
        refused: &[],
        renamed: &[],
        max_stops: None,
        max_temperature: None,
        min_temperature: None,
        needs_reasoning: &[],
        thinking: &[],
        tool_ids: IdRule::Any,
        refused_in_tools: &[],
        max_output: &[],
        pictures: Pictures::All,
        embedding_defaults: &[],
    };

    /// What servers of open models have in common: chat templates without a `developer` role,
    /// `max_tokens` by its old name.
    pub const OPEN_MODELS: Self = Self {
        token_limit: TokenLimit::MaxTokens,
        no_developer_role: true,
        ..Self::NONE
    };
}
