//! The rows of the model table. A prefix a row; see the parent module for sources.

use std::borrow::Cow;

use crate::dialects::chat::Effort;
use crate::dialects::models::{Facts, Off, Sampling, Thinking};

const LOW_HIGH: Cow<'static, [Effort]> = Cow::Borrowed(&[Effort::Low, Effort::High]);
const LOW_TO_HIGH: Cow<'static, [Effort]> =
    Cow::Borrowed(&[Effort::Low, Effort::Medium, Effort::High]);
const LOW_TO_HIGH_MAX: Cow<'static, [Effort]> =
    Cow::Borrowed(&[Effort::Low, Effort::Medium, Effort::High, Effort::Max]);
const LOW_TO_MAX: Cow<'static, [Effort]> = Cow::Borrowed(&[
    Effort::Low,
    Effort::Medium,
    Effort::High,
    Effort::XHigh,
    Effort::Max,
]);
const MINIMAL_TO_HIGH: Cow<'static, [Effort]> =
    Cow::Borrowed(&[Effort::Minimal, Effort::Low, Effort::Medium, Effort::High]);
const NONE_LOW_TO_HIGH: Cow<'static, [Effort]> =
    Cow::Borrowed(&[Effort::None, Effort::Low, Effort::Medium, Effort::High]);
const NONE_TO_XHIGH: Cow<'static, [Effort]> = Cow::Borrowed(&[
    Effort::None,
    Effort::Low,
    Effort::Medium,
    Effort::High,
    Effort::XHigh,
]);
const NONE_TO_MAX: Cow<'static, [Effort]> = Cow::Borrowed(&[
    Effort::None,
    Effort::Low,
    Effort::Medium,
    Effort::High,
    Effort::XHigh,
    Effort::Max,
]);

impl Facts {
    /// The row for models nobody knows: what every server takes, and no thinking fields.
    pub const UNKNOWN: Self = Self {
        max_output: None,
        thinking: Thinking::None,
        efforts: Cow::Borrowed(&[]),
        sampling: Sampling::Free,
        prefill: true,
        mid_system: true,
        forced_tool: true,
        json_schema: true,
        json_schema_with_tools: true,
        stop: true,
        penalties: true,
        completion_limit: false,
        call_ids: true,
    };
}

/// Claude 3 and 3.5: no thinking.
const CLAUDE_3: Facts = Facts {
    max_output: Some(8_192),
    mid_system: false,
    json_schema: false,
    ..Facts::UNKNOWN
};

/// Claude 3.7 to 4.1: thinking by budget.
const CLAUDE_BUDGET: Facts = Facts {
    max_output: Some(64_000),
    thinking: Thinking::Budget {
        min: 1_024,
        max: 63_999,
        off: true,
    },
    ..CLAUDE_3
};

/// Claude 4.5: one sampling parameter only, native JSON schema.
const CLAUDE_4_5: Facts = Facts {
    sampling: Sampling::OneOf,
    json_schema: true,
    ..CLAUDE_BUDGET
};

/// Claude 4.6: adaptive thinking, no prefill.
const CLAUDE_4_6: Facts = Facts {
    max_output: Some(128_000),
    thinking: Thinking::Adaptive {
        budget: true,
        off: Off::Disabled,
    },
    efforts: LOW_TO_HIGH_MAX,
    prefill: false,
    ..CLAUDE_4_5
};

/// Claude 4.7: adaptive thinking only, no sampling parameters.
const CLAUDE_4_7: Facts = Facts {
    thinking: Thinking::Adaptive {
        budget: false,
        off: Off::Disabled,
    },
    efforts: LOW_TO_MAX,
    sampling: Sampling::Refused,
    ..CLAUDE_4_6
};

/// Claude 4.8 and 5: system messages in the middle.
const CLAUDE_5: Facts = Facts {
    mid_system: true,
    ..CLAUDE_4_7
};

/// Fable and Mythos 5: always thinking.
const CLAUDE_ALWAYS: Facts = Facts {
    thinking: Thinking::Adaptive {
        budget: false,
        off: Off::Always,
    },
    ..CLAUDE_5
};

