//! What model generations take and refuse, as data.
//!
//! One table for all vendors, looked up by the longest matching beginning of the model's name. It
//! goes stale in weeks: config can lay rows over it ([`ModelTable::with`]), and a safe row stands
//! in for models nobody knows. Sources: Anthropic's model overview, extended-thinking and effort
//! pages; OpenAI's model pages and SDK types; Google's thinking page and SDK types; LiteLLM's
//! model map and CLIProxyAPI's thinking tables where vendors are silent. All read 2026-11-22.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::dialects::chat::Effort;

mod rows;

/// What one model generation takes.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; config names them one by one"
)]
pub struct Facts {
    /// Most answer tokens a request may ask for; `None`: not known.
    pub max_output: Option<u64>,
    /// How thinking is asked for.
    pub thinking: Thinking,
    /// Effort levels accepted, weakest first; empty: the field is refused or not known.
    pub efforts: Cow<'static, [Effort]>,
    /// Whether `temperature`, `top_p` and `top_k` are taken.
    pub sampling: Sampling,
    /// Whether the last message may be the assistant's, to be continued.
    pub prefill: bool,
    /// Whether `role: "system"` may stand in the middle of a conversation.
    pub mid_system: bool,
    /// Whether a tool call can be forced (Anthropic `any`/`tool`).
    pub forced_tool: bool,
    /// Whether the model has a native JSON-schema output mode.
    pub json_schema: bool,
    /// Whether that mode and tools go together in one request.
    pub json_schema_with_tools: bool,
    /// Whether stop sequences are taken.
    pub stop: bool,
    /// Whether presence and frequency penalties are taken.
    pub penalties: bool,
    /// OpenAI: the limit is called `max_completion_tokens` and `max_tokens` is refused.
    pub completion_limit: bool,
    /// Gemini: function calls and responses carry ids, and calls must bear thought signatures.
    pub call_ids: bool,
}

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// Claude `thinking: {type: "adaptive"}` with an effort beside it; `budget` tells whether the
    /// older `enabled` form is still taken.
    Adaptive { budget: bool, off: Off },
    /// A token budget between the two: Claude up to 4.5, Gemini 2.5. `off`: 0 is allowed.
    Budget { min: i64, max: i64, off: bool },
    /// A level: OpenAI `reasoning_effort`, Gemini 3 `thinkingLevel`.
    Level,
    /// The model does not think, or it is not known how to ask it: the field is left out.
    None,
}

/// How adaptive thinking is turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// Not at all: the field is left out and the effort set low.
    Always,
    /// `{type: "between_tools"}`, the least it can.
    BetweenTools,
    /// `{type: "disabled"}`.
    Disabled,
}

/// Which sampling parameters a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// All, together.
    Free,
    /// `temperature` or `top_p`, not both.
    OneOf,
    /// None but the defaults.
    Refused,
}

/// Rows of facts by model-name prefix.
#[derive(Clone, Debug)]
pub struct ModelTable {
    rows: Vec<(Cow<'static, str>, Facts)>,
}

impl ModelTable {
    /// The rows that ship with the program.
    pub fn builtin() -> &'static Self {
        static TABLE: OnceLock<ModelTable> = OnceLock::new();
        TABLE.get_or_init(|| Self {
            rows: rows::ROWS
                .iter()
                .map(|(prefix, facts)| (Cow::Borrowed(*prefix), facts.clone()))
                .collect(),
        })
    }

    /// The table with one more row; it beats an older row of the same prefix.
    #[must_use]
    pub fn with(mut self, prefix: impl Into<String>, facts: Facts) -> Self {
        let prefix = prefix.into();
        self.rows.retain(|(known, _)| *known != prefix);
        self.rows.push((Cow::Owned(prefix), facts));
        self
    }

    /// The facts of a model: the row with the longest prefix, else what the version in a Claude or
    /// Gemini name tells, else [`Facts::UNKNOWN`]. Accepts names as providers spell them
    /// (`anthropic/claude-opus-4.5`, `us.anthropic.claude-…`, `models/gemini-…`).
    pub fn facts(&self, model: &str) -> &Facts {
        static UNKNOWN: Facts = Facts::UNKNOWN;
        let name = plain_name(model);
        self.rows
            .iter()
            .filter(|(prefix, _)| covers(prefix, &name))
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, facts)| facts)
            .or_else(|| rows::by_version(&name))
            .unwrap_or(&UNKNOWN)
    }
}

