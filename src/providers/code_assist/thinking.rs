//! How much the models of Code Assist are to think: the client's effort or budget as the
//! `thinkingConfig` of each model family, as data.
//!
//! The steps are those LLM-API-Key-Proxy sends (wire-format notes, read 2026-11-22). Budget and level
//! never go together: the back end answers both with a 400.

use crate::dialects::Dialect;
use crate::dialects::chat::{ChatRequest, Effort, Reasoning};
use crate::dialects::effort;
use crate::dialects::json::raw_object;
use crate::providers::code_assist::body::Members;

/// What a request says of thinking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) reasoning: &'a Reasoning,
    /// Whether thoughts are shown to a client that said nothing of it: OpenAI's dialects have a
    /// place for them that others pass over, in the others they are shown on demand.
    pub(super) shows: bool,
}

/// A `thinkingConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thinking {
    pub(super) amount: Amount,
    /// `includeThoughts`.
    pub(super) show: bool,
}

/// See [`Thinking`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// Tokens; −1 is as many as the model likes.
    Budget(i64),
    Level(&'static str),
}

impl<'a> Wish<'a> {
    /// What a client's request says.
    pub(super) fn of(request: &'a ChatRequest) -> Self {
        Self {
            reasoning: &request.reasoning,
            shows: matches!(
                request.source,
                Dialect::OpenAiChat | Dialect::OpenAiResponses
            ),
        }
    }

    /// `true` if the client said nothing of how much.
    pub(super) fn is_silent(self) -> bool {
        self.reasoning.effort.is_none() && self.reasoning.budget.is_none()
    }

    /// Whether thoughts are to be shown.
    pub(super) fn show(self) -> bool {
        let asked = !self.is_silent();
        self.reasoning.show.unwrap_or(asked || self.shows)
    }

    /// The step on the scale of efforts; a budget is the one it comes nearest to.
    pub(super) fn step(self) -> Step {
        match effort::wanted(self.reasoning) {
            None | Some(Effort::Auto) => Step::Auto,
            Some(Effort::None) => Step::Off,
            Some(Effort::Minimal) => Step::Minimal,
            Some(Effort::Low) => Step::Low,
            Some(Effort::Medium) => Step::Medium,
            Some(Effort::High) => Step::High,
            Some(Effort::XHigh) => Step::Higher,
            Some(Effort::Max) => Step::Most,
        }
    }
}

/// A step on the scale of efforts, for looking up rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Off,
    Minimal,
    Low,
    Medium,
    High,
    Higher,
    Most,
    Auto,
}

/// How a family of Gemini models is told.
enum Scale {
    /// Budgets of off, minimal, low, medium, high and auto, and the least and most it takes.
    Budgets([i64; 6], i64, i64),
    /// Levels of the same.
    Levels([&'static str; 6]),
    /// Not at all.
    Silent,
}

/// The beginnings of model names; the first that fits counts.
const FAMILIES: &[(&str, Scale)] = &[
    (
        "gemini-2.5-pro",
        // 0 is refused.
        Scale::Budgets([128, 4096, 8192, 16_384, 32_768, -1], 128, 32_768),
    ),
    (
        "gemini-2.5-flash",
        Scale::Budgets([0, 3072, 6144, 12_288, 24_576, -1], 0, 24_576),
    ),
    ("gemini-2", Scale::Silent),
    ("gemma", Scale::Silent),
    (
        "gemini-3-pro",
        Scale::Levels(["low", "low", "low", "high", "high", "high"]),
    ),
    (
        "gemini-3.1-pro",
        Scale::Levels(["low", "low", "low", "medium", "high", "high"]),
    ),
    (
        "gemini-",
        Scale::Levels(["minimal", "low", "low", "medium", "high", "high"]),
    ),
];

/// The `thinkingConfig` of a model that Gemini CLI serves; `None`: none is sent.
pub(super) fn of_gemini_cli(model: &str, wish: Wish<'_>) -> Option<Thinking> {
    let (_, scale) = FAMILIES
        .iter()
        .find(|(prefix, _)| model.starts_with(prefix))?;
    let step = wish.step();
    let amount = match scale {
        Scale::Silent => return None,
        Scale::Budgets(steps, least, most) => {
            let wanted = wish.reasoning.budget.unwrap_or(at(steps, step));
            Amount::Budget(match wanted {
                ..=-1 => -1,
                wanted => wanted.clamp(*least, *most),
            })
        }
        Scale::Levels(levels) => Amount::Level(at(levels, step)),
    };
    let is_off = step == Step::Off;
    Some(Thinking {
        amount,
        show: wish.show() && !is_off,
    })
}

fn at<T: Copy>(steps: &[T; 6], step: Step) -> T {
    let [off, minimal, low, medium, high, auto] = *steps;
    match step {
        Step::Off => off,
        Step::Minimal => minimal,
        Step::Low => low,
        Step::Medium => medium,
        Step::High | Step::Higher | Step::Most => high,
        Step::Auto => auto,
    }
}

/// Writes a `thinkingConfig` in place of the one that is there. One that the client wrote itself,
/// in Google's own words, stays.
pub(super) fn set(config: &mut Members, thinking: Option<Thinking>, wish: Wish<'_>) {
    if wish.is_silent() && wish.reasoning.show.is_none() {
        let own = config.get("thinkingConfig").and_then(Members::parse);
        if let Some(mut own) = own {
            if own.get("thinkingBudget").is_some() {
                own.remove("thinkingLevel");
            }
            config.set_raw("thinkingConfig", own.to_raw());
            return;
        }
    }
    let Some(Thinking { amount, show }) = thinking else {
        config.remove("thinkingConfig");
        return;
    };
    let json = raw_object(|o| {
        match amount {
            Amount::Budget(budget) => o.put("thinkingBudget", &budget),
            Amount::Level(level) => o.put("thinkingLevel", level),
        }
        o.put("includeThoughts", &show);
    });
    config.set_raw("thinkingConfig", json);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(reasoning: &Reasoning) -> Wish<'_> {
        Wish {
            reasoning,
            shows: true,
        }
    }

    fn effort(effort: Effort) -> Reasoning {
        Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        }
    }

