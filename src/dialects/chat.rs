//! The canonical conversation: what two dialects share, and raw JSON for what they do not.
//!
//! Every node keeps the members nobody knew in its `extra`, so that a reader loses nothing and a
//! writer decides. Canonical order is the client's order.

use crate::dialects::Dialect;
use crate::dialects::event::StopReason;
use crate::dialects::fields::{Extra, Raw};
use crate::dialects::usage::Usage;

/// One request for an answer.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The dialect it came in: writers use it to decide about `extra`.
    pub source: Dialect,
    pub model: String,
    /// System prompt parts that stand outside the messages (Anthropic `system`, Gemini
    /// `systemInstruction`, Responses `instructions`) and the leading system messages of OpenAI.
    pub system: Vec<Part>,
    pub messages: Vec<Message>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
    pub stop: Vec<String>,
    pub seed: Option<i64>,
    /// How many alternatives; `None` and 1 are the same.
    pub candidates: Option<u32>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u32>,
    pub reasoning: Reasoning,
    pub format: ResponseFormat,
    pub stream: bool,
    /// OpenAI Chat `stream_options.include_usage`; other dialects always report usage.
    pub include_usage: bool,
    /// The end user's opaque id (`user`, `metadata.user_id`, `safety_identifier`).
    pub user: Option<String>,
    /// Legacy completions: the prompt that the answer has to repeat.
    pub echo: Option<String>,
    /// OpenAI Chat: the client spoke of `functions` and gets its answer as a `function_call`.
    pub legacy_functions: bool,
    /// Top-level members only the source dialect knows.
    pub extra: Extra,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Role {
    Assistant,
    /// System or developer text in the middle of a conversation.
    System,
    /// Results of tool calls; holds only [`Part::ToolResult`]s (and text beside them).
    Tool,
    User,
}

/// One turn.
#[derive(Clone, Debug)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
    pub extra: Extra,
}

/// A piece of a turn.
#[derive(Clone, Debug)]
pub enum Part {
    Media(Media),
    /// A block that only `dialect` can express (server tools, search results, …), as it was.
    Raw {
        dialect: Dialect,
        json: Raw,
    },
    /// A thinking block that only its maker can read.
    RedactedThinking {
        /// Tagged with its maker, see [`signature`](crate::dialects::signature).
        data: String,
    },
    Refusal(String),
    Text(Text),
    Thinking(Thinking),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
}

/// Plain text.
#[derive(Clone, Debug, Default)]
pub struct Text {
    pub text: String,
    /// A prompt-cache mark on this part, as written (`{"type":"ephemeral"}`).
    pub cache_control: Option<Raw>,
    /// Citations or annotations, in the maker's own shape.
    pub citations: Option<Raw>,
    /// Gemini's `thoughtSignature` on a text part.
    pub signature: Option<String>,
    pub extra: Extra,
}

impl Text {
    /// Whether this is what Claude Code puts in front of its system prompt for Anthropic, which takes
    /// it out again: to anybody else's model it is noise.
    pub fn is_attribution(&self) -> bool {
        self.text.starts_with("x-anthropic-billing-header:")
    }
}

/// Reasoning text with the proof of its maker.
#[derive(Clone, Debug, Default)]
pub struct Thinking {
    pub text: String,
    /// Tagged with its maker, see [`signature`](crate::dialects::signature).
    pub signature: Option<String>,
    pub extra: Extra,
}

/// An image, document, sound or film.
#[derive(Clone, Debug)]
pub struct Media {
    pub kind: MediaKind,
    pub source: MediaSource,
    /// OpenAI's `detail` of images.
    pub detail: Option<String>,
    pub filename: Option<String>,
    pub cache_control: Option<Raw>,
    pub extra: Extra,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum MediaKind {
    Audio,
    Document,
    Image,
    Video,
}

/// Where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaSource {
    /// Inline; `data` is standard padded base64.
    Base64 {
        mime: String,
        data: String,
    },
    /// A file the vendor stores.
    FileId(String),
    /// A document given as plain text.
    Text(String),
    Url {
        url: String,
        mime: Option<String>,
    },
}