/// The builtin facts of a model.
pub fn facts(model: &str) -> &'static Facts {
    ModelTable::builtin().facts(model)
}

/// What models share a maker's signatures: the name up to the major version, and all of Claude.
/// `gemini-3-pro-preview` and `gemini-3.1-flash` are one family, `gemini-2.5-pro` is another.
pub fn family(model: &str) -> String {
    let name = plain_name(model);
    if name.starts_with("claude") {
        return "claude".to_owned();
    }
    let end = match name.find(|c: char| c.is_ascii_digit()) {
        Some(at) => {
            let rest = name.get(at..).unwrap_or_default();
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            at + digits
        }
        None => name.find('-').unwrap_or(name.len()),
    };
    name.get(..end).unwrap_or(&name).to_owned()
}

/// The name in the table's spelling: lower case, without vendor prefixes, `claude-opus-4-5`.
fn plain_name(model: &str) -> String {
    let mut name = model
        .rsplit('/')
        .next()
        .unwrap_or(model)
        .to_ascii_lowercase();
    if let Some(at) = name.find("claude") {
        name.drain(..at);
        name = name.replace(['.', '@'], "-");
    }
    name
}

/// A prefix that ends in a digit must not end in the middle of a number.
fn covers(prefix: &str, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(prefix) else {
        return false;
    };
    let cuts_number = prefix.ends_with(|c: char| c.is_ascii_digit())
        && rest.starts_with(|c: char| c.is_ascii_digit());
    !cuts_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_the_provider_spells_them() {
        let opus = facts("claude-opus-4-5");
        for name in [
            "anthropic/claude-opus-4.5",
            "us.anthropic.claude-opus-4-5-20251101-v1:0",
            "claude-opus-4-5@20251101",
            "Claude-Opus-4-5",
        ] {
            assert_eq!(facts(name), opus, "{name}");
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_numbers_are_not_cut() {
        assert_eq!(facts("claude-opus-4-20250514").max_output, Some(32_000));
        assert_eq!(facts("claude-opus-4-5-20251101").max_output, Some(64_000));
        assert_ne!(facts("gpt-4o-mini"), facts("o4-mini"));
        assert!(facts("gpt-5.1-codex").efforts.contains(&Effort::None));
        assert!(!facts("gpt-5-mini").efforts.contains(&Effort::None));
    }

    #[test]
    fn an_unknown_claude_is_judged_by_its_version_and_anything_else_gets_the_safe_row() {
        assert!(matches!(
            facts("claude-saga-6-1").thinking,
            Thinking::Adaptive { budget: false, .. }
        ));
        assert!(matches!(
            facts("claude-saga-4-2-20250101").thinking,
            Thinking::Budget { .. }
        ));
        assert_eq!(facts("some-model-7b"), &Facts::UNKNOWN);
        assert_eq!(facts(""), &Facts::UNKNOWN);
    }

    #[test]
    fn a_family_shares_its_signatures() {
        for (model, expected) in [
            ("claude-opus-4-5", "claude"),
            ("antigravity/claude-sonnet-4.5-thinking", "claude"),
            ("gemini-3-pro-preview", "gemini-3"),
            ("models/gemini-3.1-flash", "gemini-3"),
            ("gemini-2.5-pro", "gemini-2"),
            ("gpt-5.1-codex", "gpt-5"),
            ("o3-mini", "o3"),
            ("deepseek-reasoner", "deepseek"),
            ("", ""),
        ] {
            assert_eq!(family(model), expected, "{model}");
        }
    }

    #[test]
    fn config_rows_beat_builtin_ones() {
        let mine = Facts {
            max_output: Some(1),
            ..Facts::UNKNOWN
        };
        let table = ModelTable::builtin()
            .clone()
            .with("claude-opus-4-5", mine.clone());
        assert_eq!(table.facts("claude-opus-4-5-20251101"), &mine);
    }
}