    #[test]
    fn each_family_has_its_own_steps() {
        use Amount::{Budget, Level};
        use Effort::{Auto, High, Low, Max, Medium, Minimal, None};
        for (model, steps) in [
            (
                "gemini-2.5-flash",
                [
                    Budget(0),
                    Budget(3072),
                    Budget(6144),
                    Budget(12_288),
                    Budget(24_576),
                    Budget(-1),
                ],
            ),
            (
                "gemini-2.5-pro",
                [
                    Budget(128),
                    Budget(4096),
                    Budget(8192),
                    Budget(16_384),
                    Budget(32_768),
                    Budget(-1),
                ],
            ),
            (
                "gemini-3-flash-preview",
                [
                    Level("minimal"),
                    Level("low"),
                    Level("low"),
                    Level("medium"),
                    Level("high"),
                    Level("high"),
                ],
            ),
            (
                "gemini-3-pro-preview",
                [
                    Level("low"),
                    Level("low"),
                    Level("low"),
                    Level("high"),
                    Level("high"),
                    Level("high"),
                ],
            ),
            (
                "gemini-3.1-pro-preview",
                [
                    Level("low"),
                    Level("low"),
                    Level("low"),
                    Level("medium"),
                    Level("high"),
                    Level("high"),
                ],
            ),
        ] {
            for (word, amount) in [None, Minimal, Low, Medium, High, Auto]
                .into_iter()
                .zip(steps)
            {
                let reasoning = effort(word);
                let found = of_gemini_cli(model, wish(&reasoning)).expect("a config");
                assert_eq!(found.amount, amount, "{model} {word:?}");
                assert_eq!(found.show, word != None, "{model} {word:?}");
            }
            let most = effort(Max);
            let [.., high, _] = steps;
            assert_eq!(
                of_gemini_cli(model, wish(&most)).expect("a config").amount,
                high
            );
        }
        let unset = Reasoning::default();
        assert_eq!(of_gemini_cli("gemma-4-31b-it", wish(&unset)), Option::None);
    }

    #[test]
    fn a_budget_keeps_within_what_the_model_takes() {
        for (budget, pro, flash) in [
            (0, 128, 0),
            (1000, 1000, 1000),
            (99_999, 32_768, 24_576),
            (-7, -1, -1),
        ] {
            let reasoning = Reasoning {
                budget: Some(budget),
                ..Reasoning::default()
            };
            let amount = |model| {
                of_gemini_cli(model, wish(&reasoning))
                    .expect("a config")
                    .amount
            };
            assert_eq!(amount("gemini-2.5-pro"), Amount::Budget(pro));
            assert_eq!(amount("gemini-2.5-flash-lite"), Amount::Budget(flash));
        }
        let reasoning = Reasoning {
            budget: Some(1024),
            ..Reasoning::default()
        };
        let level = of_gemini_cli("gemini-3-flash", wish(&reasoning)).expect("a config");
        assert_eq!(level.amount, Amount::Level("low"));
    }

    #[test]
    fn thoughts_are_shown_on_demand_where_the_dialect_has_no_place_for_them() {
        let reasoning = Reasoning::default();
        let quiet = Wish {
            reasoning: &reasoning,
            shows: false,
        };
        assert!(!quiet.show());
        assert!(wish(&reasoning).show());
        let asked = effort(Effort::Low);
        assert!(
            Wish {
                reasoning: &asked,
                shows: false
            }
            .show()
        );
    }

    #[test]
    fn a_config_in_googles_own_words_stays_but_never_says_both() {
        let raw =
            |json: &str| serde_json::value::RawValue::from_string(json.to_owned()).expect("JSON");
        let mut config = Members::default();
        config.set_raw(
            "thinkingConfig",
            raw(r#"{"thinkingBudget":5,"thinkingLevel":"low"}"#),
        );
        let reasoning = Reasoning::default();
        let unset = of_gemini_cli("gemini-2.5-pro", wish(&reasoning));
        set(&mut config, unset, wish(&reasoning));
        assert_eq!(
            config.to_raw().get(),
            r#"{"thinkingConfig":{"thinkingBudget":5}}"#
        );
        let low = effort(Effort::Low);
        set(
            &mut config,
            of_gemini_cli("gemini-2.5-pro", wish(&low)),
            wish(&low),
        );
        assert_eq!(
            config.to_raw().get(),
            r#"{"thinkingConfig":{"thinkingBudget":8192,"includeThoughts":true}}"#
        );
    }
}