/// The model asks for a tool.
#[derive(Clone, Debug, Default)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON text as the model wrote it (may be invalid), or free text for custom tools.
    pub arguments: String,
    pub kind: ToolKind,
    /// Gemini's `thoughtSignature` on the call.
    pub signature: Option<String>,
    pub cache_control: Option<Raw>,
    pub extra: Extra,
}

#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum ToolKind {
    /// OpenAI's free-text tools.
    Custom,
    #[default]
    Function,
}

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct ToolResult {
    pub call_id: String,
    /// The tool's name, where the dialect says it (Gemini).
    pub name: Option<String>,
    /// Text and media parts; raw JSON results are one text part.
    pub parts: Vec<Part>,
    pub is_error: bool,
    pub cache_control: Option<Raw>,
    pub extra: Extra,
}

/// A tool on offer.
#[derive(Clone, Debug)]
pub enum Tool {
    /// OpenAI's free-text tool; `format` as written.
    Custom {
        name: String,
        description: Option<String>,
        format: Option<Raw>,
    },
    Function(Function),
    /// A tool that the vendor runs (`web_search_20250305`, `googleSearch`, …), as written.
    Hosted {
        dialect: Dialect,
        json: Raw,
    },
}

/// A function on offer.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub description: Option<String>,
    /// JSON Schema as written; `None` is "no arguments".
    pub parameters: Option<Raw>,
    pub strict: Option<bool>,
    pub cache_control: Option<Raw>,
    pub extra: Extra,
}

/// Whether and which tools may or must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// Only these tools, by `required` at least one of them (OpenAI `allowed_tools`).
    Allowed {
        names: Vec<String>,
        required: bool,
    },
    Auto,
    None,
    Required,
    Tool(String),
}

/// How much the model should think, as far as the client said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoning {
    pub effort: Option<Effort>,
    /// Thinking budget in tokens; −1 is "as the model likes".
    pub budget: Option<i64>,
    /// Whether thoughts should be shown (Gemini `includeThoughts`, Responses `summary`).
    pub show: Option<bool>,
    /// The source's own object, as written (Anthropic `thinking`, Responses `reasoning`).
    pub extra: Extra,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
    /// As the model likes.
    Auto,
}

/// The shape the answer must have.
#[derive(Clone, Debug, Default)]
pub enum ResponseFormat {
    JsonObject,
    JsonSchema {
        name: Option<String>,
        description: Option<String>,
        schema: Raw,
        strict: Option<bool>,
    },
    #[default]
    Text,
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct ChatReply {
    /// The upstream's id and model name.
    pub id: Option<String>,
    pub model: Option<String>,
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
    pub extra: Extra,
}

/// One alternative.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub parts: Vec<Part>,
    pub stop: Option<StopReason>,
    pub stop_sequence: Option<String>,
    /// Token log-probabilities, OpenAI's shape.
    pub logprobs: Option<Raw>,
    pub extra: Extra,
}

impl ChatRequest {
    /// An empty request of the given dialect and model: readers fill it in.
    pub fn new(source: Dialect, model: impl Into<String>) -> Self {
        Self {
            source,
            model: model.into(),
            system: Vec::new(),
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            max_tokens: None,
            temperature: None,
            top_p: None,
            top_k: None,
            stop: Vec::new(),
            seed: None,
            candidates: None,
            presence_penalty: None,
            frequency_penalty: None,
            logprobs: None,
            top_logprobs: None,
            reasoning: Reasoning::default(),
            format: ResponseFormat::Text,
            stream: false,
            include_usage: false,
            user: None,
            echo: None,
            legacy_functions: false,
            extra: Extra::default(),
        }
    }
}

impl Part {
    /// A text part with nothing attached.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text {
            text: text.into(),
            ..Text::default()
        })
    }
}