/// The x.1 and x.5 generation: no forced tools either.
const CLAUDE_UNFORCED: Facts = Facts {
    forced_tool: false,
    ..CLAUDE_ALWAYS
};

/// OpenAI's models that do not reason.
const GPT_4: Facts = Facts {
    max_output: Some(16_384),
    ..Facts::UNKNOWN
};

/// OpenAI's reasoning models: no sampling, no stop, the new name of the limit.
const O_SERIES: Facts = Facts {
    max_output: Some(100_000),
    thinking: Thinking::Level,
    efforts: LOW_TO_HIGH,
    sampling: Sampling::Refused,
    stop: false,
    penalties: false,
    completion_limit: true,
    ..Facts::UNKNOWN
};

const GPT_5: Facts = Facts {
    max_output: Some(128_000),
    efforts: MINIMAL_TO_HIGH,
    ..O_SERIES
};

const GPT_5_1: Facts = Facts {
    efforts: NONE_LOW_TO_HIGH,
    ..GPT_5
};

const GPT_5_2: Facts = Facts {
    efforts: NONE_TO_XHIGH,
    ..GPT_5
};

/// Open models that take `reasoning_effort` low to high.
const OPEN_REASONER: Facts = Facts {
    thinking: Thinking::Level,
    efforts: LOW_TO_HIGH,
    ..Facts::UNKNOWN
};

/// Gemini before 2.5: no thinking.
const GEMINI_2: Facts = Facts {
    max_output: Some(8_192),
    mid_system: false,
    prefill: true,
    json_schema_with_tools: false,
    call_ids: false,
    ..Facts::UNKNOWN
};

const GEMINI_2_5_FLASH: Facts = Facts {
    max_output: Some(65_536),
    thinking: Thinking::Budget {
        min: 0,
        max: 24_576,
        off: true,
    },
    ..GEMINI_2
};

/// Gemini 3: levels, call ids and signatures, no penalties.
const GEMINI_3_FLASH: Facts = Facts {
    max_output: Some(65_536),
    thinking: Thinking::Level,
    efforts: MINIMAL_TO_HIGH,
    json_schema_with_tools: true,
    penalties: false,
    call_ids: true,
    ..GEMINI_2
};

