//! Antigravity's models as data: what they are called, how much they take, how they are told to
//! think. The live catalogue counts for lists; this table says what it does not.
//!
//! From catalogues of 2026-08-22 and about 2026-09-22, and LLM-API-Key-Proxy's names of the
//! generation before (wire-format notes, read 2026-11-22). Goes stale in weeks: a model that is not
//! in it is told by its family's rules.

use std::borrow::Cow;

use crate::providers::code_assist::thinking::{Amount, Step, Thinking, Wish};

/// What shares one quota: Google's models, and everybody else's ("3p" in Google's buckets).
pub(super) const QUOTA_GROUPS: &[(&str, &[&str])] = &[
    (GEMINI, &["gemini*"]),
    (THIRD_PARTY, &["claude*", "gpt-oss*"]),
];
pub(super) const GEMINI: &str = "gemini";
pub(super) const THIRD_PARTY: &str = "3p";

/// Models of the catalogue's list for users, for when it cannot be asked.
pub(super) const KNOWN: &[&str] = &[
    "claude-opus-4-6-thinking",
    "claude-sonnet-4-6",
    "gemini-3-flash",
    "gemini-3.1-flash-image",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro-low",
    "gemini-3.6-flash-high",
    "gemini-3.6-flash-low",
    "gemini-3.6-flash-medium",
    "gemini-3.7-flash-high",
    "gemini-3.7-flash-low",
    "gemini-3.7-flash-medium",
    "gemini-3.8-flash-high",
    "gemini-3.8-flash-low",
    "gemini-3.8-flash-medium",
    "gemini-pro-agent",
    "gpt-oss-120b-medium",
];

/// Most answer tokens of Claude and GPT-OSS; more is refused.
const MAX_OUTPUT_CLAUDE: u64 = 64_000;
const MAX_OUTPUT_GPT_OSS: u64 = 32_768;
/// Most answer tokens of Gemini: pro models have one less than the others.
const MAX_OUTPUT_GEMINI: u64 = 65_535;

/// What Claude may answer where the client does not say.
pub(super) const DEFAULT_OUTPUT_CLAUDE: u64 = 32_000;

/// What is left for the answer itself when thinking takes all that the client allowed.
pub(super) const LEAST_ANSWER: u64 = 1024;

/// The smallest budget that makes Claude think.
const LEAST_CLAUDE_BUDGET: i64 = 1024;

/// A model family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Claude,
    GeminiFlash,
    /// Answers in pictures; is not told to think.
    GeminiImage,
    GeminiPro,
    GptOss,
}

impl Family {
    /// The family of a model, by its name.
    pub(super) fn of(model: &str) -> Self {
        if model.contains("claude") {
            Self::Claude
        } else if model.contains("gpt-oss") {
            Self::GptOss
        } else if model.contains("image") {
            Self::GeminiImage
        } else if model.contains("pro") {
            Self::GeminiPro
        } else {
            Self::GeminiFlash
        }
    }

    /// Most answer tokens it may be asked for.
    pub(super) const fn max_output(self) -> u64 {
        match self {
            Self::Claude => MAX_OUTPUT_CLAUDE,
            Self::GeminiFlash | Self::GeminiImage | Self::GeminiPro => MAX_OUTPUT_GEMINI,
            Self::GptOss => MAX_OUTPUT_GPT_OSS,
        }
    }
}

/// How names of other services and generations are called here. `Effort`: the one of three that
/// fits how much is to be thought.
const ALIASES: &[(&str, Alias)] = &[
    ("claude-opus-4-5", Alias::Name("claude-opus-4-5-thinking")),
    ("claude-opus-4.5", Alias::Name("claude-opus-4-5-thinking")),
    ("claude-opus-4-6", Alias::Name("claude-opus-4-6-thinking")),
    ("claude-opus-4.6", Alias::Name("claude-opus-4-6-thinking")),
    (
        "claude-sonnet-4-5",
        Alias::Thinking("claude-sonnet-4-5", "claude-sonnet-4-5-thinking"),
    ),
    (
        "claude-sonnet-4.5",
        Alias::Thinking("claude-sonnet-4-5", "claude-sonnet-4-5-thinking"),
    ),
    ("claude-sonnet-4.6", Alias::Name("claude-sonnet-4-6")),
    // The name with the suffix is a 404.
    (
        "claude-sonnet-4-6-thinking",
        Alias::Name("claude-sonnet-4-6"),
    ),
    ("gemini-3-flash-preview", Alias::Name("gemini-3-flash")),
    (
        "gemini-3-pro-preview",
        Alias::Effort("gemini-3-pro-low", "gemini-3-pro-high", "gemini-3-pro-high"),
    ),
    (
        "gemini-3-pro-image-preview",
        Alias::Name("gemini-3-pro-image"),
    ),
    (
        "gemini-3.1-flash-image-preview",
        Alias::Name("gemini-3.1-flash-image"),
    ),
    (
        "gemini-3.1-pro",
        Alias::Effort("gemini-3.1-pro-low", "gemini-pro-agent", "gemini-pro-agent"),
    ),
    // Its old name is a 400.
    ("gemini-3.1-pro-high", Alias::Name("gemini-pro-agent")),
    (
        "gemini-3.1-pro-preview",
        Alias::Effort("gemini-3.1-pro-low", "gemini-pro-agent", "gemini-pro-agent"),
    ),
    (
        "gemini-3.6-flash",
        Alias::Effort(
            "gemini-3.6-flash-low",
            "gemini-3.6-flash-medium",
            "gemini-3.6-flash-high",
        ),
    ),
    (
        "gemini-3.7-flash",
        Alias::Effort(
            "gemini-3.7-flash-low",
            "gemini-3.7-flash-medium",
            "gemini-3.7-flash-high",
        ),
    ),
    (
        "gemini-3.8-flash",
        Alias::Effort(
            "gemini-3.8-flash-low",
            "gemini-3.8-flash-medium",
            "gemini-3.8-flash-high",
        ),
    ),
    ("gpt-oss-120b", Alias::Name("gpt-oss-120b-medium")),
];

