//! Reasoning effort as a level and as a token budget, and the ways between the two.
//!
//! Levels are OpenAI's words; budgets are those CLIProxyAPI uses (its thinking tables, read
//! 2026-11-22), the widest spread of the gateways in use.

use crate::dialects::chat::{Effort, Reasoning};

/// The smallest thinking budget Claude takes (Anthropic, extended thinking, read 2026-11-22).
pub const MIN_CLAUDE_BUDGET: i64 = 1024;

/// Levels from weakest to strongest, without [`Effort::Auto`].
const LADDER: [Effort; 7] = [
    Effort::None,
    Effort::Minimal,
    Effort::Low,
    Effort::Medium,
    Effort::High,
    Effort::XHigh,
    Effort::Max,
];

/// The word OpenAI and Anthropic write; `auto` where the model may decide.
pub const fn name(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::XHigh => "xhigh",
        Effort::Max => "max",
        Effort::Auto => "auto",
    }
}

/// Reads a level in any case; `None` for words nobody knows.
pub fn parse(word: &str) -> Option<Effort> {
    LADDER
        .into_iter()
        .chain([Effort::Auto])
        .find(|effort| name(*effort).eq_ignore_ascii_case(word))
}

/// The thinking budget of a level in tokens; −1 is "as the model likes".
pub const fn budget(effort: Effort) -> i64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 512,
        Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High => 24_576,
        Effort::XHigh => 32_768,
        Effort::Max => 128_000,
        Effort::Auto => -1,
    }
}

/// The level that a budget comes nearest to from below; negative budgets are [`Effort::Auto`].
pub const fn level(budget: i64) -> Effort {
    match budget {
        i64::MIN..=-1 => Effort::Auto,
        0 => Effort::None,
        1..=512 => Effort::Minimal,
        513..=1024 => Effort::Low,
        1025..=8192 => Effort::Medium,
        8193..=24_576 => Effort::High,
        24_577.. => Effort::XHigh,
    }
}

/// The level a request asks for: an explicit budget beats the word. `None`: it did not say.
pub fn wanted(reasoning: &Reasoning) -> Option<Effort> {
    match (reasoning.budget, reasoning.effort) {
        (Some(budget), None | Some(Effort::Auto)) => Some(level(budget)),
        (_, effort) => effort,
    }
}

/// The budget a request asks for: an explicit one, or that of its level.
pub fn wanted_budget(reasoning: &Reasoning) -> Option<i64> {
    reasoning.budget.or(reasoning.effort.map(budget))
}

/// The level of `accepted` to send for `wanted`: itself, else the next weaker one, else the next
/// stronger one. `None` never rises to a thinking level here; `None` is returned where the list is
/// empty or `wanted` is [`Effort::Auto`] (then nothing is sent).
pub fn nearest(wanted: Effort, accepted: &[Effort]) -> Option<Effort> {
    let at = LADDER.iter().position(|effort| *effort == wanted)?;
    let (below, above) = LADDER.split_at(at + 1);
    let weaker = below
        .iter()
        .rev()
        .filter(|effort| wanted == Effort::None || **effort != Effort::None);
    weaker
        .chain(above)
        .find(|effort| accepted.contains(effort))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_budgets_go_there_and_back() {
        for effort in [
            Effort::None,
            Effort::Minimal,
            Effort::Low,
            Effort::Medium,
            Effort::High,
            Effort::XHigh,
            Effort::Auto,
        ] {
            assert_eq!(level(budget(effort)), effort);
            assert_eq!(parse(name(effort)), Some(effort));
        }
        assert_eq!(parse("HIGH"), Some(Effort::High));
        assert_eq!(parse("turbo"), None);
    }

    #[test]
    fn a_missing_level_goes_down_then_up() {
        let three = [Effort::Low, Effort::Medium, Effort::High];
        assert_eq!(nearest(Effort::Max, &three), Some(Effort::High));
        assert_eq!(nearest(Effort::Minimal, &three), Some(Effort::Low));
        assert_eq!(nearest(Effort::None, &three), Some(Effort::Low));
        assert_eq!(nearest(Effort::Medium, &three), Some(Effort::Medium));
        assert_eq!(nearest(Effort::Auto, &three), None);
        let off_or_high = [Effort::None, Effort::High];
        assert_eq!(nearest(Effort::Low, &off_or_high), Some(Effort::High));
    }

    #[test]
    fn an_explicit_budget_beats_no_word() {
        let reasoning = Reasoning {
            budget: Some(10_000),
            ..Reasoning::default()
        };
        assert_eq!(wanted(&reasoning), Some(Effort::High));
        assert_eq!(wanted_budget(&reasoning), Some(10_000));
    }
}
