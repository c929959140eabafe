//! `[[model_facts]]`: what a model takes and refuses, where the built-in table does not know it or
//! is out of date.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::dialects::effort;
use crate::dialects::models::{Facts, ModelTable, Off, Sampling, Thinking};

/// Least and most thinking tokens where `thinking = "budget"` names none.
const BUDGET: (u32, u32) = (1_024, 32_768);

/// One entry; what it leaves out stays as it is known.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// The model's name, or how the names of several begin; without the provider.
    pub model: String,
    /// The model whose facts to begin with; unset: what is known of `model` itself.
    #[serde(default)]
    pub like: Option<String>,
    /// Most answer tokens a request may ask for; more is lowered to it.
    #[serde(default)]
    pub max_output: Option<u64>,
    /// How the model is told to think.
    #[serde(default)]
    pub thinking: Option<ThinkingForm>,
    /// Least and most thinking tokens, for `thinking = "budget"`.
    #[serde(default)]
    pub thinking_budget: Option<(u32, u32)>,
    /// Whether thinking can be switched off.
    #[serde(default)]
    pub thinking_off: Option<bool>,
    /// Effort levels it takes, weakest first.
    #[serde(default)]
    pub efforts: Option<Vec<String>>,
    /// Which of `temperature`, `top_p` and `top_k` it takes.
    #[serde(default)]
    pub sampling: Option<SamplingForm>,
    /// Whether the last message may be the assistant's, to be continued.
    #[serde(default)]
    pub prefill: Option<bool>,
    /// Whether system messages may stand in the middle.
    #[serde(default)]
    pub mid_system: Option<bool>,
    /// Whether a tool call can be forced.
    #[serde(default)]
    pub forced_tool: Option<bool>,
    /// Whether it has a JSON-schema mode.
    #[serde(default)]
    pub json_schema: Option<bool>,
    /// Whether that goes together with tools.
    #[serde(default)]
    pub json_schema_with_tools: Option<bool>,
    /// Whether it takes stop sequences.
    #[serde(default)]
    pub stop: Option<bool>,
    /// Whether it takes presence and frequency penalties.
    #[serde(default)]
    pub penalties: Option<bool>,
    /// Whether its limit is called `max_completion_tokens`.
    #[serde(default)]
    pub completion_limit: Option<bool>,
}

/// How a model is told to think.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingForm {
    /// Claude's `adaptive`, with an effort.
    Adaptive,
    /// A number of tokens.
    Budget,
    /// A level: `reasoning_effort`, `thinkingLevel`.
    Level,
    /// Not at all: the field is left out.
    None,
}

/// Which sampling parameters a model takes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SamplingForm {
    /// All.
    All,
    /// None of them.
    None,
    /// `temperature` or `top_p`, not both.
    OneOf,
}

/// The built-in table with the user's entries laid over it, later ones over earlier.
pub fn table(entries: &[ModelFacts]) -> ModelTable {
    entries
        .iter()
        .fold(ModelTable::builtin().clone(), |table, entry| {
            let facts = entry.over(table.facts(entry.like.as_ref().unwrap_or(&entry.model)));
            table.with(entry.model.clone(), facts)
        })
}

impl ModelFacts {
    /// The effort levels that nobody knows; refused when the file is read.
    pub(super) fn unknown_efforts(&self) -> impl Iterator<Item = &str> {
        let words = self.efforts.iter().flatten().map(String::as_str);
        words.filter(|word| effort::parse(word).is_none())
    }

    fn over(&self, known: &Facts) -> Facts {
        let mut facts = known.clone();
        facts.max_output = self.max_output.or(known.max_output);
        facts.thinking = self.thinking_over(known.thinking);
        if let Some(words) = &self.efforts {
            let efforts = words.iter().filter_map(|word| effort::parse(word));
            facts.efforts = Cow::Owned(efforts.collect());
        }
        facts.sampling = match self.sampling {
            None => known.sampling,
            Some(SamplingForm::All) => Sampling::Free,
            Some(SamplingForm::None) => Sampling::Refused,
            Some(SamplingForm::OneOf) => Sampling::OneOf,
        };
        for (fact, entry) in [
            (&mut facts.prefill, self.prefill),
            (&mut facts.mid_system, self.mid_system),
            (&mut facts.forced_tool, self.forced_tool),
            (&mut facts.json_schema, self.json_schema),
            (
                &mut facts.json_schema_with_tools,
                self.json_schema_with_tools,
            ),
            (&mut facts.stop, self.stop),
            (&mut facts.penalties, self.penalties),
            (&mut facts.completion_limit, self.completion_limit),
        ] {
            *fact = entry.unwrap_or(*fact);
        }
        facts
    }