/// See [`ALIASES`].
enum Alias {
    /// For little, medium and much thinking.
    Effort(&'static str, &'static str, &'static str),
    Name(&'static str),
    /// Without and with thinking.
    Thinking(&'static str, &'static str),
}

/// The name that the service knows a model by.
pub(super) fn resolved<'m>(model: &'m str, wish: Option<Wish<'_>>) -> Cow<'m, str> {
    let Some((_, alias)) = ALIASES.iter().find(|(name, _)| *name == model) else {
        return Cow::Borrowed(model);
    };
    let step = wish.map_or(Step::Auto, Wish::step);
    Cow::Borrowed(match alias {
        Alias::Name(name) => name,
        Alias::Effort(low, medium, high) => match step {
            Step::Off | Step::Minimal | Step::Low => low,
            Step::Medium => medium,
            Step::High | Step::Higher | Step::Most | Step::Auto => high,
        },
        Alias::Thinking(without, with) => {
            let thinks = wish.is_some_and(|wish| !wish.is_silent() && step != Step::Off);
            if thinks { with } else { without }
        }
    })
}

/// The `thinkingConfig` of a model; `None`: none is sent.
pub(super) fn thinking(model: &str, wish: Wish<'_>) -> Option<Thinking> {
    let budget = match Family::of(model) {
        Family::Claude => claude_budget(wish)?,
        Family::GptOss => gpt_oss_budget(wish)?,
        Family::GeminiImage => return None,
        Family::GeminiFlash => gemini_budget(wish, default_budget(model), 1000, 0),
        Family::GeminiPro => gemini_budget(wish, default_budget(model), 1001, 128),
    };
    Some(Thinking {
        amount: Amount::Budget(budget),
        show: wish.show() && wish.step() != Step::Off,
    })
}

/// What the catalogue says a Gemini model thinks unless told otherwise.
fn default_budget(model: &str) -> i64 {
    // Its three are called agent, low and extra-low.
    if model == "gemini-3.5-flash-low" {
        return 4000;
    }
    let is_pro = Family::of(model) == Family::GeminiPro;
    let ends = |suffix: &str| model.ends_with(suffix);
    match (is_pro, ends("-low"), ends("-medium")) {
        (true, true, _) => 1001,
        (true, false, _) => 10_001,
        (false, true, _) => 1000,
        (false, false, true) => 4000,
        (false, false, false) => -1,
    }
}

/// Budgets as the official client sends them: high −1 or 10001, medium 4000, low 1000 or 1001.
fn gemini_budget(wish: Wish<'_>, default: i64, low: i64, least: i64) -> i64 {
    if let Some(budget) = wish.reasoning.budget {
        return match budget {
            ..=-1 => default,
            budget => budget.clamp(least, 65_535),
        };
    }
    let is_pro = least > 0;
    match wish.step() {
        Step::Auto => default,
        Step::Off => least,
        Step::Minimal | Step::Low => low,
        Step::Medium | Step::High | Step::Higher | Step::Most if is_pro => 10_001,
        Step::Medium => 4000,
        Step::High | Step::Higher | Step::Most => -1,
    }
}

/// Budgets of LLM-API-Key-Proxy up to high, CLIProxyAPI's beyond. A client that does not speak of
/// thinking gets none: it would not send it back.
fn claude_budget(wish: Wish<'_>) -> Option<i64> {
    const MOST: i64 = 62_976;
    if let Some(budget) = wish.reasoning.budget {
        return match budget {
            ..=-1 => Some(-1),
            budget => (budget >= LEAST_CLAUDE_BUDGET).then_some(budget.min(MOST)),
        };
    }
    if wish.is_silent() {
        return None;
    }
    match wish.step() {
        Step::Off => None,
        Step::Auto => Some(-1),
        Step::Minimal => Some(4096),
        Step::Low => Some(8192),
        Step::Medium => Some(16_384),
        Step::High => Some(31_999),
        Step::Higher => Some(32_768),
        Step::Most => Some(MOST),
    }
}

/// The catalogue's default is 8192.
fn gpt_oss_budget(wish: Wish<'_>) -> Option<i64> {
    match (wish.reasoning.budget, wish.step()) {
        (Some(budget), _) if budget > 0 => Some(budget.min(24_576)),
        (_, Step::Off) => None,
        (_, Step::Minimal | Step::Low) => Some(1024),
        (_, Step::Medium | Step::Auto) => Some(8192),
        (_, Step::High | Step::Higher | Step::Most) => Some(24_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::chat::{Effort, Reasoning};

    fn budget(model: &str, reasoning: &Reasoning) -> Option<i64> {
        let wish = Wish {
            reasoning,
            shows: true,
        };
        thinking(model, wish).map(|thinking| match thinking.amount {
            Amount::Budget(budget) => budget,
            Amount::Level(level) => panic!("{model} got a level: {level}"),
        })
    }

    fn effort(effort: Effort) -> Reasoning {
        Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        }
    }

    #[test]
    fn gemini_thinks_as_the_official_client_has_it() {
        let unset = Reasoning::default();
        for (model, default) in [
            ("gemini-3.7-flash-high", -1),
            ("gemini-3.7-flash-medium", 4000),
            ("gemini-3.7-flash-low", 1000),
            ("gemini-3-flash", -1),
            ("gemini-3.5-flash-low", 4000),
            ("gemini-3.5-flash-extra-low", 1000),
            ("gemini-pro-agent", 10_001),
            ("gemini-3.1-pro-low", 1001),
        ] {
            assert_eq!(budget(model, &unset), Some(default), "{model}");
        }
        for (word, flash, pro) in [
            (Effort::None, 0, 128),
            (Effort::Low, 1000, 1001),
            (Effort::Medium, 4000, 10_001),
            (Effort::High, -1, 10_001),
        ] {
            let reasoning = effort(word);
            assert_eq!(budget("gemini-3.8-flash-high", &reasoning), Some(flash));
            assert_eq!(budget("gemini-pro-agent", &reasoning), Some(pro));
        }
        assert_eq!(budget("gemini-3.1-flash-image", &unset), None);
    }

    #[test]
    fn claude_thinks_only_when_asked() {
        let model = "claude-opus-4-6-thinking";
        assert_eq!(budget(model, &Reasoning::default()), None);
        for (word, expected) in [
            (Effort::None, None),
            (Effort::Minimal, Some(4096)),
            (Effort::Low, Some(8192)),
            (Effort::Medium, Some(16_384)),
            (Effort::High, Some(31_999)),
            (Effort::Auto, Some(-1)),
        ] {
            assert_eq!(budget(model, &effort(word)), expected, "{word:?}");
        }
        for (asked, expected) in [(1000, None), (1024, Some(1024)), (99_999, Some(62_976))] {
            let reasoning = Reasoning {
                budget: Some(asked),
                ..Reasoning::default()
            };
            assert_eq!(budget(model, &reasoning), expected, "{asked}");
        }
        assert_eq!(
            budget("gpt-oss-120b-medium", &Reasoning::default()),
            Some(8192)
        );
    }

    #[test]
    fn names_of_elsewhere_are_found() {
        let high = effort(Effort::High);
        let low = effort(Effort::Low);
        let wish = |reasoning| {
            Some(Wish {
                reasoning,
                shows: true,
            })
        };
        for (name, with, here) in [
            ("claude-opus-4.6", None, "claude-opus-4-6-thinking"),
            ("claude-sonnet-4-5", None, "claude-sonnet-4-5"),
            (
                "claude-sonnet-4-5",
                wish(&high),
                "claude-sonnet-4-5-thinking",
            ),
            ("gemini-3.1-pro-preview", wish(&low), "gemini-3.1-pro-low"),
            ("gemini-3.1-pro-preview", None, "gemini-pro-agent"),
            ("gemini-3.8-flash", wish(&low), "gemini-3.8-flash-low"),
            ("gemini-3.1-pro-high", None, "gemini-pro-agent"),
            ("something-new", None, "something-new"),
        ] {
            assert_eq!(resolved(name, with), here);
        }
    }

    #[test]
    fn no_alias_leads_to_another_one() {
        for (_, alias) in ALIASES {
            let names = match alias {
                Alias::Name(name) => vec![*name],
                Alias::Effort(low, medium, high) => vec![*low, *medium, *high],
                Alias::Thinking(without, with) => vec![*without, *with],
            };
            for name in names {
                let again = ALIASES.iter().find(|(alias, _)| *alias == name);
                let is_itself = again.is_none_or(
                    |(_, alias)| matches!(alias, Alias::Thinking(without, _) if *without == name),
                );
                assert!(is_itself, "{name}");
            }
        }
    }
}