/// The table: a prefix and what the models behind it take.
pub(super) static ROWS: &[(&str, Facts)] = &[
    // Anthropic
    (
        "claude-3",
        Facts {
            max_output: Some(4_096),
            ..CLAUDE_3
        },
    ),
    ("claude-3-5", CLAUDE_3),
    ("claude-3-7", CLAUDE_BUDGET),
    ("claude-fable-5", CLAUDE_ALWAYS),
    ("claude-fable-5-1", CLAUDE_UNFORCED),
    ("claude-haiku-4-5", CLAUDE_4_5),
    ("claude-haiku-5-5", CLAUDE_5),
    ("claude-mythos-5", CLAUDE_ALWAYS),
    ("claude-mythos-5-1", CLAUDE_UNFORCED),
    ("claude-mythos-preview", CLAUDE_ALWAYS),
    (
        "claude-opus-4",
        Facts {
            max_output: Some(32_000),
            ..CLAUDE_BUDGET
        },
    ),
    (
        "claude-opus-4-1",
        Facts {
            max_output: Some(32_000),
            ..CLAUDE_BUDGET
        },
    ),
    (
        "claude-opus-4-5",
        Facts {
            efforts: LOW_TO_HIGH,
            ..CLAUDE_4_5
        },
    ),
    ("claude-opus-4-6", CLAUDE_4_6),
    ("claude-opus-4-7", CLAUDE_4_7),
    ("claude-opus-4-8", CLAUDE_5),
    ("claude-opus-5", CLAUDE_5),
    ("claude-opus-5-5", CLAUDE_UNFORCED),
    ("claude-sonnet-4", CLAUDE_BUDGET),
    ("claude-sonnet-4-5", CLAUDE_4_5),
    ("claude-sonnet-4-6", CLAUDE_4_6),
    ("claude-sonnet-5", CLAUDE_5),
    (
        "claude-sonnet-5-5",
        Facts {
            thinking: Thinking::Adaptive {
                budget: false,
                off: Off::BetweenTools,
            },
            ..CLAUDE_UNFORCED
        },
    ),
    // Google
    ("gemini-", GEMINI_3_FLASH),
    ("gemini-1", GEMINI_2),
    ("gemini-2", GEMINI_2),
    ("gemini-2.5", GEMINI_2_5_FLASH),
    (
        "gemini-2.5-flash-lite",
        Facts {
            thinking: Thinking::Budget {
                min: 512,
                max: 24_576,
                off: true,
            },
            ..GEMINI_2_5_FLASH
        },
    ),
    (
        "gemini-2.5-pro",
        Facts {
            thinking: Thinking::Budget {
                min: 128,
                max: 32_768,
                off: false,
            },
            ..GEMINI_2_5_FLASH
        },
    ),
    (
        "gemini-3-pro",
        Facts {
            efforts: LOW_HIGH,
            ..GEMINI_3_FLASH
        },
    ),
    (
        "gemini-3.1-pro",
        Facts {
            efforts: LOW_TO_HIGH,
            ..GEMINI_3_FLASH
        },
    ),
    (
        "gemini-3.7",
        Facts {
            efforts: LOW_TO_HIGH,
            ..GEMINI_3_FLASH
        },
    ),
    (
        "gemini-3.8",
        Facts {
            efforts: LOW_TO_HIGH,
            ..GEMINI_3_FLASH
        },
    ),
    (
        "gemini-4",
        Facts {
            efforts: LOW_TO_HIGH,
            ..GEMINI_3_FLASH
        },
    ),
    (
        "gemini-pro-latest",
        Facts {
            efforts: LOW_TO_HIGH,
            ..GEMINI_3_FLASH
        },
    ),
    ("gemma", GEMINI_2),
    // OpenAI
    (
        "gpt-3.5",
        Facts {
            max_output: Some(4_096),
            json_schema: false,
            ..GPT_4
        },
    ),
    ("gpt-4", GPT_4),
    (
        "gpt-4-turbo",
        Facts {
            max_output: Some(4_096),
            json_schema: false,
            ..GPT_4
        },
    ),
    (
        "gpt-4.1",
        Facts {
            max_output: Some(32_768),
            ..GPT_4
        },
    ),
    ("gpt-4o", GPT_4),
    ("gpt-5", GPT_5),
    ("gpt-5-chat", GPT_4),
    ("gpt-5.1", GPT_5_1),
    ("gpt-5.2", GPT_5_2),
    ("gpt-5.3", GPT_5_2),
    ("gpt-5.4", GPT_5_2),
    ("gpt-5.5", GPT_5_2),
    (
        "gpt-5.",
        Facts {
            efforts: NONE_TO_MAX,
            ..GPT_5
        },
    ),
    ("o1", O_SERIES),
    ("o3", O_SERIES),
    ("o4", O_SERIES),
    // Others
    ("gpt-oss", OPEN_REASONER),
    (
        "grok-3-mini",
        Facts {
            efforts: LOW_HIGH,
            ..OPEN_REASONER
        },
    ),
    (
        "kimi-k2-thinking",
        Facts {
            efforts: LOW_HIGH,
            ..OPEN_REASONER
        },
    ),
];

/// Facts of a Claude the table does not list, by the version in its name
/// (`claude-<family>-<major>[-<minor>][-<date>]`): adaptive thinking from 4.6 on, nothing but
/// adaptive after it.
pub(super) fn by_version(name: &str) -> Option<&'static Facts> {
    static BUDGET: Facts = CLAUDE_4_5;
    static EITHER: Facts = CLAUDE_4_6;
    static ADAPTIVE: Facts = Facts {
        mid_system: false,
        ..CLAUDE_UNFORCED
    };
    let rest = name.strip_prefix("claude-")?;
    let mut numbers = rest
        .split('-')
        .filter(|piece| piece.len() < 3)
        .filter_map(|piece| piece.parse::<u32>().ok());
    let version = (numbers.next(), numbers.next().unwrap_or(0));
    Some(match version {
        (Some(4), 6) => &EITHER,
        (Some(major), minor) if (major, minor) < (4, 6) => &BUDGET,
        _ => &ADAPTIVE,
    })
}