    fn thinking_over(&self, known: Thinking) -> Thinking {
        let form = self.thinking.unwrap_or(match known {
            Thinking::Adaptive { .. } => ThinkingForm::Adaptive,
            Thinking::Budget { .. } => ThinkingForm::Budget,
            Thinking::Level => ThinkingForm::Level,
            Thinking::None => ThinkingForm::None,
        });
        match (form, known) {
            (ThinkingForm::Adaptive, Thinking::Adaptive { budget, off }) => Thinking::Adaptive {
                budget,
                off: self.off().unwrap_or(off),
            },
            (ThinkingForm::Adaptive, _) => Thinking::Adaptive {
                budget: false,
                off: self.off().unwrap_or(Off::Disabled),
            },
            (ThinkingForm::Budget, known) => {
                let (least, most, can_be_off) = match known {
                    Thinking::Budget { min, max, off } => (min, max, off),
                    _ => (i64::from(BUDGET.0), i64::from(BUDGET.1), true),
                };
                let asked = self.thinking_budget;
                let (min, max) =
                    asked.map_or((least, most), |(min, max)| (i64::from(min), i64::from(max)));
                Thinking::Budget {
                    min,
                    max,
                    off: self.thinking_off.unwrap_or(can_be_off),
                }
            }
            (ThinkingForm::Level, _) => Thinking::Level,
            (ThinkingForm::None, _) => Thinking::None,
        }
    }

    fn off(&self) -> Option<Off> {
        self.thinking_off
            .map(|off| if off { Off::Disabled } else { Off::Always })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::chat::Effort;

    fn read(text: &str) -> ModelTable {
        let entry: ModelFacts = toml::from_str(text).expect("an entry");
        table(&[entry])
    }

    #[test]
    fn an_entry_changes_what_it_names_and_nothing_else() {
        let table = read("model = \"claude-opus-4-5\"\nmax_output = 9");
        let known = ModelTable::builtin().facts("claude-opus-4-5-20251101");
        let expected = Facts {
            max_output: Some(9),
            ..known.clone()
        };
        assert_eq!(table.facts("claude-opus-4-5-20251101"), &expected);
        let other = "claude-sonnet-4-5";
        assert_eq!(table.facts(other), ModelTable::builtin().facts(other));
    }

    #[test]
    fn a_model_nobody_knows_can_be_like_another() {
        let table = read("model = \"house-model\"\nlike = \"gpt-5.1\"\nsampling = \"one_of\"");
        let like = ModelTable::builtin().facts("gpt-5.1");
        let facts = table.facts("house-model-7b");
        assert_eq!(facts.efforts, like.efforts);
        assert_eq!(
            (facts.thinking, facts.sampling),
            (like.thinking, Sampling::OneOf)
        );
    }

    #[test]
    fn thinking_is_told_by_its_form() {
        for (text, expected) in [
            (
                "thinking = \"budget\"\nthinking_budget = [1, 2]\nthinking_off = false",
                Thinking::Budget {
                    min: 1,
                    max: 2,
                    off: false,
                },
            ),
            (
                "thinking = \"adaptive\"\nthinking_off = false",
                Thinking::Adaptive {
                    budget: false,
                    off: Off::Always,
                },
            ),
            ("thinking = \"level\"", Thinking::Level),
            (
                "like = \"claude-sonnet-4-5\"\nthinking = \"none\"",
                Thinking::None,
            ),
        ] {
            let table = read(&format!("model = \"x\"\n{text}"));
            assert_eq!(table.facts("x").thinking, expected, "{text}");
        }
        let table = read("model = \"x\"\nefforts = [\"low\", \"max\"]");
        assert_eq!(*table.facts("x").efforts, [Effort::Low, Effort::Max]);
    }
}
